//! Requests that are refused, and how a client gets to read that.

use super::*;

#[tokio::test]
async fn what_hyper_refuses_is_a_problem_too() {
    let server = Server::start(|_| ());
    let long = "u".repeat(100_000);
    let many: String = (0..150).map(|n| format!("x-{n}: v\r\n")).collect();
    let cases = [
        (
            "GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET / HTTP/1.1\r\ncontent-length: 1, 2\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(),
            400,
        ),
        ("\x16\x03\x01 this is TLS\r\n\r\n".to_owned(), 400),
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nx-a: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), 431),
    ];
    for (request, status) in &cases {
        // alone, and after a request on the same connection
        for path in [None, Some("/first")] {
            let mut c = server.connect().await;
            if let Some(path) = path {
                assert!(c.get(path).await.contains(" 200 "));
            }
            c.send(request).await;
            refused(&c.rest().await, *status);
        }
        // and behind one
        let mut c = server.connect().await;
        c.send(format!("GET /first HTTP/1.1\r\nhost: a\r\n\r\n{request}"))
            .await;
        assert!(c.answer().await.contains(" 200 "));
        refused(&c.rest().await, *status);
    }
    let mut c = server.connect().await;
    c.send("HEAD / HTTP/1.1\r\nbad header\r\n\r\n").await;
    assert!(c.rest().await.ends_with("\r\n\r\n"), "no body for HEAD");
}

#[tokio::test]
async fn limits_below_hypers_are_the_handlers() {
    let server = Server::start(|l| l.max_headers = 30);
    let many: String = (0..40).map(|n| format!("x-{n}: v\r\n")).collect();
    for (request, status) in [
        (
            format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "u".repeat(1100)),
            414,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
                "v".repeat(9000)
            ),
            431,
        ),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), 431),
    ] {
        let mut c = server.connect().await;
        c.send(request).await;
        assert!(c.answer().await.starts_with(&format!("HTTP/1.1 {status} ")));
        // answered by the handler: the connection goes on
        assert!(c.get("/next").await.contains(" 200 "));
    }
    let server = Server::start(|l| l.max_headers = 200);
    let mut c = server.connect().await;
    let many: String = (0..150).map(|n| format!("x-{n}: v\r\n")).collect();
    c.send(format!("GET / HTTP/1.1\r\n{many}\r\n")).await;
    assert!(c.answer().await.contains(" 200 "));
}

#[tokio::test]
async fn an_own_error_answer_is_not_rewritten() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    let answer = c.get("/refuse").await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && !answer.contains("problem+json"),
        "{answer}"
    );
    assert!(c.get("/after").await.contains(" 200 "));
}

#[tokio::test]
async fn an_answer_in_mid_upload_can_be_read() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    let size = 1024 * 1024;
    c.send(format!(
        "POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n"
    ))
    .await;
    c.send(vec![b'x'; 100 * 1024]).await;
    server.in_flight(1).await;
    // without a linger these writes meet a reset, and the answer is lost
    for _ in 0..9 {
        c.send(vec![b'x'; 100 * 1024]).await;
    }
    let answer = c.answer().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(c.rest().await, "");
}

#[tokio::test]
async fn a_linger_ends() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send("POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: 9000000\r\n\r\nx")
        .await;
    assert!(c.answer().await.starts_with("HTTP/1.1 413 "));
    // the client neither sends nor closes
    server.until("closed", |s| s.app.drain.open() == 0).await;
}
