//! `logs`, for people and for programs.

use super::*;
use dgate_tests::client::{get, poll_until};
use dgate_tests::process::PATIENCE;

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
