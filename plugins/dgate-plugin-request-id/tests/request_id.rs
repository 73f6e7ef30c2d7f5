//! `request-id` through the public API: as a layer of a pipeline, and as an entry of a registry.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::exchange::Client;
use dgate_core::{
    Body, Exchange, ModuleLayer, Pipeline, Plugin, Registry, Request, Response, Setup,
};
use dgate_plugin_request_id::{RequestId, RequestIdConfig};
use http::HeaderValue;
use serde_json::json;
use tower::ServiceExt;

/// Sends a request with the headers given through the plugin. The answer's `seen` header is what the
/// upstream got under `name`; its other headers are those of the plugin.
async fn send(config: serde_json::Value, name: &'static str, headers: &[(&str, &str)]) -> Response {
    let config: RequestIdConfig = serde_json::from_value(config).unwrap();
    let plugin = RequestId::new(config, &Setup::default()).unwrap();
    let upstream = tower::service_fn(move |req: Request| async move {
        let mut response = Response::new(Body::empty());
        if let Some(value) = req.headers().get(name) {
            response.headers_mut().insert("seen", value.clone());
        }
        Ok::<_, std::convert::Infallible>(response)
    });
    let stack = Pipeline::builder()
        .layer(ModuleLayer::plugin(plugin))
        .service(upstream);
    let mut request = Request::new(Body::empty());
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    Exchange::with_id(HeaderValue::from_static("exchange-1"), Client::default())
        .attach(&mut request);
    stack.oneshot(request).await.unwrap()
}

#[tokio::test]
async fn passes_the_id_of_the_exchange_on_and_answers_with_it() {
    let response = send(json!({}), "x-request-id", &[]).await;
    assert_eq!(response.headers()["seen"], "exchange-1");
    assert_eq!(response.headers()["x-request-id"], "exchange-1");
}

#[tokio::test]
async fn keeps_what_the_client_sent() {
    let response = send(json!({}), "x-request-id", &[("x-request-id", "theirs")]).await;
    assert_eq!(response.headers()["seen"], "theirs");
    assert_eq!(response.headers()["x-request-id"], "theirs");
}

#[tokio::test]
async fn uses_the_header_that_the_config_names() {
    let config = json!({"header_name": "X-Correlation-Id"});
    let response = send(config, "x-correlation-id", &[("x-request-id", "other")]).await;
    assert_eq!(response.headers()["x-correlation-id"], "exchange-1");
    assert!(!response.headers().contains_key("x-request-id"));
}

#[tokio::test]
async fn makes_a_new_id_when_the_clients_is_not_trusted() {
    let config = json!({"trust_incoming": false});
    let response = send(config, "x-request-id", &[("x-request-id", "theirs")]).await;
    let seen = response.headers()["seen"].clone();
    assert_ne!(seen, "theirs");
    assert_eq!(seen, response.headers()["x-request-id"]);
}

#[tokio::test]
async fn is_silent_towards_the_client_without_echo() {
    let response = send(json!({"echo": false}), "x-request-id", &[]).await;
    assert_eq!(response.headers()["seen"], "exchange-1");
    assert!(!response.headers().contains_key("x-request-id"));
}

#[test]
fn refuses_a_header_name_that_is_none() {
    let mut registry = Registry::default();
    registry.add::<RequestId>();
    let entry = registry.get("request-id").unwrap();
    let wrong = entry.plug(json!({"header_name": "no header"}), &Setup::default());
    assert!(wrong.err().unwrap().to_string().contains("no header"));
}

#[test]
fn refuses_unknown_fields() {
    let mut registry = Registry::default();
    registry.add::<RequestId>();
    let entry = registry.get("request-id").unwrap();
    assert!(
        entry
            .plug(json!({"header": "X-Id"}), &Setup::default())
            .is_err()
    );
}
