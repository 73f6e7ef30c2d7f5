//! `ip-restriction` in a pipeline: who is let through.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::exchange::Client;
use dgate_core::plugin::Plugged;
use dgate_core::{Body, BoxError, Error, Exchange, FieldError, Pipeline, Registry, Request, Setup};
use dgate_plugin_ip_restriction::IpRestrictionLayer;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

fn plug(config: Value) -> Result<Plugged, BoxError> {
    let mut registry = Registry::default();
    registry.add::<IpRestrictionLayer>();
    registry
        .get("ip-restriction")
        .unwrap()
        .plug(config, &Setup::default())
}

async fn status(config: Value, ip: Option<&str>) -> u16 {
    let stack = plug(config)
        .unwrap()
        .layer
        .unwrap()
        .layer(Pipeline::handler(|_: Exchange| async { "ok" }));
    let mut client = Client::default();
    client.ip = ip.map(|ip| ip.parse().unwrap());
    let mut request = Request::new(Body::empty());
    Exchange::new(client).attach(&mut request);
    match stack.oneshot(request).await {
        Ok(response) => response.status().as_u16(),
        Err(error) => Error::classify(error).status().as_u16(),
    }
}

#[tokio::test]
async fn lets_only_the_allowed_through() {
    let config = json!({"allow": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]});
    for (ip, expected) in [
        ("10.9.8.7", 200),
        ("192.0.2.7", 200),
        ("192.0.2.8", 403),
        ("2001:db8::1", 200),
        ("::1", 403),
    ] {
        assert_eq!(status(config.clone(), Some(ip)).await, expected, "{ip}");
    }
}

#[tokio::test]
async fn deny_wins() {
    let config = json!({"allow": ["10.0.0.0/8"], "deny": ["10.6.0.0/16"], "status": 404});
    assert_eq!(status(config.clone(), Some("10.5.0.1")).await, 200);
    assert_eq!(status(config, Some("10.6.0.1")).await, 404);
    let config = json!({"deny": ["10.6.0.0/16"]});
    assert_eq!(status(config.clone(), Some("192.0.2.1")).await, 200);
    assert_eq!(status(config, Some("10.6.0.1")).await, 403);
}

#[tokio::test]
async fn an_unknown_address_is_refused() {
    assert_eq!(
        status(json!({"allow": ["0.0.0.0/0", "::/0"]}), None).await,
        403
    );
    assert_eq!(status(json!({"deny": ["10.0.0.1"]}), None).await, 403);
}

#[test]
fn says_what_is_wrong() {
    let error = plug(json!({})).err().unwrap();
    assert!(error.downcast_ref::<FieldError>().is_some() && error.to_string().contains("allow"));
    let error = plug(json!({"deny": ["10.0.0.1"], "status": 302}))
        .err()
        .unwrap();
    assert_eq!(
        error.downcast_ref::<FieldError>().unwrap().pointer(),
        "/status"
    );
    assert!(plug(json!({"allow": ["10.0.0.0/99"]})).is_err());
    assert!(plug(json!({"allowed": ["10.0.0.0/8"]})).is_err());
}
