//! Authentication in a whole gateway: who is let in, what upstreams, modules and the log are told, and what a change
//! of consumers does. What each plugin does alone is tested in its crate.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dgate::consumer::Credential;
use dgate::resource::{Key, Kind, Spec};
use dgate_tests::client::{DEADLINE, Reply, ask, get, poll_until};
use dgate_tests::gateway::{TestGateway, call, proxy_to};
use dgate_tests::process::Process;
use dgate_tests::upstream::{RecordedRequest, TestUpstream};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Consumers `ann` with a key and two groups, `bob` with a key, and `guest` with neither; `/**` has the plugins.
fn site(upstream: &TestUpstream, plugins: Value) -> Value {
    let mut bundle = proxy_to(upstream.url());
    bundle["routes"][0]["plugins"] = plugins;
    bundle["consumers"] = json!([
        {"name": "ann", "credentials": [{"key": "key-of-ann"}], "groups": ["staff", "gold"], "metadata": {"plan": 7}},
        {"name": "bob", "credentials": [{"key": "key-of-bob"}]},
        {"name": "guest", "groups": ["guests"]},
    ]);
    bundle
}

async fn with(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    ask(addr, request + "\r\n").await
}

const FORGED: [(&str, &str); 6] = [
    ("X-Consumer-Username", "root"),
    ("X-Consumer-Groups", "admin"),
    ("x_consumer_username", "root"),
    ("X_Consumer-Custom-Id", "root"),
    ("X-Credential-Identifier", "root"),
    ("X_CREDENTIAL_USERNAME", "root"),
];

/// What of a request says who it is.
fn told(request: &RecordedRequest) -> Vec<(String, String)> {
    let all = request.headers.iter().filter(|(name, _)| {
        let name = name.as_str().replace('_', "-");
        name.starts_with("x-consumer") || name.starts_with("x-credential")
    });
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let mut told: Vec<_> = all.map(text).collect();
    told.sort();
    told
}

#[tokio::test]
async fn no_client_says_who_it_is_with_or_without_authentication() {
    let upstream = TestUpstream::echo();
    let keyed = json!({"name": "key-auth", "config": {"anonymous": "guest"}});
    let mut bundle = site(&upstream, json!([]));
    let route = json!({"name": "keyed", "paths": ["/keyed"], "service": "svc", "plugins": [keyed]});
    bundle["routes"].as_array_mut().unwrap().push(route);
    // Not even from a proxy that is trusted with addresses.
    let trusting = json!({"proxy": {"trusted_proxies": ["127.0.0.0/8"]}});
    let gateway = TestGateway::configured(bundle, trusting);
    let mut headers = FORGED.to_vec();
    assert_eq!(with(gateway.addr(), "/open", &headers).await.status, 200);
    assert_eq!(told(&upstream.requests()[0]), []);

    assert_eq!(with(gateway.addr(), "/keyed", &headers).await.status, 200);
    let guest = [
        ("x-consumer-groups", "guests"),
        ("x-consumer-username", "guest"),
    ];
    let own = |all: &[(&str, &str)]| -> Vec<_> {
        let all = all
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        all.collect()
    };
    assert_eq!(told(&upstream.requests()[1]), own(&guest));

    // Nor can a connection option take away what the gateway says.
    headers.push(("apikey", "key-of-ann"));
    headers.push(("Connection", "X-Consumer-Username, x-credential-identifier"));
    assert_eq!(with(gateway.addr(), "/keyed", &headers).await.status, 200);
    let told = told(&upstream.requests()[2]);
    assert_eq!(
        told[..2],
        own(&[
            ("x-consumer-groups", "staff,gold"),
            ("x-consumer-username", "ann")
        ])
    );
    assert_eq!(
        (told.len(), told[2].0.as_str()),
        (3, "x-credential-identifier")
    );
    assert_eq!(upstream.requests()[2].header("apikey"), None);
}

