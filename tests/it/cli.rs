//! The client commands, with the real binary against a real gateway: what they print, what they change, how they end.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod bundles;
mod logs;
mod one;

use dgate_tests::process::{Done, Place, Process};
use serde_json::{Value, json};

/// A gateway with service `svc` and route `all` in namespace `default`.
fn gateway() -> Process {
    Process::start(json!({"resources": {
        "namespaces": [{"name": "default", "tags": ["a"]}],
        "services": [{"name": "svc", "urls": ["http://127.0.0.1:9"], "tags": ["old"]}],
        "routes": [{"name": "all", "paths": ["/**"], "service": "svc"}],
    }}))
}

/// A directory whose commands talk to `gateway`.
fn client(gateway: &Process) -> Place {
    Place::new().variable(
        "DGATE_ADMIN_API",
        &format!("http://{}", gateway.admin_addr()),
    )
}

#[track_caller]
fn ends(done: Done, code: i32) -> Done {
    assert_eq!(done.code, Some(code), "{}\n{}", done.stdout, done.stderr);
    done
}

/// Runs a command that succeeds; gives what it wrote to stdout.
#[track_caller]
fn does(place: &Place, args: &[&str]) -> String {
    ends(place.run(args), 0).stdout
}

/// The same, with an answer in JSON.
#[track_caller]
fn json_of(place: &Place, args: &[&str]) -> Value {
    let text = does(place, &[args, &["-o", "json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Runs a command that fails: nothing on stdout, what and why and a hint on stderr.
#[track_caller]
fn fails(place: &Place, args: &[&str], code: i32, says: &[&str]) {
    let done = ends(place.run(args), code);
    let complains = done.stderr.starts_with("dgate: ") && done.stderr.contains("\nhint: ");
    assert!(done.stdout.is_empty() && complains, "{done:?}");
    for word in says {
        assert!(done.stderr.contains(word), "{word}: {done:?}");
    }
}
