//! `key-auth` in a pipeline: who is let through, and what goes on to the upstream.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::consumer::{Consumer, Consumers, Credential};
use dgate_core::{Body, BoxError, BoxFuture, Error, FieldError, Pipeline, Request, Response};
use dgate_core::{Registry, Setup, pipeline::Answer};
use dgate_plugin_key_auth::{KeyAuthConfig, KeyAuthLayer};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::{Layer, ServiceExt};

/// Answers with the target and the headers that it got.
struct Echo;

impl Answer for Echo {
    fn answer(&self, req: Request) -> BoxFuture<Result<Response, BoxError>> {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = req.headers().clone();
        let target = req.uri().to_string().parse().unwrap();
        response.headers_mut().insert("x-target", target);
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// The headers that went on, or the status of the refusal.
async fn ask(config: Value, target: &str, headers: &[(&str, &str)]) -> Result<Seen, u16> {
    let config: KeyAuthConfig = serde_json::from_value(config).unwrap();
    let ann = Consumer::new("ann", vec![Credential::Key("k ann+1".into())]);
    let bob = Consumer::new("bob", vec![Credential::Key("k-bob".into())]);
    let guest = Consumer::new("guest", Vec::new());
    let all = Arc::new(Consumers::new(vec![ann, bob, guest]).unwrap());
    let stack = KeyAuthLayer::new(config)
        .unwrap()
        .among(all)
        .layer(Pipeline::of(Echo));
    let mut request = http::Request::get(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match stack.oneshot(request.body(Body::empty()).unwrap()).await {
        Ok(response) => Ok(Seen(response)),
        Err(error) => {
            let error = Error::classify(error);
            let challenge = error
                .headers()
                .iter()
                .find(|(name, _)| name == "www-authenticate");
            assert_eq!(challenge.unwrap().1, "Key");
            Err(error.status().as_u16())
        }
    }
}

#[derive(Debug)]
struct Seen(Response);

impl Seen {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name).map(|v| v.to_str().unwrap())
    }
    fn who(&self) -> &str {
        self.get("x-consumer-username").unwrap()
    }
}

#[tokio::test]
async fn a_key_is_found_where_it_is_looked_for() {
    let both = json!({});
    for (config, target, headers, who) in [
        (&both, "/", &[("apikey", "k-bob")][..], Some("bob")),
        (&both, "/", &[("APIKey", "k ann+1")], Some("ann")),
        (&both, "/?apikey=k%20ann%2B1", &[], Some("ann")),
        (&both, "/?x=1&apikey=k+ann%2b1", &[], Some("ann")),
        (&both, "/?apikey=k-eve", &[], None),
        (&both, "/?APIKEY=k-bob", &[], None),
        (&both, "/", &[], None),
        (&both, "/", &[("apikey", "")], None),
        (&both, "/", &[("x-api-key", "k-bob")], None),
        (&json!({"in": ["query"]}), "/", &[("apikey", "k-bob")], None),
        (
            &json!({"in": ["query"]}),
            "/?apikey=k-bob",
            &[],
            Some("bob"),
        ),
        (&json!({"in": ["header"]}), "/?apikey=k-bob", &[], None),
        (
            &json!({"key_names": ["a", "b"]}),
            "/?b=k-bob",
            &[],
            Some("bob"),
        ),
    ] {
        let found = ask(config.clone(), target, headers).await;
        let found = found.as_ref().map(Seen::who).map_err(|status| *status);
        assert_eq!(found, who.ok_or(401), "{config} {target} {headers:?}");
    }
}

#[tokio::test]
async fn more_than_one_key_is_refused() {
    let names = json!({"key_names": ["a", "b"]});
    for (target, headers) in [
        ("/", &[("a", "k-bob"), ("a", "k-bob")][..]),
        ("/", &[("a", "k-bob"), ("b", "k-eve")]),
        ("/?b=k-bob", &[("a", "k-bob")]),
        ("/?a=k-bob&a=k-bob", &[]),
    ] {
        assert_eq!(ask(names.clone(), target, headers).await.unwrap_err(), 401);
    }
}

#[tokio::test]
async fn the_key_stays_behind_unless_it_is_wanted() {
    let headers = [
        ("apikey", "k-bob"),
        ("x-other", "1"),
        ("x-consumer-custom", "forged"),
    ];
    let seen = ask(json!({}), "/?x=%7e", &headers).await.unwrap();
    assert_eq!(seen.get("apikey"), None);
    assert_eq!(seen.get("x-consumer-custom"), None);
    assert_eq!(
        (seen.get("x-other"), seen.get("x-target")),
        (Some("1"), Some("/?x=%7e"))
    );
    let seen = ask(json!({}), "/p?x=%7e&apikey=k-bob&y", &[])
        .await
        .unwrap();
    assert_eq!(seen.get("x-target"), Some("/p?x=%7e&y"));

    let shown = json!({"hide_credentials": false});
    let seen = ask(shown.clone(), "/", &headers).await.unwrap();
    assert_eq!(seen.get("apikey"), Some("k-bob"));
    let seen = ask(shown, "/?apikey=k-bob", &[]).await.unwrap();
    assert_eq!(seen.get("x-target"), Some("/?apikey=k-bob"));
}

#[tokio::test]
async fn authorization_carries_a_key_alone_or_as_bearer() {
    let config = json!({"key_names": ["Authorization"], "anonymous": "guest"});
    for (value, who) in [
        ("k-bob", Ok("bob")),
        ("Bearer k-bob", Ok("bob")),
        ("bearer   k-bob", Ok("bob")),
        ("Bearer k-eve", Err(401)),
        // For somebody else: no key is shown.
        ("Basic YTpi", Ok("guest")),
    ] {
        let seen = ask(config.clone(), "/", &[("authorization", value)]).await;
        let found = seen.as_ref().map(Seen::who).map_err(|status| *status);
        assert_eq!(found, who, "{value}");
        if let Ok(seen) = seen {
            let left = seen.get("authorization").is_some();
            assert_eq!(left, who == Ok("guest"), "{value}");
        }
    }
}

#[tokio::test]
async fn without_a_key_a_request_passes_as_the_anonymous_consumer() {
    let config = json!({"anonymous": "guest"});
    assert_eq!(ask(config.clone(), "/", &[]).await.unwrap().who(), "guest");
    let wrong = ask(config, "/", &[("apikey", "k-eve")]).await;
    assert_eq!(wrong.unwrap_err(), 401);
}

#[test]
fn says_what_is_wrong() {
    let mut registry = Registry::default();
    registry.add::<KeyAuthLayer>();
    let entry = registry.get("key-auth").unwrap();
    assert!(entry.consumers());
    let plug = |config| entry.plug(config, &Setup::default());
    for (config, pointer) in [
        (json!({"key_names": ["a", "b c"]}), "/key_names/1"),
        (json!({"key_names": []}), "/key_names"),
        (json!({"key_names": [""]}), "/key_names/0"),
        (json!({"in": []}), "/in"),
    ] {
        let error = plug(config).err().unwrap();
        assert_eq!(
            error.downcast_ref::<FieldError>().unwrap().pointer(),
            pointer
        );
    }
    assert!(plug(json!({"in": ["cookie"]})).is_err());
    assert!(plug(json!({"key_name": "a"})).is_err());
    let plugged = plug(json!({"anonymous": "guest"})).unwrap();
    assert_eq!(plugged.consumer.as_deref(), Some("guest"));
}
