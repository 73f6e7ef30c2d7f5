//! Code that means harm, and invocations that end at any moment: nobody else notices.

use super::fuzz::{panics, variable};
use super::{answer, compiled, exchange, module, text};
use crate::js::JsModule;
use crate::js::slot::Slot;
use dgate_core::hook::Hooks;
use dgate_core::{Body, ErrorKind, Request};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Arguments are read by code of the module, which uses the very object that is being called.
const REENTRY: &[(&str, &str)] = &[
    (
        "append",
        "const h = new Headers({ a: 'b' }); h.append('x', { toString() { return new Headers(h).get('a'); } }); return h.get('x');",
    ),
    (
        "set",
        "const h = new Headers({ a: 'b' }); h.set({ toString() { return [...h][0][0]; } }, { toString() { return [...h][0][1]; } }); return h.get('a');",
    ),
    (
        "request",
        "const r = new Request('http://h/', { headers: { a: 'b' } }); r.headers.append('x', { toString() { return new Request(r).headers.get('a'); } }); return r.headers.get('x');",
    ),
    (
        "get",
        "const h = new Headers({ a: 'b' }); return h.get({ toString() { h.set('a', 'c'); return 'a'; } }) === 'c' ? 'b' : 'no';",
    ),
    (
        "stream",
        "const s = new ReadableStream({ pull(c) { c.close(); } }); const r = new Request('http://h/', { method: 'POST', body: s }); const get = s.getReader; s.getReader = function () { new Request(r); r.headers; r.clone(); return get.call(s); }; try { await fetch(r); } catch {} return 'b';",
    ),
    (
        "clone",
        "const r = new Request('http://h/', { method: 'POST', body: new ReadableStream() }); const tee = r.body.tee; r.body.tee = function () { try { new Request(r); } catch {} try { fetch(r); } catch {} return tee.call(this); }; r.clone(); return 'b';",
    ),
    (
        "json",
        "const r = new Request('http://h/', { method: 'POST', body: '{}' }); ctx.request = r; Object.defineProperty(Object.prototype, 'then', { configurable: true, get() { delete Object.prototype.then; try { new Request(r); } catch {} try { ctx.url.href; } catch {} try { ctx.request = new Request(r); } catch {} } }); await r.json(); return 'b';",
    ),
    (
        "replace",
        "ctx.request.headers.get('a'); const s = new ReadableStream({ pull(c) { c.close(); } }); const r = new Response(s); s.getReader = function () { r.headers.set('a', 'b'); r.clone(); return 1; }; try { new Response(r.body); } catch {} return 'b';",
    ),
];

