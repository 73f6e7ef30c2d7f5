//! Which route takes a request, through a real listener: the tables of the contract as data.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate::{BoxError, DGate, Exchange, Flow, Plugin, Request, Response, Setup, plugin};
use dgate_core::Body;
use dgate_tests::client::{Reply, ask};
use dgate_tests::gateway::{TestGateway, loaded};
use dgate_tests::upstream::TestUpstream;
use serde_json::{Map, Value, json};

/// An upstream, and a gateway whose routes each go to it under the path `/<name>`.
struct Table {
    upstream: TestUpstream,
    gateway: TestGateway,
}

impl Table {
    fn new() -> Self {
        let upstream = TestUpstream::echo();
        let gateway = TestGateway::start(json!({}));
        Self { upstream, gateway }
    }

    /// Replaces all routes of the namespace: a name with a path, or with the fields of a route.
    async fn set(&self, routes: &Value) {
        let routes = routes.as_object().unwrap();
        let services: Vec<_> = routes
            .keys()
            .map(|name| json!({"name": name, "urls": [format!("{}/{name}", self.upstream.url())]}))
            .collect();
        let routes: Vec<_> = routes
            .iter()
            .map(|(name, fields)| {
                let mut route = match fields {
                    Value::Object(fields) => fields.clone(),
                    path => Map::from_iter([("paths".to_owned(), json!([path]))]),
                };
                route.insert("name".to_owned(), name.as_str().into());
                route.insert("service".to_owned(), name.as_str().into());
                route
            })
            .collect();
        let bundle =
            json!({"namespaces": [{"name": "default"}], "services": services, "routes": routes});
        let path = "/api/v1/apply?prune=true";
        let answer = self.gateway.admin("POST", path, Some(bundle)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    async fn ask(&self, method: &str, target: &str, headers: &str) -> Reply {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: any.test\r\n{headers}\r\n");
        ask(self.gateway.addr(), head).await
    }

    /// The name of the route that took it, or the status.
    async fn hit(&self, method: &str, target: &str, headers: &str) -> Value {
        let answer = self.ask(method, target, headers).await;
        if answer.status != 200 {
            return answer.status.into();
        }
        let path = answer.json()["path"].as_str().unwrap().to_owned();
        path.split(['/', '?']).nth(1).unwrap().into()
    }

    async fn hits(&self, expected: &Value) {
        for (target, route) in expected.as_object().unwrap() {
            let hit = self.hit("GET", target, "").await;
            assert_eq!(hit, *route, "{target}");
        }
    }
}

/// Sets each table of routes and asks for each target.
async fn check(cases: Value) {
    let table = Table::new();
    for case in cases.as_array().unwrap() {
        table.set(&case[0]).await;
        table.hits(&case[1]).await;
    }
}

#[tokio::test]
async fn static_beats_parameter_beats_star_beats_rest_segment_by_segment() {
    check(json!([
        [{"static": "/a/b", "param": "/a/{x}", "star": "/a/*", "rest": "/a/**"},
         {"/a/b": "static", "/a/c": "param", "/a/b/c": "rest", "/a": "rest"}],
        [{"star": "/a/*", "rest": "/a/**", "all": "/**"},
         {"/a/b": "star", "/a/b/c": "rest", "/a": "rest", "/b": "all", "/": "all"}],
        [{"early": "/a/{y}", "late": "/{x}/b"},
         {"/a/b": "early", "/a/z": "early", "/z/b": "late", "/z/z": 404}],
        [{"back": "/{x}/b/d", "dead-end": "/a/{y}/c"}, {"/a/b/d": "back", "/a/b/c": "dead-end"}],
        [{"deep": "/a/b/**", "shallow": "/a/**"},
         {"/a/b/c": "deep", "/a/b": "deep", "/a/c": "shallow", "/a/bc": "shallow"}],
        [{"named": "/files/{*path}", "other": "/files/index"},
         {"/files/index": "other", "/files/a": "named", "/files/a/b/c": "named", "/files": 404}],
        [{"mid": "/v/*/x", "par": "/v/{id}/x"}, {"/v/1/x": "par"}],
        [{"mid": "/v/*/x", "deep": "/v/**"}, {"/v/1/x": "mid", "/v/1/y": "deep", "/v/1/2/x": "deep"}],
        [{"root": "/", "one": "/*"}, {"/": "root", "/a": "one", "/a/b": 404}],
        [{"plain": "/{id}", "mixed": "/{a}-{b}"}, {"/1-2": "mixed", "/12": "plain"}],
        [{"static": "/a/b", "wide": {"paths": ["/**"], "priority": 10}, "wider": {"paths": ["/a/**"], "priority": 5}},
         {"/a/b": "wide"}],
    ]))
    .await;
}

#[tokio::test]
async fn a_pattern_takes_its_own_paths_and_no_others() {
    check(json!([
        [{"api": "/api/**"},
         {"/api": "api", "/api/": "api", "/api/x": "api", "/api/x/y": "api", "/apix": 404, "/ap": 404, "/API/x": 404}],
        [{"user": "/users/{id}"},
         {"/users/7": "user", "/users/a.b-c": "user", "/users": 404, "/users/": 404, "/users/7/x": 404}],
        [{"date": "/{month}-{year}"},
         {"/03-2024": "date", "/032024": 404, "/03-": 404, "/-2024": 404, "/03-2024/x": 404}],
        [{"a": "/a"}, {"/a": "a", "/a/": 404, "/a//": 404, "/a?x=/b": "a"}],
        [{"many": {"paths": ["/x", "/y/{id}", "/z/**"]}},
         {"/x": "many", "/y/1": "many", "/z/1/2": "many", "/w": 404}],
    ]))
    .await;
}

#[tokio::test]
async fn paths_are_normalized_before_they_are_matched() {
    let dots = json!({"a": "/a/**", "b": "/b/**"});
    check(json!([
        [dots, {"/a/../b/x": "b", "/b/./x": "b", "/a/%2e%2e/b/x": "b", "/a/x/z/%2E./../y": "a", "/../b/x": "b", "/b/..": 404}],
        [{"one": "/u/{id}", "two": "/u/{a}/{b}", "static": "/u/a/b"},
         {"/u/a%2Fb": "one", "/u/a%2fb": "one", "/u/a/b": "static", "/u/x%2Fy/z": "two"}],
        [{"open": "/open/{x}", "closed": "/closed"}, {"/open/..%2Fclosed": "open"}],
        [{"user": "/users/~me", "uml": "/münchen"},
         {"/%75sers/%7Eme": "user", "/users/~me": "user", "/m%C3%BCnchen": "uml", "/m%c3%bcnchen": "uml"}],
    ]))
    .await;
}

#[tokio::test]
async fn nothing_climbs_out_of_a_services_base_path() {
    let upstream = TestUpstream::echo();
    let gateway = TestGateway::start(json!({
        "namespaces": [{"name": "default"}],
        "services": [{"name": "based", "urls": [format!("{}/base/v2", upstream.url())]}],
        "routes": [
            {"name": "all", "paths": ["/**"], "service": "based"},
            {"name": "strip", "paths": ["/s/**"], "service": "based", "strip_path": true},
        ],
    }));
    for (sent, seen) in [
        ("/x?y=1", "/base/v2/x?y=1"),
        ("/a//b/", "/base/v2/a//b/"),
        ("/a%2Fb/%41", "/base/v2/a%2Fb/%41"),
        ("/../../x", "/base/v2/x"),
        ("/a/%2e%2e/%2E%2e/x?q=..", "/base/v2/x?q=.."),
        ("/s/../../x", "/base/v2/x"),
        ("/s/a/../../s/b", "/base/v2/b"),
        ("/s", "/base/v2/"),
        ("/s/x%2F..%2Fy", "/base/v2/x%2F..%2Fy"),
    ] {
        let head = format!("GET {sent} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(
            ask(gateway.addr(), head).await.json()["path"],
            seen,
            "{sent}"
        );
    }
}

#[tokio::test]
async fn strip_path_takes_the_literal_prefix() {
    let upstream = TestUpstream::echo();
    let service = json!({"name": "svc", "urls": [upstream.url()]});
    let route = |name: &str, path: &str| json!({"name": name, "paths": [path], "service": "svc", "strip_path": true});
    let gateway = TestGateway::start(json!({
        "namespaces": [{"name": "default"}],
        "services": [service],
        "routes": [route("v1", "/strip/v1/**"), route("cut", "/cut/{id}/rest"), route("enc", "/a%20b/c/**")],
    }));
    for (sent, seen) in [
        ("/strip/v1/users/7?x=1", "/users/7?x=1"),
        ("/strip/v1", "/"),
        ("/strip/v1/", "/"),
        ("/strip/v1?x=1", "/?x=1"),
        ("/strip/v1/a%2Fb", "/a%2Fb"),
        ("/%73trip/v1/a", "/a"),
        ("/cut/5/rest", "/5/rest"),
        ("/a%20b/c/d", "/d"),
    ] {
        let head = format!("GET {sent} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(
            ask(gateway.addr(), head).await.json()["path"],
            seen,
            "{sent}"
        );
    }
}

#[tokio::test]
async fn a_method_that_no_route_of_the_path_takes_is_a_405_with_all_that_are() {
    let table = Table::new();
    table
        .set(&json!({
            "read": {"paths": ["/m"], "methods": ["GET"]},
            "write": {"paths": ["/m"], "methods": ["PUT", "DELETE"]},
            "narrow": {"paths": ["/n/x"], "methods": ["GET"]},
            "wide": "/n/**",
        }))
        .await;
    for (method, route) in [("GET", "read"), ("PUT", "write"), ("DELETE", "write")] {
        assert_eq!(table.hit(method, "/m", "").await, route);
    }
    let answer = table.ask("POST", "/m", "").await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (405, "method_not_allowed".into())
    );
    let allow = answer.header("allow").unwrap();
    let mut allow: Vec<_> = allow
        .split(',')
        .map(str::trim)
        .filter(|m| *m != "HEAD")
        .collect();
    allow.sort_unstable();
    assert_eq!(allow, ["DELETE", "GET", "PUT"]);
    // A wider route takes what the narrower one does not.
    assert_eq!(table.hit("GET", "/n/x", "").await, "narrow");
    assert_eq!(table.hit("POST", "/n/x", "").await, "wide");
}

#[tokio::test]
async fn matchers_on_headers_and_query_must_all_hold() {
    let table = Table::new();
    table
        .set(&json!({
            "exact": {"paths": ["/e"], "headers": {"X-Tenant": "blue"}},
            "regex": {"paths": ["/r"], "headers": {"x-version": "/^v[12]$/"}},
            "query": {"paths": ["/q"], "query": {"mode": "full view"}},
            "query-regex": {"paths": ["/qr"], "query": {"n": "/^[0-9]+$/"}},
            "both": {"paths": ["/b"], "headers": {"x-a": "1", "x-b": "2"}, "query": {"c": "3"}},
            "any": "/p",
            "beta": {"paths": ["/p"], "headers": {"x-beta": "1"}},
        }))
        .await;
    for (target, headers, expected) in [
        ("/e", "x-tenant: blue\r\n", json!("exact")),
        ("/e", "X-Tenant: green\r\n", json!(404)),
        ("/e", "", json!(404)),
        ("/r", "X-Version: v1\r\n", json!("regex")),
        ("/r", "X-Version: v3\r\n", json!(404)),
        ("/r", "X-Version: xv1\r\n", json!(404)),
        ("/q?mode=full%20view", "", json!("query")),
        ("/q?a=1&mode=full%20view", "", json!("query")),
        ("/q?MODE=full%20view", "", json!(404)),
        ("/q?mode=half", "", json!(404)),
        ("/qr?n=12", "", json!("query-regex")),
        ("/qr?n=1x", "", json!(404)),
        ("/b?c=3", "x-a: 1\r\nx-b: 2\r\n", json!("both")),
        ("/b?c=3", "x-a: 1\r\n", json!(404)),
        ("/b", "x-a: 1\r\nx-b: 2\r\n", json!(404)),
        ("/p", "", json!("any")),
        ("/p", "x-beta: 1\r\n", json!("beta")),
    ] {
        assert_eq!(
            table.hit("GET", target, headers).await,
            expected,
            "{target} {headers}"
        );
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

/// Answers with its namespace, and with the parameters of the path.
struct Tell;

#[plugin]
impl Plugin for Tell {
    const NAME: &'static str = "tell";
    type Config = Nothing;
    fn new(_: Nothing, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self)
    }
    async fn request_handler(&self, ctx: &Exchange, _: Request) -> Flow<Response> {
        let namespace = ctx.route().map_or("", |r| &*r.namespace);
        let params = ctx.params();
        Ok(Response::new(Body::from(
            json!([namespace, params]).to_string(),
        )))
    }
}

fn telling(bundle: Value) -> TestGateway {
    TestGateway::serving(
        DGate::builder()
            .plugin::<Tell>()
            .loaded(loaded(bundle, json!({}))),
    )
}

#[tokio::test]
async fn a_plugin_sees_percent_decoded_parameters() {
    let paths = [
        "/users/{id}",
        "/d/{month}-{year}",
        "/files/{*path}",
        "/plain",
    ];
    let routes: Vec<_> = paths
        .iter()
        .enumerate()
        .map(|(n, path)| json!({"name": format!("r{n}"), "paths": [path], "plugins": [{"name": "tell"}]}))
        .collect();
    let gateway = telling(json!({"namespaces": [{"name": "default"}], "routes": routes}));
    for (sent, params) in [
        ("/users/a%2Fb%20%C3%BC", json!([["id", "a/b ü"]])),
        ("/d/03-2024", json!([["month", "03"], ["year", "2024"]])),
        ("/files/x/y/z.txt", json!([["path", "x/y/z.txt"]])),
        ("/plain", json!([])),
    ] {
        let head = format!("GET {sent} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(ask(gateway.addr(), head).await.json()[1], params, "{sent}");
    }
}

#[tokio::test]
async fn domains_choose_the_namespace() {
    // Namespaces with the fields of their domain, and hosts with the namespace that answers.
    let cases = json!([
        [{"exact": ["api.example.com"], "wild": ["*.example.com"], "regex": ["/^[a-z]+\\.example\\.com$/"], "re2": ["/^x[0-9]\\.test$/"]},
         {"api.example.com": "exact", "www.example.com": "wild", "x1.test": "re2", "xy.test": 404}],
        [{"left": ["*.example.com"], "right": ["api.*"], "both": ["*shop*"]},
         {"a.example.com": "left", "a.b.example.com": "left", "api.test": "right", "api.co.uk": "right", "myshop.test": "both",
          "shop": "both", "example.com": 404, "xexample.com": 404, "xapi.test": 404}],
        [{"short": ["*.example.com"], "long": ["*.eu.example.com"], "any": ["*"]},
         {"a.eu.example.com": "long", "a.us.example.com": "short", "other.test": "any"}],
        [{"exact": ["api.example.com"], "any": {"patterns": ["*"], "priority": 5}}, {"api.example.com": "any"}],
        [{"exact": ["Api.Example.com"], "wild": ["*.Test"]},
         {"API.example.COM": "exact", "api.example.com:8443": "exact", "X.TEST:1": "wild"}],
        [{"shop": ["shop.test"], "default": null},
         {"shop.test": "shop", "else.test": "default", "127.0.0.1": "default", "[::1]:80": "default"}],
        [{"shop": ["shop.test"]}, {"shop.test": "shop", "else.test": 404}],
    ]);
    for case in cases.as_array().unwrap() {
        let (mut namespaces, mut domains, mut routes) = (Vec::new(), Vec::new(), Vec::new());
        for (name, domain) in case[0].as_object().unwrap() {
            namespaces.push(json!({"name": name}));
            routes.push(json!({"namespace": name, "name": "r", "paths": ["/**"], "plugins": [{"name": "tell"}]}));
            let mut fields = match domain {
                Value::Null => continue,
                Value::Array(patterns) => json!({"patterns": patterns}),
                fields => fields.clone(),
            };
            fields["namespace"] = name.as_str().into();
            fields["name"] = "d".into();
            domains.push(fields);
        }
        let gateway =
            telling(json!({"namespaces": namespaces, "domains": domains, "routes": routes}));
        for (host, expected) in case[1].as_object().unwrap() {
            let answer = ask(
                gateway.addr(),
                format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            )
            .await;
            let found = if answer.status == 200 {
                answer.json()[0].clone()
            } else {
                answer.status.into()
            };
            assert_eq!(found, *expected, "{host}");
        }
    }
}

#[tokio::test]
async fn a_namespace_that_a_domain_chose_never_falls_back_to_default() {
    let tell = json!([{"name": "tell"}]);
    let gateway = telling(json!({
        "namespaces": [{"name": "default"}, {"name": "shop"}],
        "domains": [{"namespace": "shop", "name": "d", "patterns": ["shop.test"]}],
        "routes": [
            {"namespace": "default", "name": "all", "paths": ["/**"], "plugins": tell},
            {"namespace": "shop", "name": "only", "paths": ["/only"], "plugins": tell},
        ],
    }));
    let ask_shop = async |path: &str| {
        ask(
            gateway.addr(),
            format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n"),
        )
        .await
    };
    assert_eq!(ask_shop("/only").await.json()[0], "shop");
    assert_eq!(ask_shop("/other").await.status, 404);
}
