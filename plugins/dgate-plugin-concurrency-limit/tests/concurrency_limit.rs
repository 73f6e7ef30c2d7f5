//! `concurrency-limit` through the public API, with paused time: who is let in, who waits, and when a place is free.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::exchange::Client;
use dgate_core::{Body, BoxError, Error, Exchange, Pipeline, Registry, Request, Response, Setup};
use dgate_plugin_concurrency_limit::ConcurrencyLimitLayer;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

/// A service that answers when `gate` lets it, with the plugin around it.
fn gated(config: Value, gate: &Arc<Semaphore>) -> Pipeline {
    let mut registry = Registry::default();
    registry.add::<ConcurrencyLimitLayer>();
    let entry = registry.get("concurrency-limit").unwrap();
    let plugged = entry.plug(config, &Setup::default()).unwrap();
    let gate = gate.clone();
    let inner = service_fn(move |_: Request| {
        let gate = gate.clone();
        async move {
            gate.acquire().await?.forget();
            Ok::<_, BoxError>(Response::new(Body::from("ok")))
        }
    });
    plugged.layer.unwrap().layer(Pipeline::new(inner))
}

/// The status of the answer, or of the error, when all of the body is read.
async fn from(stack: Pipeline, ip: &'static str) -> u16 {
    let mut client = Client::default();
    client.ip = Some(ip.parse().unwrap());
    let mut request = Request::new(Body::empty());
    Exchange::new(client).attach(&mut request);
    match stack.oneshot(request).await {
        Ok(response) => {
            let status = response.status();
            response.into_body().collect().await.unwrap();
            status.as_u16()
        }
        Err(error) => Error::classify(error).status().as_u16(),
    }
}

/// Begins a request and lets it come as far as it can.
async fn begin(stack: &Pipeline, ip: &'static str) -> tokio::task::JoinHandle<u16> {
    let task = tokio::spawn(from(stack.clone(), ip));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test(start_paused = true)]
async fn refuses_what_is_above_the_limit_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = gated(json!({"max_inflight": 2}), &gate);
    let held = [
        begin(&stack, "10.0.0.1").await,
        begin(&stack, "10.0.0.2").await,
    ];
    let error = stack
        .clone()
        .oneshot(Request::new(Body::empty()))
        .await
        .unwrap_err();
    let error = Error::classify(error);
    assert_eq!((error.status().as_u16(), error.code()), (503, "overloaded"));
    assert_eq!(error.headers()[0].0, "retry-after");
    gate.add_permits(3);
    for task in held {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(from(stack, "10.0.0.1").await, 200);
}

#[tokio::test(start_paused = true)]
async fn queues_as_many_as_it_is_told_to() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = gated(json!({"max_inflight": 1, "queue": 1}), &gate);
    let first = begin(&stack, "10.0.0.1").await;
    let second = begin(&stack, "10.0.0.1").await;
    assert_eq!(from(stack.clone(), "10.0.0.1").await, 503);
    gate.add_permits(2);
    assert_eq!([first.await.unwrap(), second.await.unwrap()], [200, 200]);
}

#[tokio::test(start_paused = true)]
async fn waits_no_longer_than_the_timeout() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = gated(
        json!({"max_inflight": 1, "queue": 5, "queue_timeout": "200ms"}),
        &gate,
    );
    let first = begin(&stack, "10.0.0.1").await;
    let begun = Instant::now();
    assert_eq!(from(stack.clone(), "10.0.0.1").await, 503);
    assert_eq!(begun.elapsed(), Duration::from_millis(200));
    gate.add_permits(2);
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(from(stack, "10.0.0.1").await, 200);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_its_place_in_the_queue_and_in_flight() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = gated(json!({"max_inflight": 1, "queue": 1}), &gate);
    let first = begin(&stack, "10.0.0.1").await;
    let second = begin(&stack, "10.0.0.1").await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    let third = begin(&stack, "10.0.0.1").await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    assert_eq!(third.await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn counts_each_key_alone() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = gated(json!({"max_inflight": 1, "by": "client_ip"}), &gate);
    let first = begin(&stack, "10.0.0.1").await;
    let second = begin(&stack, "10.0.0.2").await;
    assert_eq!(from(stack.clone(), "10.0.0.1").await, 503);
    gate.add_permits(2);
    assert_eq!([first.await.unwrap(), second.await.unwrap()], [200, 200]);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_when_the_body_has_ended_not_before() {
    let gate = Arc::new(Semaphore::new(3));
    let stack = gated(json!({"max_inflight": 1}), &gate);
    let response = stack
        .clone()
        .oneshot(Request::new(Body::empty()))
        .await
        .unwrap();
    assert_eq!(from(stack.clone(), "10.0.0.1").await, 503);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "ok"
    );
    assert_eq!(from(stack.clone(), "10.0.0.1").await, 200);
    // A body that nobody reads is given up with its response.
    drop(
        stack
            .clone()
            .oneshot(Request::new(Body::empty()))
            .await
            .unwrap(),
    );
    gate.add_permits(1);
    assert_eq!(from(stack, "10.0.0.1").await, 200);
}

#[test]
fn refuses_what_is_no_configuration() {
    let mut registry = Registry::default();
    registry.add::<ConcurrencyLimitLayer>();
    let entry = registry.get("concurrency-limit").unwrap();
    for config in [
        json!({}),
        json!({"max_inflight": 0}),
        json!({"max_inflight": 1, "by": "header:"}),
        json!({"max_inflight": 1, "queues": 1}),
    ] {
        assert!(entry.plug(config, &Setup::default()).is_err());
    }
}
