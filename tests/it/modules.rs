//! Modules as resources: what is refused and where, who refers to whom, files that hold their sources.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod files;

use dgate::hook::RequestModifierLayer;
use dgate::snapshot::Routed;
use dgate::{BoxError, DGate, Exchange, Interrupt, Pipeline, Request};
use dgate_core::Body;
use dgate_tests::client::Reply;
use dgate_tests::gateway::{TestGateway, loaded};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

const HANDLER: &str = "export const requestHandler = () => 'x';\n";
/// Wrong in line 2, for whatever reads it.
const BROKEN: &str = "export function requestHandler(ctx) {\n  const = 1\n}\n";
const MODULE: &str = "/api/v1/module/default/fn";

fn bundle() -> Value {
    json!({
        "namespaces": [{"name": "default"}],
        "modules": [{"name": "fn", "source": HANDLER}, {"name": "library", "source": "export const a = 1;\n"}],
        "routes": [{"name": "r", "paths": ["/fn"], "modules": ["fn"]}],
    })
}

async fn apply(gateway: &TestGateway, bundle: Value) -> Reply {
    gateway.admin("POST", "/api/v1/apply", Some(bundle)).await
}

/// The errors of a 422, as pointer and detail.
fn errors(answer: &Reply) -> Vec<(String, String)> {
    assert_eq!(answer.status, 422, "{}", answer.text());
    let problem = answer.json();
    let errors = problem["errors"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    errors
        .map(|e| (text(&e["pointer"]), text(&e["detail"])))
        .collect()
}

#[tokio::test]
async fn a_module_is_a_resource_like_any_other() {
    let gateway = TestGateway::start(bundle());
    let stored = gateway.admin("GET", MODULE, None).await;
    assert_eq!(stored.header("etag"), Some("\"1\""));
    assert_eq!(stored.json()["source"], HANDLER);
    let back = gateway.admin("PUT", MODULE, Some(stored.json())).await;
    assert_eq!((back.status, back.json()), (200, stored.json()));
    let patch =
        json!({"type": "javascript", "limits": {"cpu": "20ms"}, "permissions": {"net": []}});
    let patched = gateway.admin("PATCH", MODULE, Some(patch)).await.json();
    assert_eq!(
        (
            &patched["type"],
            &patched["limits"],
            &patched["permissions"],
            &patched["revision"]
        ),
        (
            &json!("javascript"),
            &json!({"cpu": "20ms"}),
            &json!({"net": []}),
            &json!(2)
        )
    );
    let listed = gateway.admin("GET", "/api/v1/mod", None).await.json();
    assert_eq!(listed["items"][0], patched);
    let export = gateway.admin("GET", "/api/v1/export", None).await.json();
    assert_eq!(export["modules"][0]["limits"], json!({"cpu": "20ms"}));
    assert_eq!(export["routes"][0]["modules"], json!(["fn"]));
    let schema = gateway.admin("GET", "/api/v1/schema/modules", None).await;
    assert!(schema.json()["properties"]["source"].is_object());
}

#[tokio::test]
async fn what_is_absurd_in_a_module_is_refused_at_its_place() {
    let gateway = TestGateway::start(bundle());
    for (fields, pointer, word) in [
        (json!({"source": "", "sorce": ""}), "/sorce", "`source`"),
        (json!({}), "/source", "source"),
        (
            json!({"source_file": "x.ts"}),
            "/source_file",
            "source_file",
        ),
        (json!({"source": "", "type": "python"}), "/type", "python"),
        (
            json!({"source": "x".repeat(1024 * 1024 + 1)}),
            "/source",
            "1MiB",
        ),
        (
            json!({"source": "", "limits": {"cpu": "0s"}}),
            "/limits/cpu",
            "1ms",
        ),
        (
            json!({"source": "", "limits": {"cpu": "2m"}}),
            "/limits/cpu",
            "1m",
        ),
        (
            json!({"source": "", "limits": {"wall": "2d"}}),
            "/limits/wall",
            "1h",
        ),
        (
            json!({"source": "", "limits": {"memory": "1KiB"}}),
            "/limits/memory",
            "4MiB",
        ),
        (
            json!({"source": "", "limits": {"fetches": -1}}),
            "/limits/fetches",
            "at least",
        ),
        (
            json!({"source": "", "permissions": {"net": ["a.com", "http://a.com"]}}),
            "/permissions/net/1",
            "http://a.com",
        ),
        (
            json!({"source": "", "isolation": "none"}),
            "/isolation",
            "none",
        ),
        (
            json!({"source": "", "on_error": "ignore"}),
            "/on_error",
            "ignore",
        ),
    ] {
        let answer = gateway.admin("PUT", MODULE, Some(fields.clone())).await;
        let found = errors(&answer);
        assert!(
            found
                .iter()
                .any(|(at, detail)| at == pointer && detail.contains(word)),
            "{pointer} {word}: {found:?}"
        );
    }
    let sound = json!({"source": HANDLER, "permissions": {"net": ["a.com:443", "*.b.com", "[::1]:80", "127.0.0.1"]}});
    assert_eq!(gateway.admin("PUT", MODULE, Some(sound)).await.status, 200);
}

#[tokio::test]
async fn a_route_lists_modules_that_are_there_each_once() {
    let gateway = TestGateway::start(bundle());
    let route = |modules: Value| json!({"paths": ["/other"], "modules": modules});
    let put = async |modules: Value| {
        let path = "/api/v1/route/default/other";
        gateway.admin("PUT", path, Some(route(modules))).await
    };
    let found = errors(&put(json!(["fn", "libary", "ghost"])).await);
    assert_eq!(found[0].0, "/modules/1");
    assert!(found[0].1.contains("did you mean `library`?"), "{found:?}");
    assert_eq!(found[1].0, "/modules/2");
    assert!(!found[1].1.contains("did you mean"), "{found:?}");
    let twice = errors(&put(json!(["fn", "library", "fn"])).await);
    assert_eq!(twice.len(), 1, "{twice:?}");
    assert_eq!(twice[0].0, "/modules/2");
    // Nothing answers: `library` exports no hook.
    let unanswered = errors(&put(json!(["library"])).await);
    assert!(unanswered[0].1.contains("requestHandler"), "{unanswered:?}");
    assert_eq!(put(json!(["library", "fn"])).await.status, 201);
}

#[tokio::test]
async fn a_module_that_a_route_lists_stays() {
    let gateway = TestGateway::start(bundle());
    let refused = gateway.admin("DELETE", MODULE, None).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("referenced"))
    );
    assert_eq!(
        refused.json()["referrers"],
        json!([{"kind": "route", "key": "default/r"}])
    );
    let free = gateway
        .admin("DELETE", "/api/v1/module/default/library", None)
        .await;
    assert_eq!(free.status, 204);
    let route = gateway
        .admin("DELETE", "/api/v1/route/default/r", None)
        .await;
    assert_eq!(route.status, 204);
    assert_eq!(gateway.admin("DELETE", MODULE, None).await.status, 204);
}

