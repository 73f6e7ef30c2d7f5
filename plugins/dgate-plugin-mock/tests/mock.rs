//! `mock` in a pipeline: what it answers, and when.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::plugin::Plugged;
use dgate_core::{
    Body, BoxError, FieldError, HookSet, ModuleLayer, Pipeline, Registry, Request, Response, Setup,
};
use dgate_plugin_mock::Mock;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::Duration;
use tower::{ServiceExt, service_fn};

fn plug(config: Value) -> Result<Plugged, BoxError> {
    let mut registry = Registry::default();
    registry.add::<Mock>();
    registry
        .get("mock")
        .unwrap()
        .plug(config, &Setup::default())
}

async fn answer(config: Value) -> http::Response<String> {
    let plugged = plug(config).unwrap();
    // So a route needs no service.
    assert!(plugged.hooks.points().contains(HookSet::REQUEST_HANDLER));
    let never = service_fn(|_: Request| async {
        panic!("it must not be called") as Result<Response, BoxError>
    });
    let stack = Pipeline::builder()
        .layer(ModuleLayer::shared(plugged.hooks))
        .service(never);
    let response = stack.oneshot(Request::new(Body::empty())).await.unwrap();
    let (head, body) = response.into_parts();
    let text = body.collect().await.unwrap().to_bytes();
    http::Response::from_parts(head, String::from_utf8(text.into()).unwrap())
}

#[tokio::test]
async fn answers_without_the_service() {
    let empty = answer(json!({})).await;
    assert_eq!((empty.status().as_u16(), empty.body().as_str()), (200, ""));
    assert!(empty.headers().is_empty());

    let text = answer(json!({"status": 201, "body": "not real"})).await;
    assert_eq!(
        (text.status().as_u16(), text.body().as_str()),
        (201, "not real")
    );
    assert_eq!(text.headers()["content-type"], "text/plain; charset=utf-8");

    let object = answer(json!({"body": {"id": 7}})).await;
    assert_eq!(object.body(), r#"{"id":7}"#);
    assert_eq!(object.headers()["content-type"], "application/json");

    let headers = json!({"Content-Type": "text/html", "X-Mock": "1"});
    let own = answer(json!({"body": "<p>", "headers": headers})).await;
    assert_eq!(
        (&own.headers()["content-type"], &own.headers()["x-mock"]),
        (&"text/html".parse().unwrap(), &"1".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn holds_the_answer_back() {
    let begun = tokio::time::Instant::now();
    answer(json!({"delay": "300ms"})).await;
    assert_eq!(begun.elapsed(), Duration::from_millis(300));
}

#[test]
fn says_which_field_is_wrong() {
    for (config, pointer) in [
        (json!({"status": 101}), "/status"),
        (json!({"status": 204, "body": "x"}), "/body"),
        (json!({"headers": {"no header": "x"}}), "/headers/no header"),
        (
            json!({"headers": {"Transfer-Encoding": "chunked"}}),
            "/headers/Transfer-Encoding",
        ),
        (json!({"headers": {"x": "a\nb"}}), "/headers/x"),
    ] {
        let error = plug(config).err().unwrap();
        assert_eq!(
            error.downcast_ref::<FieldError>().unwrap().pointer(),
            pointer
        );
    }
    assert!(plug(json!({"delay": 5})).is_err());
}
