//! The description of the Admin API: `docs/openapi.json` is what the code says (`UPDATE_DOCS=1` writes
//! it), nothing in it dangles, and each of its calls is there.

use std::fs;
use std::path::Path;

use dgate::admin::openapi;
use dgate_tests::gateway::{TestGateway, call};
use serde_json::{Value, json};

#[test]
fn the_golden_file_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let says = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, says).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == says,
        "docs/openapi.json is not what the code says: UPDATE_DOCS=1 cargo test -p dgate-tests openapi"
    );
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(document: &Value, value: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(target) = object.get("$ref").and_then(Value::as_str) {
                    let found = document.pointer(target.trim_start_matches('#'));
                    assert!(target.starts_with("#/") && found.is_some(), "{target}");
                }
                object.values().for_each(|v| check(document, v));
            }
            Value::Array(items) => items.iter().for_each(|v| check(document, v)),
            _ => {}
        }
    }
    let document = openapi();
    check(&document, &document);
}

#[tokio::test]
async fn every_call_that_is_described_is_there() {
    let gateway = TestGateway::start(json!({"namespaces": [{"name": "default"}]}));
    let served = gateway.admin("GET", "/openapi.json", None).await;
    assert_eq!(served.json(), openapi());
    assert_eq!(served.header("content-type"), Some("application/json"));
    let mut ids = Vec::new();
    for (path, item) in openapi()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            ids.push(operation["operationId"].clone());
            let path = path
                .replace("{kind}", "route")
                .replace("{namespace}", "default")
                .replace(['{', '}'], "");
            let body = operation.get("requestBody").map(|_| json!({"x": 1}));
            let method = method.to_uppercase();
            let answer = call(gateway.admin_addr(), &method, &path, &[], body).await;
            let text = answer.text();
            assert_ne!(answer.status, 405, "{method} {path}");
            assert!(answer.status < 500, "{method} {path}: {text}");
            assert!(
                !text.contains("there is no such call") && !text.contains("there is no kind"),
                "{method} {path}: {text}"
            );
        }
    }
    let count = ids.len();
    ids.sort_by_key(Value::to_string);
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
}
