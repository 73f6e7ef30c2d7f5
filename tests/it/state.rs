//! What a configuration change leaves alone: connections to upstreams, plugins with their state,
//! metrics, clients' connections.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dgate::{BoxError, DGate, Exchange, Flow, Plugin, Request, Response, Setup, plugin};
use dgate_tests::client::Conn;
use dgate_tests::gateway::{TestGateway, loaded, proxy_to};
use dgate_tests::process::Process;
use dgate_tests::upstream::TestUpstream;
use serde_json::{Value, json};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct CountConfig {
    /// Its name in the answer.
    label: String,
}

/// Counts its requests, and tells the number: `label instance.count`.
struct Count {
    label: String,
    instance: u64,
    count: AtomicU64,
}

static INSTANCES: AtomicU64 = AtomicU64::new(0);

#[plugin]
impl Plugin for Count {
    const NAME: &'static str = "count";
    type Config = CountConfig;
    fn new(config: CountConfig, _: &Setup) -> Result<Self, BoxError> {
        if config.label == "broken" {
            return Err("a broken label".into());
        }
        let instance = INSTANCES.fetch_add(1, Relaxed);
        Ok(Self {
            label: config.label,
            instance,
            count: AtomicU64::new(0),
        })
    }
    async fn response_modifier(&self, _: &Exchange, mut res: Response) -> Flow<Response> {
        let count = self.count.fetch_add(1, Relaxed) + 1;
        let text = format!("{} {}.{count}", self.label, self.instance);
        res.headers_mut().append("x-count", text.parse()?);
        Ok(res)
    }
    async fn request_modifier(&self, _: &Exchange, req: Request) -> Flow<Request> {
        Ok(req)
    }
}

fn counting(bundle: Value) -> TestGateway {
    let config = json!({"proxy": {"workers": 1}});
    TestGateway::serving(
        DGate::builder()
            .plugin::<Count>()
            .loaded(loaded(bundle, config)),
    )
}

fn count(label: &str) -> Value {
    json!([{"name": "count", "config": {"label": label}}])
}

async fn counted(conn: &mut Conn) -> Vec<String> {
    conn.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = conn.read_response().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.headers_named("x-count").map(str::to_owned).collect()
}

#[tokio::test]
async fn plugins_keep_their_state_over_changes_that_are_not_theirs() {
    let upstream = TestUpstream::echo();
    let mut bundle = proxy_to(upstream.url());
    bundle["namespaces"][0]["plugins"] = count("namespace");
    bundle["services"][0]["plugins"] = count("service");
    bundle["routes"][0]["plugins"] = count("route");
    let gateway = counting(bundle.clone());
    let mut conn = Conn::open(gateway.addr()).await;
    // Innermost first, on the way back.
    assert_eq!(
        counted(&mut conn).await,
        ["route 2.1", "service 1.1", "namespace 0.1"]
    );

    // Something else changes: another route, another namespace.
    let other = json!({"name": "other", "paths": ["/other"], "service": "svc"});
    gateway
        .apply(json!({"namespaces": [{"name": "n"}], "routes": [other]}))
        .await;
    assert_eq!(
        counted(&mut conn).await,
        ["route 2.2", "service 1.2", "namespace 0.2"]
    );

    // The route changes, not its plugins.
    bundle["routes"][0]["tags"] = json!(["x"]);
    gateway.apply(bundle.clone()).await;
    assert_eq!(
        counted(&mut conn).await,
        ["route 2.3", "service 1.3", "namespace 0.3"]
    );

    // A changed configuration makes a new plugin, of that place alone.
    bundle["routes"][0]["plugins"] = count("renamed");
    gateway.apply(bundle.clone()).await;
    assert_eq!(
        counted(&mut conn).await,
        ["renamed 3.1", "service 1.4", "namespace 0.4"]
    );

    // A refused change leaves all as it is.
    bundle["services"][0]["plugins"] = count("broken");
    let refused = gateway.admin("POST", "/api/v1/apply", Some(bundle)).await;
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (422, &"/services/0/plugins/0/config".into())
    );
    assert_eq!(
        counted(&mut conn).await,
        ["renamed 3.2", "service 1.5", "namespace 0.5"]
    );
}

#[tokio::test]
async fn connections_to_the_upstream_outlive_changes() {
    let upstream = TestUpstream::echo();
    let mut bundle = proxy_to(upstream.url());
    let gateway = counting(bundle.clone());
    let mut conn = Conn::open(gateway.addr()).await;
    counted(&mut conn).await;
    let changes: [fn(&mut Value); 5] = [
        |b| {
            b["routes"]
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "o", "paths": ["/o"], "service": "svc"}))
        },
        |b| b["routes"][0]["tags"] = json!(["x"]),
        |b| b["services"][0]["tags"] = json!(["x"]),
        |b| b["services"][0]["timeouts"] = json!({"request": "9s"}),
        |b| b["services"][0]["preserve_host"] = json!(true),
    ];
    for change in changes {
        change(&mut bundle);
        gateway.apply(bundle.clone()).await;
        counted(&mut conn).await;
    }
    assert_eq!(upstream.connections(), 1);
    assert!(upstream.requests().iter().all(|r| r.connection == 0));
}

#[tokio::test]
async fn counters_go_on_over_changes() {
    let upstream = TestUpstream::echo();
    let mut bundle = proxy_to(upstream.url());
    let gateway = counting(bundle.clone());
    let mut conn = Conn::open(gateway.addr()).await;
    for n in 0..3 {
        counted(&mut conn).await;
        bundle["routes"][0]["tags"] = json!([format!("t{n}")]);
        gateway.apply(bundle.clone()).await;
    }
    let metrics = gateway.admin("GET", "/metrics", None).await.text();
    let line = metrics
        .lines()
        .find(|l| l.starts_with("dgate_requests_total") && l.contains("route=\"all\""));
    assert!(line.is_some_and(|l| l.ends_with(" 3")), "{metrics}");
}

#[tokio::test]
async fn a_reload_keeps_clients_and_upstream_connections() {
    let upstream = TestUpstream::echo();
    let config = |generation: &str| {
        json!({
            "proxy": {"workers": 1, "response_headers": {"X-Gen": generation}, "plugins": [{"name": "request-id"}]},
            "resources": proxy_to(upstream.url()),
        })
    };
    let process = Process::start(config("1"));
    let mut conn = Conn::open(process.addr()).await;
    let generation = async |conn: &mut Conn| {
        conn.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
        conn.read_response()
            .await
            .header("x-gen")
            .map(str::to_owned)
    };
    assert_eq!(generation(&mut conn).await.as_deref(), Some("1"));
    process.reload(config("2"));
    process.wait_for_line("configuration file read again");
    assert_eq!(generation(&mut conn).await.as_deref(), Some("2"));
    assert_eq!(upstream.connections(), 1);
}
