//! The native plugins in a whole gateway: what they keep when the configuration changes, and what the Admin API says
//! of a wrong one. What each does alone is tested in its crate.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_tests::client::get;
use dgate_tests::gateway::{TestGateway, proxy_to};
use dgate_tests::upstream::TestUpstream;
use serde_json::{Value, json};

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
