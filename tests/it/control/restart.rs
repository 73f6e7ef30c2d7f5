//! After a restart and after `kill -9`: everything that was acknowledged, and nothing else.

use dgate_tests::client::get;
use dgate_tests::gateway::TestGateway;
use dgate_tests::process::PATIENCE;
use serde_json::{Value, json};

use super::{again, ask, configured, state_hash, stored};

const TELLS: &str = r#"
import { get } from "dgate/secrets";
import { collection } from "dgate/state";
export async function requestHandler() {
    const hits = collection("hits"), seen = await hits.get("all");
    await hits.put("all", { n: (seen?.data.n ?? 0) + 1 });
    return { token: await get("token"), n: seen?.data.n ?? 0 };
}"#;

fn bundle() -> Value {
    json!({
        "namespaces": [{"name": "default", "tags": ["a"]}],
        "services": [{"name": "svc", "urls": ["http://127.0.0.1:9"]}],
        "collections": [{"name": "hits"}],
        "secrets": [{"name": "token", "data": "hush"}],
        "consumers": [{"name": "c", "credentials": [{"key": "k"}], "groups": ["g"]}],
        "modules": [{"name": "m", "source": TELLS, "permissions": {"secrets": ["token"]}}],
        "routes": [{"name": "m", "paths": ["/m"], "modules": ["m"]}],
        "documents": [{"collection": "hits", "id": "other", "data": [1, "ü", null, 1.5]}],
    })
}

#[tokio::test]
async fn all_of_it_is_there_after_a_restart() {
    let mut process = stored(bundle());
    let admin = process.admin_addr();
    for n in 0..3 {
        let told = get(process.addr(), "/m").await;
        assert_eq!(
            (told.status, told.json()),
            (200, json!({"token": "hush", "n": n})),
            "{}",
            told.text()
        );
    }
    let changed = json!({"urls": ["http://127.0.0.1:9"], "tags": ["changed"]});
    ask(admin, "PUT", "service/default/svc", Some(changed), 200).await;
    ask(admin, "DELETE", "consumer/default/c", None, 204).await;
    let kinds = [
        "namespace",
        "service",
        "collection",
        "secret",
        "consumer",
        "module",
        "route",
        "document",
        "revision",
        "revision/1",
        "revision/2",
        "revision/3",
        "export",
    ];
    let read = async |admin| {
        let mut all = Vec::new();
        for kind in kinds {
            all.push(ask(admin, "GET", kind, None, 200).await);
        }
        all
    };
    let before = read(admin).await;
    process.signal("TERM");
    assert_eq!(process.wait(PATIENCE), Some(0), "{}", process.output());

    // The configuration file is the same: what the Admin API changed since stays.
    let process = again(process.kill());
    let after = read(process.admin_addr()).await;
    for (kind, (before, after)) in kinds.iter().zip(before.iter().zip(&after)) {
        assert_eq!(before, after, "{kind}");
    }
    let told = get(process.addr(), "/m").await;
    assert_eq!(told.json(), json!({"token": "hush", "n": 3}));
    let version = ask(
        process.admin_addr(),
        "GET",
        "document/default/hits/all",
        None,
        200,
    )
    .await;
    assert_eq!(
        (&version["version"], &version["data"]["n"]),
        (&json!(4), &json!(4))
    );
    ask(
        process.admin_addr(),
        "POST",
        "rollback",
        Some(json!({"to": 1})),
        200,
    )
    .await;
    ask(process.admin_addr(), "GET", "consumer/default/c", None, 200).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_at_once() {
    let mut process =
        stored(json!({"namespaces": [{"name": "default"}], "collections": [{"name": "col"}]}));
    for n in 1..=5 {
        let admin = process.admin_addr();
        let service = json!({"urls": ["http://127.0.0.1:9"], "tags": [n.to_string()]});
        ask(
            admin,
            "PUT",
            "service/default/s",
            Some(service),
            if n == 1 { 201 } else { 200 },
        )
        .await;
        process = again(process.kill());
        let admin = process.admin_addr();
        let found = ask(admin, "GET", "service/default/s", None, 200).await;
        assert_eq!(found["tags"], json!([n.to_string()]));
        let document = json!({"data": {"n": n}});
        ask(
            admin,
            "PUT",
            "document/default/col/d",
            Some(document),
            if n == 1 { 201 } else { 200 },
        )
        .await;
        process = again(process.kill());
        let found = ask(
            process.admin_addr(),
            "GET",
            "document/default/col/d",
            None,
            200,
        )
        .await;
        assert_eq!(
            (&found["data"]["n"], &found["version"]),
            (&json!(n), &json!(n))
        );
        let both = json!({"services": [{"name": "b", "urls": ["http://127.0.0.1:9"], "tags": [n.to_string()]}],
            "documents": [{"collection": "col", "id": "b", "data": n}]});
        ask(process.admin_addr(), "POST", "apply", Some(both), 200).await;
        process = again(process.kill());
        let admin = process.admin_addr();
        let service = ask(admin, "GET", "service/default/b", None, 200).await;
        let document = ask(admin, "GET", "document/default/col/b", None, 200).await;
        assert_eq!(
            (&service["tags"], &document["data"]),
            (&json!([n.to_string()]), &json!(n))
        );
    }
}

#[tokio::test]
async fn an_export_makes_the_same_state_elsewhere() {
    let mut bundle = bundle();
    // Sensitive fields are in no export, and digested with a key of each gateway.
    for kind in ["secrets", "consumers"] {
        bundle.as_object_mut().unwrap().remove(kind);
    }
    let from = stored(bundle);
    ask(
        from.admin_addr(),
        "PUT",
        "document/default/hits/x",
        Some(json!({"data": {"n": 1}})),
        201,
    )
    .await;
    let export = ask(from.admin_addr(), "GET", "export", None, 200).await;
    let to = TestGateway::start(json!({}));
    to.apply(export.clone()).await;
    assert_eq!(
        state_hash(from.admin_addr()).await,
        state_hash(to.admin_addr()).await
    );
    assert_eq!(
        ask(to.admin_addr(), "GET", "export", None, 200).await,
        export
    );
    assert_eq!(export["documents"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn as_many_revisions_are_kept_as_storage_history_says() {
    let namespaces = json!({"namespaces": [{"name": "default"}]});
    let mut process = configured(namespaces, json!({"history": 3}));
    for round in 0..2 {
        let admin = process.admin_addr();
        for n in 0..5 {
            let service = json!({"urls": ["http://127.0.0.1:9"], "tags": [format!("{round}.{n}")]});
            let status = if (round, n) == (0, 0) { 201 } else { 200 };
            ask(admin, "PUT", "service/default/s", Some(service), status).await;
        }
        let newest = 6 + 5 * round;
        let page = ask(admin, "GET", "revision", None, 200).await;
        let ids: Vec<_> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["id"].clone())
            .collect();
        assert_eq!(ids, [newest, newest - 1, newest - 2].map(Value::from));
        ask(admin, "GET", &format!("revision/{}", newest - 3), None, 404).await;
        ask(
            admin,
            "POST",
            "rollback",
            Some(json!({"to": newest - 3})),
            404,
        )
        .await;
        process = again(process.kill());
    }
    let admin = process.admin_addr();
    ask(admin, "POST", "rollback", Some(json!({"to": 9})), 200).await;
    let back = ask(admin, "GET", "service/default/s", None, 200).await;
    assert_eq!(
        (&back["tags"], &back["revision"]),
        (&json!(["1.2"]), &json!(12))
    );
}
