//! Documents: versions, schemas, ends of life, and what becomes of them with what they are in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dgate_tests::client::Reply;
use dgate_tests::gateway::{TestGateway, call};
use serde_json::{Value, json};

use super::{ask, pointers, stored};

const DOC: &str = "document/default/col/d";

fn gateway(collection: Value) -> TestGateway {
    let mut collection = collection;
    collection["name"] = "col".into();
    TestGateway::start(json!({"namespaces": [{"name": "default"}], "collections": [collection]}))
}

async fn put_if(admin: SocketAddr, header: (&str, &str), data: Value) -> Reply {
    let path = format!("/api/v1/{DOC}");
    call(admin, "PUT", &path, &[header], Some(json!({"data": data}))).await
}

#[tokio::test]
async fn a_version_counts_writes_and_is_what_if_match_compares() {
    let gateway = gateway(json!({}));
    let admin = gateway.admin_addr();
    let before = ask(admin, "GET", "namespace/default", None, 200).await["revision"].clone();
    for version in 1..=3 {
        // The same data is a write all the same.
        let status = if version == 1 { 201 } else { 200 };
        let put = ask(admin, "PUT", DOC, Some(json!({"data": 1})), status).await;
        assert_eq!(put["version"], version);
    }
    let read = call(admin, "GET", &format!("/api/v1/{DOC}"), &[], None).await;
    assert_eq!(read.header("etag"), Some("\"3\""));
    assert_eq!(
        put_if(admin, ("If-Match", "\"2\""), json!(2)).await.status,
        412
    );
    assert_eq!(
        put_if(admin, ("If-None-Match", "*"), json!(2)).await.status,
        412
    );
    let put = put_if(admin, ("If-Match", "\"3\""), json!(2)).await;
    assert_eq!((put.status, &put.json()["version"]), (200, &json!(4)));
    let patched = ask(admin, "PATCH", DOC, Some(json!({"data": {"a": 1}})), 200).await;
    assert_eq!(
        (&patched["version"], &patched["data"]),
        (&json!(5), &json!({"a": 1}))
    );
    // A new one of the same id begins anew.
    ask(admin, "DELETE", DOC, None, 204).await;
    ask(admin, "DELETE", DOC, None, 404).await;
    assert_eq!(
        put_if(admin, ("If-Match", "\"5\""), json!(2)).await.status,
        412
    );
    assert_eq!(
        put_if(admin, ("If-None-Match", "*"), json!(2)).await.status,
        201
    );
    // Documents make no revision.
    let newest = ask(admin, "GET", "revision?limit=1", None, 200).await;
    assert_eq!(newest["items"][0]["id"], before);
}

#[tokio::test]
async fn what_does_not_fit_the_schema_is_told_by_its_pointers_and_not_written() {
    let schema = json!({"type": "object", "required": ["n"], "additionalProperties": false,
        "properties": {"n": {"type": "integer"}, "list": {"items": {"maxLength": 2}}}});
    let gateway = gateway(json!({"schema": schema}));
    let admin = gateway.admin_addr();
    ask(admin, "PUT", DOC, Some(json!({"data": {"n": 1}})), 201).await;
    let wrong = json!({"data": {"n": "x", "list": ["ok", "long"]}});
    let refused = ask(admin, "PUT", DOC, Some(wrong), 422).await;
    let mut found = pointers(&refused);
    found.sort_unstable();
    assert_eq!(found, ["/data/list/1", "/data/n"]);
    let bundle = json!({"documents": [{"collection": "col", "id": "good", "data": {"n": 1}},
        {"collection": "col", "id": "bad", "data": {}}, {"collection": "none", "id": "x", "data": 1}]});
    let refused = ask(admin, "POST", "apply", Some(bundle), 422).await;
    assert_eq!(
        pointers(&refused),
        ["/documents/1/data", "/documents/2/collection"]
    );
    let all = ask(admin, "GET", "document", None, 200).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    assert_eq!(all["items"][0]["data"], json!({"n": 1}));
    // Another schema counts from the next write on.
    let other = json!({"schema": {"type": "string"}});
    ask(admin, "PUT", "collection/default/col", Some(other), 200).await;
    ask(admin, "GET", DOC, None, 200).await;
    ask(admin, "PUT", DOC, Some(json!({"data": {"n": 1}})), 422).await;
    ask(admin, "PUT", DOC, Some(json!({"data": "text"})), 200).await;
}

