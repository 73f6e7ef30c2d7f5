//! `cors` in a pipeline: what a browser gets to see, and what reaches the service.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::plugin::Plugged;
use dgate_core::{
    Body, BoxError, Error, ErrorKind, FieldError, Pipeline, Registry, Request, Response, Setup,
};
use dgate_plugin_cors::CorsLayer;
use http::Method;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

fn plug(config: Value) -> Result<Plugged, BoxError> {
    let mut registry = Registry::default();
    registry.add::<CorsLayer>();
    registry
        .get("cors")
        .unwrap()
        .plug(config, &Setup::default())
}

fn app() -> Value {
    json!({
        "allow_origins": ["https://app.test", "*.dev.test"],
        "allow_methods": ["GET", "PUT"],
        "allow_headers": ["x-token"],
        "expose_headers": ["x-upstream"],
        "max_age": "10m",
    })
}

/// A service that says which method it got, and something on CORS; it fails at `/fails`.
async fn send(
    config: Value,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response, Error> {
    let service = service_fn(|req: Request| async move {
        if req.uri().path() == "/fails" {
            return Err::<_, BoxError>(Error::new(ErrorKind::RateLimited).into());
        }
        let response = http::Response::builder()
            .header("x-method", req.method().as_str())
            .header("vary", "accept-language")
            .header("access-control-allow-origin", "*");
        Ok(response.body(Body::empty()).unwrap())
    });
    let stack = plug(config)
        .unwrap()
        .layer
        .unwrap()
        .layer(Pipeline::new(service));
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    stack.oneshot(request).await.map_err(Error::classify)
}

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|v| v.to_str().unwrap())
}

#[tokio::test]
async fn an_allowed_origin_may_read_the_answer() {
    for origin in ["https://app.test", "http://a.dev.test"] {
        let answer = send(app(), Method::GET, "/", &[("origin", origin)])
            .await
            .unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), Some(origin));
        assert_eq!(
            header(&answer, "access-control-expose-headers"),
            Some("x-upstream")
        );
        assert_eq!(header(&answer, "access-control-allow-credentials"), None);
        let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
        assert_eq!(vary, ["accept-language", "origin"]);
    }
}

#[tokio::test]
async fn another_origin_gets_no_permission_not_even_from_the_service() {
    let origin = [("origin", "https://app.test.evil.test")];
    let answer = send(app(), Method::GET, "/", &origin).await.unwrap();
    assert_eq!(header(&answer, "access-control-allow-origin"), None);
    assert_eq!(header(&answer, "x-method"), Some("GET"));
}

#[tokio::test]
async fn a_preflight_is_answered_without_the_service() {
    let preflight = [
        ("origin", "https://app.test"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-token"),
    ];
    let answer = send(app(), Method::OPTIONS, "/", &preflight).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "x-method"), None);
    assert_eq!(
        header(&answer, "access-control-allow-origin"),
        Some("https://app.test")
    );
    assert_eq!(
        header(&answer, "access-control-allow-methods"),
        Some("GET,PUT")
    );
    assert_eq!(
        header(&answer, "access-control-allow-headers"),
        Some("x-token")
    );
    assert_eq!(header(&answer, "access-control-max-age"), Some("600"));
}

#[tokio::test]
async fn an_options_request_that_is_no_preflight_reaches_the_service_as_one() {
    let answer = send(app(), Method::OPTIONS, "/", &[]).await.unwrap();
    assert_eq!(header(&answer, "x-method"), Some("OPTIONS"));
    let origin = [("origin", "https://app.test")];
    let answer = send(app(), Method::OPTIONS, "/", &origin).await.unwrap();
    assert_eq!(header(&answer, "x-method"), Some("OPTIONS"));
    assert_eq!(
        header(&answer, "access-control-allow-origin"),
        Some("https://app.test")
    );
}

#[tokio::test]
async fn an_error_stays_one_and_can_be_read() {
    let origin = [("origin", "https://app.test")];
    let error = send(app(), Method::GET, "/fails", &origin)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    let told = error
        .headers()
        .iter()
        .find(|(n, _)| n == "access-control-allow-origin");
    assert_eq!(told.unwrap().1, "https://app.test");
}

#[tokio::test]
async fn credentials_go_with_named_origins_alone() {
    let mut config = app();
    config["allow_credentials"] = true.into();
    let origin = [("origin", "https://app.test")];
    let answer = send(config.clone(), Method::GET, "/", &origin)
        .await
        .unwrap();
    assert_eq!(
        header(&answer, "access-control-allow-credentials"),
        Some("true")
    );
    assert_eq!(
        header(&answer, "access-control-allow-origin"),
        Some("https://app.test")
    );
    for field in [
        "allow_origins",
        "allow_methods",
        "allow_headers",
        "expose_headers",
    ] {
        let mut config = config.clone();
        config[field] = json!(["*"]);
        let error = plug(config).err().unwrap();
        let pointer = error
            .downcast_ref::<FieldError>()
            .unwrap()
            .pointer()
            .to_owned();
        assert_eq!(pointer, format!("/{field}/0"));
    }
}

#[tokio::test]
async fn everything_may_be_allowed() {
    let config = json!({"allow_origins": ["*"], "allow_methods": ["*"], "allow_headers": ["*"]});
    let answer = send(config, Method::GET, "/", &[("origin", "https://any.test")])
        .await
        .unwrap();
    assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&answer, "vary"), Some("accept-language"));
}

#[test]
fn says_which_entry_is_wrong() {
    for (field, entry) in [
        ("allow_origins", "app.test"),
        ("allow_methods", "GET PUT"),
        ("allow_headers", "no header"),
        ("expose_headers", ""),
    ] {
        let mut config = json!({"allow_origins": ["https://app.test"]});
        config[field] = json!([
            if field == "allow_origins" {
                "*.x.test"
            } else {
                "Fine"
            },
            entry
        ]);
        let error = plug(config).err().unwrap();
        let pointer = error
            .downcast_ref::<FieldError>()
            .unwrap()
            .pointer()
            .to_owned();
        assert_eq!(pointer, format!("/{field}/1"));
    }
    assert!(plug(json!({})).is_err());
    assert!(plug(json!({"allow_origins": []})).is_err());
}
