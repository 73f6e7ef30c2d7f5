//! SIGTERM: what is in flight finishes, nothing new begins, and it ends in time.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::time::{Duration, Instant};

use axum::body::Body;
use dgate_tests::client::{Conn, DEADLINE, poll_until};
use dgate_tests::gateway::proxy_to;
use dgate_tests::process::{PATIENCE, Process};
use dgate_tests::upstream::{RawUpstream, TestUpstream};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const GET: &str = "GET /held HTTP/1.1\r\nHost: h\r\n\r\n";

/// An upstream that answers `/held` when it gets a permit, and everything else at once.
fn holding() -> (TestUpstream, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let upstream = TestUpstream::with(move |req| {
        let held = held.clone();
        async move {
            if req.path() == "/held" {
                held.acquire().await.unwrap().forget();
            }
            http::Response::new("finished")
        }
    });
    (upstream, gate)
}

async fn in_flight(upstream: &TestUpstream, requests: usize) {
    poll_until(DEADLINE, "the request in flight", async || {
        upstream.requests().len() >= requests
    })
    .await;
}

async fn refuses(process: &Process) {
    let addr = process.addr();
    poll_until(DEADLINE, "the listener to close", async || {
        TcpStream::connect(addr).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn requests_in_flight_finish_and_new_connections_are_refused() {
    let (upstream, gate) = holding();
    let mut process = Process::start(json!({"resources": proxy_to(upstream.url())}));
    let mut conn = Conn::open(process.addr()).await;
    conn.send(GET).await;
    in_flight(&upstream, 1).await;
    // A connection to the Admin API that stays: new ones come in too.
    let mut admin = Conn::open(process.admin_addr()).await;
    let ready = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    admin.send(ready).await;
    assert_eq!(admin.read_response().await.status, 200);

    process.signal("TERM");
    refuses(&process).await;
    assert!(process.is_running());
    for mut conn in [admin, Conn::open(process.admin_addr()).await] {
        conn.send(ready).await;
        let answer = conn.read_response().await;
        assert_eq!(
            (answer.status, &answer.json()["ready"]),
            (503, &false.into())
        );
    }

    gate.add_permits(1);
    let answer = conn.read_response().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "finished"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(conn.read_to_close().await, b"");
    assert_eq!(process.wait(PATIENCE), Some(0));
}

#[tokio::test]
async fn it_waits_no_longer_than_shutdown_timeout() {
    let (upstream, _gate) = holding();
    let mut process = Process::start(
        json!({"proxy": {"shutdown_timeout": "300ms"}, "resources": proxy_to(upstream.url())}),
    );
    let mut conn = Conn::open(process.addr()).await;
    conn.send(GET).await;
    in_flight(&upstream, 1).await;
    let begun = Instant::now();
    process.signal("TERM");
    assert_eq!(process.wait(PATIENCE), Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(conn.try_response().await.is_err());
}

#[tokio::test]
async fn idle_connections_close_at_once() {
    let (upstream, _gate) = holding();
    let mut process = Process::start(json!({"resources": proxy_to(upstream.url())}));
    let mut idle = Vec::new();
    for _ in 0..5 {
        let mut conn = Conn::open(process.addr()).await;
        conn.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(conn.read_response().await.status, 200);
        idle.push(conn);
    }
    process.signal("INT");
    for mut conn in idle {
        assert_eq!(conn.read_to_close().await, b"");
    }
    // Far less than the default of `shutdown_timeout`.
    assert_eq!(process.wait(Duration::from_secs(15)), Some(0));
}

#[tokio::test]
async fn a_connection_accepted_before_the_drain_gets_its_first_answer() {
    let (upstream, gate) = holding();
    let mut process = Process::start(json!({"resources": proxy_to(upstream.url())}));
    let mut held = Conn::open(process.addr()).await;
    held.send(GET).await;
    in_flight(&upstream, 1).await;
    let mut fresh = Conn::open(process.addr()).await;
    let request = "GET /fresh HTTP/1.1\r\nHost: h\r\n\r\n";
    process.signal("TERM");
    process.wait_for_line("draining");
    fresh.send(request).await;
    let answer = fresh.read_response().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    gate.add_permits(1);
    assert_eq!(held.read_response().await.status, 200);
    assert_eq!(process.wait(PATIENCE), Some(0));
}

#[tokio::test]
async fn http2_gets_goaway_and_its_streams_finish() {
    let (upstream, gate) = holding();
    let mut process = Process::start(json!({"resources": proxy_to(upstream.url())}));
    let stream = TcpStream::connect(process.addr()).await.unwrap();
    let (mut h2, conn) = hyper::client::conn::http2::handshake::<_, _, Body>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    let driver = tokio::spawn(conn);
    let get = |path: &str| {
        http::Request::get(format!("http://h{path}"))
            .body(Body::empty())
            .unwrap()
    };
    let held: Vec<_> = (0..3)
        .map(|_| tokio::spawn(h2.send_request(get("/held"))))
        .collect();
    in_flight(&upstream, 3).await;
    process.signal("TERM");
    // Seen by this client as the end of what it may send.
    poll_until(DEADLINE, "GOAWAY", async || {
        h2.send_request(get("/more")).await.is_err()
    })
    .await;
    gate.add_permits(3);
    for answer in held {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            "finished"
        );
    }
    driver.await.unwrap().unwrap();
    assert_eq!(process.wait(PATIENCE), Some(0));
}

#[tokio::test]
async fn a_tunnel_whose_client_stopped_reading_does_not_outlast_shutdown_timeout() {
    let (tell, full) = tokio::sync::oneshot::channel();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let upstream = RawUpstream::start(move |mut conn| {
        let tell = tell.clone();
        async move {
            conn.read_head().await?;
            conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .await?;
            // Binary frames, until the buffers on the way are full and nothing goes on.
            let frame = [&[0x82, 126, 0xff, 0xff], &[b'x'; 0xffff][..]].concat();
            let stalled = Duration::from_millis(500);
            while let Ok(sent) = tokio::time::timeout(stalled, conn.write(&frame)).await {
                sent?;
            }
            if let Some(tell) = tell.lock().unwrap().take() {
                let _ = tell.send(());
            }
            conn.stall().await
        }
    });
    let mut process = Process::start(
        json!({"proxy": {"shutdown_timeout": "1s"}, "resources": proxy_to(upstream.url())}),
    );
    let mut conn = Conn::open(process.addr()).await;
    conn.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(conn.read_head().await.status, 101);
    tokio::time::timeout(PATIENCE, full).await.unwrap().unwrap();
    process.signal("TERM");
    // About five seconds, and some for a loaded machine: without an end by force it is a minute.
    assert_eq!(process.wait(Duration::from_secs(8)), Some(0));
    drop(conn);
}
