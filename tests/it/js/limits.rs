//! A limit ends the invocation that passes it, and touches nobody else.

use super::{gateway, local, metric, problem};
use dgate_tests::client::{Conn, get, poll_until};
use dgate_tests::upstream::TestUpstream;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

struct Case {
    name: &'static str,
    limits: Value,
    limit: &'static str,
    /// What `?bad` does, in an async function.
    bad: &'static str,
}

fn cases() -> Vec<Case> {
    let case = |name, limit, limits, bad| Case {
        name,
        limits,
        limit,
        bad,
    };
    let cpu = || json!({"cpu": "50ms", "wall": "10s"});
    let memory = || json!({"cpu": "10s", "memory": "16MiB"});
    vec![
        case("loop", "cpu", cpu(), "for (;;);"),
        case(
            "loop in finally",
            "cpu",
            cpu(),
            "for (;;) try { for (;;); } catch {} finally { continue; }",
        ),
        case(
            "loop after await",
            "cpu",
            cpu(),
            "await sleep(2); for (;;);",
        ),
        case(
            "loop in a timer",
            "cpu",
            cpu(),
            "await new Promise(() => setTimeout(() => { for (;;); }, 1));",
        ),
        case("microtasks", "cpu", cpu(), "for (;;) await 0;"),
        case(
            "regex",
            "cpu",
            cpu(),
            "return /^(a+)+$/.test('a'.repeat(50) + '!');",
        ),
        case(
            "getter of an answer",
            "cpu",
            cpu(),
            "return { get a() { for (;;); } };",
        ),
        case(
            "toJSON of state",
            "cpu",
            cpu(),
            "ctx.state.a = { toJSON() { for (;;); } }; return 'x';",
        ),
        case(
            "toString of an error",
            "cpu",
            cpu(),
            "throw { get message() { for (;;); } };",
        ),
        case(
            "then of an answer",
            "cpu",
            cpu(),
            "return { then() { for (;;); } };",
        ),
        case(
            "stream that never waits",
            "cpu",
            cpu(),
            "for await (const _ of new ReadableStream({ pull(c) { c.enqueue(1); } }));",
        ),
        case(
            "many short turns",
            "cpu",
            cpu(),
            "for (;;) { await sleep(0); const t = performance.now(); while (performance.now() - t < 5); }",
        ),
        case(
            "buffers",
            "memory",
            memory(),
            "const a = []; for (;;) a.push(new Uint8Array(1 << 20).fill(1));",
        ),
        case(
            "strings",
            "memory",
            memory(),
            "const a = []; for (let s = 'x'; ; ) a.push((s += s.slice(0, 100_000) + a.length));",
        ),
        case(
            "objects after await",
            "memory",
            memory(),
            "await sleep(1); const a = []; for (;;) a.push({ a });",
        ),
        case(
            "recursion",
            "stack",
            json!({"cpu": "5s"}),
            "const f = (n) => 1 + f(n + 1); return f(0);",
        ),
        case(
            "deep JSON",
            "stack",
            json!({"cpu": "5s"}),
            "let a = []; for (let i = 0; i < 100_000; i++) a = [a]; return a;",
        ),
        case(
            "never",
            "wall",
            json!({"wall": "200ms"}),
            "await new Promise(() => {});",
        ),
        case(
            "late",
            "wall",
            json!({"wall": "200ms"}),
            "await sleep(60_000); return 'late';",
        ),
        case(
            "fetches",
            "fetches",
            json!({"fetches": 3}),
            "for (let i = 0; i < 4; i++) await (await fetch(ctx.query.get('up'))).text(); return 'all';",
        ),
        case(
            "fetches at once",
            "fetches",
            json!({"fetches": 3}),
            "await Promise.allSettled(Array.from({ length: 9 }, () => fetch(ctx.query.get('up')))); return 'all';",
        ),
    ]
}

