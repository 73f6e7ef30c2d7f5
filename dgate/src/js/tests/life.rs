//! Code that means harm, and invocations that end at any moment: nobody else notices.

use super::{answer, compiled, module};
use crate::js::tests::fuzz::panics;

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
