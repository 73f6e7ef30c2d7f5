//! A server that goes away: what it finishes, and what it does not wait for.

use super::*;

#[tokio::test]
async fn a_drain_ends_idle_connections_and_finishes_requests() {
    let server = Server::start(|_| ());
    let (mut idle, mut posted) = (server.connect().await, server.connect().await);
    assert!(idle.get("/a").await.contains(" 200 "));
    posted
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
        .await;
    assert!(posted.answer().await.contains(" 200 "));
    let mut parked = server.connect().await;
    assert!(parked.get("/a").await.contains(" 200 "));
    assert!(
        timeout(Duration::from_secs(1), parked.0.read_u8())
            .await
            .is_err()
    );
    let mut busy = server.connect().await;
    busy.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.in_flight(4).await;

    server.app.drain.start();
    for c in [&mut idle, &mut posted, &mut parked] {
        assert_eq!(c.rest().await, "");
    }
    server
        .until("refusing", |s| {
            std::net::TcpStream::connect(s.addr).is_err()
        })
        .await;
    assert_eq!(server.app.drain.open(), 1);
    server.app.gate.add_permits(1);
    let answer = busy.rest().await;
    assert!(
        answer.contains("connection: close\r\n") && answer.ends_with("waited"),
        "{answer}"
    );
    server.drained().await;
}

#[tokio::test]
async fn a_drain_answers_the_first_request_of_who_was_accepted() {
    let server = Server::start(|_| ());
    let (mut silent, mut late, mut half) = (
        server.connect().await,
        server.connect().await,
        server.connect().await,
    );
    half.send("GET /half HTTP/1.1\r\nho").await;
    server.until("accepted", |s| s.app.drain.open() == 3).await;
    server.app.drain.start();
    late.send("GET /late HTTP/1.1\r\nhost: a\r\n\r\n").await;
    half.send("st: a\r\n\r\n").await;
    for (c, path) in [(&mut late, "/late"), (&mut half, "/half")] {
        let answer = c.rest().await;
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("{path} 1 0")), "{answer}");
    }
    let begun = Instant::now();
    assert_eq!(silent.rest().await, "");
    assert!(begun.elapsed() < Duration::from_millis(1500));
    server.drained().await;
}

#[tokio::test]
async fn a_drain_accepts_the_queue_first() {
    let drain = Drain::new();
    let listener = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
    let addr = listener.local_addr().unwrap();
    // in the queue before anybody accepts
    let clients: Vec<_> = (0..50)
        .map(|_| std::net::TcpStream::connect(addr).unwrap())
        .collect();
    drain.start();
    let mut accepted = Vec::new();
    let bounds = Arc::new(Bounds::new(Some(10), None));
    accept_loop(listener, drain, bounds, |a| accepted.push(a))
        .await
        .unwrap();
    assert_eq!(accepted.len(), clients.len());
}

#[tokio::test]
async fn a_drain_sends_goaway_and_finishes_streams() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    // GET http://a/wait on stream 1, whole
    c.send(b"\0\0\x0c\x01\x05\0\0\0\x01\x82\x86\x04\x05/wait\x01\x01a")
        .await;
    server.in_flight(1).await;
    server.app.drain.start();
    let (mut goaways, mut ended) = (0, false);
    timeout(BOUND, async {
        while let Ok(length) = c.read3().await {
            let length =
                usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
            let (kind, flags) = (c.0.read_u8().await.unwrap(), c.0.read_u8().await.unwrap());
            let stream = c.0.read_u32().await.unwrap();
            let mut payload = vec![0; length];
            c.0.read_exact(&mut payload).await.unwrap();
            match kind {
                6 if flags & 1 == 0 => {
                    c.send([b"\0\0\x08\x06\x01\0\0\0\0", payload.as_slice()].concat())
                        .await;
                }
                7 => {
                    assert_eq!(payload[4..8], [0; 4], "no error");
                    goaways += 1;
                    server.app.gate.add_permits(1);
                }
                _ => ended |= stream == 1 && flags & 1 == 1,
            }
        }
    })
    .await
    .expect("ended in time");
    assert!(goaways >= 1 && ended);
    server.drained().await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_silent_http2_peer() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    c.0.read_u8().await.unwrap();
    server.app.drain.start();
    server.drained().await;
}

#[tokio::test]
async fn tunnels_are_told_of_a_drain_and_waited_for() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send("GET /tunnel HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await;
    assert!(c.head().await.starts_with("HTTP/1.1 101 "));
    c.send("ping").await;
    let mut echo = [0; 4];
    timeout(BOUND, c.0.read_exact(&mut echo))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&echo, b"ping");
    server
        .until("one guard left", |s| s.app.drain.open() == 1)
        .await;
    assert_eq!(server.bounds.open(), 1, "a tunnel keeps its place");
    server.app.drain.start();
    assert_eq!(c.rest().await, "bye");
    server.drained().await;
    server.until("given back", |s| s.bounds.open() == 0).await;
}

#[tokio::test]
async fn force_ends_what_is_left() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.in_flight(1).await;
    server.app.drain.start();
    assert!(
        timeout(Duration::from_millis(50), server.app.drain.wait_idle())
            .await
            .is_err()
    );
    server.app.drain.force();
    server.drained().await;
}