#[tokio::test]
async fn a_limit_ends_its_own_invocation_only() {
    let upstream = TestUpstream::echo();
    for Case {
        name,
        limits,
        limit,
        bad,
    } in cases()
    {
        let source = format!(
            "import {{ sleep }} from 'dgate';
            let open; const gate = new Promise((r) => {{ open = r; }}); let waiting = 0;
            export async function requestHandler(ctx) {{
                if (ctx.query.has('wait')) {{ waiting++; await gate; return 'waited'; }}
                if (ctx.query.has('open')) {{ open(); return 'opened'; }}
                if (ctx.query.has('count')) return String(waiting);
                if (!ctx.query.has('bad')) return 'good';
                const opening = ctx.query.get('opens'); if (opening) setTimeout(open, 1);
                {bad}
            }}"
        );
        let mut fields = local();
        fields["limits"] = limits;
        let module = format!("m-{}", name.replace(' ', "-").to_lowercase());
        let gateway = gateway(&[(&module, &source, fields)], None);
        let path = |query: &str| format!("/{module}/?{query}");
        let mut waiting = Vec::new();
        // What waits in the slot goes on, except beside a request that ran out of their common memory, and
        // within its own wall limit.
        if !matches!(limit, "memory" | "wall") {
            for n in 0..8 {
                let mut conn = Conn::open(gateway.addr()).await;
                let request = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", path("wait"));
                conn.send(request).await;
                waiting.push(conn);
                poll_until(Duration::from_secs(10), name, async || {
                    get(gateway.addr(), &path("count")).await.text() == (n + 1).to_string()
                })
                .await;
            }
        }
        let counted = async || {
            let words = [format!("limit=\"{limit}"), format!("module=\"{module}\"")];
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            metric(&gateway, "dgate_module_limit_exceeded_total", &words).await
        };
        let begun = Instant::now();
        // The last chance to open the gate: a slot that was interrupted gets no new request.
        let opens = if limit == "cpu" || limit == "stack" {
            "&opens=1"
        } else {
            ""
        };
        if opens.is_empty() && !waiting.is_empty() {
            let answer = get(gateway.addr(), &path(&format!("bad&up={}", upstream.url()))).await;
            problem(&answer, 500, "module_limit");
            assert_eq!(get(gateway.addr(), &path("open")).await.text(), "opened");
        } else {
            if !waiting.is_empty() {
                assert_eq!(get(gateway.addr(), &path("open")).await.text(), "opened");
            }
            let answer = get(gateway.addr(), &path("bad")).await;
            problem(&answer, 500, "module_limit");
            let detail = answer.json()["detail"].to_string();
            assert!(
                detail.contains(limit) || detail.contains("limit"),
                "{name}: {detail}"
            );
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{name}: {:?}",
            begun.elapsed()
        );
        for mut conn in waiting {
            assert_eq!(conn.read_response().await.text(), "waited", "{name}");
        }
        assert_eq!(
            get(gateway.addr(), &path("")).await.text(),
            "good",
            "{name}"
        );
        assert_eq!(counted().await, 1.0, "{name}");
    }
}

