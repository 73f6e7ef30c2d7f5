//! Bundles: one changeset, all of it or nothing, in force when its answer is read.

use dgate_tests::client::{Conn, DEADLINE, ask, get, poll_until};
use dgate_tests::gateway::{TestGateway, proxy_to};
use dgate_tests::upstream::{RawUpstream, TestUpstream};
use serde_json::{Value, json};

use super::{ALL, gateway, names, pointers, problem};

#[tokio::test]
async fn a_bundle_is_applied_as_one_revision_or_not_at_all() {
    let gateway = gateway();
    let apply = async |query: &str, body: Value| {
        gateway
            .admin("POST", &format!("/api/v1/apply{query}"), Some(body))
            .await
    };
    let more = json!({"services": [{"name": "two", "urls": ["http://a"]}], "routes": [{"name": "two", "paths": ["/two"], "service": "two"}]});
    let created = |revision: u64| {
        json!({"revision": revision, "changes": [
            {"op": "create", "kind": "service", "key": "default/two"},
            {"op": "create", "kind": "route", "key": "default/two"},
        ]})
    };
    assert_eq!(
        apply("?dry_run=true", more.clone()).await.json(),
        created(1)
    );
    problem(
        &gateway
            .admin("GET", "/api/v1/service/default/two", None)
            .await,
        404,
        "not_found",
    );
    // A misspelt parameter must not commit what was meant as a trial.
    problem(
        &apply("?dry-run=true", more.clone()).await,
        400,
        "malformed",
    );
    problem(
        &apply("?expected_revision=9", more.clone()).await,
        409,
        "revision_mismatch",
    );
    assert_eq!(
        apply("?expected_revision=1", more.clone()).await.json(),
        created(2)
    );
    assert_eq!(
        apply("", more).await.json(),
        json!({"revision": 2, "changes": []})
    );

    // One bad item of many: nothing of it is there.
    let bad = json!({"services": [{"name": "three", "urls": ["http://a"]}, {"name": "four", "urls": ["ftp://a"]}], "routes": [{"name": "r", "paths": ["/r"], "service": "ghost"}]});
    problem(&apply("", bad).await, 422, "invalid");
    let dangling = json!({"services": [{"name": "three", "urls": ["http://a"]}], "routes": [{"name": "r", "paths": ["/r"], "service": "ghost"}]});
    let refused = problem(&apply("", dangling).await, 422, "invalid");
    assert_eq!(pointers(&refused), ["/routes/0/service"]);
    assert!(refused.to_string().contains("ghost"), "{refused}");
    let services = gateway.admin("GET", "/api/v1/service", None).await;
    assert_eq!(
        (names(&services), services.header("x-dgate-revision")),
        (vec!["svc".to_owned(), "two".to_owned()], Some("2"))
    );

    // What the namespaces of the bundle hold and it does not name.
    let pruned = apply("?prune=true", proxy_to("http://127.0.0.1:9"))
        .await
        .json();
    let deleted: Vec<_> = pruned["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| [&c["op"], &c["kind"], &c["key"]])
        .collect();
    assert_eq!(
        json!(deleted),
        json!([
            ["delete", "service", "default/two"],
            ["delete", "route", "default/two"]
        ])
    );
    let export = gateway.admin("GET", "/api/v1/export", None).await.json();
    assert_eq!(
        apply("?prune=true", export).await.json(),
        json!({"revision": 3, "changes": []})
    );
}

#[tokio::test]
async fn every_error_has_its_pointer() {
    let gateway = gateway();
    let bundle = json!({
        "services": [{"name": "svc", "urls": ["http://a"], "timeuots": {}}, {"name": "Bad Name", "urls": ["http://a"]}],
        "routes": [{"name": "r", "paths": "no-list", "service": "svc"}, {"name": "all", "paths": ["/a/{b"], "service": "svc"}],
        "rouets": [],
    });
    let refused = gateway.admin("POST", "/api/v1/apply", Some(bundle)).await;
    let refused = problem(&refused, 422, "invalid");
    let found = pointers(&refused);
    for pointer in [
        "/services/0/timeuots",
        "/services/1/name",
        "/routes/0/paths",
        "/rouets",
    ] {
        assert!(found.contains(&pointer), "{pointer} in {refused}");
    }
    let text = refused.to_string();
    assert!(
        text.contains("did you mean `timeouts`") && text.contains("did you mean `routes`"),
        "{text}"
    );

    for (kind, body, pointer) in [
        (
            "route",
            json!({"paths": ["/a/{b"], "service": "svc"}),
            "/paths/0",
        ),
        (
            "route",
            json!({"paths": ["/a"], "service": "svc", "methods": ["get"]}),
            "/methods/0",
        ),
        (
            "route",
            json!({"paths": ["/a"], "service": "svc", "headers": {"x": "/(/"}}),
            "/headers/x",
        ),
        (
            "route",
            json!({"paths": ["/a"], "service": "svc", "plugins": [{"name": "request-idd"}]}),
            "/plugins/0/name",
        ),
        (
            "route",
            json!({"paths": ["/a"], "service": "svc", "plugins": [{"name": "request-id", "config": {"ecko": true}}]}),
            "/plugins/0/config/ecko",
        ),
        (
            "route",
            json!({"paths": ["/a"], "service": "svc", "max_body": "10 lightyears"}),
            "/max_body",
        ),
        ("route", json!({"paths": ["/a"]}), ""),
        ("service", json!({"urls": ["ftp://a"]}), "/urls/0"),
        (
            "service",
            json!({"urls": ["http://a"], "retry": {"methods": ["get"]}}),
            "/retry/methods/0",
        ),
        (
            "service",
            json!({"urls": ["http://a"], "timeouts": {"request": "soon"}}),
            "/timeouts/request",
        ),
        ("domain", json!({"patterns": ["a b"]}), "/patterns/0"),
        ("domain", json!({"patterns": ["/(/"]}), "/patterns/0"),
    ] {
        let answer = gateway
            .admin("PUT", &format!("/api/v1/{kind}/default/new"), Some(body))
            .await;
        let refused = problem(&answer, 422, "invalid");
        assert_eq!(pointers(&refused), [pointer], "{refused}");
    }
    assert_eq!(gateway.admin("GET", ALL, None).await.json()["revision"], 1);
}

#[tokio::test]
async fn what_excludes_each_other_is_a_409() {
    let gateway = gateway();
    let same = json!({"paths": ["/**"], "service": "svc"});
    problem(
        &gateway
            .admin("PUT", "/api/v1/route/default/twin", Some(same))
            .await,
        409,
        "conflict",
    );
    gateway
        .apply(json!({
            "namespaces": [{"name": "a"}, {"name": "b"}],
            "domains": [{"namespace": "a", "name": "d", "patterns": ["x.test"]}],
        }))
        .await;
    let twin = json!({"patterns": ["X.test"]});
    problem(
        &gateway.admin("PUT", "/api/v1/domain/b/d", Some(twin)).await,
        409,
        "conflict",
    );
}

#[tokio::test]
async fn bundles_come_as_yaml_too_and_bad_syntax_is_a_400() {
    let gateway = gateway();
    let post = async |media: &str, body: &str| {
        let head = format!(
            "POST /api/v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        ask(gateway.admin_addr(), head + body).await
    };
    let yaml = "services:\n  - name: from-yaml\n    urls: [http://a]\n";
    assert_eq!(
        post("application/yaml", yaml).await.json()["changes"][0]["key"],
        "default/from-yaml"
    );
    assert_eq!(
        post("application/json", "{}").await.json()["changes"],
        json!([])
    );
    for (media, text) in [
        ("application/json", "{\"services\": ["),
        ("application/yaml", "a: [1, 2\nb: {}"),
        ("application/json", yaml),
    ] {
        problem(&post(media, text).await, 400, "malformed");
    }
    // What `curl -d` says by itself.
    let form = post("application/x-www-form-urlencoded", yaml).await;
    let form = problem(&form, 400, "malformed");
    assert!(form.to_string().contains("application/yaml"), "{form}");
    problem(&post("application/json", "[]").await, 422, "invalid");
    let head = "POST /api/v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n";
    let broken = [head.as_bytes(), b"\xff\xfe"].concat();
    problem(&ask(gateway.admin_addr(), broken).await, 400, "malformed");
}

#[tokio::test]
async fn traffic_sees_a_change_at_once_and_requests_in_flight_finish_on_the_old() {
    let new = TestUpstream::named("new");
    let held = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.read_exact(2).await?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
            .await?;
        conn.hold().await
    });
    let gateway = TestGateway::start(proxy_to(held.url()));
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send("POST /held HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n")
        .await;
    poll_until(DEADLINE, "the request in flight", async || {
        held.received(0).ends_with(b"\r\n\r\n")
    })
    .await;
    for n in 0..20 {
        // Each change is in force when its answer is read.
        gateway.apply(proxy_to(format!("{}/{n}", new.url()))).await;
        assert_eq!(
            get(gateway.addr(), "/x").await.json()["path"],
            format!("/{n}/x")
        );
    }
    conn.send("go").await;
    assert_eq!(conn.read_response().await.text(), "old");
    conn.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(conn.read_response().await.json()["server"], "new");
}

