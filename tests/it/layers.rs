//! The traffic layers of `dgate-core` in stacks, alone and beside layers of tower and tower-http.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use dgate_core::layer::{
    BodyLimitLayer, SetHeadersLayer, StripPrefixLayer, TimeoutLayer, TraceLayer,
};
use dgate_core::reply::ReplyLayer;
use dgate_core::{Body, BoxError, Error, ErrorKind, Exchange, Pipeline, Request, Response};
use http::{HeaderName, HeaderValue};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;

fn get(path: &str) -> http::request::Builder {
    http::Request::get(path)
}

fn empty(req: http::request::Builder) -> Request {
    req.body(Body::empty()).unwrap()
}

async fn bytes(response: Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Answers with the request's body.
fn echo() -> Pipeline {
    Pipeline::new(service_fn(|req: Request| async {
        let whole = req.into_body().collect().await.map_err(BoxError::from)?;
        Ok::<_, BoxError>(Response::new(Body::from(whole.to_bytes())))
    }))
}

/// Answers with the request's target and headers, a line each.
fn mirror() -> Pipeline {
    Pipeline::new(service_fn(|req: Request| async move {
        let mut text = format!("{}\n", req.uri());
        for (name, value) in req.headers() {
            text += &format!("{name}: {}\n", value.to_str().unwrap_or("?"));
        }
        Ok::<_, BoxError>(Response::new(Body::from(text)))
    }))
}

fn failing(kind: ErrorKind) -> Pipeline {
    Pipeline::new(service_fn(move |_: Request| async move {
        Err::<Response, _>(Error::new(kind).with_cause("http://10.0.0.1 said no"))
    }))
}

fn streamed(pieces: &'static [&'static str]) -> Body {
    let pieces = pieces.iter().map(|p| Ok::<_, std::io::Error>(*p));
    Body::from_stream(futures_util::stream::iter(pieces))
}

#[tokio::test]
async fn a_declared_body_above_the_limit_is_refused_before_anyone_sees_it() {
    let never = service_fn(|_: Request| async {
        panic!("it must not be called") as Result<Response, BoxError>
    });
    let stack = Pipeline::builder()
        .layer(BodyLimitLayer::new(4))
        .service(never);
    let error = stack
        .oneshot(http::Request::new(Body::from("12345")))
        .await
        .unwrap_err();
    assert_eq!(Error::classify(error).kind(), ErrorKind::BodyTooLarge);
}

