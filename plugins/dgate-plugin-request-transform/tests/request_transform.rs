//! `request-transform` in a pipeline: what the service behind it gets.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::{
    Body, BoxError, Error, FieldError, ModuleLayer, Pipeline, Registry, Request, Response, Setup,
};
use dgate_plugin_request_transform::RequestTransform;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tower::{ServiceExt, service_fn};

type Seen = http::Request<String>;

/// The request that comes out behind the plugin.
async fn send(config: Value, request: Request) -> Result<Seen, Error> {
    let mut registry = Registry::default();
    registry.add::<RequestTransform>();
    let entry = registry.get("request-transform").unwrap();
    let plugged = entry.plug(config, &Setup::default()).unwrap();
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let stack = Pipeline::builder()
        .layer(ModuleLayer::shared(plugged.hooks))
        .service(service_fn(move |req: Request| {
            let keep = keep.clone();
            async move {
                let (head, body) = req.into_parts();
                let text = body.collect().await?.to_bytes();
                let text = String::from_utf8(text.into()).unwrap();
                *keep.lock().unwrap() = Some(http::Request::from_parts(head, text));
                Ok::<_, BoxError>(Response::new(Body::empty()))
            }
        }));
    stack.oneshot(request).await.map_err(Error::classify)?;
    Ok(seen.lock().unwrap().take().unwrap())
}