#[tokio::test]
async fn who_is_refused_is_challenged_and_nothing_reaches_the_upstream() {
    let upstream = TestUpstream::echo();
    let acl = json!({"name": "acl", "config": {"allow": ["staff"]}});
    let gateway = TestGateway::start(site(&upstream, json!([{"name": "key-auth"}, acl])));
    for headers in [&[][..], &[("apikey", "nonsense")]] {
        let refused = with(gateway.addr(), "/", headers).await;
        assert_eq!(
            (refused.status, refused.header("www-authenticate")),
            (401, Some("Key"))
        );
        assert_eq!(
            refused.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(refused.json()["code"], "unauthorized");
        assert!(!refused.text().contains("nonsense"));
    }
    let bob = with(gateway.addr(), "/", &[("apikey", "key-of-bob")]).await;
    assert_eq!(
        (bob.status, &bob.json()["code"]),
        (403, &json!("forbidden"))
    );
    assert!(upstream.requests().is_empty());
    let ann = with(gateway.addr(), "/?apikey=key-of-ann&x=%7e", &[]).await;
    assert_eq!(ann.status, 200);
    assert_eq!(upstream.requests()[0].uri, "/?x=%7e");
}

#[tokio::test]
async fn a_module_sees_the_consumer_and_the_access_log_names_it() {
    let source = "export const requestHandler = ({ consumer: c }) => ({ name: c.name, groups: c.groups, plan: c.metadata.plan });";
    let bundle = json!({
        "namespaces": [{"name": "default"}],
        "consumers": [{"name": "ann", "credentials": [{"key": "key-of-ann"}], "groups": ["staff"], "metadata": {"plan": 7}}],
        "modules": [{"name": "m", "source": source}],
        "routes": [{"name": "r", "paths": ["/**"], "modules": ["m"], "plugins": [{"name": "key-auth"}]}],
    });
    let process = Process::start(json!({"resources": bundle}));
    let answer = with(process.addr(), "/?apikey=key-of-ann", &[]).await;
    let expected = json!({"name": "ann", "groups": ["staff"], "plan": 7});
    assert_eq!(answer.json(), expected);
    let lines = async || {
        call(
            process.admin_addr(),
            "GET",
            "/api/v1/logs?route=r",
            &[],
            None,
        )
        .await
    };
    let written = async || lines().await.text().contains("\"consumer\":\"ann\"");
    poll_until(DEADLINE, "the access record", written).await;
    assert!(!lines().await.text().contains("key-of-ann"));
}

#[tokio::test]
async fn changed_keys_are_in_force_at_once_and_other_changes_keep_what_is_known() {
    let upstream = TestUpstream::echo();
    let limit =
        json!({"name": "rate-limit", "config": {"limit": 4, "window": "1h", "by": "consumer"}});
    let mut bundle = site(&upstream, json!([{"name": "key-auth"}, limit]));
    let gateway = TestGateway::start(bundle.clone());
    let status = async |key: &str| with(gateway.addr(), "/", &[("apikey", key)]).await.status;
    assert_eq!(status("key-of-ann").await, 200);

    bundle["consumers"][0]["credentials"] = json!([{"key": "new-key"}]);
    gateway.apply(bundle.clone()).await;
    assert_eq!(
        [status("key-of-ann").await, status("new-key").await],
        [401, 200]
    );

    // Without its credentials a consumer keeps them; the limit remembers what it has used.
    let change = json!({"groups": ["staff"], "tags": ["changed"]});
    let answer = gateway
        .admin("PUT", "/api/v1/consumer/default/ann", Some(change))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        [status("new-key").await, status("new-key").await],
        [200, 200]
    );
    assert_eq!(status("new-key").await, 429);
    assert_eq!(
        upstream.requests()[2].header("x-consumer-groups"),
        Some("staff")
    );

    let answer = gateway
        .admin("DELETE", "/api/v1/consumer/default/ann", None)
        .await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        [status("new-key").await, status("key-of-bob").await],
        [401, 200]
    );
}

