//! Revisions: each commit is noted, with who, why, and what was there before.

use super::{SVC, gateway, problem};
use dgate::control::{ChangeSet, Options};
use dgate::resource::Key;
use dgate_tests::gateway::TestGateway;
use serde_json::{Value, json};

async fn read(gateway: &TestGateway, path: &str) -> Value {
    let answer = gateway
        .admin("GET", &format!("/api/v1/revision{path}"), None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn tag(gateway: &TestGateway, tag: impl Into<Value>) {
    let body = json!({"urls": ["http://a"], "tags": [tag.into()]});
    let answer = gateway.admin("PUT", SVC, Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn ids(page: &Value) -> Vec<u64> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|r| r["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_revision_tells_who_why_and_what_was_there_before() {
    let gateway = gateway();
    tag(&gateway, "was").await;
    tag(&gateway, "is").await;
    let newest = read(&gateway, "/3").await;
    assert_eq!(
        (&newest["id"], &newest["author"], &newest["message"]),
        (&json!(3), &json!("admin"), &json!(""))
    );
    let stored = gateway.admin("GET", SVC, None).await.json();
    assert_eq!(newest["created_at"], stored["updated_at"]);
    let change = &newest["changes"][0];
    assert_eq!(
        (&change["op"], &change["kind"], &change["key"]),
        (&json!("update"), &json!("service"), &json!("default/svc"))
    );
    assert_eq!(
        (&change["before"]["tags"], &change["after"]["tags"]),
        (&json!(["was"]), &json!(["is"]))
    );
    let first = read(&gateway, "/1").await;
    assert_eq!(
        (&first["author"], &first["change_count"]),
        (&json!("config file"), &json!(3))
    );
    assert!(first["changes"][0]["before"].is_null());
    gateway
        .admin("DELETE", "/api/v1/route/default/all", None)
        .await;
    let gone = &read(&gateway, "/4").await["changes"][0];
    assert_eq!(
        (&gone["op"], &gone["before"]["name"], &gone["after"]),
        (&json!("delete"), &json!("all"), &Value::Null)
    );
}

#[tokio::test]
async fn apply_takes_a_message_and_a_program_says_who_it_is() {
    let gateway = gateway();
    let bundle = json!({"namespaces": [{"name": "other"}]});
    let path = "/api/v1/apply?message=a%20reason";
    assert_eq!(gateway.admin("POST", path, Some(bundle)).await.status, 200);
    assert_eq!(read(&gateway, "/2").await["message"], "a reason");
    let change = ChangeSet {
        author: "operator".to_owned(),
        ..ChangeSet::delete(Key::namespace("other"))
    };
    let control = gateway.gateway().control();
    control.apply(change, &Options::default()).unwrap();
    assert_eq!(read(&gateway, "/3").await["author"], "operator");
    assert_eq!(
        control.ledger().revision(3).unwrap().unwrap().author,
        "operator"
    );
}

#[tokio::test]
async fn the_list_is_newest_first_in_pages_and_without_what_was_there() {
    let gateway = gateway();
    for n in 0..5 {
        tag(&gateway, n.to_string()).await;
    }
    let first = read(&gateway, "?limit=4").await;
    assert_eq!(
        (ids(&first), &first["revision"]),
        (vec![6, 5, 4, 3], &json!(6))
    );
    assert_eq!(
        first["items"][0]["changes"],
        json!([{"op": "update", "kind": "service", "key": "default/svc"}])
    );
    let cursor = first["next"].as_str().unwrap();
    let last = read(&gateway, &format!("?limit=4&cursor={cursor}")).await;
    assert_eq!((ids(&last), &last["next"]), (vec![2, 1], &Value::Null));
}

#[tokio::test]
async fn what_changes_nothing_is_refused_or_only_tried_makes_no_revision() {
    let gateway = gateway();
    let bundle = json!({"namespaces": [{"name": "other"}]});
    gateway
        .admin("POST", "/api/v1/apply?dry_run=true", Some(bundle))
        .await;
    let stored = gateway.admin("GET", SVC, None).await.json();
    gateway.admin("PUT", SVC, Some(stored)).await;
    gateway.admin("PUT", SVC, Some(json!({"urls": 1}))).await;
    assert_eq!(ids(&read(&gateway, "").await), [1]);
    for absent in ["/2", "/0", "/none"] {
        let path = format!("/api/v1/revision{absent}");
        problem(&gateway.admin("GET", &path, None).await, 404, "not_found");
    }
    let answer = gateway.admin("DELETE", "/api/v1/revision/1", None).await;
    problem(&answer, 405, "method_not_allowed");
}

#[tokio::test]
async fn a_thousand_revisions_are_kept() {
    let gateway = gateway();
    let control = gateway.gateway().control().clone();
    let named = |name: &str| {
        let spec = dgate::resource::Spec::read(
            dgate::resource::Kind::Namespace,
            &dgate::config::Node::from_json(&json!({"name": name})),
            "",
        );
        ChangeSet::put(spec.unwrap())
    };
    for n in 0..1001 {
        let change = if n % 2 == 0 {
            named("other")
        } else {
            ChangeSet::delete(Key::namespace("other"))
        };
        control.apply(change, &Options::default()).unwrap();
    }
    let kept = ids(&read(&gateway, "?limit=2000").await);
    assert_eq!((kept.len(), kept[0], kept[999]), (1000, 1002, 3));
    problem(
        &gateway.admin("GET", "/api/v1/revision/2", None).await,
        404,
        "not_found",
    );
}

/// `POST /api/v1/rollback`
async fn roll_back(gateway: &TestGateway, body: Value) -> dgate_tests::client::Reply {
    gateway.admin("POST", "/api/v1/rollback", Some(body)).await
}

#[tokio::test]
async fn a_rollback_is_a_new_revision_with_the_resources_of_the_old() {
    let gateway = gateway();
    let export = async || gateway.admin("GET", "/api/v1/export", None).await.json();
    let start = export().await;
    // A namespace whose route refers to its service and its module, a changed service, a deleted route.
    let more = json!({
        "namespaces": [{"name": "more"}],
        "services": [{"namespace": "more", "name": "s", "urls": ["http://b"]}],
        "modules": [{"namespace": "more", "name": "m", "source": "export function requestModifier() {}"}],
        "routes": [{"namespace": "more", "name": "r", "paths": ["/r"], "service": "s", "modules": ["m"]}],
    });
    let answer = gateway.admin("POST", "/api/v1/apply", Some(more)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    tag(&gateway, "changed").await;
    let later = export().await;
    let answer = gateway
        .admin("DELETE", "/api/v1/route/default/all", None)
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());

    let answer = roll_back(&gateway, json!({"to": 1, "message": "back"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let changes = answer.json()["changes"].as_array().unwrap().clone();
    assert_eq!((changes.len(), &answer.json()["revision"]), (6, &json!(5)));
    assert_eq!(export().await, start);
    let noted = read(&gateway, "/5").await;
    assert_eq!(
        (&noted["author"], &noted["message"]),
        (&json!("admin"), &json!("back"))
    );

    // Forward again, over the rollback itself.
    let answer = roll_back(&gateway, json!({"to": 3})).await;
    assert_eq!(answer.json()["revision"], 6, "{}", answer.text());
    assert_eq!(export().await, later);
    // What is so already makes no revision.
    let answer = roll_back(&gateway, json!({"to": 6})).await;
    assert_eq!(answer.json(), json!({"revision": 6, "changes": []}));
}

#[tokio::test]
async fn a_rollback_that_is_impossible_says_why_and_changes_nothing() {
    let gateway = gateway();
    problem(
        &roll_back(&gateway, json!({"to": 9})).await,
        404,
        "not_found",
    );
    problem(
        &roll_back(&gateway, json!({"to": 0})).await,
        404,
        "not_found",
    );
    for (wrong, pointer) in [
        (json!({"to": "1"}), "/to"),
        (json!({"message": "x"}), "/to"),
        (json!({"to": 1, "mesage": "x"}), "/mesage"),
    ] {
        let refused = problem(&roll_back(&gateway, wrong).await, 422, "invalid");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
    assert_eq!(ids(&read(&gateway, "").await), [1]);
}
