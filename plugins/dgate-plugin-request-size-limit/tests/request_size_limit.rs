//! `request-size-limit` in a pipeline: what it refuses before the body is read, and what while it is.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::{Body, BoxError, Error, Pipeline, Registry, Request, Response, Setup};
use dgate_plugin_request_size_limit::RequestSizeLimitLayer;
use http::header;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tower::{Layer, ServiceExt, service_fn};

/// Sends a body through the plugin; what the service inside read of it, and whether it was called.
async fn send(config: Value, request: Request) -> (Result<usize, Error>, bool) {
    let mut registry = Registry::default();
    registry.add::<RequestSizeLimitLayer>();
    let entry = registry.get("request-size-limit").unwrap();
    let plugged = entry.plug(config, &Setup::default()).unwrap();
    let called = Arc::new(AtomicBool::new(false));
    let seen = called.clone();
    let reading = Pipeline::new(service_fn(move |req: Request| {
        seen.store(true, Relaxed);
        async {
            let body = req.into_body().collect().await.map_err(BoxError::from)?;
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(body.to_bytes().len());
            Ok::<_, BoxError>(response)
        }
    }));
    let answer = plugged.layer.unwrap().layer(reading).oneshot(request).await;
    let read = answer.map(|res| *res.extensions().get::<usize>().unwrap());
    (read.map_err(Error::classify), called.load(Relaxed))
}

fn declared(bytes: usize) -> Request {
    let request = http::Request::post("/").header(header::CONTENT_LENGTH, bytes);
    request.body(Body::from(vec![b'x'; bytes])).unwrap()
}

fn streamed(pieces: &'static [&'static str]) -> Request {
    let pieces = pieces.iter().map(|p| Ok::<_, std::io::Error>(*p));
    http::Request::new(Body::from_stream(futures_util::stream::iter(pieces)))
}

#[tokio::test]
async fn lets_through_what_is_as_large_as_the_limit() {
    let (read, _) = send(json!({"max_body_bytes": "1KiB"}), declared(1024)).await;
    assert_eq!(read.unwrap(), 1024);
    let (read, _) = send(json!({"max_body_bytes": 4}), streamed(&["ab", "cd"])).await;
    assert_eq!(read.unwrap(), 4);
}

#[tokio::test]
async fn refuses_a_declared_body_before_anyone_sees_it() {
    let (read, called) = send(json!({"max_body_bytes": "1KiB"}), declared(1025)).await;
    let error = read.unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.code()),
        (413, "body_too_large")
    );
    assert!(!called);
}

#[tokio::test]
async fn fails_an_undeclared_body_when_it_grows_past_the_limit() {
    let (read, called) = send(json!({"max_body_bytes": 3}), streamed(&["ab", "cd"])).await;
    assert_eq!(read.unwrap_err().status(), 413);
    assert!(called);
}

#[tokio::test]
async fn asks_for_a_declared_length_when_it_is_told_to() {
    let config = json!({"max_body_bytes": 100, "require_content_length": true});
    let (read, called) = send(config.clone(), streamed(&["ab"])).await;
    let error = read.unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.code()),
        (411, "length_required")
    );
    assert!(!called);
    // A request without a body declares nothing.
    let (read, _) = send(config.clone(), Request::new(Body::empty())).await;
    assert_eq!(read.unwrap(), 0);
    let (read, _) = send(config, declared(10)).await;
    assert_eq!(read.unwrap(), 10);
}

#[test]
fn refuses_what_is_no_configuration() {
    let mut registry = Registry::default();
    registry.add::<RequestSizeLimitLayer>();
    let entry = registry.get("request-size-limit").unwrap();
    for config in [
        json!({}),
        json!({"max_body_bytes": "much"}),
        json!({"max_body_bytes": 1, "limit": 1}),
    ] {
        assert!(entry.plug(config, &Setup::default()).is_err());
    }
}
