//! What services say about traffic, through a gateway: balancing, breakers, health and limits as declared, their
//! state across changes, and where it is shown.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_tests::client::{DEADLINE, get, poll_until};
use dgate_tests::gateway::TestGateway;
use dgate_tests::upstream::TestUpstream;
use serde_json::{Value, json};

/// Fails every request.
fn failing() -> TestUpstream {
    TestUpstream::with(async |_| {
        let answer = http::Response::builder().status(500);
        answer
            .body(axum_core::body::Body::from("own words"))
            .unwrap()
    })
}

fn breaker(more: Value) -> Value {
    let mut breaker = json!({"min_requests": 3, "open_for": "60s"});
    let more = more.as_object().unwrap().clone();
    breaker.as_object_mut().unwrap().extend(more);
    breaker
}

/// A bundle with one route to `svc`, which has these fields besides its URLs.
fn bundle(namespace: &str, urls: &[String], fields: Value) -> Value {
    let mut service =
        json!({"namespace": namespace, "name": "svc", "urls": urls, "retry": {"attempts": 0}});
    let fields = fields.as_object().unwrap().clone();
    service.as_object_mut().unwrap().extend(fields);
    json!({
        "namespaces": [{"name": namespace}],
        "domains": [{"namespace": namespace, "name": "d", "patterns": ["*"]}],
        "services": [service],
        "routes": [{"namespace": namespace, "name": "all", "paths": ["/**"], "service": "svc"}],
    })
}

async fn statuses(gateway: &TestGateway, count: usize) -> Vec<u16> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(get(gateway.addr(), "/").await.status);
    }
    all
}

#[tokio::test]
async fn an_open_circuit_survives_changes_that_do_not_concern_it() {
    let origin = failing();
    let declared = bundle(
        "default",
        &[origin.url()],
        json!({"circuit_breaker": breaker(json!({}))}),
    );
    let gateway = TestGateway::start(declared.clone());
    assert_eq!(statuses(&gateway, 4).await, [500, 500, 500, 503]);
    let answer = get(gateway.addr(), "/").await;
    assert_eq!(answer.json()["code"], "circuit_open");
    assert_eq!(answer.header("retry-after"), Some("60"));

    gateway
        .apply(json!({"namespaces": [{"name": "other"}]}))
        .await;
    let mut tagged = declared.clone();
    tagged["services"][0]["tags"] = json!(["new"]);
    tagged["services"][0]["preserve_host"] = json!(true);
    gateway.apply(tagged).await;
    assert_eq!(statuses(&gateway, 3).await, [503; 3]);

    let mut changed = declared;
    changed["services"][0]["circuit_breaker"]["min_requests"] = json!(30);
    gateway.apply(changed).await;
    assert_eq!(statuses(&gateway, 3).await, [500; 3]);
}

#[tokio::test]
async fn ejected_endpoints_stay_ejected_across_changes() {
    let (bad, well) = (failing(), TestUpstream::echo());
    let fields = json!({"health_check": {"passive": {"failures": 2, "eject_for": "60s"}}});
    let declared = bundle("default", &[bad.url(), well.url()], fields);
    let gateway = TestGateway::start(declared.clone());
    statuses(&gateway, 6).await;
    let mut tagged = declared;
    tagged["services"][0]["tags"] = json!(["new"]);
    gateway.apply(tagged).await;
    assert_eq!(statuses(&gateway, 6).await, [200; 6]);
    assert_eq!(bad.requests().len(), 2);
}