#[tokio::test]
async fn the_consumers_of_another_namespace_are_nobody() {
    let upstream = TestUpstream::echo();
    let mut bundle = site(&upstream, json!([{"name": "key-auth"}]));
    let own = |kind: &str, more: Value| {
        let mut own = json!({"namespace": "other"});
        for (key, value) in more.as_object().unwrap() {
            own[key] = value.clone();
        }
        (kind.to_owned(), own)
    };
    for (kind, resource) in [
        ("namespaces".to_owned(), json!({"name": "other"})),
        own("domains", json!({"name": "d", "patterns": ["other.test"]})),
        own("services", json!({"name": "svc", "urls": [upstream.url()]})),
        own(
            "routes",
            json!({"name": "r", "paths": ["/**"], "service": "svc", "plugins": [{"name": "key-auth"}]}),
        ),
        own(
            "consumers",
            json!({"name": "eve", "credentials": [{"key": "key-of-eve"}]}),
        ),
    ] {
        let all = &mut bundle[kind];
        if all.is_null() {
            *all = json!([]);
        }
        all.as_array_mut().unwrap().push(resource);
    }
    let gateway = TestGateway::start(bundle);
    let status = async |host: &str, key: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\napikey: {key}\r\n\r\n");
        ask(gateway.addr(), request).await.status
    };
    assert_eq!(status("other.test", "key-of-eve").await, 200);
    assert_eq!(status("other.test", "key-of-ann").await, 401);
    assert_eq!(status("a.test", "key-of-ann").await, 200);
    assert_eq!(status("a.test", "key-of-eve").await, 401);
}

#[tokio::test]
async fn the_anonymous_consumer_has_to_exist() {
    let upstream = TestUpstream::echo();
    let keyed = json!({"name": "key-auth", "config": {"anonymous": "guest"}});
    let mut bundle = site(&upstream, json!([{"name": "request-id"}, keyed]));
    let gateway = TestGateway::start(bundle.clone());
    assert_eq!(get(gateway.addr(), "/").await.status, 200);
    let answer = gateway
        .admin("DELETE", "/api/v1/consumer/default/guest", None)
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());

    bundle["routes"][0]["plugins"][1]["config"]["anonymous"] = "nobody".into();
    let answer = gateway
        .admin("POST", "/api/v1/apply", Some(bundle.clone()))
        .await;
    let error = &answer.json()["errors"][0];
    assert_eq!(answer.status, 422);
    assert_eq!(error["pointer"], "/routes/0/plugins/1/config/anonymous");
    assert!(
        error["detail"].as_str().unwrap().contains("`nobody`"),
        "{error}"
    );

    // For all routes at once, too.
    bundle["routes"][0]["plugins"] = json!([]);
    bundle["namespaces"][0]["plugins"] =
        json!([{"name": "key-auth", "config": {"anonymous": "nobody"}}]);
    let answer = gateway.admin("POST", "/api/v1/apply", Some(bundle)).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(get(gateway.addr(), "/").await.status, 200);
}

