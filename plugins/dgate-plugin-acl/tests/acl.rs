//! `acl` in a pipeline: which groups are let through.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::exchange::{Client, Identity};
use dgate_core::plugin::Plugged;
use dgate_core::{Body, BoxError, Error, Exchange, FieldError, Pipeline, Registry, Request, Setup};
use dgate_plugin_acl::AclLayer;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

fn plug(config: Value) -> Result<Plugged, BoxError> {
    let mut registry = Registry::default();
    registry.add::<AclLayer>();
    let entry = registry.get("acl").unwrap();
    entry.plug(config, &Setup::default())
}

/// The status for a consumer with these groups; for none without them.
async fn status(config: Value, groups: Option<&[&str]>) -> u16 {
    let layer = plug(config).unwrap().layer.unwrap();
    let stack = layer.layer(Pipeline::handler(|_: Exchange| async { "ok" }));
    let ctx = Exchange::new(Client::default());
    if let Some(groups) = groups {
        let mut identity = Identity::default();
        identity.groups = groups.iter().map(|group| (*group).to_owned()).collect();
        ctx.set_identity(identity);
    }
    let mut request = Request::new(Body::empty());
    ctx.attach(&mut request);
    match stack.oneshot(request).await {
        Ok(response) => response.status().as_u16(),
        Err(error) => Error::classify(error).status().as_u16(),
    }
}

#[tokio::test]
async fn one_allowed_group_is_enough_and_a_denied_one_too_much() {
    let allow = json!({"allow": ["staff", "gold"]});
    let deny = json!({"deny": ["suspended"]});
    let both = json!({"allow": ["staff"], "deny": ["suspended"]});
    for (config, groups, expected) in [
        (&allow, &["gold"][..], 200),
        (&allow, &["guests", "staff"], 200),
        (&allow, &["guests"], 403),
        (&allow, &["Staff"], 403),
        (&allow, &[], 403),
        (&deny, &["guests"], 200),
        (&deny, &[], 200),
        (&deny, &["guests", "suspended"], 403),
        (&both, &["staff"], 200),
        (&both, &["staff", "suspended"], 403),
        (&both, &["guests"], 403),
    ] {
        let found = status(config.clone(), Some(groups)).await;
        assert_eq!(found, expected, "{config} {groups:?}");
    }
}

#[tokio::test]
async fn nobody_is_no_consumer_of_any_list() {
    assert_eq!(status(json!({"allow": ["staff"]}), None).await, 401);
    assert_eq!(status(json!({"deny": ["suspended"]}), None).await, 401);
}

#[test]
fn says_what_is_wrong() {
    for config in [json!({}), json!({"allow": [], "deny": []})] {
        let error = plug(config).err().unwrap();
        assert!(error.downcast_ref::<FieldError>().is_some());
        assert!(error.to_string().contains("allow"), "{error}");
    }
    assert!(plug(json!({"groups": ["staff"]})).is_err());
}
