//! `fetch` and `fetchUpstream`: where they may go, and what becomes of redirects.

use super::{gateway, local, problem};
use dgate_tests::client::{Conn, get};
use dgate_tests::upstream::TestUpstream;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Fetches `?to` and says how that ended.
const FETCH: &str = "export const requestHandler = async (ctx) => {
    try {
        const res = await fetch(ctx.query.get('to'), { redirect: ctx.query.get('redirect') ?? 'follow', method: ctx.query.get('method') ?? 'GET', ...(ctx.query.has('body') && { body: ctx.query.get('body') }), headers: { authorization: 'secret', 'x-a': 'b', 'content-type': 'a/b' } });
        return { status: res.status, url: res.url, redirected: res.redirected, type: res.type, seen: res.headers.get('content-type') === 'application/json' ? await res.json() : null };
    } catch (error) {
        return { name: error.name, code: error.code ?? null };
    }
};";

fn net(hosts: &[&str]) -> Value {
    json!({"permissions": {"net": hosts}})
}

/// Answers `/to/<code>/<url>` with a redirect there, and echoes the rest.
fn redirecting() -> TestUpstream {
    TestUpstream::with(|req| {
        let path = req.path().to_owned();
        async move {
            if let Some((code, to)) = path.strip_prefix("/to/").and_then(|p| p.split_once('/')) {
                let answer = http::Response::builder().status(code.parse::<u16>().unwrap());
                return answer.header("location", to).body(String::new()).unwrap();
            }
            let has = |name: &str| req.header(name).map(str::to_owned);
            let seen = json!({"method": req.method.as_str(), "path": path, "authorization": has("authorization"), "x-a": has("x-a"), "type": has("content-type"), "body": String::from_utf8_lossy(&req.body)});
            let answer = http::Response::builder().header("content-type", "application/json");
            answer.body(seen.to_string()).unwrap()
        }
    })
}

#[tokio::test]
async fn private_addresses_need_a_permission_under_every_name() {
    let upstream = redirecting();
    let port = upstream.addr().port();
    let other = TestUpstream::echo();
    let modules = [
        ("default", FETCH, json!({})),
        ("none", FETCH, net(&[])),
        ("other", FETCH, net(&["example.test", "*.example.test"])),
        (
            "port",
            FETCH,
            net(&[&format!("127.0.0.1:{}", other.addr().port())]),
        ),
        ("host", FETCH, net(&["127.0.0.1"])),
        ("exact", FETCH, net(&[&format!("127.0.0.1:{port}")])),
        ("name", FETCH, net(&["localhost"])),
    ];
    let gateway = gateway(&modules, None);
    let fetch = async |module: &str, to: &str| {
        get(gateway.addr(), &format!("/{module}/?to={to}"))
            .await
            .json()
    };
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::]",
        "LOCALHOST.",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "172.16.0.1",
        "[fe80::1]",
        "[fd00::1]",
        "100.64.0.1",
    ] {
        for module in ["default", "none", "other", "port"] {
            let seen = fetch(module, &format!("http://{host}:{port}/")).await;
            assert_eq!(seen["name"], "TypeError", "{module} {host}: {seen}");
            assert!(seen["status"].is_null());
        }
    }
    for module in ["host", "exact"] {
        for host in ["127.0.0.1", "127.1", "2130706433"] {
            assert_eq!(
                fetch(module, &format!("http://{host}:{port}/")).await["status"],
                200,
                "{module} {host}"
            );
        }
        assert_eq!(
            fetch(module, &format!("http://localhost:{port}/")).await["name"],
            "TypeError"
        );
    }
    assert_eq!(
        fetch("name", &format!("http://localhost:{port}/")).await["status"],
        200
    );
    assert_eq!(
        fetch("name", &format!("http://127.0.0.1:{port}/")).await["name"],
        "TypeError"
    );
    for url in [
        "file:///etc/passwd",
        "data:text/plain,x",
        "ftp://127.0.0.1/",
        "unix:/x",
        "http://",
        "x",
    ] {
        assert_eq!(fetch("host", url).await["name"], "TypeError", "{url}");
    }
    assert_eq!(other.requests().len(), 0);
}

#[tokio::test]
async fn a_permitted_host_may_not_redirect_to_one_that_is_not() {
    let (upstream, other) = (redirecting(), TestUpstream::echo());
    let own = format!("127.0.0.1:{}", upstream.addr().port());
    let gateway = gateway(&[("m", FETCH, net(&[&own]))], None);
    for to in [
        other.url(),
        format!("http://localhost:{}/", other.addr().port()),
        "http://169.254.169.254/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        for code in [301, 302, 303, 307, 308] {
            let path = format!("/m/?to={}/to/{code}/{to}", upstream.url());
            assert_eq!(
                get(gateway.addr(), &path).await.json()["name"],
                "TypeError",
                "{code} {to}"
            );
        }
    }
    assert_eq!(other.requests().len(), 0);
}

