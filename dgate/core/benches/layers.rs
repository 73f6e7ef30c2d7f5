//! What the parts of a stack cost a request: boxed layers by depth, each layer alone, and an upstream
//! against a hyper echo on the same runtime (so the figure holds both ends and the loopback between).
//!
//! `cargo bench -p dgate-core`; a name after `--` picks some.

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use dgate_core::layer::{
    BodyLimitLayer, BreakerConfig, CircuitBreakerLayer, MaxInflightConfig, MaxInflightLayer,
    RetryConfig, RetryLayer, TimeoutLayer, TraceLayer,
};
use dgate_core::upstream::{Balancing, LoadBalancerConfig};
use dgate_core::{
    Body, Exchange, Flow, HookSet, Hooks, ModuleLayer, Pipeline, Request, Response, Upstream,
};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn as hyper_service;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tower::util::MapRequestLayer;
use tower_layer::Layer;

struct Idle;

impl Hooks for Idle {
    fn points(&self) -> HookSet {
        HookSet::NONE
    }
}

struct Modifier;

#[async_trait]
impl Hooks for Modifier {
    fn points(&self) -> HookSet {
        HookSet::REQUEST_MODIFIER
    }
    async fn request_modifier(&self, _: &Exchange, req: Request) -> Flow<Request> {
        Ok(req)
    }
}

fn end() -> Pipeline {
    Pipeline::new(tower::service_fn(|_: Request| async {
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }))
}

fn deep(layers: usize) -> Pipeline {
    (0..layers).fold(end(), |inner, _| {
        inner.layer(MapRequestLayer::new(|req: Request| req))
    })
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// As a small client sends it.
fn request() -> Request {
    http::Request::get("/bench?x=1")
        .header("host", "bench.test")
        .header("user-agent", "bench/1.0")
        .header("accept", "*/*")
        .header("accept-encoding", "gzip")
        .body(Body::empty())
        .expect("a valid request")
}

fn stacks(c: &mut Criterion) {
    let rt = runtime();
    let second = Duration::from_secs(1);
    let cases = [
        ("pipeline/0 layers", deep(0)),
        ("pipeline/1 layer", deep(1)),
        ("pipeline/5 layers", deep(5)),
        ("pipeline/20 layers", deep(20)),
        ("module/no hooks", end().layer(ModuleLayer::new(Idle))),
        (
            "module/request_modifier",
            end().layer(ModuleLayer::new(Modifier)),
        ),
        ("layer/timeout", end().layer(TimeoutLayer::deadline(second))),
        (
            "layer/retry",
            end().layer(RetryLayer::new(RetryConfig::default())),
        ),
        (
            "layer/body_limit",
            end().layer(BodyLimitLayer::new(1 << 20)),
        ),
        (
            "layer/circuit_breaker",
            end().layer(CircuitBreakerLayer::new(BreakerConfig::default())),
        ),
        (
            "layer/max_inflight",
            end().layer(MaxInflightLayer::new(MaxInflightConfig::new(100))),
        ),
        ("layer/trace", Pipeline::new(TraceLayer::new().layer(end()))),
    ];
    c.bench_function("request alone", |b| b.iter(|| black_box(request())));
    for (name, stack) in cases {
        c.bench_function(name, |b| {
            b.iter(|| {
                rt.block_on(stack.answer(request()))
                    .expect("nothing here fails")
            });
        });
    }
}

async fn echo() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let addr = listener.local_addr().expect("the address just bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let answer = hyper_service(|_: http::Request<hyper::body::Incoming>| async {
                Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"hello"))))
            });
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), answer));
        }
    });
    addr
}

fn upstream(c: &mut Criterion) {
    let rt = runtime();
    let addr = rt.block_on(echo());
    let build = || Upstream::builder().endpoint(format!("http://{addr}"));
    let once = build().build().expect("a valid URL").pipeline();
    let retrying = build()
        .retry(RetryConfig::default())
        .build()
        .expect("a valid URL")
        .pipeline();
    let guarded = build()
        .breaker(BreakerConfig::default())
        .load_balancer(LoadBalancerConfig::new(Balancing::LeastRequest))
        .health_check(Default::default())
        .max_inflight(MaxInflightConfig::new(100))
        .build()
        .expect("a valid URL")
        .pipeline();
    for (name, stack) in [
        ("upstream/loopback GET", once),
        ("upstream/with retry", retrying),
        ("upstream/with breaker, health, load and limit", guarded),
    ] {
        c.bench_function(name, |b| {
            b.iter(|| {
                rt.block_on(async {
                    let answer = stack.answer(request()).await.expect("the echo answers");
                    answer
                        .into_body()
                        .collect()
                        .await
                        .expect("the echo ends")
                        .to_bytes()
                })
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = stacks, upstream
}
criterion_main!(benches);
