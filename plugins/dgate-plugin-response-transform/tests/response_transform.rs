//! `response-transform` in a pipeline: what the client gets, and what the service is asked for.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::{
    Body, BoxError, Error, FieldError, ModuleLayer, Pipeline, Registry, Request, Response, Setup,
};
use dgate_plugin_response_transform::ResponseTransform;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{ServiceExt, service_fn};

/// The answer that comes out of the plugin for this one of the service.
async fn send(config: Value, answer: Response) -> Result<http::Response<String>, Error> {
    let mut registry = Registry::default();
    registry.add::<ResponseTransform>();
    let entry = registry.get("response-transform").unwrap();
    let plugged = entry.plug(config, &Setup::default()).unwrap();
    let answer = std::sync::Arc::new(std::sync::Mutex::new(Some(answer)));
    let stack = Pipeline::builder()
        .layer(ModuleLayer::shared(plugged.hooks))
        .service(service_fn(move |req: Request| {
            let mut response = answer.lock().unwrap().take().unwrap();
            if let Some(wanted) = req.headers().get("accept-encoding") {
                response.headers_mut().insert("asked-for", wanted.clone());
            }
            assert_ne!(
                req.headers().contains_key("range"),
                response.headers()["asked-for"] == "identity"
            );
            std::future::ready(Ok::<_, BoxError>(response))
        }));
    let request = http::Request::get("/")
        .header("accept-encoding", "gzip")
        .header("range", "bytes=0-1");
    let request = request.body(Body::empty()).unwrap();
    let response = stack.oneshot(request).await.map_err(Error::classify)?;
    let (head, body) = response.into_parts();
    let text = body.collect().await.unwrap().to_bytes();
    Ok(http::Response::from_parts(
        head,
        String::from_utf8(text.into()).unwrap(),
    ))
}

fn answer(headers: &[(&str, &str)], body: &'static str) -> Response {
    let mut response = http::Response::builder();
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body)).unwrap()
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn headers() {
    let config = json!({
        "remove": {"headers": ["x-powered-by"]},
        "rename": {"headers": {"x-old": "x-new"}},
        "replace": {"headers": {"server": "edge"}},
        "add": {"headers": {"x-added": "1", "x-keep": "2"}},
        "append": {"headers": {"vary": "x-edge"}},
    });
    let sent = [
        ("x-powered-by", "php"),
        ("x-old", "o"),
        ("server", "nginx"),
        ("x-keep", "1"),
        ("vary", "accept"),
        ("etag", "\"v1\""),
    ];
    let got = send(config, answer(&sent, "ok")).await.unwrap();
    let is = |name: &str| got.headers().get(name).map(|v| v.to_str().unwrap());
    assert_eq!(is("x-powered-by"), None);
    assert_eq!((is("x-old"), is("x-new")), (None, Some("o")));
    assert_eq!(
        (is("server"), is("x-added"), is("x-keep")),
        (Some("edge"), Some("1"), Some("1"))
    );
    assert_eq!(got.headers().get_all("vary").iter().count(), 2);
    // Without operations on JSON nothing else is touched, and the service is asked as the client asks.
    assert_eq!(
        (is("etag"), is("asked-for"), got.body().as_str()),
        (Some("\"v1\""), Some("gzip"), "ok")
    );
}

fn secretless() -> Value {
    json!({"remove": {"json": ["/secret"]}, "add": {"json": {"/edge": true}}, "max_body": 100})
}

#[tokio::test]
async fn json_bodies() {
    let sent = [
        JSON,
        ("content-length", "20"),
        ("etag", "\"v1\""),
        ("accept-ranges", "bytes"),
        ("digest", "x"),
    ];
    let got = send(secretless(), answer(&sent, r#"{"secret":1,"a":1.0}"#))
        .await
        .unwrap();
    assert_eq!(got.body(), r#"{"a":1.0,"edge":true}"#);
    let is = |name: &str| got.headers().get(name).map(|v| v.to_str().unwrap());
    assert_eq!(is("content-length"), Some("21"));
    assert_eq!(is("etag"), Some("W/\"v1\""));
    assert_eq!((is("accept-ranges"), is("digest")), (None, None));
    assert_eq!(is("asked-for"), Some("identity"));
}

#[tokio::test]
async fn other_bodies_pass_as_they_are() {
    let events = [("content-type", "text/event-stream"), ("etag", "\"v1\"")];
    let got = send(secretless(), answer(&events, r#"{"secret":1}"#))
        .await
        .unwrap();
    assert_eq!(
        (got.body().as_str(), &got.headers()["etag"]),
        (r#"{"secret":1}"#, &"\"v1\"".parse().unwrap())
    );
}

#[tokio::test]
async fn an_answer_without_a_body_does_not_tell_of_the_old_length() {
    let head = [JSON, ("content-length", "20")];
    let got = send(secretless(), answer(&head, "")).await.unwrap();
    assert!(!got.headers().contains_key("content-length"));
    let empty = [JSON, ("content-length", "0")];
    let got = send(secretless(), answer(&empty, "")).await.unwrap();
    assert_eq!(got.headers()["content-length"], "0");
}

#[tokio::test]
async fn what_cannot_be_transformed_is_not_sent() {
    let long = r#"{"secret":"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"}"#;
    for (headers, body) in [
        (vec![JSON], r#"{"secret":"#),
        (vec![JSON, ("content-encoding", "gzip")], r#"{"secret":1}"#),
        (vec![JSON], long),
    ] {
        let error = send(secretless(), answer(&headers, body))
            .await
            .unwrap_err();
        assert_eq!(error.status(), 502, "{body}");
    }
}

#[test]
fn says_which_entry_is_wrong() {
    let mut registry = Registry::default();
    registry.add::<ResponseTransform>();
    let entry = registry.get("response-transform").unwrap();
    let error = |config: Value| entry.plug(config, &Setup::default()).err().unwrap();
    for (config, pointer) in [
        (
            json!({"remove": {"headers": ["content-length"]}}),
            "/remove/headers/0",
        ),
        (json!({"add": {"json": {"a": 1}}}), "/add/json/a"),
    ] {
        let error = error(config);
        assert_eq!(
            error.downcast_ref::<FieldError>().unwrap().pointer(),
            pointer
        );
    }
    error(json!({"remove": {"query": []}}));
}
