//! HTTP/2 by prior knowledge from the client, to upstreams of either version.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use axum::body::Body;
use bytes::Bytes;
use dgate_tests::client::{Conn, DEADLINE};
use dgate_tests::gateway::{TestGateway, proxy_to};
use dgate_tests::upstream::{RawUpstream, TestUpstream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

async fn connect(gateway: &TestGateway) -> SendRequest<Body> {
    let stream = TcpStream::connect(gateway.addr()).await.unwrap();
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, conn) = handshake.await.unwrap();
    tokio::spawn(conn);
    sender
}

fn to(upstream: String, protocol: &str) -> TestGateway {
    let mut bundle = proxy_to(upstream);
    bundle["services"][0]["protocol"] = protocol.into();
    TestGateway::configured(bundle, json!({"proxy": {"workers": 1}}))
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(format!("http://h{path}"))
        .body(body.into())
        .unwrap()
}

async fn json_of(answer: Response<Incoming>) -> Value {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static(name),
        HeaderValue::from_static(value),
    )])
}

/// A body of two pieces and trailers.
fn with_trailers(trailer: HeaderMap) -> Body {
    let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
    let frames = [data("one "), data("two"), Frame::trailers(trailer)];
    let frames = futures_util::stream::iter(frames.map(Ok::<_, std::io::Error>));
    Body::new(StreamBody::new(frames))
}

#[tokio::test]
async fn many_streams_share_a_connection_to_upstreams_of_either_version() {
    for (protocol, version) in [("http1", "HTTP/1.1"), ("h2c", "HTTP/2.0")] {
        let upstream = TestUpstream::echo();
        let gateway = to(upstream.url(), protocol);
        let mut sender = connect(&gateway).await;
        // The pool learns what the upstream speaks.
        json_of(sender.send_request(post("/first", "")).await.unwrap()).await;
        let asked: Vec<_> = (0..300)
            .map(|n| tokio::spawn(sender.send_request(post(&format!("/{n}"), vec![b'x'; n * 30]))))
            .collect();
        for (n, answer) in asked.into_iter().enumerate() {
            let answer = answer.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200);
            for hop in ["connection", "keep-alive", "transfer-encoding"] {
                assert!(!answer.headers().contains_key(hop), "{hop}");
            }
            let seen = json_of(answer).await;
            assert_eq!(
                (&seen["path"], &seen["version"]),
                (&format!("/{n}").into(), &version.into())
            );
            assert_eq!(seen["body"].as_str().unwrap().len(), n * 30);
        }
        if protocol == "h2c" {
            assert_eq!(upstream.connections(), 1);
        }
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.header("x-forwarded-host"), Some("h"));
        assert!(
            seen.header("via").unwrap().starts_with("2.0 dgate-"),
            "{:?}",
            seen.header("via")
        );
    }
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    const SIZE: usize = 8 << 20;
    for protocol in ["http1", "h2c"] {
        let upstream = TestUpstream::with(|req| async move { Response::new(Body::from(req.body)) });
        let gateway = to(upstream.url(), protocol);
        let mut sender = connect(&gateway).await;
        let pattern: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
        for _ in 0..2 {
            let answer = sender
                .send_request(post("/large", pattern.clone()))
                .await
                .unwrap();
            let back = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(
                back == pattern,
                "{} bytes came back over {protocol}",
                back.len()
            );
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_over_http2() {
    let upstream =
        TestUpstream::with(|_| async { Response::new(with_trailers(trailers("x-sum", "42"))) });
    let gateway = to(upstream.url(), "h2c");
    let mut sender = connect(&gateway).await;
    let mut asked = post("/trailers", with_trailers(trailers("x-check", "7")));
    asked
        .headers_mut()
        .insert("te", HeaderValue::from_static("trailers"));
    let whole = sender
        .send_request(asked)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(whole.trailers().unwrap()["x-sum"], "42");
    assert_eq!(whole.to_bytes(), "one two");
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(
        (&seen.body[..], &seen.trailers.as_ref().unwrap()["x-check"]),
        (&b"one two"[..], &HeaderValue::from_static("7"))
    );
}

#[tokio::test]
async fn trailers_of_an_http1_upstream_pass() {
    let upstream = RawUpstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    let gateway = to(upstream.url(), "http1");
    let mut sender = connect(&gateway).await;
    let whole = sender
        .send_request(post("/", ""))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(whole.trailers().unwrap()["x-sum"], "42");
    // To an HTTP/1.1 client that asks for them.
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send("GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        .await;
    let answer = conn.read_response().await;
    assert_eq!(
        (answer.text().as_str(), answer.trailers.len()),
        ("ok", 1),
        "{:?}",
        answer.trailers
    );
}

#[tokio::test]
async fn an_authority_unlike_host_is_refused() {
    let upstream = TestUpstream::echo();
    let gateway = to(upstream.url(), "http1");
    let mut sender = connect(&gateway).await;
    let mut unlike = post("/", "");
    unlike
        .headers_mut()
        .insert("host", HeaderValue::from_static("other"));
    assert_eq!(sender.send_request(unlike).await.unwrap().status(), 400);
    let mut alike = post("/", "");
    alike
        .headers_mut()
        .insert("host", HeaderValue::from_static("H:80"));
    assert_eq!(sender.send_request(alike).await.unwrap().status(), 200);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn cookies_in_several_fields_become_one() {
    let upstream = TestUpstream::echo();
    let gateway = to(upstream.url(), "http1");
    let mut sender = connect(&gateway).await;
    let mut asked = post("/", "");
    for cookie in ["a=1", "b=2"] {
        asked
            .headers_mut()
            .append("cookie", HeaderValue::from_static(cookie));
    }
    assert_eq!(sender.send_request(asked).await.unwrap().status(), 200);
    // RFC 9113 §8.2.3.
    let seen = upstream.requests().pop().unwrap();
    let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}

#[tokio::test]
async fn a_stream_that_the_client_resets_ends_its_request_alone() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let upstream = RawUpstream::start(move |mut conn| {
        let tell = tell.clone();
        async move {
            let head = conn.read_head().await?;
            let path = head.split(' ').nth(1).unwrap_or("").to_owned();
            let _ = tell.send(format!("begun {path}"));
            conn.hold().await?;
            let _ = tell.send(format!("ended {path}"));
            Ok(())
        }
    });
    let mut next = async || {
        let told = tokio::time::timeout(DEADLINE, told.recv()).await;
        told.expect("an event in time").unwrap()
    };
    let gateway = to(upstream.url(), "http1");
    let mut sender = connect(&gateway).await;
    let kept = tokio::spawn(sender.send_request(post("/kept", "")));
    assert_eq!(next().await, "begun /kept");
    let abandoned = tokio::spawn(sender.send_request(post("/abandoned", "")));
    assert_eq!(next().await, "begun /abandoned");
    abandoned.abort();
    assert_eq!(next().await, "ended /abandoned");
    assert!(!kept.is_finished());
}
