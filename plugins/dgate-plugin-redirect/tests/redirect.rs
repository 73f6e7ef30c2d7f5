//! `redirect` in a pipeline.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::plugin::Plugged;
use dgate_core::{
    Body, BoxError, FieldError, HookSet, ModuleLayer, Pipeline, Registry, Request, Response, Setup,
};
use dgate_plugin_redirect::Redirect;
use serde_json::{Value, json};
use tower::{ServiceExt, service_fn};

fn plug(config: Value) -> Result<Plugged, BoxError> {
    let mut registry = Registry::default();
    registry.add::<Redirect>();
    registry
        .get("redirect")
        .unwrap()
        .plug(config, &Setup::default())
}

#[tokio::test]
async fn answers_without_the_service() {
    for (config, status) in [
        (
            json!({"location": "https://new.test/there?a=1#b", "status": 308}),
            308,
        ),
        (json!({"location": "https://new.test/there?a=1#b"}), 302),
    ] {
        let plugged = plug(config).unwrap();
        // So a route needs no service.
        assert!(plugged.hooks.points().contains(HookSet::REQUEST_HANDLER));
        let never = service_fn(|_: Request| async {
            panic!("it must not be called") as Result<Response, BoxError>
        });
        let stack = Pipeline::builder()
            .layer(ModuleLayer::shared(plugged.hooks))
            .service(never);
        let answer = stack.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["location"], "https://new.test/there?a=1#b");
    }
}

#[test]
fn says_which_field_is_wrong() {
    for (config, pointer) in [
        (json!({"location": ""}), "/location"),
        (json!({"location": "https://a b"}), "/location"),
        (json!({"location": "/a\r\nx: y"}), "/location"),
        (json!({"location": "/", "status": 200}), "/status"),
        (json!({"location": "/", "status": 304}), "/status"),
    ] {
        let error = plug(config).err().unwrap();
        assert_eq!(
            error.downcast_ref::<FieldError>().unwrap().pointer(),
            pointer
        );
    }
    assert!(plug(json!({})).is_err());
}
