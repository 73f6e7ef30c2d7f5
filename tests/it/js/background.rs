//! Work beside an answer: `waitUntil`, clients that go away, promises that requests share.

use super::{gateway, local};
use dgate_tests::client::{Conn, get, poll_until};
use dgate_tests::upstream::TestUpstream;
use serde_json::json;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn wait_until_goes_on_after_the_answer() {
    let (open, opened) = tokio::sync::watch::channel(false);
    let upstream = TestUpstream::with(move |req| {
        let mut opened = opened.clone();
        let waits = req.path().starts_with("/first");
        async move {
            if waits {
                let _ = opened.wait_for(|o| *o).await;
            }
            http::Response::new("x")
        }
    });
    let source = "export const requestHandler = (ctx) => {
        const up = ctx.query.get('up');
        ctx.waitUntil(fetch(up + '/first').then((r) => r.text()).then(() => fetch(up + '/second')));
        ctx.waitUntil(Promise.reject(new Error('nobody is hurt')));
        return 'at once';
    };";
    let gateway = gateway(&[("m", source, local())], None);
    let answer = get(gateway.addr(), &format!("/m/?up={}", upstream.url())).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "at once"));
    open.send(true).unwrap();
    poll_until(PATIENCE, "the second fetch", async || {
        upstream.requests().iter().any(|r| r.path() == "/second")
    })
    .await;
}

/// Else a module that keeps a promise in a global would wait for ever on what a client that is gone had begun.
#[tokio::test]
async fn a_promise_that_requests_share_does_not_hang_when_its_first_client_goes_away() {
    let (open, opened) = tokio::sync::watch::channel(false);
    let upstream = TestUpstream::with(move |_| {
        let mut opened = opened.clone();
        async move {
            let _ = opened.wait_for(|o| *o).await;
            http::Response::new("x")
        }
    });
    let source = "let shared;
        export const requestHandler = async (ctx) => {
            if (ctx.query.has('ping')) return 'pong';
            shared ??= fetch(ctx.query.get('up'));
            return shared.then(() => 'came', (error) => error.name);
        };";
    let gateway = gateway(&[("m", source, local())], None);
    let path = format!("/m/?up={}", upstream.url());
    let mut first = Conn::open(gateway.addr()).await;
    first
        .send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .await;
    poll_until(PATIENCE, "the fetch", async || {
        !upstream.requests().is_empty()
    })
    .await;
    first.reset();
    // The worker sees the reset before it answers a request that comes after it.
    poll_until(PATIENCE, "the shared promise to settle", async || {
        let ping = get(gateway.addr(), "/m/?ping").await.text();
        assert_eq!(ping, "pong");
        let mut conn = Conn::open(gateway.addr())
            .await
            .within(Duration::from_millis(300));
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        conn.try_response()
            .await
            .is_ok_and(|answer| answer.text() == "AbortError")
    })
    .await;
    drop(open);
}

#[tokio::test]
async fn two_thousand_fetches_at_once_bring_each_request_its_own_answers() {
    const CLIENTS: usize = 200;
    const EACH: usize = 10;
    let upstream = TestUpstream::with(|req| {
        let path = req.path().to_owned();
        async move { http::Response::new(path) }
    });
    let source = "export const requestHandler = async (ctx) => {
        const n = ctx.query.get('n');
        const all = await Promise.all(Array.from({ length: 10 }, (_, i) => fetch(`${ctx.query.get('up')}/${n}-${i}`).then((r) => r.text())));
        return all.every((text, i) => text === `/${n}-${i}`) ? n : all;
    };";
    let fields = json!({"permissions": {"net": ["127.0.0.1"]}, "limits": {"cpu": "5s"}});
    let gateway = gateway(&[("m", source, fields)], None);
    let (addr, up) = (gateway.addr(), upstream.url());
    let clients = (0..CLIENTS).map(|n| {
        let up = up.clone();
        tokio::spawn(async move { (n, get(addr, &format!("/m/?n={n}&up={up}")).await.text()) })
    });
    for client in clients.collect::<Vec<_>>() {
        let (n, text) = client.await.unwrap();
        assert_eq!(text, n.to_string());
    }
    assert_eq!(upstream.requests().len(), CLIENTS * EACH);
}
