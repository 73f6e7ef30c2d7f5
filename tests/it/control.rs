//! The one write path with a store beneath it: what is there after a restart or a kill, documents, secrets, the
//! history, and what damaged, full or read-only storage does.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod concurrent;
mod disk;
mod documents;
mod ledger;
mod restart;
mod restorable;
mod secrets;
mod stale;

use std::net::SocketAddr;

use dgate_tests::client::Reply;
use dgate_tests::gateway::call;
use dgate_tests::process::{Place, Process};
use serde_json::{Value, json};

/// A gateway in a process, with its state in `data` of its directory.
fn stored(bundle: Value) -> Process {
    configured(bundle, json!({}))
}

/// The same with further fields of `storage`.
fn configured(bundle: Value, storage: Value) -> Process {
    let mut config = json!({"storage": {"path": "data"}, "proxy": {"workers": 1}});
    for (name, value) in storage.as_object().unwrap() {
        config["storage"][name] = value.clone();
    }
    config["resources"] = bundle;
    Process::start(config)
}

/// The next process in the same directory.
fn again(place: Place) -> Process {
    place.serve(&[])
}

/// One call that must be answered with this status.
async fn ask(
    admin: SocketAddr,
    method: &str,
    path: &str,
    body: Option<Value>,
    status: u16,
) -> Value {
    let answer = told(admin, method, path, body).await;
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    match answer.text().as_str() {
        "" => Value::Null,
        _ => answer.json(),
    }
}

async fn told(admin: SocketAddr, method: &str, path: &str, body: Option<Value>) -> Reply {
    call(admin, method, &format!("/api/v1/{path}"), &[], body).await
}

async fn state_hash(admin: SocketAddr) -> String {
    let newest = ask(admin, "GET", "revision?limit=1", None, 200).await;
    newest["items"][0]["state_hash"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect()
}