/// Asks until the answer has this status.
async fn until(admin: SocketAddr, path: &str, status: u16) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while super::told(admin, "GET", path, None).await.status != status {
        assert!(Instant::now() < deadline, "{path} never answers {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_document_goes_at_the_end_of_its_time_and_begins_anew() {
    let gateway = gateway(json!({"ttl": "150ms"}));
    let admin = gateway.admin_addr();
    let put = ask(admin, "PUT", DOC, Some(json!({"data": 1})), 201).await;
    assert!(put["expires_at"].is_string(), "{put}");
    // A write may say otherwise.
    let far = json!({"data": 1, "expires_at": "2999-01-01T00:00:00Z"});
    let kept = ask(admin, "PUT", "document/default/col/kept", Some(far), 201).await;
    assert_eq!(kept["expires_at"], "2999-01-01T00:00:00Z");
    until(admin, DOC, 404).await;
    let all = ask(admin, "GET", "document", None, 200).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all}");
    assert_eq!(put_if(admin, ("If-Match", "*"), json!(1)).await.status, 412);
    ask(admin, "DELETE", DOC, None, 404).await;
    let put = put_if(admin, ("If-None-Match", "*"), json!(1)).await;
    assert_eq!((put.status, &put.json()["version"]), (201, &json!(1)));
    until(admin, DOC, 404).await;
    let past = json!({"data": 1, "expires_at": "2001-01-01T00:00:00Z"});
    let refused = ask(admin, "PUT", DOC, Some(past.clone()), 422).await;
    assert_eq!(pointers(&refused), ["/expires_at"]);
    // In a bundle, which may be an old export, it is as good as none.
    let mut old = past;
    (old["collection"], old["id"]) = ("col".into(), "old".into());
    let applied = gateway.apply(json!({"documents": [old]})).await;
    assert_eq!(applied["changes"], json!([]));
}

#[tokio::test]
async fn what_holds_documents_goes_only_with_them() {
    let process = stored(json!({}));
    let admin = process.admin_addr();
    let bundle = json!({"namespaces": [{"name": "n"}], "collections": [{"namespace": "n", "name": "col"}],
        "secrets": [{"namespace": "n", "name": "s", "data": "x"}],
        "documents": [{"namespace": "n", "collection": "col", "id": "a", "data": 1},
            {"namespace": "n", "collection": "col", "id": "b/ü", "data": 2}]});
    ask(admin, "POST", "apply", Some(bundle.clone()), 200).await;
    let refused = ask(admin, "DELETE", "collection/n/col", None, 409).await;
    let named =
        json!([{"kind": "document", "key": "n/col/a"}, {"kind": "document", "key": "n/col/b/ü"}]);
    assert_eq!(refused["referrers"], named);
    // Pruning takes neither documents with it nor secrets, nor what holds them, and says so.
    let bare = json!({"namespaces": [{"name": "n"}]});
    for path in ["apply?prune=true&dry_run=true", "apply?prune=true"] {
        let kept = ask(admin, "POST", path, Some(bare.clone()), 200).await;
        assert_eq!(kept["changes"], json!([]));
        let warning = &kept["warnings"][0];
        assert_eq!(
            (&warning["kind"], &warning["key"]),
            (&json!("collection"), &json!("n/col"))
        );
        let detail = warning["detail"].as_str().unwrap();
        assert!(detail.contains("it holds documents"), "{detail}");
    }
    process.wait_for_line("pruning leaves a resource");
    // One that a document of the bundle goes into stays, too.
    let mut into = bare.clone();
    into["documents"] = bundle["documents"].clone();
    let kept = ask(admin, "POST", "apply?prune=true", Some(into), 200).await;
    assert_eq!(kept["changes"], json!([]));
    ask(admin, "DELETE", "namespace/n", None, 409).await;
    for id in ["a", "b%2F%C3%BC"] {
        ask(admin, "DELETE", &format!("document/n/col/{id}"), None, 204).await;
    }
    let pruned = ask(admin, "POST", "apply?prune=true", Some(bare), 200).await;
    assert_eq!(
        pruned["changes"],
        json!([{"op": "delete", "kind": "collection", "key": "n/col"}])
    );
    ask(admin, "GET", "secret/n/s", None, 200).await;

    ask(admin, "POST", "apply", Some(bundle.clone()), 200).await;
    ask(admin, "DELETE", "collection/n/col?cascade=true", None, 204).await;
    ask(admin, "GET", "document/n/col/a", None, 404).await;
    ask(admin, "POST", "apply", Some(bundle.clone()), 200).await;
    ask(admin, "DELETE", "namespace/n?cascade=true", None, 204).await;
    ask(admin, "GET", "document/n/col/a", None, 404).await;
    let none = ask(admin, "GET", "document", None, 200).await;
    assert_eq!(none["items"], json!([]));
    // What was there before is not there again with a new namespace of that name.
    ask(
        admin,
        "POST",
        "apply",
        Some(json!({"namespaces": [{"name": "n"}],
        "collections": [{"namespace": "n", "name": "col"}]})),
        200,
    )
    .await;
    let process = super::again(process.kill());
    ask(process.admin_addr(), "GET", "document/n/col/a", None, 404).await;
}