#[tokio::test]
async fn modules_go_with_their_namespace_and_with_prune() {
    let gateway = TestGateway::start(bundle());
    let mut other = bundle();
    other["namespaces"] = json!([{"name": "other"}]);
    for kind in ["modules", "routes"] {
        for item in other[kind].as_array_mut().unwrap() {
            item["namespace"] = json!("other");
        }
    }
    gateway.apply(other).await;
    let gone = gateway
        .admin("DELETE", "/api/v1/namespace/other?cascade=true", None)
        .await;
    assert_eq!(gone.status, 204, "{}", gone.text());
    let mut pruned = bundle();
    pruned["modules"].as_array_mut().unwrap().pop();
    let answer = gateway
        .admin("POST", "/api/v1/apply?prune=true", Some(pruned))
        .await;
    assert_eq!(
        answer.json()["changes"],
        json!([{"op": "delete", "kind": "module", "key": "default/library"}])
    );
    // Pruned away while a route lists it: refused, and all stays.
    let route = json!({"namespaces": [{"name": "default"}], "routes": bundle()["routes"]});
    let answer = gateway
        .admin("POST", "/api/v1/apply?prune=true", Some(route))
        .await;
    assert_eq!(errors(&answer)[0].0, "/routes/0/modules/0");
    assert_eq!(gateway.admin("GET", MODULE, None).await.status, 200);
}

