//! What a client's connection goes through: pipelining, HTTP/1.0, answers that break off, clients
//! that go away, refusals with something behind them.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::time::Duration;

use axum::body::Body;
use dgate_tests::client::{Cause, Conn, DEADLINE, exchange, poll_until};
use dgate_tests::gateway::{TestGateway, proxy_to};
use dgate_tests::process::Process;
use dgate_tests::upstream::{ClosedPort, RawUpstream, TestUpstream};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = TestUpstream::with(|req| async move {
        // The first take longest.
        let number: u64 = req.path()[1..].parse().unwrap();
        tokio::time::sleep(Duration::from_millis(20u64.saturating_sub(number))).await;
        http::Response::new(format!("{number} {}", req.body.len()))
    });
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    let mut conn = Conn::open(gateway.addr()).await;
    let post = |n: usize| {
        format!(
            "POST /{n} HTTP/1.1\r\nHost: h\r\nContent-Length: {n}\r\n\r\n{}",
            "x".repeat(n)
        )
    };
    conn.send((0..30).map(post).collect::<String>()).await;
    for n in 0..30 {
        assert_eq!(conn.read_response().await.text(), format!("{n} {n}"));
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_an_answer_that_it_understands() {
    let upstream = RawUpstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
    );
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
    ] {
        let answer = String::from_utf8(exchange(gateway.addr(), request).await).unwrap();
        assert!(
            answer.starts_with("HTTP/1.0 200 OK\r\n") || answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{answer}"
        );
        assert!(
            !answer.to_lowercase().contains("transfer-encoding")
                && answer.ends_with("\r\n\r\nonetwo"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_complete() {
    for (framing, part) in [
        ("Content-Length: 10", "half"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
    ] {
        let upstream =
            RawUpstream::answering(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}"));
        let gateway = TestGateway::start(proxy_to(upstream.url()));
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(GET).await;
        let broken = conn.try_response().await.unwrap_err();
        assert!(
            matches!(broken.cause, Cause::Closed | Cause::Reset),
            "{framing}: {broken}"
        );

        let io = TokioIo::new(TcpStream::connect(gateway.addr()).await.unwrap());
        let (mut h2, conn) =
            hyper::client::conn::http2::handshake::<_, _, Body>(TokioExecutor::new(), io)
                .await
                .unwrap();
        tokio::spawn(conn);
        let request = http::Request::get("http://h/").body(Body::empty()).unwrap();
        let answer = h2.send_request(request).await;
        if let Ok(answer) = answer {
            assert!(answer.into_body().collect().await.is_err(), "{framing}");
        }
    }
}

/// The body fails before hyper has written the head.
#[tokio::test]
async fn an_answer_that_breaks_off_at_once_has_its_head() {
    let upstream =
        RawUpstream::answering("HTTP/1.1 200 OK\r\nX-Is: there\r\nContent-Length: 10\r\n\r\nhalf");
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    for _ in 0..20 {
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(GET).await;
        let broken = conn.try_response().await.unwrap_err();
        let head = broken.head().unwrap_or_else(|| panic!("no head: {broken}"));
        assert_eq!((head.status, head.header("x-is")), (200, Some("there")));
    }
}

#[tokio::test]
async fn an_answer_that_leaves_an_upload_unread_says_that_the_connection_closes() {
    let refusing = ClosedPort::new();
    let failing = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.read_exact(10).await?;
        conn.reset().await
    });
    for url in [format!("http://{}", refusing.addr()), failing.url()] {
        let gateway = TestGateway::start(proxy_to(url));
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\nfirst ten.")
            .await;
        let answer = conn.read_response().await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.header("connection"), Some("close"));
    }
    // One that was read to its end leaves the connection as it is.
    let gateway = TestGateway::start(proxy_to(failing.url()));
    let mut conn = Conn::open(gateway.addr()).await;
    for _ in 0..2 {
        conn.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nall there.")
            .await;
        let answer = conn.read_response().await;
        assert_eq!((answer.status, answer.header("connection")), (502, None));
    }
}

#[tokio::test]
async fn an_upstream_that_sends_no_http_is_a_502() {
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let upstream = RawUpstream::answering(answer);
        let gateway = TestGateway::start(proxy_to(upstream.url()));
        let mut conn = Conn::open(gateway.addr()).await;
        for _ in 0..2 {
            conn.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
                .await;
            let refused = conn.read_response().await;
            assert_eq!(
                (refused.status, refused.json()["status"].clone()),
                (502, 502.into()),
                "{answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = RawUpstream::start(move |mut conn| {
        let tell = tell.clone();
        async move {
            conn.read_head().await?;
            let _ = tell.send("begun");
            conn.hold().await?;
            let _ = tell.send("ended");
            Ok(())
        }
    });
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    let mut next = async || {
        tokio::time::timeout(DEADLINE, told.recv())
            .await
            .expect("an event in time")
    };
    for reset in [true, false] {
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(GET).await;
        assert_eq!(next().await, Some("begun"));
        if reset {
            conn.reset()
        } else {
            drop(conn)
        }
        assert_eq!(next().await, Some("ended"));
    }
}

#[tokio::test]
async fn what_follows_a_refused_request_is_not_read_as_another() {
    let upstream = TestUpstream::echo();
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    for refused in [
        "GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /bad HTTP/1.1\r\n\r\n",
        "POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n",
        "POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET http://a/bad HTTP/1.1\r\nHost: b\r\n\r\n",
    ] {
        let mut conn = Conn::open(gateway.addr()).await;
        let _ = conn.try_send(format!("{refused}{GET}")).await;
        let answer = conn.read_response().await;
        assert!([400, 501].contains(&answer.status), "{refused}");
        assert_eq!(answer.header("connection"), Some("close"), "{refused}");
        assert_eq!(conn.read_to_close().await, b"", "{refused}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_204_a_304_and_a_head_have_no_body_and_the_connection_goes_on() {
    let upstream = TestUpstream::with(|req| async move {
        let status = match req.path() {
            "/204" => 204,
            "/304" => 304,
            _ => 200,
        };
        let body = if status == 200 {
            "x".repeat(1234)
        } else {
            String::new()
        };
        http::Response::builder().status(status).body(body).unwrap()
    });
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    let mut conn = Conn::open(gateway.addr()).await;
    for (method, path, status, length) in [
        ("GET", "/204", 204, 0),
        ("HEAD", "/", 200, 0),
        ("GET", "/304", 304, 0),
        ("GET", "/", 200, 1234),
        ("HEAD", "/304", 304, 0),
        ("GET", "/204", 204, 0),
    ] {
        conn.send(format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        let answer = conn.read_response_to(method).await;
        assert_eq!(
            (answer.status, answer.body.len()),
            (status, length),
            "{method} {path}"
        );
        assert_eq!(answer.header("transfer-encoding"), None, "{method} {path}");
        if status == 200 {
            assert_eq!(
                answer.header("content-length"),
                Some("1234"),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_has_an_access_record_with_499() {
    let upstream = RawUpstream::silent();
    let process = Process::start(json!({"resources": proxy_to(upstream.url())}));
    let mut conn = Conn::open(process.addr()).await;
    conn.send("GET /left HTTP/1.1\r\nHost: h\r\n\r\n").await;
    poll_until(DEADLINE, "the request at the upstream", async || {
        upstream.received(0).ends_with(b"\r\n\r\n")
    })
    .await;
    drop(conn);
    let line = process.wait_for_line("dgate::access");
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&record["target"], &record["status"], &record["route"]),
        (&"dgate::access".into(), &499.into(), &"all".into()),
        "{line}"
    );
}
