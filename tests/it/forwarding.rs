//! What an upstream is told of the client and what the client gets back, through the whole gateway.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_tests::client::{Reply, ask};
use dgate_tests::gateway::{TestGateway, proxy_to};
use dgate_tests::upstream::{ClosedPort, RawUpstream, RecordedRequest, TestUpstream};
use serde_json::{Value, json};

/// Sends a GET with these header lines after `Host: shop.test`; what the upstream saw of it.
async fn seen(gateway: &TestGateway, upstream: &TestUpstream, headers: &str) -> RecordedRequest {
    let head = format!("GET /x HTTP/1.1\r\nHost: shop.test\r\n{headers}\r\n");
    let answer = ask(gateway.addr(), head).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    upstream.requests().pop().unwrap()
}

fn all<'a>(seen: &'a RecordedRequest, name: &str) -> Vec<&'a str> {
    let values = seen.headers.get_all(name).iter();
    values.map(|v| v.to_str().unwrap()).collect()
}

fn world(config: Value) -> (TestUpstream, TestGateway) {
    let upstream = TestUpstream::echo();
    let gateway = TestGateway::configured(proxy_to(upstream.url()), config);
    (upstream, gateway)
}

const LIES: &str = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer.test\r\n\
                    X-Forwarded-Port: 666\r\nForwarded: for=203.0.113.7\r\n";

#[tokio::test]
async fn an_untrusted_peer_is_told_of_as_it_is() {
    let (upstream, gateway) = world(json!({}));
    for headers in [
        "",
        LIES,
        "Connection: X-Forwarded-For, X-Forwarded-Host\r\n",
    ] {
        let seen = seen(&gateway, &upstream, headers).await;
        let port = gateway.addr().port().to_string();
        for (name, value) in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.test"),
            ("x-forwarded-port", &*port),
        ] {
            assert_eq!(all(&seen, name), [value], "{name} with {headers:?}");
        }
        assert_eq!(seen.header("forwarded"), None);
    }
}