#[tokio::test]
async fn an_undeclared_body_fails_when_it_grows_past_the_limit() {
    let stack = Pipeline::builder()
        .layer(BodyLimitLayer::new(4))
        .service(echo());
    let error = stack
        .clone()
        .oneshot(http::Request::new(streamed(&["12", "34", "5"])))
        .await;
    assert_eq!(
        Error::classify(error.unwrap_err()).kind(),
        ErrorKind::BodyTooLarge
    );
    for body in [streamed(&["12", "34"]), Body::from("1234"), Body::empty()] {
        assert!(
            stack
                .clone()
                .oneshot(http::Request::new(body))
                .await
                .is_ok()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_for_the_head_and_not_for_the_body() {
    let slow = |head: u64, body: u64| {
        let slow = service_fn(move |_: Request| async move {
            tokio::time::sleep(Duration::from_secs(head)).await;
            let late = futures_util::stream::once(async move {
                tokio::time::sleep(Duration::from_secs(body)).await;
                Ok::<_, BoxError>("late")
            });
            Ok::<_, BoxError>(Response::new(Body::from_stream(late)))
        });
        let deadline = TimeoutLayer::deadline(Duration::from_secs(2));
        Pipeline::builder()
            .layer(deadline)
            .service(slow)
            .oneshot(empty(get("/")))
    };
    assert_eq!(bytes(slow(1, 60).await.unwrap()).await, "late");
    let error = Error::classify(slow(3, 0).await.unwrap_err());
    assert_eq!(
        (error.kind(), error.status().as_u16()),
        (ErrorKind::UpstreamTimeout, 504)
    );
}

#[tokio::test]
async fn trace_passes_a_valid_request_id_on_and_makes_one_otherwise() {
    let stack = TraceLayer::new().layer(mirror());
    let ids = async |req| {
        let Ok(answer) = stack.clone().oneshot(empty(req)).await;
        let text = String::from_utf8(bytes(answer).await.to_vec()).unwrap();
        let ids = text
            .lines()
            .filter_map(|l| l.strip_prefix("x-request-id: "));
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        ids(get("/").header("x-request-id", "abc-1")).await,
        ["abc-1"]
    );
    let long = "x".repeat(129);
    for invalid in [None, Some(""), Some("a b"), Some(&*long)] {
        let req = invalid.map_or_else(|| get("/"), |id| get("/").header("x-request-id", id));
        let (one, two) = (ids(req).await, ids(get("/")).await);
        assert_eq!((one.len(), one[0].len()), (1, 32), "{invalid:?}");
        assert_ne!(one, two);
    }
}

#[tokio::test]
async fn trace_passes_a_valid_traceparent_on_and_begins_a_trace_otherwise() {
    let stack = TraceLayer::new().layer(mirror());
    let trace = async |sent: &str| {
        let req = get("/").header("traceparent", sent);
        let Ok(answer) = stack.clone().oneshot(empty(req)).await;
        let text = String::from_utf8(bytes(answer).await.to_vec()).unwrap();
        let mut traces = text.lines().filter_map(|l| l.strip_prefix("traceparent: "));
        let trace = traces.next().unwrap().to_owned();
        assert_eq!(traces.next(), None);
        trace
    };
    let (id, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    for valid in [
        format!("00-{id}-{parent}-01"),
        format!("00-{id}-{parent}-00"),
        format!("cc-{id}-{parent}-01-more"),
    ] {
        assert_eq!(trace(&valid).await, valid);
    }
    for invalid in [
        String::new(),
        format!("ff-{id}-{parent}-01"),
        format!("00-{}-{parent}-01", "0".repeat(32)),
        format!("00-{id}-{}-01", "0".repeat(16)),
        format!("00-{}-{parent}-01", id.to_uppercase()),
        format!("00-{id}-{parent}-01-more"),
        format!("00-{id}-{parent}"),
        format!("00_{id}_{parent}_01"),
    ] {
        let begun = trace(&invalid).await;
        let parts: Vec<_> = begun.split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2], "{invalid}");
        assert!(!begun.contains(id), "{invalid}");
    }
}

#[tokio::test]
async fn an_error_becomes_a_problem_document_with_the_request_id_and_no_cause() {
    let req = || empty(get("/").header("x-request-id", "abc-1"));
    let Ok(answer) = TraceLayer::new()
        .layer(failing(ErrorKind::UpstreamConnect))
        .oneshot(req())
        .await;
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.headers()["x-request-id"], "abc-1");
    let text = bytes(answer).await;
    let problem: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        problem,
        serde_json::json!({
            "type": "urn:dgate:error:upstream_connect_failed",
            "title": "The upstream cannot be reached",
            "status": 502,
            "detail": "The upstream cannot be reached",
            "code": "upstream_connect_failed",
            "request_id": "abc-1",
        })
    );
}

#[tokio::test]
async fn reply_answers_every_kind_of_error_and_passes_answers_through() {
    for kind in ErrorKind::ALL {
        let Ok(answer) = ReplyLayer
            .layer(failing(*kind))
            .oneshot(empty(get("/")))
            .await;
        assert_eq!(answer.status(), kind.status());
        let problem: serde_json::Value = serde_json::from_slice(&bytes(answer).await).unwrap();
        assert_eq!(problem["code"], kind.code());
        assert_eq!(problem["request_id"].as_str().map(str::len), Some(32));
    }
    let Ok(answer) = ReplyLayer
        .layer(echo())
        .oneshot(http::Request::new(Body::from("x")))
        .await;
    assert_eq!(bytes(answer).await, "x");
}

