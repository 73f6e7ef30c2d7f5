//! `request-timeout` with paused time: what it cuts and what it leaves alone.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::{Body, BoxError, Error, FieldError, Pipeline, Registry, Request, Response, Setup};
use dgate_plugin_request_timeout::RequestTimeoutLayer;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};

fn plug(config: Value) -> Result<dgate_core::plugin::Plugged, BoxError> {
    let mut registry = Registry::default();
    registry.add::<RequestTimeoutLayer>();
    let entry = registry.get("request-timeout").unwrap();
    entry.plug(config, &Setup::default())
}

/// A service that takes `head` to its head, and then `body` to each of two pieces.
fn slow(head: Duration, body: Duration) -> Pipeline {
    Pipeline::new(service_fn(move |_: Request| async move {
        sleep(head).await;
        let pieces = futures_util::stream::unfold(0, move |n| async move {
            sleep(body).await;
            (n < 2).then_some((Ok::<_, std::io::Error>("piece"), n + 1))
        });
        Ok::<_, BoxError>(Response::new(Body::from_stream(pieces)))
    }))
}

async fn send(timeout: &str, inner: Pipeline) -> Result<Response, Error> {
    let layer = plug(json!({"timeout": timeout})).unwrap().layer.unwrap();
    let request = Request::new(Body::empty());
    layer
        .layer(inner)
        .oneshot(request)
        .await
        .map_err(Error::classify)
}

#[tokio::test(start_paused = true)]
async fn fails_when_the_head_is_late() {
    let begun = Instant::now();
    let answer = send("200ms", slow(Duration::from_secs(5), Duration::ZERO)).await;
    let error = answer.unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.code()),
        (504, "upstream_timeout")
    );
    assert_eq!(begun.elapsed(), Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn never_cuts_a_stream() {
    let answer = send(
        "200ms",
        slow(Duration::from_millis(100), Duration::from_secs(60)),
    )
    .await;
    let body = answer.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "piecepiece");
}

#[test]
fn says_what_is_wrong() {
    let error = plug(json!({"timeout": "0s"})).err().unwrap();
    assert_eq!(
        error.downcast_ref::<FieldError>().unwrap().pointer(),
        "/timeout"
    );
    for config in [
        json!({}),
        json!({"timeout": 5}),
        json!({"timeout": "5s", "idle": "1s"}),
    ] {
        assert!(plug(config).is_err());
    }
}