fn basic(user: &str, password: &str) -> String {
    let text = STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

#[tokio::test]
async fn passwords_are_hashed_when_they_are_written_and_verified_when_shown() {
    let upstream = TestUpstream::echo();
    let mut bundle = site(&upstream, json!([{"name": "basic-auth"}]));
    let user = |password: &str| json!([{"basic": {"username": "ann", "password": password}}]);
    bundle["consumers"][0]["credentials"] = user("pa:ss");
    let gateway = TestGateway::start(bundle);
    let status = async |user: &str, password: &str| {
        let value = basic(user, password);
        with(gateway.addr(), "/", &[("Authorization", &value)])
            .await
            .status
    };
    // Twice: the second time it is known.
    assert_eq!(
        [status("ann", "pa:ss").await, status("ann", "pa:ss").await],
        [200, 200]
    );
    assert_eq!(
        [status("ann", "wrong").await, status("eve", "pa:ss").await],
        [401, 401]
    );
    let seen = &upstream.requests()[1];
    assert_eq!(seen.header("x-credential-identifier"), Some("ann"));
    assert_eq!(seen.header("authorization"), None);
    let refused = get(gateway.addr(), "/").await;
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(
        challenge.starts_with("Basic realm=\"dgate\""),
        "{challenge}"
    );

    // The hash alone is kept; the same password again is no change.
    let path = "/api/v1/consumer/default/ann";
    let hash = || {
        let state = gateway.gateway().control().state();
        let key = Key::new(Kind::Consumer, "default", "ann");
        let Spec::Consumer(consumer) = &state.get(&key).unwrap().spec else {
            panic!("no consumer");
        };
        match &consumer.credentials.as_ref().unwrap()[0] {
            Credential::Basic(basic) if basic.password.is_none() => {
                basic.password_hash.clone().unwrap()
            }
            other => panic!("{other:?}"),
        }
    };
    let first = hash();
    assert!(first.starts_with("$argon2id$"), "{first}");
    let put = async |credentials: Value| {
        let consumer = json!({"credentials": credentials, "groups": ["staff"]});
        gateway.admin("PUT", path, Some(consumer)).await
    };
    let revision = put(user("pa:ss")).await.json()["revision"].clone();
    assert_eq!(put(user("pa:ss")).await.json()["revision"], revision);
    assert_eq!(hash(), first);
    assert_eq!(status("ann", "pa:ss").await, 200);

    // Another one is in force at once, though the old one was known.
    assert_eq!(put(user("new")).await.status, 200);
    assert_eq!(
        [status("ann", "pa:ss").await, status("ann", "new").await],
        [401, 200]
    );
    assert_ne!(hash(), first);
    let bcrypt = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
    assert_eq!(
        put(json!([{"basic": {"username": "ann", "password_hash": bcrypt}}]))
            .await
            .status,
        200
    );
    assert_eq!(
        [
            status("ann", "new").await,
            status("ann", "correct horse").await
        ],
        [401, 200]
    );

    for (wrong, at) in [
        (json!({"username": "ann"}), "/credentials/0/basic"),
        (
            json!({"username": "ann", "password": "hush", "password_hash": bcrypt}),
            "/credentials/0/basic",
        ),
        (
            json!({"username": "ann", "password_hash": "hush"}),
            "/credentials/0/basic/password_hash",
        ),
        (
            json!({"username": "a:nn", "password": "hush"}),
            "/credentials/0/basic/username",
        ),
    ] {
        let answer = put(json!([{"basic": wrong}])).await;
        assert_eq!(answer.status, 422, "{wrong}");
        assert!(!answer.text().contains("hush"), "{}", answer.text());
        assert_eq!(
            answer.json()["errors"][0]["pointer"],
            at,
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn of_two_that_let_anonymous_requests_pass_one_is_enough() {
    let upstream = TestUpstream::echo();
    let lax = json!({"anonymous": "guest"});
    let plugins = json!([
        {"name": "key-auth", "config": lax},
        {"name": "basic-auth", "config": lax},
        {"name": "acl", "config": {"deny": ["guests"]}},
    ]);
    let mut bundle = site(&upstream, plugins);
    bundle["consumers"][1]["credentials"] =
        json!([{"basic": {"username": "bob", "password": "pass"}}]);
    let gateway = TestGateway::start(bundle);
    let (bob, wrong) = (basic("bob", "pass"), basic("bob", "no"));
    for (headers, expected) in [
        (&[][..], Err(403)),
        (&[("apikey", "key-of-ann")], Ok("ann")),
        (&[("authorization", &*bob)], Ok("bob")),
        // Both are right: the first stays.
        (
            &[("apikey", "key-of-ann"), ("authorization", &*bob)],
            Ok("ann"),
        ),
        (
            &[("apikey", "key-of-ann"), ("authorization", &*wrong)],
            Err(401),
        ),
        (
            &[("apikey", "nonsense"), ("authorization", &*bob)],
            Err(401),
        ),
    ] {
        let answer = with(gateway.addr(), "/", headers).await;
        let requests = upstream.requests();
        let found = match answer.status {
            200 => Ok(requests
                .last()
                .unwrap()
                .header("x-consumer-username")
                .unwrap()),
            status => Err(status),
        };
        assert_eq!(found, expected, "{headers:?}");
    }
}
