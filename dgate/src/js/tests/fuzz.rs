//! Anything at every way in: the natives, the classes, what hooks return. The process must stay healthy: no panic,
//! no defect reported, and slots that work.
//!
//! A failure names its seed; `FUZZ_SEED` begins with another one, `FUZZ_SECONDS` goes on for longer.

use super::{answer, compiled, exchange, module, text};
use crate::js::JsModule;
use crate::js::bridge::body::{BodyCell, Spare};
use crate::js::bridge::context::Context as JsContext;
use crate::js::bridge::request::Incoming;
use crate::js::bridge::response::Response as JsResponse;
use crate::js::invocation::Invocation;
use crate::js::slot::Failure;
use crate::js::vm::Call;
use dgate_core::hook::Hooks;
use dgate_core::{Body, Error, ErrorKind, Request, Response};
use rquickjs::{Class, Context, Ctx, Function, Module, Object, Promise, Runtime, Value};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

const FUZZER: &str = include_str!("fuzz.js");

/// Calls in one invocation.
const STEPS: usize = 1500;

pub(super) fn variable(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Runs rounds with one seed each until the time is over.
async fn rounds(mut one: impl AsyncFnMut(u64)) {
    let end = Instant::now() + Duration::from_secs(variable("FUZZ_SECONDS", 4));
    let first = variable("FUZZ_SEED", 1);
    let mut seed = first;
    while Instant::now() < end {
        let before = panics();
        one(seed).await;
        assert_eq!(
            panics(),
            before,
            "a host function panicked with seed {seed}"
        );
        seed += 1;
    }
    eprintln!("seeds {first} to {}", seed - 1);
}

/// How many panics there were in this thread: a module can catch one like an exception.
pub(super) fn panics() -> usize {
    thread_local!(static COUNT: Arc<AtomicUsize> = Arc::default());
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let _ = COUNT.try_with(|count| count.fetch_add(1, Relaxed));
            before(info);
        }));
    });
    COUNT.with(|count| count.load(Relaxed))
}

/// What the engine itself defines; it is not what is tested here.
fn builtins() -> Vec<String> {
    let runtime = Runtime::new().unwrap();
    let context = Context::full(&runtime).unwrap();
    context.with(|ctx| ctx.eval("Object.getOwnPropertyNames(globalThis)").unwrap())
}

fn begin<'js>(ctx: &Ctx<'js>, call: Arc<Call>, seed: u64) -> rquickjs::Result<Value<'js>> {
    let native: Promise = Module::import(ctx, "dgate:native")?;
    while ctx.execute_pending_job() {}
    let native: Object = native.result().unwrap()?;
    let headers = || http::HeaderMap::from_iter([(http::header::COOKIE, "a=b".parse().unwrap())]);
    let body = || BodyCell::native(Body::from("some text"));
    let uri = "/a?b=c".parse().unwrap();
    let request = Incoming {
        method: http::Method::POST,
        uri,
        headers: Arc::new(headers()),
        https: false,
        body: Some(Spare::of(Body::from("some text")).0),
    };
    let response = JsResponse::given(http::StatusCode::OK, headers(), body());
    let response = Class::instance(ctx.clone(), response)?;
    let context = JsContext::new(call, Some(request), Some(response));
    let roots = Object::new(ctx.clone())?;
    roots.set("native", native.get::<_, Value>("default")?)?;
    roots.set("context", Class::instance(ctx.clone(), context)?)?;
    let run: Function = ctx.eval(format!(
        r#"({{ native, context }}, builtins, seed) => {{
            {FUZZER}
            const roots = {{ native, context }};
            for (const name of Object.getOwnPropertyNames(globalThis)) if (!builtins.includes(name)) roots[name] = globalThis[name];
            const fuzz = fuzzer(roots, builtins, seed);
            for (let i = 0; i < {STEPS}; i++) if (i % 2) fuzz.step(); else fuzz.own();
            return `${{fuzz.functions.length}} ${{fuzz.called.size}} ${{fuzz.fine()}}`;
        }}"#
    ))?;
    run.call((roots, builtins(), seed as f64))
}

#[tokio::test]
async fn natives_and_classes_take_anything_in_any_order() {
    let mut module = module("export const requestHandler = () => 'fine';");
    module.limits.cpu = Some(dgate_core::units::Duration::from_millis(1500));
    let module = compiled(&module);
    let (mut done, mut failed, mut most) = (0, 0, (0, 0, 0));
    rounds(async |seed| {
        let call = Call::new(module.0.meta.clone(), exchange());
        let slot = module.0.group.slot().unwrap();
        let mut invocation = Invocation::new(slot, call.clone(), tokio::time::Instant::now());
        let ended = invocation
            .run(
                move |ctx, _| begin(ctx, call, seed),
                |_, _, value| value.get::<String>(),
            )
            .await;
        match ended {
            Ok(counts) => {
                let counts: Vec<u32> = counts.split(' ').map(|n| n.parse().unwrap()).collect();
                done += 1;
                most = (
                    most.0.max(counts[0]),
                    most.1.max(counts[1]),
                    most.2.max(counts[2]),
                );
            }
            Err(Failure::Limit(_)) => failed += 1,
            Err(Failure::Thrown(thrown)) => panic!("seed {seed}: {thrown:?}"),
            Err(Failure::Broken(what)) => panic!("seed {seed}: {what}"),
        }
        drop(invocation);
        assert_eq!(answer(&module).await.unwrap(), "fine", "after seed {seed}");
    })
    .await;
    eprintln!("{done} rounds, {failed} ended by limits, functions/called/fine {most:?}");
    assert!(
        done > failed && most.0 > 100 && most.2 > 100,
        "{done} {failed} {most:?}"
    );
}