#[tokio::test]
async fn arguments_that_use_the_object_they_are_given_to_do_no_harm() {
    let mut wrong = Vec::new();
    for (name, body) in REENTRY {
        let source = format!("export const requestHandler = async (ctx) => {{ {body} }};");
        let module = compiled(&module(source));
        let before = panics();
        let found = answer(&module).await.map_err(|e| e.to_string());
        if found.as_deref() != Ok("b") || panics() != before {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Until nothing runs in the slot any more.
async fn idle(module: &JsModule) -> Arc<Slot> {
    let slot = module.0.group.slot().unwrap();
    let begun = Instant::now();
    while slot.in_flight.load(Relaxed) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "still running");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    slot
}

#[tokio::test]
async fn work_in_the_background_of_an_immediate_answer_ends_with_its_promise() {
    for handler in [
        "(ctx) => { ctx.waitUntil(sleep(5)); return 'b'; }",
        "(ctx) => { ctx.waitUntil(Promise.resolve()); return 'b'; }",
        "(ctx) => { ctx.waitUntil(5); return 'b'; }",
        "(ctx) => { ctx.waitUntil(Promise.reject(new Error('no'))); return 'b'; }",
        "(ctx) => { ctx.waitUntil(new Promise((r) => setTimeout(() => ctx.waitUntil(sleep(1).then(r)), 1))); return 'b'; }",
        "async (ctx) => { ctx.waitUntil(sleep(5)); await sleep(1); ctx.waitUntil(sleep(5)); return 'b'; }",
        "(ctx) => new Response(new ReadableStream({ start(c) { c.enqueue(new Uint8Array([98])); c.close(); } }))",
        "(ctx) => { const work = Promise.resolve(); work.then = (a, b) => { for (let i = 0; i < 9; i++) a(), b(); }; ctx.waitUntil(work); return 'b'; }",
    ] {
        let source =
            format!("import {{ sleep }} from 'dgate'; export const requestHandler = {handler};");
        let module = compiled(&module(source));
        assert_eq!(answer(&module).await.unwrap(), "b", "{handler}");
        idle(&module).await;
    }
}

/// Requests that wait in all the ways there are, and answer with their own number.
const WAITING: &str = r#"
import { sleep } from "dgate";
import * as cache from "dgate/cache";
import { collection } from "dgate/state";
let gate = Promise.resolve(), waiting = [];
export const requestHandler = async (ctx) => {
    const n = (await ctx.request.text()).length;
    const mine = [n];
    switch (n % 8) {
        case 0: for (let i = 0; i < 20; i++) await sleep(i % 3); break;
        case 1: await (gate = Promise.race([gate, sleep(2)]).catch(() => {})); break;
        case 2: await new Promise((r) => setTimeout(r, n % 5)); break;
        case 3: await Promise.all(Array.from({ length: 30 }, (_, i) => sleep(i % 4))); break;
        case 4: waiting.push(n); await Promise.allSettled([sleep(1), sleep(2)]); waiting.pop(); break;
        case 5: { const s = new ReadableStream({ async pull(c) { await sleep(1); c.enqueue(new Uint8Array(1)); if (mine.push(0) > 9) c.close(); } }); return new Response(s, { headers: { n } }); }
        case 6: ctx.waitUntil(sleep(3)); await sleep(1); break;
        case 7: { const c = collection("c"); await Promise.allSettled([c.put(String(n), { n }), c.get("1"), c.list({})]); await cache.set(String(n), n); break; }
    }
    return new Response(null, { headers: { n } });
};
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invocations_that_end_at_random_moments_disturb_no_other() {
    let module = compiled(&module(WAITING));
    let seed = variable("FUZZ_SEED", 1);
    eprintln!("seed {seed}");
    let random = Arc::new(parking_lot::Mutex::new(fastrand::Rng::with_seed(seed)));
    let end = Instant::now() + Duration::from_secs(3);
    let (answered, cancelled) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let one = || {
        let (module, random) = (module.clone(), random.clone());
        let (answered, cancelled) = (answered.clone(), cancelled.clone());
        async move {
            while Instant::now() < end {
                let (n, after, read) = {
                    let mut random = random.lock();
                    (random.usize(1..200), random.u64(..20_000), random.bool())
                };
                let request = Request::new(Body::from("x".repeat(n)));
                let ctx = exchange();
                let asked = async {
                    let response = module.request_handler(&ctx, request).await;
                    let response = response.unwrap_or_else(|_| panic!("{n} failed"));
                    assert_eq!(response.headers()["n"].to_str().unwrap(), n.to_string());
                    // Others only drop the body.
                    if read {
                        let body = response.into_body().collect().await.unwrap().to_bytes();
                        assert_eq!(body.len(), if n % 8 == 5 { 9 } else { 0 });
                    }
                };
                match after < 10_000 {
                    true => match tokio::time::timeout(Duration::from_micros(after), asked).await {
                        Ok(()) => answered.fetch_add(1, Relaxed),
                        Err(_) => cancelled.fetch_add(1, Relaxed),
                    },
                    false => {
                        asked.await;
                        answered.fetch_add(1, Relaxed)
                    }
                };
            }
        }
    };
    let tasks: Vec<_> = (0..48).map(|_| tokio::spawn(one())).collect();
    for task in tasks {
        let ended = tokio::time::timeout(Duration::from_secs(60), task).await;
        ended.expect("a request hangs").unwrap();
    }
    let (answered, cancelled) = (answered.load(Relaxed), cancelled.load(Relaxed));
    eprintln!("{answered} answered, {cancelled} cancelled");
    assert!(answered > 100 && cancelled > 100);
    let slot = idle(&module).await;
    assert!(slot.memory() < 8 << 20, "{} bytes", slot.memory());
}

/// What its engine holds; the pages around it come on top.
#[tokio::test]
async fn a_slot_is_small() {
    let module = compiled(&module("export const requestHandler = () => 'fine';"));
    assert_eq!(answer(&module).await.unwrap(), "fine");
    let memory = idle(&module).await.memory();
    assert!(memory < 600 << 10, "{memory} bytes");
}

/// Ends by this limit however often it is asked, and a new slot answers.
async fn ends_by(limit: &str, body: &str) {
    let source = format!(
        "import {{ sleep }} from 'dgate'; export const requestHandler = async (ctx) => {{ if (await ctx.request.text()) return 'fine'; {body} }};"
    );
    let mut module = module(source);
    module.limits.memory = Some(dgate_core::units::Size::mib(8));
    module.limits.wall = Some(dgate_core::units::Duration::from_secs(20));
    let module = compiled(&module);
    for _ in 0..3 {
        let error = match answer(&module).await {
            Err(error) => error,
            Ok(text) => panic!("{body}: {text}"),
        };
        let wanted = format!("`{limit}`");
        let told = error.kind() == ErrorKind::ModuleLimit && error.detail().contains(&wanted);
        assert!(told, "{body}: {error:?}");
        let request = Request::new(Body::from("well?"));
        let answer = text(module.request_handler(&exchange(), request).await).await;
        assert_eq!(answer.unwrap(), "fine", "after {body}");
    }
}

#[tokio::test]
async fn memory_ends_wherever_it_runs_out() {
    let grow = [
        "const a = []; for (;;) a.push({});",
        "const a = []; for (;;) a.push({ a });",
        "const a = []; for (;;) a.push(new Uint8Array(1 << 16));",
        "const a = []; for (;;) a.push(() => a);",
        "const a = []; for (;;) a.push(new Promise(() => {}));",
        "const a = []; for (let i = 0; ; i++) a.push('x' + i);",
        "const a = {}; for (let i = 0; ; i++) a['x' + i] = i;",
        "const a = []; for (;;) a.push(new Headers({ b: 'c' }));",
        "const a = []; for (;;) a.push(new Response('x'.repeat(99)).body);",
        "const h = new Headers(); globalThis.h = h; const a = []; globalThis.a = a; for (;;) a.push({});",
    ];
    for body in grow {
        for before in ["", "await null;", "await sleep(0);"] {
            ends_by("memory", &format!("{before} {body}")).await;
        }
    }
    ends_by("memory", "const s = new ReadableStream({ pull(c) { const a = []; for (;;) a.push({}); } }); await s.getReader().read();").await;
    ends_by(
        "memory",
        "setTimeout(() => { const a = []; for (;;) a.push({}); }, 1); await new Promise(() => {});",
    )
    .await;
    ends_by("memory", "const a = []; const f = async () => { for (;;) { a.push({}); await null; } }; await Promise.all([f(), f()]);").await;
    ends_by("memory", "const a = []; const f = (x) => { a.push(x); return Promise.resolve().then(f).then(f); }; await f();").await;
    ends_by("memory", "const a = []; async function* g() { for (;;) yield a.push({}); } for await (const _ of g());").await;
}

#[tokio::test]
async fn the_stack_ends_wherever_it_runs_out() {
    for body in [
        "const f = (n) => 1 + f(n + 1); f(0);",
        "const f = async (n) => { await f(n + 1); }; await f(0);",
        "const f = async () => { try { return await f(); } finally { f(); throw 1; } }; await f();",
        "async function* g() { yield* g(); } for await (const _ of g());",
        "const f = () => new Promise((r) => r({ get then() { return f(); } })); await f();",
        "const f = () => structuredClone({ get a() { return f(); } }); f();",
        "const o = { toString: () => new Headers({ a: o }).get('a') }; `${o}`;",
        "const o = { toJSON: () => JSON.stringify(o) }; JSON.stringify(o);",
        "const p = new Proxy({}, { get: () => p.x }); p.x;",
        "const f = () => new ReadableStream({ start: f }); f();",
        "let a = []; for (let i = 0; i < 20000; i++) a = [a]; return a;",
        "let a = []; for (let i = 0; i < 20000; i++) a = [a]; structuredClone(a);",
        "JSON.parse('['.repeat(200000));",
    ] {
        // From several depths, since each function needs another amount of it.
        for depth in [0, 1, 2, 3, 5, 8, 13, 21] {
            let mut module = module(format!(
                "const down = (n, f) => (n ? down(n - 1, f) : f());
                export const requestHandler = (ctx) => ctx.params.fine ?? down({depth}, async () => {{ {body} return 'survived'; }});
                export const responseModifier = () => {{}};"
            ));
            module.limits.cpu = Some(dgate_core::units::Duration::from_millis(200));
            module.limits.wall = Some(dgate_core::units::Duration::from_secs(1));
            let module = compiled(&module);
            // Some catch what they caused themselves: whatever comes, the process lives and nothing is our defect.
            if let Err(error) = answer(&module).await {
                assert_ne!(error.kind(), ErrorKind::Internal, "{body}: {error:?}");
            }
            let response = dgate_core::Response::new(Body::from("x"));
            let answer = text(module.response_modifier(&exchange(), response).await).await;
            assert_eq!(answer.unwrap(), "x", "after {body}");
        }
    }
}
