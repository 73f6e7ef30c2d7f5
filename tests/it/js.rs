//! Modules at run time: real listeners, real upstreams, one worker where requests must share a slot.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod background;
mod bodies;
mod context;
mod fetches;
mod limits;
mod swaps;

use dgate_tests::client::{Reply, get};
use dgate_tests::gateway::TestGateway;
use serde_json::{Value, json};

/// A bundle in which each module answers below its own name; `service` is the upstream of all of them.
fn bundle(modules: &[(&str, &str, Value)], service: Option<&str>) -> Value {
    let routes = modules.iter().map(|(name, _, _)| {
        let mut route = json!({"name": name, "paths": [format!("/{name}/**")], "modules": [name]});
        if service.is_some() {
            route["service"] = "svc".into();
        }
        route
    });
    let sources = modules.iter().map(|(name, source, fields)| {
        let mut module = json!({"name": name, "source": source});
        for (key, value) in fields.as_object().unwrap() {
            module[key] = value.clone();
        }
        module
    });
    let services = service.map(|url| json!({"name": "svc", "urls": [url]}));
    json!({
        "namespaces": [{"name": "default", "tags": ["main"]}],
        "services": Vec::from_iter(services),
        "modules": Vec::from_iter(sources),
        "routes": Vec::from_iter(routes),
    })
}

/// A gateway with one worker, so that all requests to a module share a slot.
fn gateway(modules: &[(&str, &str, Value)], service: Option<&str>) -> TestGateway {
    TestGateway::configured(bundle(modules, service), json!({"proxy": {"workers": 1}}))
}

/// May reach the upstreams of the test.
fn local() -> Value {
    json!({"permissions": {"net": ["127.0.0.1"]}})
}

fn problem(answer: &Reply, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["code"], code, "{}", answer.text());
}

/// The sum of a metric's lines that have all these words. The recorder is the process's, other tests count too.
async fn metric(gateway: &TestGateway, name: &str, words: &[&str]) -> f64 {
    let text = get(gateway.admin_addr(), "/metrics").await.text();
    let lines = text.lines().filter(|l| l.starts_with(name));
    let lines = lines.filter(|l| words.iter().all(|w| l.contains(w)));
    lines
        .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
