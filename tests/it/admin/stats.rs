//! What `/api/v1/stats` counted of real requests.

use dgate_tests::client::{get, poll_until};
use dgate_tests::gateway::TestGateway;
use dgate_tests::upstream::TestUpstream;
use serde_json::{Value, json};

use super::DEADLINE;

/// The row with these names.
fn row<'a>(stats: &'a Value, list: &str, names: &[(&str, &str)]) -> Option<&'a Value> {
    let rows = stats[list].as_array().unwrap();
    rows.iter()
        .find(|row| names.iter().all(|(field, name)| row[*field] == *name))
}

#[tokio::test]
async fn requests_are_counted_by_namespace_route_service_endpoint_and_module() {
    let upstream = TestUpstream::with(async |request| {
        let status = if request.path() == "/a/bad" { 503 } else { 200 };
        http::Response::builder()
            .status(status)
            .body(axum_core::body::Body::from("x"))
            .unwrap()
    });
    let gateway = TestGateway::start(json!({
        "namespaces": [{"name": "n"}],
        "domains": [{"namespace": "n", "name": "d", "patterns": ["*"]}],
        "services": [{"namespace": "n", "name": "s", "urls": [upstream.url()], "retry": {"attempts": 0}}],
        "modules": [{"namespace": "n", "name": "m", "source":
            "export function requestHandler(ctx) { if (ctx.request.url.endsWith('bad')) throw new Error('bad'); return 'm' }"}],
        "routes": [
            {"namespace": "n", "name": "a", "paths": ["/a/**"], "service": "s"},
            {"namespace": "n", "name": "b", "paths": ["/b/**"], "service": "s"},
            {"namespace": "n", "name": "c", "paths": ["/c/**"], "modules": ["m"]},
        ],
    }));
    for path in [
        "/a/1", "/a/2", "/a/bad", "/b/1", "/c/1", "/c/bad", "/nowhere",
    ] {
        get(gateway.addr(), path).await;
    }
    let url = upstream.url();
    let rows = [
        ("namespaces", vec![("name", "n")], 6, 2),
        ("routes", vec![("namespace", "n"), ("name", "a")], 3, 1),
        ("routes", vec![("namespace", "n"), ("name", "b")], 1, 0),
        ("routes", vec![("namespace", "n"), ("name", "c")], 2, 1),
        ("services", vec![("namespace", "n"), ("name", "s")], 4, 1),
        (
            "endpoints",
            vec![("namespace", "n"), ("service", "s"), ("url", &*url)],
            4,
            1,
        ),
        ("modules", vec![("namespace", "n"), ("name", "m")], 2, 1),
    ];
    let stats = async || gateway.admin("GET", "/api/v1/stats", None).await.json();
    // An answer is counted when its body has ended, which its client may see first.
    poll_until(DEADLINE, "all are counted", async || {
        let stats = stats().await;
        let counted = |list: &str, names: &[(&str, &str)]| {
            row(&stats, list, names).map(|r| r["requests"].clone())
        };
        rows.iter()
            .all(|(list, names, requests, _)| counted(list, names) == Some((*requests).into()))
    })
    .await;
    let stats = stats().await;
    assert!(stats["since"].as_str().unwrap().ends_with('Z'));
    for (list, names, _, errors) in &rows {
        let row = row(&stats, list, names).unwrap();
        assert_eq!(row["errors"], *errors, "{row}");
        let latency = &row["latency"];
        assert_eq!(latency["unit"], "seconds");
        let of = |q: &str| latency[q].as_f64().unwrap();
        assert!(
            0.0 < of("p50") && of("p50") <= of("p90") && of("p90") <= of("p99") && of("p99") < 60.0,
            "{row}"
        );
    }
    let a = row(&stats, "routes", &rows[1].1).unwrap();
    assert_eq!(a["statuses"], json!({"2xx": 2, "5xx": 1}));
}
