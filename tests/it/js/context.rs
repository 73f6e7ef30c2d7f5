//! What `ctx` says, and what a module says to the log.

use super::{bundle, gateway, problem};
use dgate_tests::client::{ask, get};
use dgate_tests::process::Process;
use dgate_tests::upstream::{ClosedPort, TestUpstream};
use serde_json::json;

#[tokio::test]
async fn a_context_knows_its_request() {
    let upstream = TestUpstream::echo();
    let source = "export const responseModifier = (ctx) => {
            const seen = {
                id: ctx.id, again: ctx.id, url: ctx.url.href, same: ctx.url === ctx.url, params: ctx.params, all: ctx.query.getAll('a'),
                method: ctx.request.method, ip: ctx.client.ip, port: ctx.client.port > 0, tls: ctx.client.tls ?? null,
                namespace: ctx.namespace, route: ctx.route.name, paths: ctx.route.paths, service: ctx.service, module: ctx.module,
                consumer: ctx.consumer ?? null, attempt: ctx.attempt, status: ctx.response.status, state: ctx.state,
            };
            return Response.json(seen, { headers: { 'x-id': ctx.id } });
        };";
    let mut config = bundle(&[("m", source, json!({}))], Some(&upstream.url()));
    config["routes"][0]["paths"] = json!(["/m/{part}/**"]);
    config["routes"][0]["tags"] = json!(["t"]);
    let gateway = dgate_tests::gateway::TestGateway::start(config);
    let request = "PUT /m/a%20b/c?a=1&b=2&a=%C3%A9 HTTP/1.1\r\nHost: shop.test:81\r\nContent-Length: 0\r\n\r\n";
    let answer = ask(gateway.addr(), request).await;
    let mut seen = answer.json();
    let id = seen["id"].take();
    assert_eq!(answer.header("x-id"), id.as_str());
    assert_eq!(seen["again"].take(), id);
    assert_eq!(upstream.requests()[0].header("x-request-id"), id.as_str());
    let params = seen["params"].take();
    assert_eq!(params["part"], "a b");
    assert_eq!(
        seen,
        json!({
            "id": null, "again": null, "params": null, "url": "http://shop.test:81/m/a%20b/c?a=1&b=2&a=%C3%A9", "same": true,
            "all": ["1", "é"], "method": "PUT", "ip": "127.0.0.1", "port": true, "tls": null,
            "namespace": {"name": "default", "tags": ["main"]}, "route": "m", "paths": ["/m/{part}/**"],
            "service": {"name": "svc", "tags": [], "urls": [upstream.url()]}, "module": {"name": "m", "revision": 1},
            "consumer": null, "attempt": 0, "status": 200, "state": {},
        })
    );
}

#[tokio::test]
async fn an_error_handler_is_told_what_failed() {
    let closed = ClosedPort::new();
    let source = "export const requestModifier = (ctx) => { ctx.state.seen = [ctx.id]; if (ctx.query.has('throw')) { ctx.state.seen.push('thrown'); throw new TypeError('on purpose'); } };
        export const errorHandler = (ctx, error) => Response.json({ ...error, seen: ctx.state.seen.length, same: ctx.state.seen[0] === ctx.id, method: ctx.request.method, url: ctx.url.pathname }, { status: error.status });";
    let gateway = gateway(
        &[("m", source, json!({}))],
        Some(&format!("http://{}", closed.addr())),
    );
    let answer = get(gateway.addr(), "/m/x").await;
    let seen = answer.json();
    assert_eq!(
        (answer.status, &seen["code"]),
        (502, &json!("upstream_connect_failed"))
    );
    assert_eq!(seen["status"], 502);
    assert!(seen["attempts"].as_u64() >= Some(1), "{seen}");
    assert!(
        seen["upstream"]
            .as_str()
            .unwrap()
            .contains(&closed.addr().to_string()),
        "{seen}"
    );
    assert_eq!(
        (&seen["same"], &seen["url"], &seen["seen"]),
        (&json!(true), &json!("/m/x"), &json!(1))
    );
    let answer = get(gateway.addr(), "/m/x?throw").await;
    let seen = answer.json();
    assert_eq!(
        (answer.status, &seen["code"], &seen["seen"]),
        (500, &json!("module_error"), &json!(2))
    );
    assert!(
        seen["cause"].as_str().unwrap().contains("on purpose"),
        "{seen}"
    );
}

#[tokio::test]
async fn what_a_module_says_goes_to_the_log_with_its_place() {
    let source = "interface A { b: string }

        export const requestHandler = (ctx): string => {
            console.error('a %s of %o', 'word', { b: [1, 2] });
            console.warn(new Map([['key', ctx.id]]));
            Promise.reject(new Error('nobody waits for this'));
            if (ctx.query.has('bad')) {
                throw new RangeError('in line 8');
            }
            return ctx.id;
        };";
    let resources = bundle(&[("talking", source, json!({}))], None);
    let process = Process::start(json!({"resources": resources}));
    let id = get(process.addr(), "/talking/").await.text();
    let line = process.wait_for_line("a word of");
    assert!(line.contains("talking") && line.contains(&id), "{line}");
    assert!(process.wait_for_line("key").contains("talking"));
    process.wait_for_line("nobody waits for this");
    let answer = get(process.addr(), "/talking/?bad").await;
    problem(&answer, 500, "module_error");
    assert!(!answer.text().contains("in line 8"), "{}", answer.text());
    process.wait_for_line("in line 8");
    process.wait_for_line("talking.ts:8:");
    // An unhandled rejection ends nothing.
    assert_eq!(get(process.addr(), "/talking/").await.status, 200);
}
