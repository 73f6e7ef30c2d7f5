//! What a module costs a request, without sockets: the call of a hook, its bridge to headers and bodies, a slot of
//! its own, and a revision that replaces a module.
//!
//! `cargo bench -p dgate --bench modules`; a name after `--` picks some.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dgate::control::{ChangeSet, Options};
use dgate::exchange::Client;
use dgate::js::JsModule;
use dgate::resource::{Isolation, Language, Module, Spec};
use dgate::{Body, DGate, Exchange, Hooks, ModuleLayer, Pipeline, Request, Response};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// As a small client sends it.
fn request(body: impl Into<Body>) -> Request {
    http::Request::post("/bench?x=1")
        .header("host", "bench.test")
        .header("user-agent", "bench/1.0")
        .header("accept", "*/*")
        .header("content-type", "application/json")
        .body(body.into())
        .expect("a valid request")
}

fn module(source: &str) -> Module {
    Module::new("default", "bench", Language::JavaScript, source)
}

fn compiled(module: &Module) -> JsModule {
    JsModule::compile(&module.name, std::slice::from_ref(module)).expect("a correct module")
}

fn exchange() -> Exchange {
    Exchange::new(Client::default())
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// 100 items, about 2 KiB.
fn items() -> String {
    let items: Vec<_> = (0..100)
        .map(|id| format!("{{\"id\":{id},\"v\":{}}}", id * 7919 % 1000))
        .collect();
    format!("{{\"items\":[{}]}}", items.join(","))
}

/// Request modifiers, called as a layer calls them; a request and an exchange are made for each.
fn modifiers(c: &mut Criterion) {
    let rt = runtime();
    c.bench_function("request and exchange alone", |b| {
        b.iter(|| black_box((request(""), exchange())));
    });
    for (name, source) in [
        ("modifier/no-op", "export const requestModifier = () => {};"),
        (
            "modifier/async no-op",
            "export const requestModifier = async () => {};",
        ),
        (
            "modifier/sets a header",
            "export const requestModifier = (ctx) => { ctx.request.headers.set('x-req', '1'); };",
        ),
        (
            "modifier/reads three headers",
            "export const requestModifier = ({ request: { headers } }) => { headers.get('host') + headers.get('accept') + headers.get('x-none'); };",
        ),
    ] {
        let module = compiled(&module(source));
        c.bench_function(name, |b| {
            b.iter(|| {
                let ctx = exchange();
                rt.block_on(module.request_modifier(&ctx, request("")))
                    .expect("nothing here fails")
            });
        });
    }
}

/// Request handlers with the body of their answer.
fn handlers(c: &mut Criterion) {
    let rt = runtime();
    let text = items();
    for (name, source) in [
        (
            "handler/hello",
            "export const requestHandler = () => Response.json({ message: 'hello' });",
        ),
        (
            "handler/reads 2 KiB of JSON",
            "export const requestHandler = async (ctx) => { await ctx.request.json(); return ''; };",
        ),
        (
            "handler/reads and answers 2 KiB of JSON",
            "export const requestHandler = async (ctx) => Response.json(await ctx.request.json());",
        ),
        (
            "handler/maps and sorts 100 items",
            "export async function requestHandler(ctx) {
               const { items } = await ctx.request.json();
               const list = items.map((x) => ({ id: x.id, w: x.v * 2 })).sort((a, b) => a.w - b.w);
               return Response.json({ count: list.length, items: list });
             }",
        ),
    ] {
        let module = compiled(&module(source));
        c.bench_function(name, |b| {
            b.iter(|| {
                rt.block_on(async {
                    let ctx = exchange();
                    let answer = module.request_handler(&ctx, request(text.clone())).await;
                    let body = answer.expect("nothing here fails").into_body();
                    body.collect().await.expect("it is there").to_bytes()
                })
            });
        });
    }
    let one = "export const requestModifier = (ctx) => { ctx.request.headers.set('x-req', '1'); };
               export const responseModifier = (ctx) => { ctx.response.headers.set('x-res', '1'); };";
    let end = Pipeline::new(tower::service_fn(|_: Request| async {
        Ok::<_, Infallible>(Response::new(Body::from("text")))
    }));
    let stack = end.layer(ModuleLayer::new(compiled(&module(one))));
    c.bench_function("stack/a header on the way in and out", |b| {
        b.iter(|| {
            rt.block_on(stack.answer(request("")))
                .expect("nothing here fails")
        });
    });
}

const HELLO: &str = "export const requestHandler = () => 'hello';";

/// Engines, and revisions of a gateway.
fn slots(c: &mut Criterion) {
    let rt = runtime();
    let mut fresh = module(HELLO);
    fresh.isolation = Isolation::Request;
    let fresh = compiled(&fresh);
    c.bench_function("slot/made, called and dropped", |b| {
        b.iter(|| {
            let ctx = exchange();
            rt.block_on(fresh.request_handler(&ctx, request("")))
                .expect("nothing here fails")
        });
    });
    let gateway = rt
        .block_on(DGate::builder().build())
        .expect("nothing is wrong in nothing");
    let namespace = serde_json::from_str(r#"{ "name": "default" }"#).expect("a correct namespace");
    gateway
        .control()
        .apply(
            ChangeSet::put(Spec::Namespace(namespace)),
            &Options::default(),
        )
        .expect("nothing is in its way");
    let mut n = 0;
    c.bench_function("revision/replaces a module", |b| {
        b.iter_batched(
            || {
                n += 1;
                ChangeSet::put(Spec::Module(Box::new(module(&format!("{HELLO} // {n}")))))
            },
            |change| {
                gateway
                    .control()
                    .apply(change, &Options::default())
                    .expect("a correct module")
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = modifiers, handlers, slots
}
criterion_main!(benches);