fn get(target: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = http::Request::get(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn post(media_type: &str, body: &'static str) -> Request {
    let request = http::Request::post("/")
        .header("content-type", media_type)
        .header("content-length", body.len());
    request.body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn headers() {
    let config = json!({
        "remove": {"headers": ["X-Gone"]},
        "rename": {"headers": {"x-old": "x-new"}},
        "replace": {"headers": {"x-set": "b", "x-absent": "b"}},
        "add": {"headers": {"x-added": "1", "x-kept": "2"}},
        "append": {"headers": {"x-more": "2"}},
    });
    let sent = [
        ("x-gone", "1"),
        ("x-old", "o"),
        ("x-old", "p"),
        ("x-new", "n"),
        ("x-set", "a"),
        ("x-set", "a2"),
        ("x-kept", "1"),
        ("x-more", "1"),
    ];
    let seen = send(config, get("/", &sent)).await.unwrap();
    let all = |name: &str| -> Vec<_> {
        let values = seen.headers().get_all(name).iter();
        values.map(|v| v.to_str().unwrap().to_owned()).collect()
    };
    assert!(all("x-gone").is_empty() && all("x-old").is_empty() && all("x-absent").is_empty());
    assert_eq!(all("x-new"), ["o", "p"]);
    assert_eq!(all("x-set"), ["b"]);
    assert_eq!(
        (all("x-added"), all("x-kept")),
        (vec!["1".to_owned()], vec!["1".to_owned()])
    );
    assert_eq!(all("x-more"), ["1", "2"]);
}

#[tokio::test]
async fn query() {
    for (config, before, after) in [
        (
            json!({"remove": {"query": ["a b"]}}),
            "/p?a+b=1&a%20b=2&c=%7e",
            "/p?c=%7e",
        ),
        (json!({"remove": {"query": ["a"]}}), "/p?a=1", "/p"),
        (
            json!({"rename": {"query": {"a": "b c"}}}),
            "/p?a=%31&b+c=2&a",
            "/p?b+c=%31&b+c",
        ),
        (
            json!({"replace": {"query": {"a": "x&y", "z": "1"}}}),
            "/p?a=1&b=2&a=3",
            "/p?a=x%26y&b=2",
        ),
        (
            json!({"add": {"query": {"a": "2", "b": "ü"}}}),
            "/p?a=1",
            "/p?a=1&b=%C3%BC",
        ),
        (
            json!({"append": {"query": {"a": "2"}}}),
            "/p?a=1",
            "/p?a=1&a=2",
        ),
        (json!({"append": {"query": {"a": "2"}}}), "/p", "/p?a=2"),
        (
            json!({"remove": {"query": ["x"]}}),
            "/p?b=%zz&&a==&c",
            "/p?b=%zz&a==&c",
        ),
        (
            json!({"add": {"query": {"a": "1"}}}),
            "http://host.test:8080/p",
            "http://host.test:8080/p?a=1",
        ),
    ] {
        let seen = send(config.clone(), get(before, &[])).await.unwrap();
        assert_eq!(seen.uri().to_string(), after, "{config}");
    }
}

#[tokio::test]
async fn json_bodies() {
    let config = json!({
        "remove": {"json": ["/password"]},
        "rename": {"json": {"/name": "/user/name"}},
        "add": {"json": {"/user/source": "gateway", "/limits": [1, 2]}},
    });
    let body = r#"{"password":"p","name":"ann","big":12345678901234567890123}"#;
    let seen = send(
        config.clone(),
        post("application/json; charset=utf-8", body),
    )
    .await
    .unwrap();
    let expected = r#"{"big":12345678901234567890123,"user":{"name":"ann","source":"gateway"},"limits":[1,2]}"#;
    assert_eq!(seen.body(), expected);
    assert_eq!(seen.headers()["content-length"], expected.len().to_string());
    let seen = send(config, post("application/merge-patch+json", "{}"))
        .await
        .unwrap();
    assert!(seen.body().contains("gateway"));
}

#[tokio::test]
async fn other_bodies_pass_as_they_are() {
    let config = json!({"remove": {"json": ["/a"]}});
    let seen = send(config.clone(), post("text/plain", r#"{"a":1}"#))
        .await
        .unwrap();
    assert_eq!(seen.body(), r#"{"a":1}"#);
    let seen = send(config, get("/", &[("content-type", "application/json")]))
        .await
        .unwrap();
    assert_eq!(seen.body(), "");
}

#[tokio::test]
async fn what_cannot_be_transformed_is_refused() {
    let config = json!({"remove": {"json": ["/a"]}, "max_body": 10});
    let status = async |request| {
        send(config.clone(), request)
            .await
            .unwrap_err()
            .status()
            .as_u16()
    };
    assert_eq!(status(post("application/json", r#"{"a":"#)).await, 400);
    assert_eq!(
        status(post("application/json", r#"{"a": 1234567890}"#)).await,
        413
    );
    let pieces = [r#"{"a": "#, "1234567890}"].map(Ok::<_, std::io::Error>);
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let streamed = http::Request::post("/").header("content-type", "application/json");
    assert_eq!(status(streamed.body(body).unwrap()).await, 413);
    let mut packed = post("application/json", "{}");
    packed
        .headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(status(packed).await, 400);
}

#[test]
fn says_which_entry_is_wrong() {
    let mut registry = Registry::default();
    registry.add::<RequestTransform>();
    let entry = registry.get("request-transform").unwrap();
    let error = |config: Value| entry.plug(config, &Setup::default()).err().unwrap();
    for (config, pointer) in [
        (
            json!({"remove": {"headers": ["fine", "not fine"]}}),
            "/remove/headers/1",
        ),
        (
            json!({"add": {"headers": {"Content-Length": "5"}}}),
            "/add/headers/Content-Length",
        ),
        (
            json!({"rename": {"headers": {"x": "transfer-encoding"}}}),
            "/rename/headers/x",
        ),
        (
            json!({"append": {"headers": {"x": "a\nb"}}}),
            "/append/headers/x",
        ),
        (json!({"replace": {"json": {"a": 1}}}), "/replace/json/a"),
        (json!({"rename": {"query": {"a": ""}}}), "/rename/query/a"),
    ] {
        let error = error(config);
        assert_eq!(
            error.downcast_ref::<FieldError>().unwrap().pointer(),
            pointer
        );
    }
    error(json!({"remove": {"headers": "x"}}));
    error(json!({"remove": {"cookies": []}}));
}
