//! Bodies through modules: whole, framed by the gateway whatever a module says, streamed when they may be.

use super::{gateway, local, problem};
use dgate_tests::client::{ask, get};
use dgate_tests::upstream::TestUpstream;
use serde_json::json;

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A length that is not that of the body would be another message for whoever reads it.
#[tokio::test]
async fn a_module_cannot_change_how_a_message_is_framed() {
    let upstream = TestUpstream::echo();
    let source = "const lie = (headers) => {
            headers.set('content-length', '3'); headers.set('transfer-encoding', 'chunked'); headers.set('connection', 'x-a');
            headers.set('x-a', 'kept');
        };
        export const requestModifier = (ctx) => lie(ctx.request.headers);
        export const responseModifier = (ctx) => lie(ctx.response.headers);";
    let gateway = gateway(&[("m", source, json!({}))], Some(&upstream.url()));
    let answer = ask(gateway.addr(), post("/m/x", "a body of 20 bytes..")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-a"), Some("kept"));
    assert_eq!(answer.header("transfer-encoding"), None);
    // The answer is whole JSON, and what arrived is what was sent.
    assert!(answer.json().is_object());
    let seen = upstream.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("content-length"), Some("20"));
    assert_eq!(seen[0].header("transfer-encoding"), None);
    assert_eq!(seen[0].header("x-a"), Some("kept"));
    assert_eq!(&seen[0].body[..], b"a body of 20 bytes..");
}

#[tokio::test]
async fn a_body_that_was_read_goes_on_whole_and_one_that_was_begun_fails() {
    let upstream = TestUpstream::echo();
    let read = "export const requestModifier = async (ctx) => { ctx.request.headers.set('x-length', String((await ctx.request.text()).length)); };";
    let begun = "export const requestModifier = async (ctx) => { const r = ctx.request.body.getReader(); await r.read(); r.releaseLock(); };";
    let looked =
        "export const requestModifier = (ctx) => { ctx.state.stream = typeof ctx.request.body; };";
    let modules = [
        ("read", read, json!({})),
        ("begun", begun, json!({})),
        ("looked", looked, json!({})),
    ];
    let gateway = gateway(&modules, Some(&upstream.url()));
    assert_eq!(
        ask(gateway.addr(), post("/read/", "hello")).await.status,
        200
    );
    assert_eq!(
        ask(gateway.addr(), post("/looked/", "hello")).await.status,
        200
    );
    let begun = ask(gateway.addr(), post("/begun/", "hello")).await;
    problem(&begun, 500, "module_error");
    let seen = upstream.requests();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header("x-length"), Some("5"));
    assert!(seen.iter().all(|request| &request.body[..] == b"hello"));
}

#[tokio::test]
async fn on_error_continue_sends_the_request_as_it_came() {
    let upstream = TestUpstream::echo();
    let source = "export const requestModifier = async (ctx) => { ctx.request.headers.set('x-mark', '1'); await ctx.request.text(); throw new Error('x'); };";
    let lenient = json!({"on_error": "continue"});
    let gateway = gateway(&[("m", source, lenient)], Some(&upstream.url()));
    assert_eq!(ask(gateway.addr(), post("/m/", "hello")).await.status, 200);
    let seen = upstream.requests();
    assert_eq!(
        (seen[0].header("x-mark"), &seen[0].body[..]),
        (None, &b"hello"[..])
    );
}

#[tokio::test]
async fn streams_of_a_module_and_bodies_of_fetch_pass_through() {
    let upstream = TestUpstream::with(|_| async { http::Response::new("from upstream") });
    let made = "export const requestHandler = () => {
        let n = 0;
        return new Response(new ReadableStream({ pull(c) { if (n++ === 3) c.close(); else c.enqueue(new TextEncoder().encode('part ' + n + '\\n')); } }));
    };";
    let passed = "export const requestHandler = async (ctx) => {
        const res = await fetch(ctx.query.get('up'));
        return new Response(res.body, { status: 201 });
    };";
    let broken = "export const requestHandler = () => new Response(new ReadableStream({ pull(c) { c.enqueue('no bytes'); } }));";
    let modules = [
        ("made", made, json!({})),
        ("passed", passed, local()),
        ("broken", broken, json!({})),
    ];
    let gateway = gateway(&modules, None);
    let answer = get(gateway.addr(), "/made/").await;
    assert_eq!(answer.text(), "part 1\npart 2\npart 3\n");
    let answer = get(gateway.addr(), &format!("/passed/?up={}", upstream.url())).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (201, "from upstream")
    );
    // What breaks off in the middle does not look whole.
    let mut conn = dgate_tests::client::Conn::open(gateway.addr()).await;
    conn.send("GET /broken/ HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(conn.try_response().await.is_err());
}