/// A module whose hooks do anything with their context and return anything.
fn wild() -> JsModule {
    let known = serde_json::to_string(&builtins()).unwrap();
    let mut module = module(format!(
        r#"import * as cache from "dgate/cache"; import {{ collection }} from "dgate/state"; import * as secrets from "dgate/secrets"; import * as crypto2 from "dgate/crypto";
        {FUZZER}
        const builtins = {known};
        let seed = 0;
        const wild = (kind) => (ctx, error) => {{
            const more = {{ ctx, error, cache, collection, secrets, crypto2 }};
            const roots = {{ ...more }};
            for (const name of ["Headers", "Request", "Response", "URL", "URLSearchParams", "ReadableStream", "AbortController", "AbortSignal", "fetch", "structuredClone", "setTimeout"]) roots[name] = globalThis[name];
            const fuzz = fuzzer(roots, builtins, Number(ctx.params.seed ?? ctx.request?.headers.get("x-seed")) * 5 + kind);
            const pick = () => {{
                const made = [new Response("a"), new Response(new ReadableStream({{ pull(c) {{ fuzz.step(); c.enqueue(new Uint8Array(1)); c.close(); }} }})), new Request("http://h/", {{ method: "POST", body: "x" }}), ctx.request, ctx.response, ctx.request?.clone(), undefined, "http://127.0.0.1:1", fuzz.value(), fuzz.value()];
                return made[fuzz.next(made.length)];
            }};
            for (let i = 0; i < 40; i++) if (i % 2) fuzz.step(); else fuzz.own();
            try {{ if (fuzz.next(4) === 0) ctx.request = pick(); }} catch {{}}
            try {{ if (fuzz.next(4) === 0) ctx.response = pick(); }} catch {{}}
            if (fuzz.next(3) === 0) ctx.waitUntil(fuzz.value());
            if (fuzz.next(3) === 0) ctx.state[String(fuzz.next(3))] = fuzz.value();
            if (fuzz.next(6) === 0) throw fuzz.value();
            return fuzz.next(2) ? pick() : Promise.resolve().then(pick);
        }};
        export const requestModifier = wild(0), fetchUpstream = wild(1), requestHandler = wild(2), responseModifier = wild(3), errorHandler = wild(4);
        export const healthy = 1;
        "#
    ));
    module.limits.cpu = Some(dgate_core::units::Duration::from_millis(300));
    module.limits.wall = Some(dgate_core::units::Duration::from_millis(200));
    compiled(&module)
}

#[tokio::test]
async fn hooks_do_and_return_anything() {
    let module = wild();
    let healthy = |error: &Error, seed| {
        assert_ne!(error.kind(), ErrorKind::Internal, "seed {seed}: {error:?}");
    };
    let (mut answered, mut failed) = (0, 0);
    rounds(async |seed| {
        let ctx = exchange();
        let request = || {
            let mut request = Request::new(Body::from("the body"));
            *request.method_mut() = http::Method::POST;
            let headers = request.headers_mut();
            headers.insert("x-seed", seed.to_string().parse().unwrap());
            headers.insert("host", "h".parse().unwrap());
            request
        };
        let head = request().into_parts().0;
        let mut note = |ended: Result<String, Error>| match ended {
            Ok(_) => answered += 1,
            Err(error) => {
                healthy(&error, seed);
                failed += 1;
            }
        };
        match module.request_modifier(&ctx, request()).await {
            Ok(request) => note(text(Ok(Response::new(request.into_body()))).await),
            Err(end) => note(text(Err(end)).await),
        }
        match module.fetch_upstream(&ctx, &head).await {
            Ok(_) => note(Ok(String::new())),
            Err(end) => note(text(Err(end)).await),
        }
        note(text(module.request_handler(&ctx, request()).await).await);
        let response = Response::new(Body::from("from upstream"));
        note(text(module.response_modifier(&ctx, response).await).await);
        let error = Error::new(ErrorKind::NoEndpoint);
        match module.error_handler(&ctx, error).await {
            Ok(response) => note(text(Ok(response)).await),
            Err(error) => note(Err(error)),
        }
    })
    .await;
    eprintln!("{answered} answered, {failed} failed");
    assert!(answered > 20 && failed > 20, "{answered} {failed}");
}
