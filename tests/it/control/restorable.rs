//! What is taken can be given back: every export and backup is a bundle that its own gateway, an empty one and a
//! configuration file take.

use dgate_tests::client::get;
use dgate_tests::gateway::TestGateway;
use serde_json::{Value, json};

use super::{ask, pointers, stored};

/// So many levels, the innermost value included.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!(0), |inner, _| json!([inner]))
}

const DEEP: &str = r#"
import { collection } from "dgate/state";
export async function requestHandler(ctx) {
    const levels = Number(ctx.query.get("levels"));
    let data: unknown = 0;
    for (let n = 1; n < levels; n++) data = { a: data };
    try {
        await collection("col").put("module", data);
        return { code: "ok" };
    } catch (error) {
        return { code: error.code, message: error.message };
    }
}"#;

#[tokio::test]
async fn data_as_deep_as_is_taken_comes_back_from_every_export() {
    let gateway = TestGateway::start(json!({
        "namespaces": [{"name": "default"}],
        "collections": [{"name": "col"}],
        "modules": [{"name": "m", "source": DEEP}],
        "routes": [{"name": "m", "paths": ["/m"], "modules": ["m"]}],
    }));
    let admin = gateway.admin_addr();
    let (fits, deep) = (nested(56), nested(57));
    let schema = |levels: usize| json!({"schema": {"const": nested(levels - 1)}});
    for (path, good, bad, pointer) in [
        (
            "document/default/col/d",
            json!({"data": fits}),
            json!({"data": deep}),
            "/data",
        ),
        (
            "consumer/default/c",
            json!({"metadata": {"a": nested(55)}}),
            json!({"metadata": {"a": nested(56)}}),
            "/metadata",
        ),
        (
            "collection/default/other",
            schema(56),
            schema(57),
            "/schema",
        ),
    ] {
        let refused = ask(admin, "PUT", path, Some(bad), 422).await;
        assert_eq!(pointers(&refused), [pointer]);
        let detail = refused["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("nests deeper than 56 levels"), "{detail}");
        ask(admin, "PUT", path, Some(good), 201).await;
    }
    let bundle = json!({"documents": [{"collection": "col", "id": "x", "data": deep}]});
    let refused = ask(admin, "POST", "apply", Some(bundle), 422).await;
    assert_eq!(pointers(&refused), ["/documents/0/data"]);
    let told = get(gateway.addr(), "/m?levels=57").await.json();
    assert_eq!(told["code"], "invalid", "{told}");
    let told = get(gateway.addr(), "/m?levels=56").await.json();
    assert_eq!(told["code"], "ok", "{told}");

    let export = ask(admin, "GET", "export", None, 200).await;
    let again = ask(admin, "POST", "apply", Some(export.clone()), 200).await;
    assert_eq!(again["changes"], json!([]));
    // A configuration file has one level more around it.
    let file = stored(export.clone());
    assert_eq!(
        ask(file.admin_addr(), "GET", "export", None, 200).await,
        export
    );
}

#[tokio::test]
async fn documents_from_before_a_schema_come_back() {
    let from = TestGateway::start(json!({
        "namespaces": [{"name": "default"}],
        "collections": [{"name": "col"}],
        "documents": [{"collection": "col", "id": "a", "data": "text"}],
    }));
    let admin = from.admin_addr();
    let schema = json!({"schema": {"type": "object"}});
    ask(admin, "PUT", "collection/default/col", Some(schema), 200).await;
    let export = ask(admin, "GET", "export", None, 200).await;
    // To its own gateway it changes nothing.
    let again = ask(admin, "POST", "apply", Some(export.clone()), 200).await;
    assert_eq!(again["changes"], json!([]));
    // Elsewhere a document is looked at as any other, unless this is a restore.
    let to = TestGateway::start(json!({}));
    let admin = to.admin_addr();
    let refused = ask(admin, "POST", "apply", Some(export.clone()), 422).await;
    assert_eq!(pointers(&refused), ["/documents/0/data"]);
    let path = "apply?bypass_document_validation=true";
    ask(admin, "POST", path, Some(export.clone()), 200).await;
    assert_eq!(ask(admin, "GET", "export", None, 200).await, export);
    // Size and depth are no matter of a schema.
    let deep = json!({"documents": [{"collection": "col", "id": "deep", "data": nested(57)}]});
    ask(admin, "POST", path, Some(deep), 422).await;
}