#[tokio::test]
async fn an_error_handler_sees_an_open_circuit() {
    let origin = failing();
    let mut declared = bundle(
        "default",
        &[origin.url()],
        json!({"circuit_breaker": breaker(json!({}))}),
    );
    declared["modules"] = json!([{"name": "m", "source": "export function errorHandler(ctx, error) {
        return new Response(`${error.code} ${error.attempts}`, {status: 200}) }"}]);
    declared["routes"][0]["modules"] = json!(["m"]);
    let gateway = TestGateway::start(declared);
    assert_eq!(statuses(&gateway, 3).await, [500; 3]);
    let answer = get(gateway.addr(), "/").await;
    assert_eq!(
        (answer.status, answer.text()),
        (200, "circuit_open 0".to_owned())
    );
}

#[tokio::test]
async fn another_service_takes_over_and_is_followed_through_its_changes() {
    let (origin, one, two) = (
        failing(),
        TestUpstream::named("one"),
        TestUpstream::named("two"),
    );
    let guarded = json!({"circuit_breaker": breaker(json!({"fallback": {"service": "spare"}}))});
    let mut declared = bundle("default", &[origin.url()], guarded);
    let spare = |url: String| json!({"name": "spare", "urls": [url]});
    declared["services"]
        .as_array_mut()
        .unwrap()
        .push(spare(one.url()));
    let gateway = TestGateway::start(declared);
    statuses(&gateway, 3).await;
    let server = async || get(gateway.addr(), "/x").await.json()["server"].clone();
    assert_eq!(server().await, "one");
    gateway.apply(json!({"services": [spare(two.url())]})).await;
    assert_eq!(server().await, "two");

    let gone = gateway
        .admin("DELETE", "/api/v1/service/default/spare", None)
        .await;
    assert!((400..500).contains(&gone.status), "{}", gone.text());
    assert_eq!(server().await, "two");
}

#[tokio::test]
async fn stats_and_metrics_show_what_endpoints_are_like() {
    let (bad, well) = (failing(), TestUpstream::echo());
    let fields = json!({
        "circuit_breaker": breaker(json!({})),
        "health_check": {"passive": {"failures": 2, "eject_for": "60s"}},
        "max_inflight": {"limit": 7},
        "load_balancer": {"policy": "least_request"},
    });
    // Labels of its own: the recorder is that of the process.
    let gateway = TestGateway::start(bundle("shown", &[bad.url(), well.url()], fields));
    statuses(&gateway, 12).await;
    let stats = gateway.admin("GET", "/api/v1/stats", None).await.json();
    let row = |list: &str, url: Option<&str>| {
        let rows = stats[list].as_array().unwrap().iter();
        let mut of_namespace = rows.filter(|r| r["namespace"] == "shown");
        of_namespace
            .find(|r| url.is_none_or(|url| r["url"] == url))
            .unwrap()
            .clone()
    };
    let (bad_row, well_row) = (
        row("endpoints", Some(&bad.url())),
        row("endpoints", Some(&well.url())),
    );
    assert_eq!(
        (&bad_row["health"], &well_row["health"]),
        (&json!("ejected"), &json!("healthy"))
    );
    assert_eq!(
        (&bad_row["breaker"], &bad_row["inflight"]),
        (&json!("closed"), &json!(0))
    );
    let service = row("services", None);
    assert_eq!(
        (&service["inflight"], &service["waiting"]),
        (&json!(0), &json!(0))
    );

    let metrics = gateway.admin("GET", "/metrics", None).await.text();
    let has = |name: &str, url: &str, value: &str| {
        metrics.lines().any(|line| {
            line.starts_with(&format!("{name}{{namespace=\"shown\",service=\"svc\""))
                && line.contains(&format!("endpoint=\"{url}\""))
                && line.ends_with(value)
        })
    };
    assert!(has("dgate_endpoint_healthy", &bad.url(), " 0"), "{metrics}");
    assert!(
        has("dgate_endpoint_healthy", &well.url(), " 1"),
        "{metrics}"
    );
    assert!(
        has("dgate_circuit_breaker_state", &bad.url(), " 0"),
        "{metrics}"
    );
    assert!(
        has("dgate_upstream_inflight_requests", "", " 0"),
        "{metrics}"
    );

    // What has gone is shown no more, and alarms nobody.
    let mut other = bundle("shown", &[well.url()], json!({}));
    other["services"][0]["retry"] = json!(null);
    gateway.apply(other).await;
    poll_until(DEADLINE, "at rest", async || {
        let metrics = gateway.admin("GET", "/metrics", None).await.text();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("dgate_endpoint_healthy") && line.contains(&bad.url()));
        line.is_some_and(|line| line.ends_with(" 1"))
    })
    .await;
}

#[tokio::test]
async fn a_body_too_large_to_be_sent_again_is_counted() {
    let origin = TestUpstream::with(async |_| {
        let answer = http::Response::builder().status(503);
        answer.body(axum_core::body::Body::empty()).unwrap()
    });
    let retry = json!({"retry": {"attempts": 2, "max_body": 10}});
    let gateway = TestGateway::start(bundle("too-large", &[origin.url()], retry));
    let put = format!(
        "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n{}",
        "x".repeat(11)
    );
    let answer = dgate_tests::client::ask(gateway.addr(), put).await;
    assert_eq!((answer.status, origin.requests().len()), (503, 1));
    let metrics = gateway.admin("GET", "/metrics", None).await.text();
    let counted = r#"dgate_retries_skipped_total{namespace="too-large",route="all",reason="body_too_large"} 1"#;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_at_its_place() {
    let gateway = TestGateway::start(bundle(
        "default",
        &["http://127.0.0.1:9".to_owned()],
        json!({}),
    ));
    let fallback = |fallback: Value| json!({"circuit_breaker": {"fallback": fallback}});
    for (fields, pointer, says) in [
        (
            json!({"load_balancer": {"policy": "round_rubin"}}),
            "/load_balancer/policy",
            "round_robin",
        ),
        (
            json!({"load_balancer": {"policy": "hash", "on": "header:"}}),
            "/load_balancer/on",
            "",
        ),
        (
            json!({"load_balancer": {"on": "path"}}),
            "/load_balancer/on",
            "hash",
        ),
        (
            fallback(json!({"service": "ghost"})),
            "/circuit_breaker/fallback/service",
            "ghost",
        ),
        (
            fallback(json!({"service": "svc"})),
            "/circuit_breaker/fallback/service",
            "own",
        ),
        (fallback(json!({})), "/circuit_breaker/fallback", "status"),
        (
            fallback(json!({"service": "svc2", "status": 200})),
            "/circuit_breaker/fallback",
            "both",
        ),
        (
            json!({"circuit_breaker": {"failure_statuses": ["599-500"]}}),
            "/circuit_breaker/failure_statuses/0",
            "599-500",
        ),
        (
            json!({"circuit_breaker": {"error_ratio": 1.5}}),
            "/circuit_breaker/error_ratio",
            "",
        ),
        (
            json!({"health_check": {"active": {"path": "x"}}}),
            "/health_check/active/path",
            "",
        ),
        (
            json!({"max_inflight": {}}),
            "/max_inflight/limit",
            "missing",
        ),
        (
            json!({"max_inflight": {"limit": 0}}),
            "/max_inflight/limit",
            "",
        ),
    ] {
        let mut body = json!({"urls": ["http://127.0.0.1:9"]});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let answer = gateway
            .admin("PUT", "/api/v1/service/default/svc", Some(body))
            .await;
        assert_eq!(answer.status, 422, "{fields}: {}", answer.text());
        let errors = answer.json()["errors"].clone();
        let found = errors
            .as_array()
            .unwrap()
            .iter()
            .any(|e| e["pointer"] == pointer && e["detail"].as_str().unwrap().contains(says));
        assert!(found, "{fields}: {errors}");
    }
}

#[tokio::test]
async fn a_service_without_urls_has_no_endpoint() {
    let gateway = TestGateway::start(bundle("default", &[], json!({})));
    let answer = get(gateway.addr(), "/").await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &json!("no_endpoint"))
    );
}
