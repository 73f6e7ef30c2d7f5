//! `logs`, for people and for programs.

use super::*;
use dgate_tests::client::{get, poll_until};
use dgate_tests::process::PATIENCE;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

#[tokio::test]
async fn logs_are_read_downwards_and_filtered() {
    let gateway = gateway();
    for path in ["/first", "/second"] {
        get(gateway.addr(), path).await;
    }
    let place = client(&gateway);
    let mut paths = Vec::new();
    // An access line is written when its response has ended.
    poll_until(PATIENCE, "both lines", async || {
        let text = does(
            &place,
            &["logs", "-n", "500", "--level", "info", "-o", "json"],
        );
        let lines = text
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        paths = lines
            .filter(|l| l["kind"] == "access")
            .map(|l| l["path"].clone())
            .collect();
        paths.len() == 2
    })
    .await;
    assert_eq!(paths, ["/first", "/second"]);
    let text = does(&place, &["logs", "--route", "all"]);
    assert!(
        text.contains("/first 502 ") && text.contains("route=all"),
        "{text}"
    );
    assert_eq!(does(&place, &["logs", "--route", "none"]), "");
}

/// Follows the log; one line has come.
fn follow(place: &Place) -> (Child, BufReader<ChildStdout>) {
    let mut child = place.spawn(&["logs", "-f", "-n", "1", "-o", "json"], Stdio::piped());
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.ends_with("}\n"), "{line}");
    (child, stdout)
}

#[tokio::test]
async fn following_goes_on_until_ctrl_c_or_until_nobody_reads() {
    let gateway = gateway();
    get(gateway.addr(), "/first").await;
    let place = client(&gateway);
    poll_until(PATIENCE, "the line", async || {
        !does(&place, &["logs"]).is_empty()
    })
    .await;

    let (mut child, mut stdout) = follow(&place);
    get(gateway.addr(), "/second").await;
    let mut line = String::new();
    while !line.contains("/second") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0);
    }
    let pid = child.id().to_string();
    Command::new("/bin/sh")
        .args(["-c", "kill -INT $0", &pid])
        .status()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let (mut child, stdout) = follow(&place);
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
