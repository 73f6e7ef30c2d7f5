//! Writers that come at the same time: each gets the answer to what it wrote, when that is in force.

use dgate_tests::gateway::call;
use dgate_tests::process::Process;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;

const WRITERS: usize = 6;
const ROUNDS: usize = 20;

fn gateway() -> Process {
    Process::start(json!({
        "log": {"access": false},
        "storage": {"path": "data"},
        "resources": {"namespaces": [{"name": "default"}], "collections": [{"name": "c"}]},
    }))
}

/// All writers put to `path` at once; gives the answers with what each has sent.
async fn all_put(
    admin: SocketAddr,
    path: &str,
    body: impl Fn(usize) -> Value,
) -> Vec<(Value, dgate_tests::client::Reply)> {
    let writes = (0..WRITERS).map(|writer| {
        let (path, sent) = (path.to_owned(), body(writer));
        tokio::spawn(async move {
            let answer = call(admin, "PUT", &path, &[], Some(sent.clone())).await;
            assert!(answer.status < 300, "{} {}", answer.status, answer.text());
            (sent, answer)
        })
    });
    let mut answers = Vec::new();
    for write in writes.collect::<Vec<_>>() {
        answers.push(write.await.unwrap());
    }
    answers
}

/// The one that changes nothing may be answered first, and then it is in force, too.
#[tokio::test]
async fn the_same_write_is_in_force_for_everybody_who_is_told_so() {
    let process = gateway();
    let admin = process.admin_addr();
    for round in 0..ROUNDS {
        let path = format!("/api/v1/service/default/s{round}");
        let same = |_| json!({"urls": ["http://127.0.0.1:9"]});
        for (_, answer) in all_put(admin, &path, same).await {
            let in_force: u64 = answer.header("x-dgate-revision").unwrap().parse().unwrap();
            let written = answer.json()["revision"].as_u64().unwrap();
            assert!(
                in_force >= written,
                "revision {written}, in force {in_force}"
            );
        }
    }
}

#[tokio::test]
async fn each_writer_is_shown_what_it_wrote_and_no_tag_of_another() {
    let process = gateway();
    let admin = process.admin_addr();
    for (path, field) in [
        ("/api/v1/service/default/one", "tags"),
        ("/api/v1/document/default/c/one", "data"),
    ] {
        let mut tags = BTreeSet::new();
        for round in 0..ROUNDS {
            let mine = |writer| json!({"urls": ["http://127.0.0.1:9"], "tags": [format!("{round}-{writer}")]});
            let answers = match field {
                "tags" => all_put(admin, path, mine).await,
                _ => all_put(admin, path, |writer| json!({"data": mine(writer)})).await,
            };
            for (sent, answer) in answers {
                assert_eq!(answer.json()[field], sent[field], "{path}");
                tags.insert(answer.header("etag").unwrap().to_owned());
            }
        }
        assert_eq!(
            tags.len(),
            WRITERS * ROUNDS,
            "{path}: tags of two writes are the same"
        );
    }
}

/// What expires as soon as it is written has been written.
#[tokio::test]
async fn a_document_that_has_expired_when_it_is_answered_was_written() {
    let process = gateway();
    let admin = process.admin_addr();
    let short = json!({"ttl": "1ms"});
    let made = call(
        admin,
        "PUT",
        "/api/v1/collection/default/short",
        &[],
        Some(short),
    )
    .await;
    assert_eq!(made.status, 201, "{}", made.text());
    for _ in 0..ROUNDS {
        let path = "/api/v1/document/default/short/d";
        let answer = call(admin, "PUT", path, &[], Some(json!({"data": 1}))).await;
        assert!(answer.status < 300, "{}", answer.text());
    }
}
