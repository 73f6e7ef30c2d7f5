//! Limits on heads, bodies, times and connections, as configured.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::time::{Duration, Instant};

use dgate_tests::client::{Conn, DEADLINE, Reply, ask, exchange, get, poll_until};
use dgate_tests::gateway::{TestGateway, proxy_to};
use dgate_tests::upstream::{RawUpstream, TestUpstream};
use serde_json::{Value, json};

fn limited(limits: Value) -> (TestUpstream, TestGateway) {
    let upstream = TestUpstream::echo();
    let config = json!({"proxy": {"limits": limits}});
    let gateway = TestGateway::configured(proxy_to(upstream.url()), config);
    (upstream, gateway)
}

fn refused(answer: &Reply, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        (&answer.json()["code"], &answer.json()["status"]),
        (&code.into(), &status.into())
    );
}

#[tokio::test]
async fn a_target_above_max_uri_is_a_414() {
    let (upstream, gateway) = limited(json!({"max_uri": "1KiB"}));
    for (length, taken) in [
        (1023, true),
        (1024, false),
        (20_000, false),
        (70_000, false),
    ] {
        let request = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "u".repeat(length));
        let answer = ask(gateway.addr(), request).await;
        if taken {
            assert_eq!(answer.status, 200);
        } else {
            refused(&answer, 414, "uri_too_long");
        }
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn headers_above_their_limits_are_a_431() {
    let (upstream, gateway) = limited(json!({"max_header_bytes": "8KiB", "max_headers": 30}));
    let ask = async |lines: String| {
        ask(
            gateway.addr(),
            format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n"),
        )
        .await
    };
    let many = |n: usize| (0..n).map(|n| format!("X-{n}: v\r\n")).collect::<String>();
    assert_eq!(
        ask(format!("X-Big: {}\r\n", "v".repeat(8000))).await.status,
        200
    );
    assert_eq!(ask(many(29)).await.status, 200);
    for lines in [
        format!("X-Big: {}\r\n", "v".repeat(8200)),
        format!("X-Big: {}\r\n", "v".repeat(100_000)),
        format!("X-A: {0}\r\nX-B: {0}\r\n", "v".repeat(4200)),
        many(30),
        many(200),
    ] {
        refused(&ask(lines).await, 431, "headers_too_large");
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn more_than_a_hundred_headers_pass_when_allowed() {
    // hyper, which `TestUpstream` is, takes a hundred itself.
    let upstream = RawUpstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let config = json!({"proxy": {"limits": {"max_headers": 251}}});
    let gateway = TestGateway::configured(proxy_to(upstream.url()), config);
    let lines: String = (0..250).map(|n| format!("X-{n}: v\r\n")).collect();
    let answer = ask(
        gateway.addr(),
        format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n"),
    )
    .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_declared_body_above_max_body_is_a_413_before_the_upstream_sees_anything() {
    let (upstream, gateway) = limited(json!({"max_body": "64KiB"}));
    let declared = "POST /declared HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n";
    refused(&ask(gateway.addr(), declared).await, 413, "body_too_large");
    assert_eq!(upstream.connections(), 0);
    let body = "b".repeat(65536);
    let at = format!("POST /at HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n{body}");
    assert_eq!(ask(gateway.addr(), at).await.status, 200);
}

#[tokio::test]
async fn a_413_in_mid_upload_is_read_by_the_client() {
    let (upstream, gateway) = limited(json!({"max_body": "64KiB"}));
    let piece = format!("4000\r\n{}\r\n", "c".repeat(0x4000));
    for _ in 0..5 {
        let head = "POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunked = format!("{head}{}0\r\n\r\n", piece.repeat(30));
        refused(&ask(gateway.addr(), chunked).await, 413, "body_too_large");
        let body = "d".repeat(500_000);
        let declared =
            format!("POST /d HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n{body}");
        refused(&ask(gateway.addr(), declared).await, 413, "body_too_large");
    }
    assert!(upstream.requests().iter().all(|r| !r.complete));
}

#[tokio::test]
async fn a_routes_own_max_body_holds_in_both_directions() {
    let upstream = TestUpstream::echo();
    let mut bundle = proxy_to(upstream.url());
    let route = |name: &str, size: &str| json!({"name": name, "paths": [format!("/{name}")], "service": "svc", "max_body": size});
    let routes = bundle["routes"].as_array_mut().unwrap();
    routes.extend([route("tiny", "1KiB"), route("wide", "1MiB")]);
    let config = json!({"proxy": {"limits": {"max_body": "64KiB"}}});
    let gateway = TestGateway::configured(bundle, config);
    for (path, length, status) in [
        ("/tiny", 1024, 200),
        ("/tiny", 1025, 413),
        ("/wide", 100_000, 200),
        ("/other", 100_000, 413),
    ] {
        let body = "t".repeat(length);
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
        assert_eq!(
            ask(gateway.addr(), request).await.status,
            status,
            "{path} {length}"
        );
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_a_408() {
    let (_upstream, gateway) = limited(json!({"header_timeout": "200ms"}));
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send("GET / HTTP/1.1\r\nHost: x\r\nX-Half").await;
    refused(&conn.read_response().await, 408, "request_timeout");
    conn.read_to_close().await;
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let upstream = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        tokio::time::sleep(Duration::from_millis(900)).await;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await?;
        conn.hold().await
    });
    let config = json!({"proxy": {"limits": {"idle_timeout": "300ms"}}});
    let gateway = TestGateway::configured(proxy_to(upstream.url()), config);
    let idle = Duration::from_millis(300);
    let begun = Instant::now();
    let mut silent = Conn::open(gateway.addr()).await;
    assert_eq!(silent.read_to_close().await, b"");
    assert!(begun.elapsed() >= idle);
    let mut busy = Conn::open(gateway.addr()).await;
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(busy.read_response().await.text(), "ok");
    let begun = Instant::now();
    assert_eq!(busy.read_to_close().await, b"");
    // The clock of the gateway started when it wrote, a moment before we read.
    assert!(begun.elapsed() >= idle / 2);
}

#[tokio::test]
async fn connections_above_max_connections_wait_for_a_place() {
    let upstream = TestUpstream::echo();
    let config = json!({"proxy": {"workers": 1, "limits": {"max_connections": 2}}});
    let gateway = TestGateway::configured(proxy_to(upstream.url()), config);
    let mut first = Vec::new();
    for _ in 0..2 {
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(conn.read_response().await.status, 200);
        first.push(conn);
    }
    let mut third = Conn::open(gateway.addr())
        .await
        .within(Duration::from_millis(300));
    third.send("GET /third HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(third.try_response().await.is_err());
    first.pop();
    let mut third = third.within(DEADLINE);
    assert_eq!(third.read_response().await.json()["path"], "/third");
}

#[tokio::test]
async fn a_closed_client_leaves_its_place_though_its_upstream_connection_is_kept() {
    let (_upstream, gateway) = limited(json!({"max_connections_per_ip": 1}));
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(conn.read_response().await.status, 200);
    drop(conn);
    // Well before the sweep of kept connections, which comes every five seconds.
    poll_until(Duration::from_secs(3), "the place", async || {
        !exchange(gateway.addr(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .is_empty()
    })
    .await;
}

#[tokio::test]
async fn connections_above_max_connections_per_ip_are_closed() {
    let (_upstream, gateway) = limited(json!({"max_connections_per_ip": 2}));
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(conn.read_response().await.status, 200);
        kept.push(conn);
    }
    assert_eq!(
        exchange(gateway.addr(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await,
        b""
    );
    kept.clear();
    poll_until(DEADLINE, "a place", async || {
        !exchange(gateway.addr(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .is_empty()
    })
    .await;
    assert_eq!(get(gateway.addr(), "/").await.status, 200);
}
