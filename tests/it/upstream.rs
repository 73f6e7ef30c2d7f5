//! The client side of `dgate-core` through its public API, against real sockets: connections and
//! their reuse, streaming, HTTP/2, upgrades and turns. No gateway is in between. The forwarding
//! rules, broken upstreams, balancing, breakers, health, limits, retries and TLS have a file each.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod balancing;
mod breaker;
mod broken;
mod forwarding;
mod health;
mod inflight;
mod names;
mod retries;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use dgate_core::upstream::{Protocol, TimeoutsConfig};
use dgate_core::{Body, Error, ErrorKind, Request, Response, Upstream};
use dgate_tests::client::{DEADLINE, poll_until};
use dgate_tests::upstream::{RawUpstream, TestUpstream};
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tower::ServiceExt;

/// Long enough for what is on its way on loopback, short enough to wait for what never comes.
const SHORT: Duration = Duration::from_millis(60);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An upstream with one endpoint that tries once.
fn plain(url: impl Into<String>) -> Upstream {
    Upstream::builder().endpoint(url).build().unwrap()
}

async fn send(upstream: &Upstream, req: Request) -> Result<Response, Error> {
    upstream.clone().oneshot(req).await.map_err(Error::classify)
}

fn request(method: Method, path: &str, body: impl Into<Body>) -> Request {
    http::Request::builder()
        .method(method)
        .uri(path)
        .body(body.into())
        .unwrap()
}

fn get(path: &str) -> Request {
    request(Method::GET, path, Body::empty())
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A body that a test feeds piece by piece; dropping the sender ends it.
fn fed() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (feed, mut pieces) = mpsc::unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |cx| {
        pieces
            .poll_recv(cx)
            .map(|p| p.map(|p: &'static str| Ok::<_, std::io::Error>(Frame::data(Bytes::from(p)))))
    });
    (feed, Body::new(StreamBody::new(stream)))
}

fn timeouts(json: serde_json::Value) -> TimeoutsConfig {
    serde_json::from_value(json).unwrap()
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| panic!("{what} took longer than {DEADLINE:?}"))
}

