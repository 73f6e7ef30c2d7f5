//! What each plugin of the binary costs a request that it lets through, or answers: the whole stack of one plugin over
//! a service that does nothing. `docs/performance.md` has the figures, less those of the stack without a plugin.
//!
//! `cargo bench -p dgate --bench plugins`; a name after `--` picks some.

use criterion::{Criterion, criterion_group, criterion_main};
use dgate::consumer::{BasicCredential, Consumer, Consumers, Credential};
use dgate::exchange::{Client, RouteInfo};
use dgate::{Body, DGate, Exchange, ModuleLayer, Pipeline, Request, Response, Setup};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tower_layer::Layer;

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Answers with a small body.
#[derive(Clone)]
struct End;

impl tower_service::Service<Request> for End {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        let mut response = Response::new(Body::from(r#"{"id":7,"name":"ann"}"#));
        let media_type = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert("content-type", media_type);
        std::future::ready(Ok(response))
    }
}

/// A route of a namespace with a thousand consumers, each with a key and a password; it has some plugin that looks for
/// them.
static ROUTE: LazyLock<Arc<RouteInfo>> = LazyLock::new(|| {
    let consumer = |n| {
        let password = BasicCredential::hashed(format!("user-{n}"), HASH);
        let key = Credential::Key(format!("key-{n}"));
        let mut consumer = Consumer::new(format!("c-{n}"), vec![key, Credential::Basic(password)]);
        consumer.groups = vec!["staff".into(), "gold".into()];
        consumer
    };
    let all = Consumers::new((0..1000).map(consumer).collect()).expect("all are different");
    let mut info = RouteInfo::default();
    info.consumers = Some(Arc::new(all));
    Arc::new(info)
});

/// Of `correct horse`.
const HASH: &str = "$argon2id$v=19$m=8192,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$O8OCkAvhpQhmReVkNUjdbJd0jPyUmAqlZerzPg8/0Ps";

/// As a small client sends it through a gateway: with a method, or with credentials in a `header`, the `query` or as a
/// `password`.
fn request(method: &str) -> Request {
    let body = match method {
        "POST" => Body::from(r#"{"id":7,"name":"ann"}"#),
        _ => Body::empty(),
    };
    let (method, target, authorization) = match method {
        "header" => ("GET", "/bench?x=1", Some(("apikey", "key-7"))),
        "query" => ("GET", "/bench?x=1&apikey=key-7", None),
        "password" => {
            let password = ("authorization", "Basic dXNlci03OmNvcnJlY3QgaG9yc2U=");
            ("GET", "/bench?x=1", Some(password))
        }
        method => (method, "/bench?x=1", None),
    };
    let mut request = http::Request::builder()
        .method(method)
        .uri(target)
        .header("host", "bench.test")
        .header("user-agent", "bench/1.0")
        .header("accept", "*/*")
        .header("origin", "https://app.test")
        .header("content-type", "application/json")
        .body(body)
        .expect("a valid request");
    if let Some((name, value)) = authorization {
        let value = http::HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    let mut client = Client::default();
    client.ip = Some([192, 0, 2, 7].into());
    let ctx = Exchange::new(client);
    if authorization.is_some() || target != "/bench?x=1" {
        ctx.set_route(ROUTE.clone(), Vec::new());
    }
    ctx.attach(&mut request);
    request
}

fn plugins(c: &mut Criterion) {
    let rt = runtime();
    let registry = rt.block_on(async {
        let gateway = DGate::builder().build().await.expect("an empty gateway");
        gateway.control().registry().clone()
    });
    let around = |mut stack: Pipeline, name: &str, config: Value| {
        let entry = registry.get(name).expect("a plugin of the binary");
        let plugged = entry.plug(config, &Setup::default()).expect("valid");
        if entry.hooks() != dgate::HookSet::NONE {
            stack = stack.layer(ModuleLayer::shared(plugged.hooks));
        }
        match plugged.layer {
            Some(own) => own.layer(stack),
            None => stack,
        }
    };
    let stack = |name: &str, config: Value| around(Pipeline::new(End), name, config);
    let many: Vec<_> = (0..1000)
        .map(|n| format!("10.{}.{}.0/25", n / 250, n % 250))
        .collect();
    let plenty = u32::MAX;
    let transform = json!({"remove": {"headers": ["x-a"]}, "add": {"headers": {"x-b": "1"}}});
    let mut query = transform.clone();
    query["add"]["query"] = json!({"v": "2"});
    let mut body = transform.clone();
    body["add"]["json"] = json!({"/edge": true});
    let cases = [
        (
            "rate-limit/client_ip",
            "rate-limit",
            json!({"limit": 1_000_000, "window": "1s"}),
        ),
        (
            "rate-limit/global",
            "rate-limit",
            json!({"limit": 1_000_000, "window": "1s", "by": "global"}),
        ),
        (
            "rate-limit/refused",
            "rate-limit",
            json!({"limit": 1, "window": "100d"}),
        ),
        (
            "concurrency-limit/global",
            "concurrency-limit",
            json!({"max_inflight": plenty}),
        ),
        (
            "concurrency-limit/client_ip",
            "concurrency-limit",
            json!({"max_inflight": plenty, "by": "client_ip"}),
        ),
        (
            "request-size-limit",
            "request-size-limit",
            json!({"max_body_bytes": "1MiB"}),
        ),
        (
            "request-timeout",
            "request-timeout",
            json!({"timeout": "10s"}),
        ),
        (
            "ip-restriction/1 network",
            "ip-restriction",
            json!({"allow": ["192.0.2.0/24"]}),
        ),
        (
            "ip-restriction/1000 networks",
            "ip-restriction",
            json!({"deny": many}),
        ),
        (
            "cors",
            "cors",
            json!({"allow_origins": ["https://app.test"]}),
        ),
        ("request-id", "request-id", json!({})),
        (
            "request-transform/headers",
            "request-transform",
            transform.clone(),
        ),
        ("request-transform/query", "request-transform", query),
        (
            "response-transform/headers",
            "response-transform",
            transform,
        ),
        (
            "response-transform/json",
            "response-transform",
            body.clone(),
        ),
        ("redirect", "redirect", json!({"location": "/"})),
        ("mock", "mock", json!({"body": "mocked"})),
    ];
    let mut measure = |name: &str, stack: Pipeline, method: &str| {
        c.bench_function(name, |b| {
            // A refusal is an answer too.
            b.iter(|| rt.block_on(stack.answer(request(method))).is_ok());
        });
    };
    measure("no plugin", Pipeline::new(End), "GET");
    for (name, plugin, config) in cases {
        measure(name, stack(plugin, config), "GET");
    }
    measure("no plugin, header", Pipeline::new(End), "header");
    measure("no plugin, query", Pipeline::new(End), "query");
    measure("key-auth/header", stack("key-auth", json!({})), "header");
    measure("key-auth/query", stack("key-auth", json!({})), "query");
    measure(
        "basic-auth/known",
        stack("basic-auth", json!({})),
        "password",
    );
    let acl = stack("acl", json!({"allow": ["staff"]}));
    measure(
        "key-auth and acl",
        around(acl, "key-auth", json!({})),
        "header",
    );
    measure("no plugin, POST", Pipeline::new(End), "POST");
    measure(
        "request-transform/json",
        stack("request-transform", body),
        "POST",
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    targets = plugins
}
criterion_main!(benches);
