//! Requests and answers as a client sees them, one after the other and side by side.

use super::*;

#[tokio::test]
async fn http1_and_http2_with_prior_knowledge_share_a_port() {
    let server = Server::start(|_| ());
    let mut h1 = server.connect().await;
    assert!(h1.get("/a").await.ends_with("HTTP/1.1 /a 1 0"));
    assert!(h1.get("/b").await.ends_with("HTTP/1.1 /b 2 0"));

    let io = TokioIo::new(server.connect().await.0);
    let (mut h2, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(conn);
    for n in 1..=3 {
        let req = Request::post("http://a/c").body(Body::from("xyz")).unwrap();
        let body = h2
            .send_request(req)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap()
            .to_bytes();
        assert_eq!(body, format!("HTTP/2.0 /c {n} 3"));
    }
}

#[tokio::test]
async fn heads_may_come_byte_by_byte() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    // the first letters are those of the HTTP/2 preface
    for byte in b"PROPFIND /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc" {
        c.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(c.answer().await.ends_with("/slow 1 3"));

    let mut c = server.connect().await;
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        c.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    c.send(b"\0\0\0\x04\0\0\0\0\0").await; // an empty SETTINGS frame
    let mut settings = [0; 4];
    timeout(BOUND, c.0.read_exact(&mut settings))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(settings[3], 4, "the server's SETTINGS");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    let all: String = (0..20)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .collect();
    c.send(all).await;
    for n in 0..20 {
        assert!(c.answer().await.ends_with(&format!("/{n} {} 0", n + 1)));
    }
}

#[tokio::test]
async fn early_hints_come_before_the_answer() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    for _ in 0..2 {
        c.send("GET /early HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(
            c.head().await,
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
        );
        server.app.gate.add_permits(1);
        assert!(c.answer().await.ends_with("late"));
    }
    // together with the answer
    server.app.gate.add_permits(1);
    c.send("GET /early HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(c.head().await.starts_with("HTTP/1.1 103 "));
    assert!(c.answer().await.ends_with("late"));
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let server = Server::start(|_| ());
    let (mut bad, mut good) = (server.connect().await, server.connect().await);
    assert!(good.get("/a").await.contains(" 200 "));
    bad.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(bad.rest().await, "");
    assert!(good.get("/a").await.contains(" 200 "));
    server
        .until("counted", |s| {
            s.app.drain.open() == 1 && s.bounds.open() == 1
        })
        .await;
}

#[tokio::test]
async fn the_handler_is_dropped_when_the_client_goes() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.in_flight(1).await;
    drop(c);
    server.until("closed", |s| s.app.drain.open() == 0).await;
}

#[tokio::test]
async fn http10_closes_unless_asked() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send("GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        .await;
    assert!(c.answer().await.contains("connection: keep-alive\r\n"));
    c.send("GET /b HTTP/1.0\r\n\r\n").await;
    assert!(c.rest().await.ends_with("/b 2 0"));
}

#[test]
fn the_addresses_are_header_values() {
    let info = ConnInfo::new(
        "[::ffff:10.0.0.7]:1".parse().unwrap(),
        "127.0.0.1:8080".parse().unwrap(),
        None,
        None,
    );
    assert_eq!(info.forwarded_for(), "10.0.0.7");
    assert_eq!(info.forwarded_port(), "8080");
}