#[tokio::test]
async fn one_connection_carries_request_after_request() {
    let origin = TestUpstream::echo();
    let upstream = plain(origin.url());
    for n in 0..20 {
        let method = if n % 2 == 0 {
            Method::GET
        } else {
            Method::POST
        };
        let answer = send(&upstream, request(method, "/x", "body"))
            .await
            .unwrap();
        assert!(text(answer).await.contains("\"body\":\"body\""));
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let origin = TestUpstream::with(|req| async move {
        let status = req.path()[1..].parse::<u16>().unwrap();
        let mut answer = Response::new(Body::from(if status == 200 { "four" } else { "" }));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        answer
    });
    let upstream = plain(origin.url());
    for _ in 0..3 {
        let head = send(&upstream, request(Method::HEAD, "/200", Body::empty()));
        let head = head.await.unwrap();
        assert_eq!(head.headers()["content-length"], "4");
        assert_eq!(text(head).await, "");
        for status in [204, 304] {
            let answer = send(&upstream, get(&format!("/{status}"))).await.unwrap();
            assert_eq!(answer.status(), status);
            assert_eq!(text(answer).await, "");
        }
        assert_eq!(
            text(send(&upstream, get("/200")).await.unwrap()).await,
            "four"
        );
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_without_an_error() {
    let (closed, mut is_closed) = mpsc::unbounded_channel();
    let origin = RawUpstream::start(move |mut conn| {
        let closed = closed.clone();
        async move {
            conn.read_head().await?;
            conn.write(OK).await?;
            drop(conn);
            let _ = closed.send(());
            Ok(())
        }
    });
    let upstream = plain(origin.url());
    for method in [Method::GET, Method::POST, Method::GET, Method::POST] {
        let answer = send(&upstream, request(method, "/", Body::empty())).await;
        assert_eq!(text(answer.unwrap()).await, "ok");
        within("the close", is_closed.recv()).await.unwrap();
    }
    assert_eq!(origin.connections(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_closes_at_any_moment_leaves_no_request_hanging() {
    let origin = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.write(OK).await
    });
    let upstream = plain(origin.url());
    let tasks = (0..4).map(|_| {
        let upstream = upstream.clone();
        tokio::spawn(async move {
            for _ in 0..500 {
                match within("an answer", send(&upstream, get("/"))).await {
                    Ok(answer) => assert_eq!(text(answer).await, "ok"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::UpstreamReset),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_is_not_kept_when_the_upstream_says_close() {
    let origin = RawUpstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    );
    let upstream = plain(origin.url());
    for _ in 0..3 {
        assert_eq!(text(send(&upstream, get("/")).await.unwrap()).await, "ok");
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn bytes_after_an_answer_do_not_become_the_next_answer() {
    let origin = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.write(format!(
            "{OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        ))
        .await?;
        conn.hold().await
    });
    let upstream = plain(origin.url());
    for _ in 0..3 {
        assert_eq!(text(send(&upstream, get("/")).await.unwrap()).await, "ok");
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn a_dropped_request_closes_its_connection() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let origin = RawUpstream::start(move |mut conn| {
        let tell = tell.clone();
        async move {
            conn.read_head().await?;
            let _ = tell.send("asked");
            conn.hold().await?;
            let _ = tell.send("hung up");
            Ok(())
        }
    });
    let upstream = plain(origin.url());
    tokio::select! {
        answer = send(&upstream, get("/")) => panic!("nobody answers, but {answer:?}"),
        asked = told.recv() => assert_eq!(asked, Some("asked")),
    }
    assert_eq!(within("the hang-up", told.recv()).await, Some("hung up"));
}

#[tokio::test]
async fn a_dropped_answer_closes_its_connection() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let origin = RawUpstream::start(move |mut conn| {
        let tell = tell.clone();
        async move {
            conn.read_head().await?;
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                .await?;
            conn.hold().await?;
            let _ = tell.send(());
            Ok(())
        }
    });
    let mut answer = send(&plain(origin.url()), get("/")).await.unwrap();
    let half = answer.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(half.into_data().unwrap(), "half");
    drop(answer);
    within("the hang-up", told.recv()).await.unwrap();
}

#[tokio::test]
async fn an_early_answer_ends_the_upload_and_the_connection() {
    let origin = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.write(OK).await?;
        conn.hold().await
    });
    let upstream = plain(origin.url());
    let (feed, body) = fed();
    feed.send("first").unwrap();
    let answer = send(&upstream, request(Method::POST, "/", body))
        .await
        .unwrap();
    assert_eq!(text(answer).await, "ok");
    assert_eq!(text(send(&upstream, get("/")).await.unwrap()).await, "ok");
    assert_eq!(origin.connections(), 2);
    poll_until(DEADLINE, "the end of the upload", async || feed.is_closed()).await;
}

#[tokio::test]
async fn request_and_answer_stream_at_the_same_time() {
    let origin = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await?;
        for _ in 0..3 {
            let piece = conn.read_exact("3\r\nabc\r\n".len()).await?;
            conn.write(piece).await?;
        }
        conn.read_exact("0\r\n\r\n".len()).await?;
        conn.write("0\r\n\r\n").await?;
        conn.hold().await
    });
    let upstream = plain(origin.url());
    let (feed, body) = fed();
    let mut answer = send(&upstream, request(Method::POST, "/", body))
        .await
        .unwrap();
    for _ in 0..3 {
        feed.send("abc").unwrap();
        let frame = within("the echo", answer.body_mut().frame()).await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "abc");
    }
    drop(feed);
    assert!(within("the end", answer.body_mut().frame()).await.is_none());
}

#[tokio::test]
async fn answers_far_larger_than_any_buffer_come_through_and_the_connection_stays() {
    let origin = TestUpstream::with(|req| async move {
        let size: usize = req.path()[1..].parse().unwrap();
        let piece = Bytes::from(vec![7u8; 100_000]);
        let pieces = (0..size / piece.len()).map(move |_| Ok::<_, std::io::Error>(piece.clone()));
        let declared = Body::from(vec![7u8; size]);
        let streamed = Body::from_stream(futures_util::stream::iter(pieces));
        Response::new(if req.method == Method::POST {
            declared
        } else {
            streamed
        })
    });
    let upstream = plain(origin.url());
    for method in [Method::GET, Method::POST, Method::GET] {
        let answer = send(&upstream, request(method, "/8000000", Body::empty())).await;
        let body = within("the body", answer.unwrap().into_body().collect()).await;
        let bytes = body.unwrap().to_bytes();
        assert_eq!(
            (bytes.len(), bytes.iter().all(|b| *b == 7)),
            (8_000_000, true)
        );
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn trailers_of_an_answer_pass() {
    let origin = RawUpstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    let answer = send(&plain(origin.url()), get("/")).await.unwrap();
    let whole = answer.into_body().collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["x-sum"], "42");
    assert_eq!(whole.to_bytes(), "ok");
}

#[tokio::test]
async fn interim_answers_are_not_taken_for_the_answer() {
    let origin = RawUpstream::answering(format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}"
    ));
    let answer = send(&plain(origin.url()), get("/")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(text(answer).await, "ok");
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_protocol_error() {
    let origin = RawUpstream::answering(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    );
    let error = send(&plain(origin.url()), get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UpstreamProtocol);
}

#[tokio::test]
async fn concurrent_requests_share_one_http2_connection() {
    let origin = TestUpstream::echo();
    let upstream = Upstream::builder()
        .endpoint(origin.url())
        .protocol(Protocol::H2c);
    let upstream = upstream.build().unwrap();
    text(send(&upstream, get("/first")).await.unwrap()).await;
    let asked = (0..100).map(|n| {
        let upstream = upstream.clone();
        tokio::spawn(async move {
            let req = request(Method::POST, &format!("/{n}"), vec![b'x'; n * 1000]);
            let seen = text(send(&upstream, req).await.unwrap()).await;
            assert!(
                seen.contains(&format!("/{n}\"")) && seen.contains("HTTP/2.0"),
                "{seen}"
            );
        })
    });
    for task in asked.collect::<Vec<_>>() {
        within("a request", task).await.unwrap();
    }
    assert_eq!(origin.connections(), 1);
    assert!(
        origin
            .requests()
            .iter()
            .all(|r| r.body.iter().all(|b| *b == b'x'))
    );
}

#[tokio::test]
async fn weights_give_turns_in_proportion() {
    let (heavy, light) = (TestUpstream::named("heavy"), TestUpstream::named("light"));
    let upstream = Upstream::builder()
        .weighted(heavy.url(), 3)
        .weighted(light.url(), 1);
    let upstream = upstream.build().unwrap();
    for _ in 0..40 {
        text(send(&upstream, get("/")).await.unwrap()).await;
    }
    assert_eq!((heavy.requests().len(), light.requests().len()), (30, 10));
}

#[tokio::test]
async fn an_heir_goes_on_with_the_connections_of_the_older_one() {
    let origin = TestUpstream::echo();
    let older = plain(origin.url());
    text(send(&older, get("/")).await.unwrap()).await;
    let heir = Upstream::builder().endpoint(origin.url()).inherit(&older);
    let heir = heir.preserve_host(true).build().unwrap();
    drop(older);
    text(send(&heir, get("/")).await.unwrap()).await;
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn without_endpoints_there_is_none() {
    let error = send(&Upstream::builder().build().unwrap(), get("/")).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NoEndpoint);
}

#[test]
fn a_url_that_is_no_target_is_refused() {
    for url in [
        "ftp://x",
        "http://",
        "x",
        "http://a:0",
        "http://u:p@a",
        "http://a/?q",
    ] {
        assert!(Upstream::builder().endpoint(url).build().is_err(), "{url}");
    }
}
