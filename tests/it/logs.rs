//! `/api/v1/logs`: the newest lines of the process, whatever is written to stderr; filters, pages, live.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_tests::client::{Conn, DEADLINE, Reply, ask, get, poll_until};
use dgate_tests::gateway::{TestGateway, call, proxy_to};
use dgate_tests::process::{Place, Process};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};

/// Two modules that talk, a route that nobody answers behind.
fn bundle() -> Value {
    let talks = |name: &str| {
        let source = format!(
            "export function requestHandler(ctx) {{ console.debug('{name} whispers'); console.info('{name} says'); console.error('{name} shouts'); return ctx.id; }}"
        );
        json!({"name": name, "source": source})
    };
    json!({
        "namespaces": [{"name": "default"}],
        "modules": [talks("one"), talks("two")],
        "services": [{"name": "gone", "urls": ["http://127.0.0.1:9"]}],
        "routes": [
            {"name": "first", "paths": ["/one"], "modules": ["one"]},
            {"name": "second", "paths": ["/two"], "modules": ["two"]},
            {"name": "dead", "paths": ["/dead"], "service": "gone"},
        ],
    })
}

async fn answer(admin: SocketAddr, query: &str) -> Reply {
    call(admin, "GET", &format!("/api/v1/logs{query}"), &[], None).await
}

async fn lines(admin: SocketAddr, query: &str) -> Vec<Value> {
    let answer = answer(admin, query).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["items"].as_array().unwrap().clone()
}

fn messages(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|l| l["message"].as_str().unwrap())
        .collect()
}

/// The lines of a query, once there are so many.
async fn wait_for(admin: SocketAddr, query: &str, count: usize) -> Vec<Value> {
    let what = format!("{count} lines for {query}");
    poll_until(DEADLINE, &what, async || {
        lines(admin, query).await.len() == count
    })
    .await;
    lines(admin, query).await
}

#[tokio::test]
async fn what_modules_say_is_kept_though_the_log_is_text_and_holds_only_warnings() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, two) = (free(), free());
    let (proxy, admin) = (one.local_addr().unwrap(), two.local_addr().unwrap());
    drop((one, two));
    let config = json!({
        "version": 1,
        "log": {"level": "warn", "format": "text", "access": false},
        "proxy": {"listen": proxy.to_string()},
        "admin": {"listen": admin.to_string()},
        "resources": bundle(),
    });
    let place = Place::new().file("dgate.yaml", &config.to_string());
    let process = place.serve_on(proxy, admin);
    let id = get(proxy, "/one").await.text();
    let found = lines(admin, "?module=one").await;
    assert_eq!(
        messages(&found),
        ["one shouts", "one says", "one whispers"],
        "newest first"
    );
    let line = &found[1];
    assert_eq!(
        (&line["level"], &line["kind"], &line["exchange_id"]),
        (&json!("info"), &json!("module"), &json!(id))
    );
    assert_eq!(
        (&line["namespace"], &line["route"], &line["module"]),
        (&json!("default"), &json!("first"), &json!("one"))
    );
    let time = line["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.contains('T'), "{time}");
    assert!(
        lines(admin, "").await.iter().all(|l| l["kind"] == "module"),
        "access records are off"
    );
    process.wait_for_line("one shouts");
    assert!(
        !process.output().contains("one says"),
        "{}",
        process.output()
    );
}

#[tokio::test]
async fn lines_are_filtered_by_namespace_route_module_and_level() {
    let process = Process::start(json!({"resources": bundle()}));
    let (proxy, admin) = (process.addr(), process.admin_addr());
    for path in ["/one", "/two"] {
        get(proxy, path).await;
    }
    let first = wait_for(admin, "?route=first", 4).await;
    assert!(first.iter().all(|l| l["route"] == "first"), "{first:?}");
    let loud = lines(admin, "?level=error").await;
    assert_eq!(messages(&loud), ["two shouts", "one shouts"]);
    let calm = lines(admin, "?level=info&module=two").await;
    assert_eq!(messages(&calm), ["two shouts", "two says"]);
    assert_eq!(lines(admin, "?namespace=default&limit=3").await.len(), 3);
    for nothing in ["?namespace=other", "?module=on", "?route=first&module=two"] {
        assert!(lines(admin, nothing).await.is_empty(), "{nothing}");
    }
    assert_eq!(answer(admin, "?level=loud").await.status, 400);
    let page = answer(admin, "?module=one&limit=2").await.json();
    let cursor = page["next"].as_str().unwrap();
    let rest = lines(admin, &format!("?module=one&limit=2&cursor={cursor}")).await;
    assert_eq!(messages(&rest), ["one whispers"]);
}

#[tokio::test]
async fn access_records_and_failures_have_the_request_id() {
    let process = Process::start(json!({"resources": bundle()}));
    let (proxy, admin) = (process.addr(), process.admin_addr());
    let request = "GET /dead?token=hush HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine-1\r\nAuthorization: Bearer hush\r\n\r\n";
    assert_eq!(ask(proxy, request).await.status, 502);
    let found = wait_for(admin, "?route=dead", 2).await;
    let access = found.iter().find(|l| l["kind"] == "access").unwrap();
    let failure = found.iter().find(|l| l["kind"] == "gateway").unwrap();
    assert_eq!(
        (&access["exchange_id"], &access["status"], &access["path"]),
        (&json!("mine-1"), &json!(502), &json!("/dead"))
    );
    assert!(access["latency_ms"].is_number(), "{access}");
    assert_eq!(
        (&failure["exchange_id"], &failure["level"]),
        (&json!("mine-1"), &json!("warn"))
    );
    assert_eq!(failure["error_kind"], access["error_kind"]);
    assert!(!answer(admin, "").await.text().contains("hush"));
}

#[tokio::test]
async fn lines_are_followed_as_server_sent_events() {
    let process = Process::start(json!({"resources": bundle()}));
    let (proxy, admin) = (process.addr(), process.admin_addr());
    get(proxy, "/one").await;
    let mut conn = Conn::open(admin).await;
    conn.send(format!("GET /api/v1/logs?module=one&level=error&limit=5 HTTP/1.1\r\nHost: {admin}\r\nAccept: text/event-stream\r\n\r\n"))
        .await;
    let head = conn.read_head().await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("text/event-stream"))
    );
    get(proxy, "/two").await;
    let id = get(proxy, "/one").await.text();
    let mut text = String::new();
    while !(text.contains(&id) && text.ends_with("\n\n\r\n")) {
        text.push(char::from(conn.read_exact(1).await[0]));
    }
    let events: Vec<Value> = text
        .lines()
        .filter_map(|l| serde_json::from_str(l.strip_prefix("data: ")?).ok())
        .collect();
    assert_eq!(messages(&events), ["one shouts", "one shouts"], "{text}");
    assert_eq!(events[1]["exchange_id"], id);
}

#[tokio::test]
async fn a_gateway_in_a_program_has_no_lines_unless_it_is_given_some() {
    let gateway = TestGateway::start(proxy_to("http://127.0.0.1:9"));
    get(gateway.addr(), "/").await;
    let answer = answer(gateway.admin_addr(), "").await;
    assert_eq!(
        answer.json(),
        json!({"items": [], "next": null, "revision": 1})
    );
}