#[tokio::test]
async fn redirects_are_followed_as_browsers_do() {
    let (upstream, other) = (redirecting(), redirecting());
    let gateway = gateway(&[("m", FETCH, local())], None);
    let fetch = async |query: &str| get(gateway.addr(), &format!("/m/?{query}")).await.json();
    for (code, method, body) in [
        (301, "GET", ""),
        (302, "GET", ""),
        (303, "GET", ""),
        (307, "POST", "x"),
        (308, "POST", "x"),
    ] {
        let seen = fetch(&format!(
            "method=POST&body=x&to={}/to/{code}//end%3Fa=b",
            upstream.url()
        ))
        .await;
        let end = format!("{}/end?a=b", upstream.url());
        assert_eq!(
            (&seen["redirected"], &seen["url"]),
            (&json!(true), &json!(end)),
            "{seen}"
        );
        assert_eq!(
            (&seen["seen"]["method"], &seen["seen"]["body"]),
            (&json!(method), &json!(body)),
            "{code} {seen}"
        );
        assert_eq!(
            seen["seen"]["type"].is_null(),
            method == "GET",
            "{code} {seen}"
        );
        assert_eq!(seen["seen"]["authorization"], "secret");
    }
    // Another origin is told nothing secret.
    let seen = fetch(&format!("to={}/to/302/{}/end", upstream.url(), other.url())).await;
    assert_eq!(
        (&seen["seen"]["authorization"], &seen["seen"]["x-a"]),
        (&Value::Null, &json!("b")),
        "{seen}"
    );
    let seen = fetch(&format!("redirect=manual&to={}/to/302/end", upstream.url())).await;
    assert_eq!(
        (&seen["status"], &seen["redirected"]),
        (&json!(302), &json!(false)),
        "{seen}"
    );
    let seen = fetch(&format!("redirect=error&to={}/to/302/end", upstream.url())).await;
    assert_eq!(seen["name"], "TypeError");
    let before = upstream.requests().len();
    let circle = TestUpstream::with(|req| {
        let to = req.path().to_owned();
        async move {
            http::Response::builder()
                .status(302)
                .header("location", to)
                .body(String::new())
                .unwrap()
        }
    });
    assert_eq!(
        fetch(&format!("to={}/round", circle.url())).await["name"],
        "TypeError"
    );
    assert!(circle.requests().len() <= 21);
    assert_eq!(upstream.requests().len(), before);
}

#[tokio::test]
async fn a_hook_may_pick_its_services_own_addresses_and_public_ones_only() {
    let (service, other) = (TestUpstream::named("service"), TestUpstream::named("other"));
    let source = "export const fetchUpstream = (ctx) => ctx.query.get('pick');";
    let own = format!("127.0.0.1:{}", other.addr().port());
    let modules = [
        ("default", source, json!({})),
        ("allowed", source, net(&[&own])),
    ];
    let gateway = gateway(&modules, Some(&service.url()));
    let pick = async |module: &str, url: &str| {
        get(gateway.addr(), &format!("/{module}/?pick={url}")).await
    };
    for module in ["default", "allowed"] {
        assert_eq!(
            pick(module, &service.url()).await.json()["server"],
            "service",
            "{module}"
        );
    }
    assert_eq!(
        pick("allowed", &other.url()).await.json()["server"],
        "other"
    );
    for url in [
        other.url(),
        format!("http://localhost:{}", other.addr().port()),
    ] {
        let answer = pick("default", &url).await;
        assert!(answer.status >= 500, "{url}: {}", answer.text());
    }
    assert_eq!(other.requests().len(), 1);
    for url in ["nonsense", "file:///x", "http://"] {
        problem(&pick("allowed", url).await, 500, "module_error");
    }
}

/// All of them wait in one slot at once: the upstream answers none before it has them all.
#[tokio::test]
async fn two_thousand_requests_that_wait_for_a_fetch_each_get_their_own_answer() {
    const REQUESTS: usize = 2000;
    let waiting = Arc::new(tokio::sync::Barrier::new(REQUESTS));
    let upstream = TestUpstream::with(move |req| {
        let (waiting, path) = (waiting.clone(), req.path().to_owned());
        async move {
            waiting.wait().await;
            http::Response::new(json!({ "path": path }).to_string())
        }
    });
    let source = format!(
        "export const requestHandler = async (ctx) => {{
            const n = ctx.query.get('n');
            const answer = await (await fetch('{}/answer/' + n)).json();
            return `${{n}} ${{answer.path}}`;
        }};",
        upstream.url()
    );
    let gateway = gateway(&[("m", &source, local())], None);
    let addr = gateway.addr();
    let requests = (0..REQUESTS).map(|n| async move {
        let mut conn = Conn::open(addr).await.within(Duration::from_secs(60));
        let request = format!("GET /m/?n={n} HTTP/1.1\r\nHost: h\r\n\r\n");
        conn.send(request).await;
        let answer = conn.read_response().await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("{n} /answer/{n}"))
        );
    });
    let requests: Vec<_> = requests.map(tokio::spawn).collect();
    for request in requests {
        request.await.unwrap();
    }
    assert_eq!(upstream.requests().len(), REQUESTS);
}
