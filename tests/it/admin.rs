//! The Admin API over its socket: single resources, lists, conditions, refusals; bundles and
//! revisions in files of their own.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod auth;
mod bundles;
mod openapi;
mod revisions;
mod stats;

use dgate_tests::client::{DEADLINE, Reply, ask, get};
use dgate_tests::gateway::{TestGateway, call, proxy_to};
use dgate_tests::process::Process;
use serde_json::{Value, json};

const SVC: &str = "/api/v1/service/default/svc";
const ALL: &str = "/api/v1/route/default/all";

fn gateway() -> TestGateway {
    TestGateway::start(proxy_to("http://127.0.0.1:9"))
}

fn problem(answer: &Reply, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(
        (&problem["status"], &problem["type"]),
        (&status.into(), &format!("urn:dgate:error:{code}").into())
    );
    assert!(
        problem["title"].is_string() && problem["request_id"].is_string(),
        "{problem}"
    );
    problem
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect()
}

fn names(answer: &Reply) -> Vec<String> {
    let items = answer.json()["items"].as_array().unwrap().clone();
    items
        .iter()
        .map(|i| i["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn what_was_read_can_be_written_back_and_changes_nothing() {
    let gateway = gateway();
    for path in [SVC, ALL, "/api/v1/namespace/default"] {
        let stored = gateway.admin("GET", path, None).await;
        let back = gateway.admin("PUT", path, Some(stored.json())).await;
        assert_eq!((back.status, back.json()), (200, stored.json()), "{path}");
        assert_eq!(back.header("x-dgate-revision"), Some("1"));
    }
    let other = json!({"name": "other", "urls": ["http://a"]});
    problem(
        &gateway.admin("PUT", SVC, Some(other)).await,
        422,
        "invalid",
    );
    let other = json!({"namespace": "other"});
    problem(
        &gateway.admin("PATCH", SVC, Some(other)).await,
        422,
        "invalid",
    );
}

#[tokio::test]
async fn writers_at_the_same_time_each_make_a_revision() {
    let gateway = gateway();
    let admin = gateway.admin_addr();
    let writing: Vec<_> = (0..20)
        .map(|n| {
            tokio::spawn(async move {
                let path = format!("/api/v1/service/default/s{}", n % 5);
                let body = json!({"urls": [format!("http://a/{n}")]});
                call(admin, "PUT", &path, &[], Some(body)).await.status
            })
        })
        .collect();
    for written in writing {
        assert!([200, 201].contains(&written.await.unwrap()));
    }
    assert_eq!(
        gateway
            .admin("GET", SVC, None)
            .await
            .header("x-dgate-revision"),
        Some("21")
    );
}

#[tokio::test]
async fn a_resource_is_created_read_replaced_patched_and_deleted() {
    let gateway = gateway();
    let path = "/api/v1/service/default/other";
    let call = async |method: &str, body: Option<Value>| gateway.admin(method, path, body).await;
    problem(&call("GET", None).await, 404, "not_found");
    let created = call("PUT", Some(json!({"urls": ["http://a"], "tags": ["x"]}))).await;
    assert_eq!(
        (created.status, created.header("etag")),
        (201, Some("\"2\""))
    );
    let stored = created.json();
    assert_eq!(
        (&stored["namespace"], &stored["name"], &stored["revision"]),
        (&"default".into(), &"other".into(), &2.into())
    );
    assert_eq!(stored["created_at"], stored["updated_at"]);
    assert!(stored["created_at"].as_str().unwrap().ends_with('Z'));

    let replaced = call("PUT", Some(json!({"urls": ["http://b"]}))).await;
    assert_eq!(
        (replaced.status, replaced.header("x-dgate-revision")),
        (200, Some("3"))
    );
    assert_eq!(replaced.json().get("tags"), None);
    assert_eq!(replaced.json()["created_at"], stored["created_at"]);

    let patched = call(
        "PATCH",
        Some(json!({"tags": ["y"], "timeouts": {"request": "1s"}})),
    )
    .await;
    assert_eq!(
        (patched.status, &patched.json()["urls"][0]),
        (200, &"http://b".into())
    );
    let patched = call("PATCH", Some(json!({"tags": null, "timeouts": null})))
        .await
        .json();
    assert_eq!((patched.get("tags"), patched.get("timeouts")), (None, None));
    assert_eq!(call("GET", None).await.json(), patched);

    assert_eq!(call("DELETE", None).await.status, 204);
    problem(&call("GET", None).await, 404, "not_found");
    problem(&call("DELETE", None).await, 404, "not_found");
    problem(&call("PATCH", Some(json!({}))).await, 404, "not_found");
}

#[tokio::test]
async fn conditions_are_compared_with_the_revision_of_the_resource() {
    let gateway = gateway();
    let ask = async |method: &str, header: (&str, &str)| {
        let body = (method != "DELETE").then(|| json!({"urls": ["http://a"]}));
        call(gateway.admin_addr(), method, SVC, &[header], body).await
    };
    for method in ["PUT", "PATCH", "DELETE"] {
        problem(
            &ask(method, ("If-Match", "\"7\"")).await,
            412,
            "precondition_failed",
        );
        for none in ["\"x\"", "W/\"1\"", "\"+1\"", "\"01\"", "\"7\", \"8\""] {
            problem(
                &ask(method, ("If-Match", none)).await,
                412,
                "precondition_failed",
            );
        }
        for malformed in ["1", "", "\"1", "*, \"1\""] {
            let answer = ask(method, ("If-Match", malformed)).await;
            problem(&answer, 400, "malformed");
        }
    }
    problem(
        &ask("PUT", ("If-None-Match", "*")).await,
        412,
        "precondition_failed",
    );
    let changed = ask("PUT", ("If-Match", "\"1\"")).await;
    assert_eq!(
        (changed.status, changed.header("etag")),
        (200, Some("\"2\""))
    );
    problem(
        &ask("PUT", ("If-Match", "\"1\"")).await,
        412,
        "precondition_failed",
    );
    let listed = ask("PATCH", ("If-Match", "\"7\", \"2\"")).await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    let missing = "/api/v1/service/default/none";
    for method in ["PUT", "PATCH", "DELETE"] {
        for tag in ["\"1\"", "*"] {
            let header = [("If-Match", tag)];
            let body = Some(json!({"urls": ["http://a"]}));
            let answer = call(gateway.admin_addr(), method, missing, &header, body).await;
            problem(&answer, 412, "precondition_failed");
        }
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_read_is_a_problem() {
    let gateway = gateway();
    for path in [
        "%ff",
        "service/default/%ff",
        "document/default/c/%ff",
        "revision/%ff",
        "schema/%ff",
    ] {
        let answer = gateway.admin("GET", &format!("/api/v1/{path}"), None).await;
        problem(&answer, 400, "malformed");
    }
}

#[tokio::test]
async fn a_document_has_one_address() {
    let gateway = gateway();
    gateway.apply(json!({"collections": [{"name": "c"}]})).await;
    let at = |path: &str| format!("/api/v1/document/default/{path}");
    let body = || Some(json!({"data": 1}));
    let put = gateway.admin("PUT", &at("c/a%2Fb"), body()).await;
    assert_eq!(put.status, 201, "{}", put.text());
    for method in ["GET", "PUT", "DELETE"] {
        let body = (method == "PUT").then(body).flatten();
        let other = gateway.admin(method, &at("c%2Fa/b"), body).await;
        problem(&other, 404, "not_found");
    }
    assert_eq!(gateway.admin("GET", &at("c/a%2Fb"), None).await.status, 200);
}

#[tokio::test]
async fn times_are_utc_and_ttls_of_a_millisecond_or_more() {
    let gateway = gateway();
    gateway.apply(json!({"collections": [{"name": "c"}]})).await;
    let document = "/api/v1/document/default/c/a";
    let body = |at: &str| Some(json!({"data": 1, "expires_at": at}));
    let put = gateway
        .admin("PUT", document, body("2090-01-01T02:00:00+02:00"))
        .await;
    assert_eq!(put.json()["expires_at"], "2090-01-01T00:00:00Z");
    for none in [
        "soon",
        "10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "0000-01-01T00:00:00+01:00",
        "2090-02-30T00:00:00Z",
    ] {
        let refused = gateway.admin("PUT", document, body(none)).await;
        let refused = problem(&refused, 422, "invalid");
        assert_eq!(pointers(&refused), ["/expires_at"], "{refused}");
    }
    let collection = "/api/v1/collection/default/c";
    let ttl = |ttl: &str| Some(json!({"ttl": ttl}));
    let refused = gateway.admin("PUT", collection, ttl("0.4ms")).await;
    assert_eq!(pointers(&problem(&refused, 422, "invalid")), ["/ttl"]);
    let least = gateway.admin("PUT", collection, ttl("1ms")).await;
    assert_eq!(least.status, 200, "{}", least.text());
}

#[tokio::test]
async fn an_integer_beyond_64_bits_is_refused_and_not_rounded() {
    let gateway = gateway();
    gateway.apply(json!({"collections": [{"name": "c"}]})).await;
    let path = "/api/v1/document/default/c/a";
    let put = async |number: &str| {
        let body = format!("{{\"data\": {{\"n\": [{number}]}}}}");
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        ask(gateway.admin_addr(), head + &body).await
    };
    let refused = problem(&put("123456789012345678901234567890").await, 422, "invalid");
    assert_eq!(pointers(&refused), ["/data/n/0"], "{refused}");
    for kept in [
        "18446744073709551615",
        "-9223372036854775808",
        "1.5",
        "1e30",
    ] {
        let answer = put(kept).await;
        assert!([200, 201].contains(&answer.status), "{}", answer.text());
        let kept: Value = serde_json::from_str(kept).unwrap();
        assert_eq!(answer.json()["data"]["n"][0], kept);
    }
}

#[tokio::test]
async fn errors_are_told_as_far_as_one_can_read_them() {
    let gateway = gateway();
    let schema = json!({"items": {"type": "string"}, "contains": {"enum": ["x"]}});
    gateway
        .apply(json!({"collections": [{"name": "c", "schema": schema}]}))
        .await;
    let many = json!({"data": vec![1; 20_000]});
    let services: Vec<_> = (0..2000)
        .map(|n| json!({"name": format!("S{n}")}))
        .collect();
    for (method, path, body) in [
        ("PUT", "/api/v1/document/default/c/a", many),
        ("POST", "/api/v1/apply", json!({"services": services})),
    ] {
        let answer = gateway.admin(method, path, Some(body)).await;
        let refused = problem(&answer, 422, "invalid");
        let errors = refused["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 101, "{path}");
        let last = errors.last().unwrap()["detail"].as_str().unwrap();
        assert!(
            last.starts_with("and ") && last.ends_with(" more errors"),
            "{last}"
        );
        assert!(answer.text().len() < 64 * 1024, "{}", answer.text().len());
    }
}

#[tokio::test]
async fn what_may_be_a_password_is_not_repeated() {
    let gateway = gateway();
    for url in [
        "http://u:zqx@a",
        "ftp://u:zq/x@a",
        "http://u:zq x@a",
        "u:zqx@a",
    ] {
        let answer = gateway
            .admin("PUT", SVC, Some(json!({"urls": [url]})))
            .await;
        problem(&answer, 422, "invalid");
        assert!(!answer.text().contains("zq"), "{}", answer.text());
    }
    let backup = json!({"passphrase": 123_456_789_012_u64});
    let answer = gateway.admin("POST", "/api/v1/backup", Some(backup)).await;
    problem(&answer, 422, "invalid");
    assert!(!answer.text().contains("123456"), "{}", answer.text());
}

#[tokio::test]
async fn if_match_star_means_any_that_exists() {
    let gateway = gateway();
    let star = [("If-Match", "*")];
    let body = || Some(json!({"urls": ["http://a"]}));
    assert_eq!(
        call(gateway.admin_addr(), "PUT", SVC, &star, body())
            .await
            .status,
        200
    );
    let none = call(
        gateway.admin_addr(),
        "PUT",
        "/api/v1/service/default/none",
        &star,
        body(),
    )
    .await;
    problem(&none, 412, "precondition_failed");
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let gateway = gateway();
    let service = |n: usize| json!({"name": format!("s{n:04}"), "urls": ["http://a"], "tags": [if n.is_multiple_of(2) { "even" } else { "odd" }]});
    let services: Vec<_> = (0..1200).map(service).collect();
    gateway
        .apply(json!({"namespaces": [{"name": "other"}], "services": services}))
        .await;
    gateway
        .apply(json!({"services": [{"namespace": "other", "name": "s", "urls": ["http://a"]}]}))
        .await;
    let list = async |query: &str| {
        gateway
            .admin("GET", &format!("/api/v1/service{query}"), None)
            .await
    };
    assert_eq!(names(&list("").await).len(), 100);
    assert_eq!(names(&list("?limit=5000").await).len(), 1000);
    assert_eq!(names(&list("?namespace=other").await), ["s"]);
    assert_eq!(names(&list("?tag=odd&limit=2").await), ["s0001", "s0003"]);
    let (mut seen, mut query) = (Vec::new(), "?limit=400".to_owned());
    loop {
        let page = list(&query).await;
        seen.extend(names(&page));
        let Some(next) = page.json()["next"].as_str().map(str::to_owned) else {
            break;
        };
        query = format!("?limit=400&cursor={next}");
    }
    assert_eq!(seen.len(), 1202);
    problem(&list("?limit=many").await, 400, "malformed");
}

#[tokio::test]
async fn lists_page_through_names_that_sort_before_the_slash() {
    let gateway = gateway();
    for namespace in ["a", "a-b"] {
        let domain =
            json!({"namespace": namespace, "name": "x", "patterns": [format!("{namespace}.test")]});
        gateway
            .apply(json!({"namespaces": [{"name": namespace}], "domains": [domain]}))
            .await;
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=1".to_owned());
    // More pages than there are domains would be some of them twice.
    for _ in 0..4 {
        let path = format!("/api/v1/domain{query}");
        let page = gateway.admin("GET", &path, None).await.json();
        for item in page["items"].as_array().unwrap() {
            let part = |name: &str| item[name].as_str().unwrap().to_owned();
            seen.push(format!("{}/{}", part("namespace"), part("name")));
        }
        let Some(next) = page["next"].as_str() else {
            break;
        };
        query = format!("?limit=1&cursor={next}");
    }
    seen.sort();
    assert_eq!(seen, ["a-b/x", "a/x"]);
}

#[tokio::test]
async fn a_protocol_that_its_urls_cannot_speak_is_refused() {
    let gateway = gateway();
    for (protocol, url) in [("http2", "http://a"), ("h2c", "https://a")] {
        let body = json!({"urls": [url], "protocol": protocol});
        let refused = problem(&gateway.admin("PUT", SVC, Some(body)).await, 422, "invalid");
        assert_eq!(pointers(&refused), ["/protocol"], "{refused}");
    }
}

#[tokio::test]
async fn a_port_that_is_none_is_refused() {
    let gateway = gateway();
    for url in [
        "http://127.0.0.1:99999",
        "http://a:abc",
        "https://a:80x",
        "http://[::1]:70000",
    ] {
        for urls in [json!([url]), json!([{"url": url, "weight": 1}])] {
            let answer = gateway.admin("PUT", SVC, Some(json!({"urls": urls}))).await;
            let refused = problem(&answer, 422, "invalid");
            assert_eq!(pointers(&refused), ["/urls/0"], "{refused}");
            assert!(
                refused.to_string().contains("between 1 and 65535"),
                "{refused}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_referred_to_stays_unless_its_namespace_goes_as_a_whole() {
    let gateway = gateway();
    let refused = gateway.admin("DELETE", SVC, None).await;
    let referrers = problem(&refused, 409, "referenced")["referrers"].clone();
    assert_eq!(referrers, json!([{"kind": "route", "key": "default/all"}]));
    let namespace = "/api/v1/namespace/default";
    let refused = gateway.admin("DELETE", namespace, None).await;
    assert_eq!(
        problem(&refused, 409, "referenced")["referrers"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let cascade = gateway
        .admin("DELETE", &format!("{namespace}?cascade=true"), None)
        .await;
    assert_eq!(cascade.status, 204);
    assert_eq!(
        gateway.admin("GET", "/api/v1/export", None).await.json(),
        json!({})
    );
    assert_eq!(get(gateway.addr(), "/").await.status, 404);
}

#[tokio::test]
async fn what_is_no_call_is_a_problem_too() {
    let gateway = gateway();
    for (method, path, status, code) in [
        ("GET", "/api/v1/sevrice", 404, "not_found"),
        ("GET", "/api/v1/namespace/a/b", 404, "not_found"),
        ("GET", "/api/v1/service/one", 404, "not_found"),
        ("GET", "/api/v2/service", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("DELETE", "/api/v1/apply", 405, "method_not_allowed"),
    ] {
        problem(&gateway.admin(method, path, None).await, status, code);
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(gateway.admin("GET", path, None).await.status, 200, "{path}");
    }
    assert_eq!(
        gateway.admin("GET", "/readyz", None).await.json()["ready"],
        true
    );
}

#[tokio::test]
async fn web_pages_are_refused() {
    let gateway = gateway();
    let with_origin = [("Origin", "http://evil.test")];
    let answer = call(
        gateway.admin_addr(),
        "PUT",
        SVC,
        &with_origin,
        Some(json!({"urls": ["http://evil"]})),
    )
    .await;
    problem(&answer, 403, "cross_origin");
    let rebound = "GET /api/v1/export HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    problem(
        &ask(gateway.admin_addr(), rebound).await,
        403,
        "cross_origin",
    );
    let named = ask(
        gateway.admin_addr(),
        "GET /healthz HTTP/1.1\r\nHost: gate.test\r\n\r\n",
    )
    .await;
    let named = problem(&named, 403, "cross_origin");
    assert!(named.to_string().contains("Host"), "{named}");
    for host in ["localhost:9080", "127.0.0.1", "[::1]:9080"] {
        let answer = ask(
            gateway.admin_addr(),
            format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        )
        .await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_large_body_is_a_413_and_watch_only_takes_no_writes() {
    let bundle = proxy_to("http://127.0.0.1:9");
    let process = Process::start(
        json!({"admin": {"watch_only": true, "max_body": "1KiB"}, "resources": bundle}),
    );
    let admin = process.admin_addr();
    for method in ["PUT", "PATCH", "DELETE"] {
        problem(
            &call(admin, method, SVC, &[], Some(json!({"urls": ["http://a"]}))).await,
            403,
            "watch_only",
        );
    }
    let other = json!({"services": [{"name": "svc", "urls": ["http://a"]}]});
    let apply = "/api/v1/apply";
    let refused = call(admin, "POST", apply, &[], Some(other.clone())).await;
    problem(&refused, 403, "watch_only");
    assert_eq!(refused.header("x-dgate-revision"), Some("1"));
    // To look what a bundle would change is no write.
    let dry = format!("{apply}?dry_run=true");
    let looked = call(admin, "POST", &dry, &[], Some(other)).await;
    assert_eq!(looked.status, 200, "{}", looked.text());
    assert_eq!(looked.json()["changes"][0]["op"], "update");
    assert_eq!(
        call(admin, "GET", SVC, &[], None).await.json()["revision"],
        1
    );
    drop(process);

    let process = Process::start(json!({"admin": {"max_body": "1KiB"}}));
    let large =
        json!({"services": [{"name": "a", "urls": ["http://a"], "tags": ["x".repeat(2000)]}]});
    problem(
        &call(
            process.admin_addr(),
            "POST",
            "/api/v1/apply",
            &[],
            Some(large),
        )
        .await,
        413,
        "body_too_large",
    );
}
