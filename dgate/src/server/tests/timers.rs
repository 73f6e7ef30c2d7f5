//! What ends because it takes too long, and what does not.

use super::*;

#[tokio::test]
async fn a_head_that_does_not_end_is_a_408() {
    let server = Server::start(|l| l.header_timeout = Some(Duration::from_millis(150)));
    let mut c = server.connect().await;
    c.send("GET / HTTP/1.1\r\nhost: a\r\nx-ha").await;
    refused(&c.rest().await, 408);

    // also when it follows a request, and when bytes keep coming
    let mut c = server.connect().await;
    assert!(c.get("/a").await.contains(" 200 "));
    let begun = Instant::now();
    c.send("GET / HTTP/1.1\r\n").await;
    let answer = loop {
        if let Ok(answer) = timeout(Duration::from_millis(20), c.head()).await {
            break answer;
        }
        c.send("x-a: b\r\n").await;
        assert!(begun.elapsed() < BOUND);
    };
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    // a preface has no answer
    let mut c = server.connect().await;
    c.send("PRI *").await;
    assert_eq!(c.rest().await, "");
}

#[tokio::test]
async fn the_head_timer_does_not_end_idle_connections_or_slow_bodies() {
    let server = Server::start(|l| l.header_timeout = Some(Duration::from_millis(50)));
    let mut c = server.connect().await;
    for n in 1..=2 {
        assert!(
            timeout(Duration::from_millis(200), c.0.read_u8())
                .await
                .is_err(),
            "stays open"
        );
        assert!(c.get("/a").await.ends_with(&format!("/a {n} 0")));
    }
    c.send("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx")
        .await;
    assert!(
        timeout(Duration::from_millis(200), c.0.read_u8())
            .await
            .is_err()
    );
    c.send("y").await;
    assert!(c.answer().await.ends_with("/b 3 2"));
}

#[tokio::test]
async fn idle_connections_end() {
    let idle = Duration::from_millis(200);
    let server = Server::start(|l| l.idle_timeout = Some(idle));
    let begun = Instant::now();
    let mut silent = server.connect().await;
    assert_eq!(silent.rest().await, "");
    assert!(begun.elapsed() >= idle);

    for body in ["", "x"] {
        let mut c = server.connect().await;
        let begun = Instant::now();
        let n = body.len();
        c.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {n}\r\n\r\n{body}"
        ))
        .await;
        assert!(c.answer().await.contains(" 200 "));
        assert_eq!(c.rest().await, "");
        assert!(begun.elapsed() >= idle);
    }

    let io = TokioIo::new(server.connect().await.0);
    let (h2, conn) = hyper::client::conn::http2::handshake::<_, _, Body>(TokioExecutor::new(), io)
        .await
        .unwrap();
    timeout(BOUND, conn)
        .await
        .expect("ended in time")
        .expect("by GOAWAY");
    drop(h2);
    server
        .until("closed", |s| {
            s.app.drain.open() == 0 && s.bounds.open() == 0
        })
        .await;
}

#[tokio::test]
async fn requests_keep_a_connection_and_it_wakes_from_its_sleep() {
    let server = Server::start(|l| l.idle_timeout = Some(Duration::from_millis(600)));
    let mut c = server.connect().await;
    for n in 1..=4 {
        assert!(c.get("/a").await.ends_with(&format!("/a {n} 0")));
        // longer than two ticks: hyper's state is gone by then
        assert!(
            timeout(Duration::from_millis(450), c.0.read_u8())
                .await
                .is_err()
        );
    }
    c.send("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
        .await;
    assert!(c.answer().await.ends_with("/b 5 1"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    #[derive(Clone)]
    struct Flood;
    impl Handler for Flood {
        type Body = Body;
        type Future = std::future::Ready<Response<Body>>;
        fn call(&self, _: &Arc<ConnInfo>, _: Request<Upload>) -> Self::Future {
            std::future::ready(Response::new(Body::from(vec![0; 32 * 1024 * 1024])))
        }
        fn refusal(&self, _: StatusCode) -> Bytes {
            Bytes::new()
        }
    }
    let server = Server::start(|_| ());
    let limits = ConnLimits {
        idle_timeout: Some(Duration::from_millis(200)),
        ..server.app.limits
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut c = Client(
        TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap(),
    );
    let (stream, peer) = listener.accept().await.unwrap();
    let info = Arc::new(ConnInfo::new(
        peer,
        stream.local_addr().unwrap(),
        None,
        None,
    ));
    tokio::spawn(serve(stream, info, limits, Flood, server.app.drain.guard()));
    c.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.until("dropped", |s| s.app.drain.open() == 0).await;
}
