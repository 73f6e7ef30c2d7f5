//! A module is replaced under load.

use super::bundle;
use dgate_tests::client::{Conn, get, poll_until};
use dgate_tests::gateway::TestGateway;
use dgate_tests::process::Process;
use dgate_tests::upstream::TestUpstream;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

fn source(n: usize) -> String {
    // Some weight, so that what is not freed would show.
    format!(
        "const table = Array.from({{ length: 20000 }}, (_, i) => ({{ i, text: 'v' + i }}));
        export const requestHandler = async (ctx) => {{ const seen = {n}; await null; return `${{seen}} ${{table.length}}`; }};"
    )
}

#[tokio::test]
async fn three_hundred_updates_under_load_fail_no_request_and_keep_memory_flat() {
    let process =
        Process::start(json!({"resources": bundle(&[("m", &source(0), json!({}))], None)}));
    let addr = process.addr();
    let (stop, answered, newest) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let load = || {
        let (stop, answered, newest) = (stop.clone(), answered.clone(), newest.clone());
        async move {
            let mut conn = Conn::open(addr).await;
            while !stop.load(Relaxed) {
                let least = newest.load(Relaxed);
                conn.send("GET /m/ HTTP/1.1\r\nHost: h\r\n\r\n").await;
                let answer = conn.read_response().await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let text = answer.text();
                let (n, length) = text.split_once(' ').unwrap();
                assert_eq!(length, "20000");
                // An update that was acknowledged is seen by every later request.
                assert!(n.parse::<usize>().unwrap() >= least, "{n} after {least}");
                answered.fetch_add(1, Relaxed);
            }
        }
    };
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(load())).collect();
    let mut early = 0;
    for n in 1..=300 {
        let path = "/api/v1/module/default/m";
        let body = json!({"source": source(n)});
        let answer =
            dgate_tests::gateway::call(process.admin_addr(), "PUT", path, &[], Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        newest.store(n, Relaxed);
        if n == 100 {
            early = process.status_kib("VmRSS");
        }
    }
    stop.store(true, Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(answered.load(Relaxed) > 300);
    let late = process.status_kib("VmRSS");
    // Two hundred engines of about 2 MiB would be far more.
    assert!(
        late < early + 100 * 1024,
        "{early} KiB after 100 updates, {late} KiB after 300"
    );
}

#[tokio::test]
async fn a_request_in_flight_ends_on_the_code_it_began_with() {
    let (open, opened) = tokio::sync::watch::channel(false);
    let upstream = TestUpstream::with(move |_| {
        let mut opened = opened.clone();
        async move {
            let _ = opened.wait_for(|o| *o).await;
            http::Response::new("x")
        }
    });
    let source = |n: u32| {
        format!(
            "export const requestModifier = () => {{ n = {n}; }}; let n = 0;
            export const requestHandler = async (ctx) => {{ if (ctx.query.has('up')) await (await fetch(ctx.query.get('up'))).text(); return `{n} ${{n}}`; }};
            export const responseModifier = (ctx) => {{ ctx.response.headers.set('x-n', '{n}'); }};"
        )
    };
    let start = |n| bundle(&[("m", &source(n), super::local())], None);
    let gateway = TestGateway::start(start(1));
    let mut old = Conn::open(gateway.addr()).await;
    old.send(format!(
        "GET /m/?up={} HTTP/1.1\r\nHost: h\r\n\r\n",
        upstream.url()
    ))
    .await;
    poll_until(Duration::from_secs(10), "the fetch", async || {
        !upstream.requests().is_empty()
    })
    .await;
    for n in 2..12 {
        gateway.apply(start(n)).await;
        let answer = get(gateway.addr(), "/m/").await;
        assert_eq!(answer.text(), format!("{n} {n}"));
        assert_eq!(answer.header("x-n"), Some(n.to_string().as_str()));
    }
    open.send(true).unwrap();
    let answer = old.read_response().await;
    assert_eq!(
        (answer.text().as_str(), answer.header("x-n")),
        ("1 1", Some("1"))
    );
}