#[tokio::test]
async fn no_x_forwarded_field_of_an_untrusted_peer_goes_on() {
    let (upstream, gateway) = world(json!({}));
    let headers = "X-Forwarded-User: root\r\nX-Forwarded-Prefix: /admin\r\nX-Forward: kept\r\n";
    let seen = seen(&gateway, &upstream, headers).await;
    for name in ["x-forwarded-user", "x-forwarded-prefix"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-forward"), Some("kept"));
}

#[tokio::test]
async fn a_trusted_peer_is_believed() {
    let (upstream, gateway) = world(json!({"proxy": {"trusted_proxies": ["127.0.0.0/8"]}}));
    let seen = seen(&gateway, &upstream, LIES).await;
    assert_eq!(all(&seen, "x-forwarded-for"), ["203.0.113.7, 127.0.0.1"]);
    assert_eq!(all(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(all(&seen, "x-forwarded-host"), ["outer.test"]);
    assert_eq!(all(&seen, "x-forwarded-port"), ["666"]);
}

#[tokio::test]
async fn via_names_this_hop_after_earlier_ones() {
    let (upstream, gateway) = world(json!({}));
    let first = seen(&gateway, &upstream, "Via: 1.0 fred\r\n").await;
    let hops = all(&first, "via").join(", ");
    let ours = hops.strip_prefix("1.0 fred, 1.1 dgate-").unwrap();
    assert!(
        ours.len() == 8 && ours.bytes().all(|b| b.is_ascii_hexdigit()),
        "{hops}"
    );

    let (upstream, gateway) = world(json!({"proxy": {"via": "edge-1"}}));
    let named = seen(&gateway, &upstream, "").await;
    assert_eq!(all(&named, "via"), ["1.1 edge-1"]);
}

#[tokio::test]
async fn a_request_that_comes_round_again_is_a_508() {
    let gateway = TestGateway::start(json!({}));
    gateway.apply(proxy_to(gateway.url())).await;
    let answer = ask(gateway.addr(), "GET /round HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (508, "loop_detected".into())
    );
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made() {
    let (upstream, gateway) = world(json!({}));
    let mut ids = Vec::new();
    for _ in 0..3 {
        let seen = seen(&gateway, &upstream, "").await;
        ids.push(seen.header("x-request-id").unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let known = seen(&gateway, &upstream, "X-Request-Id: abc-1\r\n").await;
    assert_eq!(all(&known, "x-request-id"), ["abc-1"]);
    let long = format!("X-Request-Id: {}\r\n", "x".repeat(1000));
    let replaced = seen(&gateway, &upstream, &long).await;
    assert!(replaced.header("x-request-id").unwrap().len() < 100);
}

#[tokio::test]
async fn a_trace_is_continued_or_begun() {
    let (upstream, gateway) = world(json!({}));
    let parts = |seen: &RecordedRequest| -> Vec<String> {
        let value = seen.header("traceparent").unwrap();
        value.split('-').map(str::to_owned).collect()
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let sent = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\ntracestate: a=b\r\n");
    let continued = seen(&gateway, &upstream, &sent).await;
    assert_eq!(parts(&continued)[1], trace);
    assert_eq!(continued.header("tracestate"), Some("a=b"));
    for headers in [
        "",
        "traceparent: 00-zz-1-1\r\n",
        "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\n",
    ] {
        let begun = parts(&seen(&gateway, &upstream, headers).await);
        assert_eq!(
            begun.iter().map(String::len).collect::<Vec<_>>(),
            [2, 32, 16, 2],
            "{headers}"
        );
        assert!(begun[1].bytes().any(|b| b != b'0'), "{headers}");
    }
}

#[tokio::test]
async fn hop_by_hop_headers_stay_behind_on_both_sides() {
    let upstream = RawUpstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=9\r\nX-Public: 2\r\n\
         Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2, 3\r\nContent-Length: 1\r\n\r\nh",
    );
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    let answer = ask(
        gateway.addr(),
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Secret-Hop\r\nX-Secret-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         TE: gzip\r\nProxy-Connection: keep-alive\r\nX-Kept: 2\r\nX-Empty:\r\n\r\n",
    )
    .await;
    for name in ["x-private", "keep-alive"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-public"), Some("2"));
    assert_eq!(
        answer.headers_named("set-cookie").collect::<Vec<_>>(),
        ["a=1; Path=/", "b=2, 3"]
    );
    let sent = String::from_utf8(upstream.received(0))
        .unwrap()
        .to_lowercase();
    for name in ["x-secret-hop", "keep-alive:", "proxy-connection", "gzip"] {
        assert!(!sent.contains(name), "{name} in {sent}");
    }
    assert!(
        sent.contains("\r\nx-kept: 2\r\n") && sent.contains("\r\nx-empty:"),
        "{sent}"
    );
}

#[tokio::test]
async fn host_is_the_services_unless_it_is_to_be_kept() {
    let upstream = TestUpstream::echo();
    let urls = [upstream.url()];
    let gateway = TestGateway::start(json!({
        "namespaces": [{"name": "default"}],
        "services": [{"name": "plain", "urls": urls}, {"name": "hosted", "urls": urls, "preserve_host": true}],
        "routes": [
            {"name": "a", "paths": ["/plain"], "service": "plain"},
            {"name": "b", "paths": ["/hosted"], "service": "hosted"},
            {"name": "c", "paths": ["/route-hosted"], "service": "plain", "preserve_host": true},
            {"name": "d", "paths": ["/route-plain"], "service": "hosted", "preserve_host": false},
        ],
    }));
    let own = upstream.addr().to_string();
    for (path, host) in [
        ("/plain", &*own),
        ("/hosted", "shop.test:8443"),
        ("/route-hosted", "shop.test:8443"),
        ("/route-plain", &*own),
    ] {
        // An absolute target says the same as Host.
        for target in [path.to_owned(), format!("http://shop.test:8443{path}")] {
            let answer = ask(
                gateway.addr(),
                format!("GET {target} HTTP/1.1\r\nHost: shop.test:8443\r\n\r\n"),
            )
            .await;
            assert_eq!(answer.status, 200, "{target}");
            let seen = upstream.requests().pop().unwrap();
            assert_eq!(
                (all(&seen, "host"), seen.path()),
                (vec![host], path),
                "{target}"
            );
        }
    }
}

#[tokio::test]
async fn response_headers_are_on_every_answer() {
    let dead = ClosedPort::new();
    let upstream = TestUpstream::echo();
    let mut bundle = proxy_to(upstream.url());
    let dead_service = json!({"name": "dead", "urls": [format!("http://{}", dead.addr())], "retry": {"attempts": 0}});
    bundle["services"]
        .as_array_mut()
        .unwrap()
        .push(dead_service);
    let routes = bundle["routes"].as_array_mut().unwrap();
    routes.push(json!({"name": "dead", "paths": ["/dead"], "service": "dead"}));
    let gateway = TestGateway::configured(
        bundle,
        json!({"proxy": {"response_headers": {"X-Edge": "edge-1"}}}),
    );
    for (path, status) in [("/x", 200), ("/dead", 502)] {
        let answer = ask(
            gateway.addr(),
            format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"),
        )
        .await;
        assert_eq!(
            (answer.status, answer.header("x-edge")),
            (status, Some("edge-1")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_error_is_a_problem_that_tells_nothing_of_the_inside() {
    let dead = ClosedPort::new();
    let mut bundle = proxy_to(format!("http://{}", dead.addr()));
    bundle["routes"][0]["paths"] = json!(["/dead"]);
    let gateway = TestGateway::start(bundle);
    for (path, status, code) in [
        ("/dead", 502, "upstream_connect_failed"),
        ("/none", 404, "no_route"),
    ] {
        let answer = ask(
            gateway.addr(),
            format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-Request-Id: abc-1\r\n\r\n"),
        )
        .await;
        let problem = answer.json();
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(
            (answer.status, &problem["status"]),
            (status, &status.into())
        );
        assert_eq!(
            (&problem["code"], &problem["request_id"]),
            (&code.into(), &"abc-1".into())
        );
        assert_eq!(problem["type"], format!("urn:dgate:error:{code}"));
        assert!(
            problem["title"].is_string() && !answer.text().contains("127.0.0.1"),
            "{problem}"
        );
        let head = ask(
            gateway.addr(),
            format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"),
        )
        .await;
        assert_eq!((head.status, head.body.len()), (status, 0));
    }
}

#[tokio::test]
async fn an_upstream_slower_than_the_request_timeout_is_a_504() {
    let upstream = RawUpstream::silent();
    let mut bundle = proxy_to(upstream.url());
    bundle["services"][0]["timeouts"] = json!({"request": "200ms"});
    let gateway = TestGateway::start(bundle);
    let answer: Reply = ask(gateway.addr(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (504, "upstream_timeout".into())
    );
}

#[tokio::test]
async fn an_answer_in_a_transfer_coding_besides_chunked_is_a_502() {
    let upstream = RawUpstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    let answer = ask(gateway.addr(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.json()["code"], "upstream_protocol");
}