#[tokio::test]
async fn of_writers_with_the_same_version_one_wins() {
    let gateway = gateway(json!({}));
    let admin = gateway.admin_addr();
    ask(admin, "PUT", DOC, Some(json!({"data": 0})), 201).await;
    for round in 1..=8 {
        let tag = format!("\"{round}\"");
        let writers = (0..16).map(|n| put_if(admin, ("If-Match", &tag), json!([round, n])));
        let answers = futures_util::future::join_all(writers).await;
        let won: Vec<_> = answers.iter().filter(|a| a.status == 200).collect();
        assert_eq!(won.len(), 1, "round {round}");
        assert!(answers.iter().all(|a| [200, 412].contains(&a.status)));
        let stored = ask(admin, "GET", DOC, None, 200).await;
        assert_eq!(
            (&stored["version"], &stored["data"]),
            (&json!(round + 1), &won[0].json()["data"])
        );
    }
}

#[tokio::test]
async fn patches_that_ask_for_no_version_all_count() {
    let gateway = gateway(json!({}));
    let admin = gateway.admin_addr();
    ask(admin, "PUT", DOC, Some(json!({"data": {}})), 201).await;
    let patches = (0..8).map(|n| {
        ask(
            admin,
            "PATCH",
            DOC,
            Some(json!({"data": {n.to_string(): n}})),
            200,
        )
    });
    futures_util::future::join_all(patches).await;
    let stored = ask(admin, "GET", DOC, None, 200).await;
    assert_eq!(
        (
            &stored["version"],
            stored["data"].as_object().unwrap().len()
        ),
        (&json!(9), 8)
    );
}

#[tokio::test]
async fn what_is_refused_to_a_module_is_logged_with_its_place() {
    let source = "import { collection } from 'dgate/state';\nexport async function requestHandler() {\n  await null;\n  \
        return await collection('ghost').put('a', 1);\n}\n";
    let process = stored(
        json!({"namespaces": [{"name": "default"}], "modules": [{"name": "m", "source": source}],
        "routes": [{"name": "r", "paths": ["/**"], "modules": ["m"]}]}),
    );
    let answer = dgate_tests::client::get(process.addr(), "/").await;
    assert_eq!(answer.status, 500, "{}", answer.text());
    let line = process.wait_for_line("m.ts:4:");
    assert!(line.contains("ghost"), "{line}");
}
