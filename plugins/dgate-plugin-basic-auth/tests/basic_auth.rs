//! `basic-auth` in a pipeline: who is let through, and what goes on to the upstream.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dgate_core::consumer::{BasicCredential, Consumer, Consumers, Credential};
use dgate_core::{Body, BoxError, BoxFuture, Error, FieldError, Pipeline, Request, Response};
use dgate_core::{Registry, Setup, pipeline::Answer};
use dgate_plugin_basic_auth::{BasicAuthConfig, BasicAuthLayer};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::{Layer, ServiceExt};

/// Answers with the headers that it got.
struct Echo;

impl Answer for Echo {
    fn answer(&self, req: Request) -> BoxFuture<Result<Response, BoxError>> {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = req.headers().clone();
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// `ann` with a hash of `pa:ss`, `bob` with the password `plain` as a program declares it, and `guest`.
fn consumers() -> Arc<Consumers> {
    let hash = bcrypt::hash("pa:ss", 4).unwrap();
    let user = |name: &str, basic| Consumer::new(name, vec![Credential::Basic(basic)]);
    let ann = user("ann", BasicCredential::hashed("Änn", hash));
    let bob = user("bob", BasicCredential::new("bob", "plain"));
    let guest = Consumer::new("guest", Vec::new());
    Arc::new(Consumers::new(vec![ann, bob, guest]).unwrap())
}

async fn ask(config: Value, all: Arc<Consumers>, values: &[&str]) -> Result<Response, Error> {
    let config: BasicAuthConfig = serde_json::from_value(config).unwrap();
    let layer = BasicAuthLayer::new(config).unwrap().among(all);
    let mut request = http::Request::get("/");
    for value in values {
        request = request.header("authorization", *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let answer = layer.layer(Pipeline::of(Echo)).oneshot(request).await;
    answer.map_err(Error::classify)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|v| v.to_str().unwrap())
}

#[tokio::test]
async fn a_right_password_is_the_consumer_and_stays_behind() {
    for (user, password, who) in [("Änn", "pa:ss", "ann"), ("bob", "plain", "bob")] {
        let value = basic(user, password).replace("Basic", "bAsIc");
        let answer = ask(json!({}), consumers(), &[&value]).await.unwrap();
        assert_eq!(header(&answer, "x-consumer-username"), Some(who));
        assert!(header(&answer, "authorization").is_none());
        let id = answer.headers()["x-credential-identifier"].as_bytes();
        assert_eq!(id, user.as_bytes());
    }
    let shown = json!({"hide_credentials": false});
    let value = basic("bob", "plain");
    let answer = ask(shown, consumers(), &[&value]).await.unwrap();
    assert_eq!(header(&answer, "authorization"), Some(&*value));
}

#[tokio::test]
async fn all_else_is_refused_with_a_challenge() {
    let long = basic("bob", &"x".repeat(5000));
    let bob = basic("bob", "plain");
    for values in [
        &[][..],
        &[&basic("Änn", "wrong")],
        &[&basic("Änn", "")],
        &[&basic("bob", "pa:ss")],
        &[&basic("eve", "pa:ss")],
        &[&basic("eve", "plain")],
        &[&basic("", "")],
        &[&"Basic ####".to_owned()],
        &[&"Basic Ym9i".to_owned()],
        &[&"Basic".to_owned()],
        &[&"Basic ".to_owned()],
        &[&"Bearer Ym9iOnBsYWlu".to_owned()],
        &[&long],
        &[&bob, &bob],
    ] {
        let values: Vec<_> = values.iter().map(|value| value.as_str()).collect();
        let error = ask(json!({"realm": "a \"b\""}), consumers(), &values)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "unauthorized", "{values:?}");
        let (name, value) = &error.headers()[0];
        assert_eq!(name, "www-authenticate");
        assert_eq!(value, r#"Basic realm="a \"b\"", charset="UTF-8""#);
    }
}

#[tokio::test]
async fn without_users_nobody_is_let_in() {
    let none = Arc::new(Consumers::default());
    let error = ask(json!({}), none, &[&basic("bob", "plain")]).await;
    assert_eq!(error.unwrap_err().status(), 401);
}

#[tokio::test]
async fn without_a_password_a_request_passes_as_the_anonymous_consumer() {
    let config = json!({"anonymous": "guest"});
    // What is for another scheme is no password, and goes on.
    for values in [&[][..], &["Bearer xyz"]] {
        let answer = ask(config.clone(), consumers(), values).await.unwrap();
        assert_eq!(header(&answer, "x-consumer-username"), Some("guest"));
        assert_eq!(header(&answer, "authorization"), values.first().copied());
    }
    let wrong = ask(config, consumers(), &[&basic("bob", "wrong")]).await;
    assert_eq!(wrong.unwrap_err().status(), 401);
}

#[test]
fn says_what_is_wrong() {
    let mut registry = Registry::default();
    registry.add::<BasicAuthLayer>();
    let entry = registry.get("basic-auth").unwrap();
    assert!(entry.consumers());
    let plug = |config| entry.plug(config, &Setup::default());
    for realm in ["a\nb", "a\u{7f}", "ä"] {
        let error = plug(json!({ "realm": realm })).err().unwrap();
        assert_eq!(
            error.downcast_ref::<FieldError>().unwrap().pointer(),
            "/realm"
        );
    }
    assert!(plug(json!({"realms": "a"})).is_err());
    let plugged = plug(json!({"anonymous": "guest"})).unwrap();
    assert_eq!(plugged.consumer.as_deref(), Some("guest"));
}