#[tokio::test]
async fn a_module_that_does_not_compile_changes_nothing_and_says_where() {
    let gateway = TestGateway::start(bundle());
    let put = gateway
        .admin("PUT", MODULE, Some(json!({"source": BROKEN})))
        .await;
    let found = errors(&put);
    assert_eq!(found[0].0, "/source");
    assert!(found[0].1.contains(": 2:"), "{found:?}");
    let many = json!({"modules": [{"name": "good", "source": HANDLER}, {"name": "bad", "source": BROKEN}]});
    assert_eq!(
        errors(&apply(&gateway, many).await)[0].0,
        "/modules/1/source"
    );
    let missing = json!({"modules": [{"name": "user", "source": "import { a } from './ghost';\nexport const b = a;\n"}]});
    let found = errors(&apply(&gateway, missing).await);
    assert!(found[0].1.contains("ghost"), "{found:?}");
    let listed = gateway.admin("GET", "/api/v1/module", None).await;
    assert_eq!(listed.header("x-dgate-revision"), Some("1"));
    assert_eq!(listed.json()["items"][0]["source"], HANDLER);
}

#[tokio::test]
async fn an_imported_module_stays() {
    let gateway = TestGateway::start(bundle());
    let user = json!({"source": "import { a } from './library';\nexport const requestHandler = () => a;\n"});
    assert_eq!(gateway.admin("PUT", MODULE, Some(user)).await.status, 200);
    let refused = gateway
        .admin("DELETE", "/api/v1/module/default/library", None)
        .await;
    let found = errors(&refused);
    assert!(
        found[0].1.contains("default/fn") && found[0].1.contains("library"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_misspelt_hook_is_a_warning() {
    let gateway = TestGateway::start(bundle());
    let source = "export const requestHandlr = () => 'x';\n";
    let path = "/api/v1/module/default/typo";
    let put = gateway
        .admin("PUT", path, Some(json!({"source": source})))
        .await;
    assert_eq!(put.status, 201, "{}", put.text());
    let warning = &put.json()["warnings"][0];
    assert_eq!(
        (&warning["kind"], &warning["key"]),
        (&json!("module"), &json!("default/typo"))
    );
    assert!(
        warning["detail"]
            .as_str()
            .unwrap()
            .contains("requestHandler"),
        "{warning}"
    );
    // What was answered can be written back, and others are not warned of it.
    assert_eq!(
        gateway.admin("PUT", path, Some(put.json())).await.status,
        200
    );
    let other = json!({"modules": [{"name": "other", "source": HANDLER}]});
    assert_eq!(gateway.apply(other).await.get("warnings"), None);
    let again = json!({"modules": [{"name": "typo", "source": format!("{source}\n")}]});
    assert_eq!(
        gateway.apply(again).await["warnings"][0]["key"],
        "default/typo"
    );
}

#[tokio::test]
async fn a_route_stays_what_it_is_until_one_of_its_modules_changes() {
    let gateway = TestGateway::start(bundle());
    let route = || {
        let mut req = Request::new(Body::empty());
        *req.uri_mut() = "/fn".parse().unwrap();
        let snapshot = gateway.gateway().control().snapshot().load_full();
        match snapshot.route("h", &mut req) {
            Routed::Route(route, _) => route,
            _ => panic!("/fn has a route"),
        }
    };
    let first = route();
    let put = async |name: &str, source: &str| {
        let path = format!("/api/v1/module/default/{name}");
        let body = json!({"source": source});
        let answer = gateway.admin("PUT", &path, Some(body)).await;
        assert!([200, 201].contains(&answer.status), "{}", answer.text());
    };
    put("library", "export const a = 2;\n").await;
    put("new", HANDLER).await;
    assert!(Arc::ptr_eq(&first, &route()));
    put("fn", "export const requestHandler = () => 'y';\n").await;
    assert!(!Arc::ptr_eq(&first, &route()));
}

#[tokio::test]
async fn a_module_error_tells_its_cause_only_where_it_may() {
    for exposed in [false, true] {
        let fail = RequestModifierLayer::from_fn(|_: Exchange, _: Request| async {
            Err(Interrupt::Fail(BoxError::from("secret words")))
        });
        let stack = Pipeline::builder()
            .layer(fail)
            .service(Pipeline::handler(|_: Exchange| async { "never" }));
        let config = json!({"proxy": {"expose_module_errors": exposed}});
        let gateway = DGate::builder().loaded(loaded(json!({}), config));
        let gateway = gateway.route("/x", stack).build().await.unwrap();
        let request = http::Request::get("/x").header("host", "h");
        let answer = gateway.oneshot(request.body(Body::empty()).unwrap()).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 500);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], "module_error");
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!(detail.contains("secret words"), exposed, "{detail}");
    }
}
