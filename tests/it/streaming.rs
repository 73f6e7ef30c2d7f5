//! Bodies stream: the first piece arrives before the last is sent, and memory stays bounded.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::sync::Arc;

use dgate_tests::client::{Conn, DEADLINE, poll_until};
use dgate_tests::gateway::{TestGateway, proxy_to};
use dgate_tests::process::Process;
use dgate_tests::upstream::RawUpstream;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

#[tokio::test]
async fn the_first_piece_of_a_response_arrives_before_the_last_is_sent() {
    for (head, first, second) in [
        (
            "Transfer-Encoding: chunked",
            "5\r\nfirst\r\n",
            "6\r\nsecond\r\n0\r\n\r\n",
        ),
        ("Content-Length: 11", "first", "second"),
        (
            "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked",
            "7\r\ndata:a\n\r\n",
            "0\r\n\r\n",
        ),
    ] {
        let go_on = Arc::new(Notify::new());
        let told = go_on.clone();
        let upstream = RawUpstream::start(move |mut conn| {
            let told = told.clone();
            async move {
                conn.read_head().await?;
                conn.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{first}"))
                    .await?;
                told.notified().await;
                conn.write(second).await?;
                conn.hold().await
            }
        });
        let gateway = TestGateway::start(proxy_to(upstream.url()));
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(conn.read_head().await.status, 200);
        assert_eq!(conn.read_exact(first.len()).await, first.as_bytes());
        go_on.notify_one();
        assert_eq!(conn.read_exact(second.len()).await, second.as_bytes());
    }
}

#[tokio::test]
async fn the_first_piece_of_a_request_arrives_before_the_last_is_sent() {
    for (head, first, second) in [
        (
            "Transfer-Encoding: chunked",
            "5\r\nfirst\r\n",
            "6\r\nsecond\r\n0\r\n\r\n",
        ),
        ("Content-Length: 11", "first", "second"),
    ] {
        let upstream = RawUpstream::start(move |mut conn| async move {
            conn.read_head().await?;
            conn.read_exact(first.len() + second.len()).await?;
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await?;
            conn.hold().await
        });
        let gateway = TestGateway::start(proxy_to(upstream.url()));
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n{first}"
        ))
        .await;
        poll_until(DEADLINE, "the first piece", async || {
            upstream.received(0).ends_with(first.as_bytes())
        })
        .await;
        conn.send(second).await;
        assert_eq!(conn.read_response().await.text(), "ok");
    }
}

#[tokio::test]
async fn expect_continue_is_answered_when_the_body_is_wanted() {
    let upstream = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.read_exact(4).await?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await?;
        conn.hold().await
    });
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    let head = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(head(4)).await;
    assert_eq!(conn.read_head().await.status, 100);
    conn.send("body").await;
    assert_eq!(conn.read_response().await.text(), "ok");
    // Refused without asking for it.
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(head(100 << 20)).await;
    assert_eq!(conn.read_head().await.status, 413);
}

const SIZE: usize = 64 << 20;
/// What the memory of a process may grow by while 64 MiB pass.
const GROWTH_KIB: u64 = 24 * 1024;

fn piece() -> Vec<u8> {
    (0..64 << 10).map(|n: usize| (n % 251) as u8).collect()
}

/// Reads exactly `SIZE` bytes, in order as `piece` after `piece` has them.
async fn read_all(stream: &mut TcpStream) {
    let (expected, mut buffer) = (piece(), vec![0; 64 << 10]);
    for _ in 0..SIZE / expected.len() {
        stream.read_exact(&mut buffer).await.unwrap();
        assert!(buffer == expected);
    }
}

async fn write_all(stream: &mut TcpStream) {
    let piece = piece();
    for _ in 0..SIZE / piece.len() {
        stream.write_all(&piece).await.unwrap();
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Takes 64 MiB from a POST, and gives 64 MiB to a GET.
async fn origin(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            if read_head(&mut stream).await.starts_with("POST") {
                read_all(&mut stream).await;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await
                    .unwrap();
            } else {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                write_all(&mut stream).await;
            }
            let _ = stream.read_u8().await;
        });
    }
}

#[tokio::test]
async fn sixty_four_mebibytes_pass_in_bounded_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(origin(listener));
    let process = Process::start(
        json!({"proxy": {"limits": {"max_body": "100MiB"}}, "resources": proxy_to(url)}),
    );
    // Not the first request, whose code and tables are read in.
    let mut conn = Conn::open(process.addr()).await;
    conn.send("GET /.. HTTP/1.1\r\nHost: \r\n\r\n").await;
    conn.read_response().await;
    let before = process.status_kib("VmRSS");

    let mut up = TcpStream::connect(process.addr()).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n");
    up.write_all(head.as_bytes()).await.unwrap();
    write_all(&mut up).await;
    assert!(read_head(&mut up).await.starts_with("HTTP/1.1 200 "));

    let mut down = TcpStream::connect(process.addr()).await.unwrap();
    down.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    assert!(read_head(&mut down).await.starts_with("HTTP/1.1 200 "));
    read_all(&mut down).await;

    let peak = process.status_kib("VmHWM");
    assert!(peak - before < GROWTH_KIB, "from {before} to {peak} KiB");
}

#[tokio::test]
async fn an_answer_in_mid_upload_arrives_whole_though_its_request_could_be_retried() {
    // More than is kept for another attempt.
    const FIRST: usize = 2 << 20;
    const REST: usize = 1 << 20;
    const HALF: usize = 100 << 10;
    let upstream = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.read_exact(FIRST).await?;
        conn.write(format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: {}\r\n\r\n",
            2 * HALF
        ))
        .await?;
        conn.write([b'a'; HALF]).await?;
        conn.read_exact(REST).await?;
        conn.write([b'b'; HALF]).await?;
        conn.hold().await
    });
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    let mut conn = Conn::open(gateway.addr()).await;
    let length = FIRST + REST;
    conn.send(format!(
        "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"
    ))
    .await;
    conn.send(vec![b'x'; FIRST]).await;
    // Only then the rest: the gateway has it after it has seen the answer.
    assert_eq!(conn.read_head().await.status, 503);
    conn.send(vec![b'x'; REST]).await;
    let whole = [[b'a'; HALF], [b'b'; HALF]].concat();
    assert!(conn.read_exact(2 * HALF).await == whole);
    assert_eq!(upstream.connections(), 1);
}