#[tokio::test]
async fn requests_that_wait_in_a_slot_survive_the_interrupt_of_another() {
    let source = "import { sleep } from 'dgate'; let waiting = 0;
        export async function requestHandler(ctx) {
            if (ctx.query.has('bad')) for (;;);
            if (ctx.query.has('count')) return String(waiting);
            waiting++;
            await (await fetch(ctx.query.get('up'))).text();
            await sleep(1);
            return 'waited ' + ctx.query.get('n');
        }";
    let (open, opened) = tokio::sync::watch::channel(false);
    let upstream = TestUpstream::with(move |_| {
        let mut opened = opened.clone();
        async move {
            let _ = opened.wait_for(|o| *o).await;
            http::Response::new("x")
        }
    });
    let gateway = gateway(&[("m", source, local())], None);
    let mut waiting = Vec::new();
    for n in 0..20 {
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(format!(
            "GET /m/?n={n}&up={} HTTP/1.1\r\nHost: h\r\n\r\n",
            upstream.url()
        ))
        .await;
        waiting.push(conn);
    }
    poll_until(Duration::from_secs(10), "all to wait", async || {
        upstream.requests().len() == 20
    })
    .await;
    for _ in 0..3 {
        problem(&get(gateway.addr(), "/m/?bad").await, 500, "module_limit");
    }
    // They are in a slot that takes no new request.
    assert_eq!(get(gateway.addr(), "/m/?count").await.text(), "0");
    open.send(true).unwrap();
    for (n, mut conn) in waiting.into_iter().enumerate() {
        assert_eq!(conn.read_response().await.text(), format!("waited {n}"));
    }
}

#[tokio::test]
async fn time_in_which_a_module_waits_is_not_its_cpu_time() {
    let source = "import { sleep } from 'dgate';
        export async function requestHandler() { for (let i = 0; i < 60; i++) await sleep(5); return 'done'; }";
    let gateway = gateway(&[("m", source, json!({"limits": {"cpu": "50ms"}}))], None);
    assert_eq!(get(gateway.addr(), "/m/").await.text(), "done");
}

#[tokio::test]
async fn globals_are_shared_unless_isolation_says_otherwise() {
    let source = "let n = 0; export const requestHandler = async (ctx) => { if (ctx.query.has('bad')) for (;;); await null; return String(++n); };";
    let modules = [
        ("shared", source, json!({})),
        ("request", source, json!({"isolation": "request"})),
        ("thread", source, json!({"isolation": "thread"})),
    ];
    let gateway = gateway(&modules, None);
    for (path, wanted) in [
        ("/shared/", ["1", "2", "3"]),
        ("/request/", ["1", "1", "1"]),
    ] {
        for wanted in wanted {
            assert_eq!(get(gateway.addr(), path).await.text(), wanted, "{path}");
        }
    }
    for path in ["/thread/", "/request/"] {
        problem(
            &get(gateway.addr(), &format!("{path}?bad")).await,
            500,
            "module_limit",
        );
        assert_eq!(get(gateway.addr(), path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn globals_of_one_hook_of_a_request_are_there_in_the_next_with_isolation_request() {
    let source = "let n = 0; export const requestModifier = () => { n++; }; export const requestHandler = () => String(++n); export const responseModifier = (ctx) => { ctx.response.headers.set('x-n', ++n); };";
    let gateway = gateway(&[("m", source, json!({"isolation": "request"}))], None);
    for _ in 0..3 {
        let answer = get(gateway.addr(), "/m/").await;
        assert_eq!(
            (answer.text().as_str(), answer.header("x-n")),
            ("2", Some("3"))
        );
    }
}

#[tokio::test]
async fn a_long_native_call_of_isolation_thread_stalls_no_worker() {
    // Half a second or more that no interrupt reaches.
    let source = "export const requestHandler = () => { const a = []; a.length = 2e7; a.join(''); return 'joined'; };";
    let quick = "export const requestHandler = () => 'quick';";
    let fields = json!({"isolation": "thread", "limits": {"cpu": "30s", "memory": "256MiB"}});
    let gateway = gateway(
        &[("slow", source, fields), ("quick", quick, json!({}))],
        None,
    );
    let mut slow = Conn::open(gateway.addr())
        .await
        .within(Duration::from_secs(60));
    slow.send("GET /slow/ HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        assert_eq!(get(gateway.addr(), "/quick/").await.text(), "quick");
        longest = longest.max(begun.elapsed());
    }
    let all = begun.elapsed();
    let answer = slow.read_response().await;
    assert!([200, 500].contains(&answer.status));
    assert!(
        longest < Duration::from_millis(400),
        "{longest:?} of {all:?}"
    );
}
