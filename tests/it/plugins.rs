//! The native plugins in a whole gateway: what they keep when the configuration changes, and what the Admin API says
//! of a wrong one. What each does alone is tested in its crate.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::sync::Arc;

use dgate_tests::client::{DEADLINE, get, poll_until};
use dgate_tests::gateway::{TestGateway, proxy_to};
use dgate_tests::upstream::TestUpstream;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// One route with these plugins.
fn with_plugins(upstream: &TestUpstream, plugins: Value) -> Value {
    let mut bundle = proxy_to(upstream.url());
    bundle["routes"][0]["plugins"] = plugins;
    bundle
}

#[tokio::test]
async fn a_limit_remembers_what_was_used_when_something_else_changes() {
    let upstream = TestUpstream::echo();
    let limit = json!({"name": "rate-limit", "config": {"limit": 6, "window": "1h"}});
    let mut bundle = with_plugins(&upstream, json!([limit]));
    let gateway = TestGateway::start(bundle.clone());
    let status = async || get(gateway.addr(), "/").await.status;
    assert_eq!([status().await, status().await], [200, 200]);

    // Another route.
    let other = json!({"name": "other", "paths": ["/other"], "service": "svc"});
    bundle["routes"].as_array_mut().unwrap().push(other);
    gateway.apply(bundle.clone()).await;
    assert_eq!([status().await, status().await], [200, 200]);

    // The same route, and another plugin in front.
    bundle["routes"][0]["plugins"] = json!([{"name": "request-id"}, limit]);
    bundle["routes"][0]["tags"] = json!(["changed"]);
    gateway.apply(bundle.clone()).await;
    assert_eq!(
        [status().await, status().await, status().await],
        [200, 200, 429]
    );

    // Another limit begins anew.
    bundle["routes"][0]["plugins"][1]["config"]["limit"] = 7.into();
    gateway.apply(bundle).await;
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn what_only_the_plugin_finds_wrong_is_said_at_its_field() {
    let upstream = TestUpstream::echo();
    let gateway = TestGateway::start(with_plugins(&upstream, json!([])));
    let plugins = json!([{"name": "rate-limit", "config": {"limit": 5, "window": "0s"}}]);
    let bundle = with_plugins(&upstream, plugins);
    let answer = gateway.admin("POST", "/api/v1/apply", Some(bundle)).await;
    assert_eq!(answer.status, 422);
    let errors = &answer.json()["errors"];
    assert_eq!(
        errors[0]["pointer"], "/routes/0/plugins/0/config/window",
        "{errors}"
    );
}

#[tokio::test]
async fn requests_in_flight_stay_counted_when_something_else_changes() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let upstream = TestUpstream::with(move |_| {
        let opened = opened.clone();
        async move {
            opened.acquire().await.unwrap().forget();
            http::Response::new(String::from("ok"))
        }
    });
    let limit = json!({"name": "concurrency-limit", "config": {"max_inflight": 1}});
    let mut bundle = with_plugins(&upstream, json!([limit]));
    let gateway = TestGateway::start(bundle.clone());
    let addr = gateway.addr();
    let held = tokio::spawn(async move { get(addr, "/").await.status });
    let arrived = async || upstream.requests().len() == 1;
    poll_until(DEADLINE, "the first is in flight", arrived).await;

    bundle["routes"][0]["tags"] = json!(["changed"]);
    gateway.apply(bundle).await;
    assert_eq!(get(addr, "/").await.status, 503);
    gate.add_permits(2);
    assert_eq!(held.await.unwrap(), 200);
    // The place is given back when the body has ended, which the client may see a moment earlier.
    let free = async || get(addr, "/").await.status == 200;
    poll_until(DEADLINE, "the place is free", free).await;
}