#[tokio::test]
async fn set_headers_replaces_what_is_there_and_keeps_repetition() {
    let header = |name, value| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    let inner = Pipeline::handler(|_: Exchange| async {
        ([("x-edge", "inner"), ("x-inner", "kept")], "ok")
    });
    let set = [
        header("x-edge", "a"),
        header("x-edge", "b"),
        header("x-new", "c"),
    ];
    let stack = Pipeline::builder()
        .layer(SetHeadersLayer::on_responses(set))
        .service(inner);
    let answer = stack.oneshot(empty(get("/"))).await.unwrap();
    let edge: Vec<_> = answer.headers().get_all("x-edge").iter().collect();
    assert_eq!(edge, ["a", "b"]);
    assert_eq!(
        (&answer.headers()["x-inner"], &answer.headers()["x-new"]),
        (
            &HeaderValue::from_static("kept"),
            &HeaderValue::from_static("c")
        )
    );
}

#[tokio::test]
async fn strip_prefix_takes_segments_off_and_leaves_the_rest_as_it_came() {
    let stack = Pipeline::builder()
        .layer(StripPrefixLayer::new("/api/v1"))
        .service(mirror());
    for (sent, seen) in [
        ("/api/v1/users?x=1", "/users?x=1"),
        ("/api/v1", "/"),
        ("/api/v1/", "/"),
        ("/api/v1?x", "/?x"),
        ("/api/v1//a%2Fb/", "//a%2Fb/"),
        ("http://h/api/v1/x", "http://h/x"),
    ] {
        let answer = stack.clone().oneshot(empty(get(sent))).await.unwrap();
        let text = String::from_utf8(bytes(answer).await.to_vec()).unwrap();
        assert_eq!(text.lines().next(), Some(seen), "{sent}");
    }
}

#[tokio::test]
async fn a_layer_of_tower_http_fits_inside_and_outside() {
    let long = || Pipeline::handler(|_: Exchange| async { "squeeze me ".repeat(1000) });
    let deadline = || TimeoutLayer::deadline(Duration::from_secs(5));
    let outside = Pipeline::builder()
        .layer(CompressionLayer::new())
        .layer(deadline());
    let inside = Pipeline::builder()
        .layer(deadline())
        .layer(CompressionLayer::new());
    for builder in [outside, inside] {
        let stack = builder.service(long());
        let squeezed = stack
            .clone()
            .oneshot(empty(get("/").header("accept-encoding", "gzip")));
        let squeezed = squeezed.await.unwrap();
        assert_eq!(squeezed.headers()["content-encoding"], "gzip");
        assert!(bytes(squeezed).await.len() < 1000);
        let plain = stack.oneshot(empty(get("/"))).await.unwrap();
        assert_eq!(bytes(plain).await.len(), 11_000);
    }
}

#[tokio::test]
async fn a_limit_and_its_load_shed_work_as_one_layer() {
    static GATE: Semaphore = Semaphore::const_new(0);
    let held = service_fn(|_: Request| async {
        GATE.acquire().await.map_err(BoxError::from)?.forget();
        Ok::<_, BoxError>(Response::new(Body::empty()))
    });
    let limited = ServiceBuilder::new()
        .map_err(|_: BoxError| Error::new(ErrorKind::Overloaded))
        .load_shed()
        .concurrency_limit(1);
    let stack = Pipeline::builder()
        .layer(ReplyLayer)
        .layer(limited)
        .service(held);
    let mut first = stack.clone().oneshot(empty(get("/")));
    // One poll takes the permit.
    let pending = poll_fn(|cx| Poll::Ready(Pin::new(&mut first).poll(cx).is_pending()));
    assert!(pending.await);
    for _ in 0..2 {
        assert_eq!(
            stack
                .clone()
                .oneshot(empty(get("/")))
                .await
                .unwrap()
                .status(),
            503
        );
    }
    GATE.add_permits(2);
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(stack.oneshot(empty(get("/"))).await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_first_layer_written_is_the_outermost() {
    let tag = |tag: &'static str| {
        tower::util::MapResponseLayer::new(move |mut answer: Response| {
            answer
                .headers_mut()
                .append("x-order", HeaderValue::from_static(tag));
            answer
        })
    };
    let stack = Pipeline::builder()
        .layer(tag("1"))
        .layer(tag("2"))
        .layer(tag("3"))
        .service(echo());
    let answer = stack.oneshot(empty(get("/"))).await.unwrap();
    let order: Vec<_> = answer.headers().get_all("x-order").iter().collect();
    assert_eq!(order, ["3", "2", "1"]);
}