#[tokio::test]
async fn what_is_wrong_with_texts_is_told_with_what_is_wrong_with_types_and_with_references() {
    let gateway = gateway();
    let texts = json!({
        "services": [{"name": "a", "urls": ["nope", {"url": "ftp://x", "weight": 1}], "retry": {"methods": ["get"]}}],
        "routes": [{"name": "r", "paths": ["/ok", "/{"], "methods": ["G T"], "headers": {"x y": "1"},
            "query": {"q": "/(/"}, "service": "ghost"}],
        "domains": [{"name": "d", "patterns": ["a b"]}],
    });
    let found = [
        "/domains/0/patterns/0",
        "/routes/0/headers/x y",
        "/routes/0/methods/0",
        "/routes/0/paths/1",
        "/routes/0/query/q",
        "/services/0/retry/methods/0",
        "/services/0/urls/0",
        "/services/0/urls/1",
    ];
    let told = async |bundle: Value| {
        let answer = gateway.admin("POST", "/api/v1/apply", Some(bundle)).await;
        let problem = problem(&answer, 422, "invalid");
        let mut all: Vec<(String, String)> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| {
                (
                    e["pointer"].as_str().unwrap().to_owned(),
                    e["detail"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        all.sort();
        all
    };
    // By themselves, with a reference that leads nowhere.
    let mut alone = told(texts.clone()).await;
    let (ghost, _) = alone.remove(5);
    assert_eq!(ghost, "/routes/0/service");
    assert!(
        alone.iter().map(|(pointer, _)| pointer).eq(found),
        "{alone:?}"
    );
    // Beside a wrong type, in another resource or in the same: the same words.
    for at in [
        (
            "services",
            json!({"name": "b", "urls": ["http://a"], "protocol": "x"}),
        ),
        ("modules", json!({"name": "b"})),
    ] {
        let mut bundle = texts.clone();
        match bundle[at.0].as_array_mut() {
            Some(items) => items.push(at.1),
            None => bundle[at.0] = json!([at.1]),
        }
        bundle["routes"][0]["strip_path"] = json!("yes");
        let mut all = told(bundle).await;
        all.retain(|one| {
            !["protocol", "source", "strip_path"]
                .iter()
                .any(|other| one.0.ends_with(other))
        });
        all.retain(|one| !one.0.starts_with("/modules"));
        assert_eq!(all, alone);
    }
}

#[tokio::test]
async fn a_page_of_resources_ends_at_its_bytes() {
    let gateway = gateway();
    let source = format!("// {}\n", "x".repeat(1_000_000));
    let names: Vec<_> = (10..30).map(|n| format!("m{n}")).collect();
    for all in names.chunks(5) {
        let all = all
            .iter()
            .map(|name| json!({"name": name, "source": source}));
        let bundle = json!({"modules": all.collect::<Vec<_>>()});
        let answer = gateway.admin("POST", "/api/v1/apply", Some(bundle)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let answer = gateway
            .admin("GET", &format!("/api/v1/module?{cursor}"), None)
            .await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.text().len() < 10_000_000, "{}", answer.text().len());
        let page = answer.json();
        let items = page["items"].as_array().unwrap();
        found.extend(
            items
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = format!("cursor={next}"),
            None => break,
        }
    }
    assert_eq!((found, pages), (names, 3));
}

#[tokio::test]
async fn what_a_route_refers_to_and_its_plugins_are_looked_at_together() {
    let gateway = gateway();
    let route = json!({"paths": ["/r"], "service": "ghost", "modules": ["nope"],
        "plugins": [{"name": "no-such"}, {"name": "mock", "config": {"statsu": 200}}]});
    let at = "/api/v1/route/default/r";
    let refused = problem(&gateway.admin("PUT", at, Some(route)).await, 422, "invalid");
    let mut found = pointers(&refused);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "/modules/0",
            "/plugins/0/name",
            "/plugins/1/config/statsu",
            "/service"
        ],
        "{refused}"
    );
    // The plugin that can't be made ready might have been the one that answers: that it is wrong is enough.
    let route = json!({"paths": ["/r"], "plugins": [{"name": "mock", "config": {"statsu": 200}}]});
    let refused = problem(&gateway.admin("PUT", at, Some(route)).await, 422, "invalid");
    assert_eq!(
        pointers(&refused),
        ["/plugins/0/config/statsu"],
        "{refused}"
    );
}

#[tokio::test]
async fn a_query_and_a_schema_that_are_wrong_are_told_in_our_words() {
    let gateway = gateway();
    let answer = gateway.admin("GET", "/api/v1/route?limit=many", None).await;
    let refused = problem(&answer, 400, "malformed").to_string();
    assert!(refused.contains("the query: limit"), "{refused}");
    let schema = json!({"schema": {"$ref": "https://schemas.test/a.json"}});
    let put = gateway.admin("PUT", "/api/v1/collection/default/c", Some(schema));
    let refused = problem(&put.await, 422, "invalid").to_string();
    assert!(
        refused.contains("parts of itself only") && !refused.contains("resolve-http"),
        "{refused}"
    );
}
