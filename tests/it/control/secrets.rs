//! Secrets and other sensitive fields: they reach whom they are for, stay over a rollback, and are nowhere else.

use std::path::Path;

use dgate::{BoxError, DGate, Exchange, Flow, Plugin, Response, Setup, plugin};
use dgate_tests::client::get;
use dgate_tests::gateway::{TestGateway, loaded, proxy_to};
use dgate_tests::upstream::TestUpstream;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::{again, ask, stored, told};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct StampConfig {
    /// What every answer carries.
    #[schemars(length(min = 1, max = 40))]
    text: String,
}

/// Puts its text into every answer.
struct Stamp(String);

#[plugin]
impl Plugin for Stamp {
    const NAME: &'static str = "stamp";
    type Config = StampConfig;
    fn new(config: StampConfig, _: &Setup) -> Result<Self, BoxError> {
        if config.text.contains(' ') {
            return Err(format!("spaces in {:?}", config.text).into());
        }
        Ok(Self(config.text))
    }
    async fn response_modifier(&self, _: &Exchange, mut res: Response) -> Flow<Response> {
        res.headers_mut().append("x-stamp", self.0.parse()?);
        Ok(res)
    }
}

fn stamping(bundle: Value, config: Value) -> TestGateway {
    TestGateway::serving(
        DGate::builder()
            .plugin::<Stamp>()
            .loaded(loaded(bundle, config)),
    )
}

fn stamp(text: &str) -> Value {
    json!([{"name": "stamp", "config": {"text": text}}])
}

async fn stamps(gateway: &TestGateway) -> Vec<String> {
    let answer = get(gateway.addr(), "/x").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.headers_named("x-stamp").map(str::to_owned).collect()
}

#[tokio::test]
async fn a_changed_secret_reaches_plugins_with_the_next_request() {
    let upstream = TestUpstream::echo();
    let mut bundle = proxy_to(upstream.url());
    bundle["secrets"] = json!([{"name": "a", "data": "one"}, {"name": "b", "data": "two"}]);
    bundle["namespaces"][0]["plugins"] = stamp("n-${secret:a}");
    bundle["services"][0]["plugins"] = stamp("s-${secret:a}${secret:b}");
    bundle["routes"][0]["plugins"] = stamp("r-${secret:b}");
    let gateway = stamping(
        bundle,
        json!({"proxy": {"workers": 1, "plugins": stamp("g-${secret:a}")}}),
    );
    let admin = gateway.admin_addr();
    assert_eq!(
        stamps(&gateway).await,
        ["r-two", "s-onetwo", "n-one", "g-one"]
    );
    ask(
        admin,
        "PUT",
        "secret/default/a",
        Some(json!({"data": "1"})),
        200,
    )
    .await;
    assert_eq!(stamps(&gateway).await, ["r-two", "s-1two", "n-1", "g-1"]);
    ask(
        admin,
        "PATCH",
        "secret/default/b",
        Some(json!({"data": "2"})),
        200,
    )
    .await;
    assert_eq!(stamps(&gateway).await, ["r-2", "s-12", "n-1", "g-1"]);
    // Without the data, what is stored stays.
    ask(
        admin,
        "PUT",
        "secret/default/b",
        Some(json!({"tags": ["x"]})),
        200,
    )
    .await;
    assert_eq!(stamps(&gateway).await, ["r-2", "s-12", "n-1", "g-1"]);

    // Only the configuration file names it any more.
    let none = json!({"plugins": []});
    ask(admin, "PATCH", "namespace/default", Some(none), 200).await;
    let service = json!({"plugins": stamp("s-${secret:b}")});
    ask(admin, "PATCH", "service/default/svc", Some(service), 200).await;
    let refused = ask(admin, "DELETE", "secret/default/a", None, 409).await;
    let global = json!({"kind": "configuration", "key": "proxy.plugins"});
    assert_eq!(refused["referrers"], json!([global]), "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains("`proxy.plugins` of the configuration file"),
        "{detail}"
    );

    let refused = ask(admin, "DELETE", "secret/default/b", None, 409).await;
    let mut by: Vec<_> = refused["referrers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["kind"].as_str().unwrap())
        .collect();
    by.sort_unstable();
    assert_eq!(by, ["route", "service"]);
    let refused = ask(
        admin,
        "PUT",
        "route/default/all",
        Some(json!({"paths": ["/**"], "service": "svc",
        "plugins": stamp("${secret:none}")})),
        422,
    )
    .await;
    assert_eq!(refused["errors"][0]["pointer"], "/plugins/0/config/text");
    assert_eq!(stamps(&gateway).await, ["r-2", "s-2", "g-1"]);
    let refused = ask(
        admin,
        "PUT",
        "secret/default/new",
        Some(json!({"tags": []})),
        422,
    )
    .await;
    assert_eq!(refused["errors"][0]["pointer"], "/data");
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_is_told_without_it() {
    let mut bundle = proxy_to("http://127.0.0.1:9");
    bundle["secrets"] = json!([{"name": "s", "data": "fine"}, {"name": "t", "data": "fine"}]);
    bundle["routes"][0]["plugins"] = stamp("${secret:s}-${secret:t}");
    let gateway = stamping(bundle, json!({"proxy": {"workers": 1}}));
    let admin = gateway.admin_addr();
    // Too long for the schema, refused by the plugin, quoted, one that begins as another does.
    ask(
        admin,
        "PUT",
        "secret/default/t",
        Some(json!({"data": "hush"})),
        200,
    )
    .await;
    for secret in [
        "hush".repeat(20),
        "hush hu\"sh\n".into(),
        "hush x".into(),
        "hushhush \\ x".into(),
    ] {
        let refused = told(
            admin,
            "PUT",
            "secret/default/s",
            Some(json!({"data": secret})),
        )
        .await;
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert!(!refused.text().contains("hush"), "{}", refused.text());
        assert!(!refused.text().contains("hu\\"), "{}", refused.text());
    }
}

#[tokio::test]
async fn no_part_of_a_secret_is_told_however_it_is_wrong() {
    let gateway = TestGateway::start(json!({"namespaces": [{"name": "default"}], "secrets": [
        {"name": "long", "data": "hush".repeat(40)},
        {"name": "lines", "data": "hush1\nhush2("},
        {"name": "key", "data": "-----BEGIN hush\nhush"}]}));
    let admin = gateway.admin_addr();
    let plugin = |name: &str, config: Value| json!({"routes": [{"name": "leak", "paths": ["/leak"], "plugins": [{"name": name, "config": config}]}]});
    let cert = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let tls = json!({"client_cert": cert.cert.pem(), "client_key": "${secret:key}"});
    let at = "/routes/0/plugins/0/config";
    for (bundle, pointer) in [
        // Of another type: the schema's to say.
        (
            plugin(
                "concurrency-limit",
                json!({"max_inflight": "${secret:long}"}),
            ),
            format!("{at}/max_inflight"),
        ),
        // A pattern, of which the plugin's error shows the lines.
        (
            plugin(
                "cors",
                json!({"allow_origins": ["https://a.test", "/(${secret:lines}/"]}),
            ),
            at.to_owned(),
        ),
        (
            json!({"services": [{"name": "s", "urls": ["https://127.0.0.1:9"], "tls": tls}]}),
            "/services/0/tls".to_owned(),
        ),
    ] {
        let refused = ask(admin, "POST", "apply?dry_run=true", Some(bundle), 422).await;
        assert!(!refused.to_string().contains("hush"), "{refused}");
        let found = super::pointers(&refused)[0].to_owned();
        assert!(found.starts_with(&pointer), "{refused}");
    }
    for (kind, field) in [("secrets", "data"), ("domains", "key")] {
        let bundle = json!({kind: [{"name": "x", field: 12_345_678}]});
        let refused = ask(admin, "POST", "apply", Some(bundle), 422).await;
        assert!(!refused.to_string().contains("12345678"), "{refused}");
    }
    // What is wrong beside a secret is told as ever.
    let config = json!({"allow_origins": ["${secret:long}"], "max_age": "soon"});
    let refused = ask(admin, "POST", "apply", Some(plugin("cors", config)), 422).await;
    assert!(refused.to_string().contains("soon"), "{refused}");
}

#[tokio::test]
async fn the_key_of_a_service_may_be_a_secret() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["gateway.test".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let gateway = TestGateway::start(json!({"namespaces": [{"name": "default"}]}));
    let admin = gateway.admin_addr();
    let service = json!({"urls": ["https://127.0.0.1:9"], "tls": {"client_cert": cert, "client_key": "${secret:key}"}});
    ask(
        admin,
        "PUT",
        "service/default/s",
        Some(service.clone()),
        422,
    )
    .await;
    ask(
        admin,
        "PUT",
        "secret/default/key",
        Some(json!({"data": key.serialize_pem()})),
        201,
    )
    .await;
    ask(admin, "PUT", "service/default/s", Some(service), 201).await;
    let refused = ask(admin, "DELETE", "secret/default/key", None, 409).await;
    assert_eq!(
        refused["referrers"],
        json!([{"kind": "service", "key": "default/s"}])
    );
    let wrong = told(
        admin,
        "PUT",
        "secret/default/key",
        Some(json!({"data": "no key at all"})),
    )
    .await;
    assert_eq!(wrong.status, 422);
    assert!(!wrong.text().contains("no key at all"), "{}", wrong.text());
}

#[tokio::test]
async fn a_plugin_that_no_route_has_is_checked_too_and_a_wrong_one_told_once() {
    let gateway = stamping(json!({}), json!({"proxy": {"workers": 1}}));
    let admin = gateway.admin_addr();
    let wrong = json!({"namespaces": [{"name": "n", "plugins": stamp("a b")}],
        "services": [{"namespace": "n", "name": "s", "urls": ["http://a"], "plugins": [{"name": "none"}]}]});
    let refused = ask(admin, "POST", "apply", Some(wrong.clone()), 422).await;
    let found = [
        "/namespaces/0/plugins/0/config",
        "/services/0/plugins/0/name",
    ];
    assert_eq!(super::pointers(&refused), found);
    let mut with_routes = wrong;
    let route = |name: &str| json!({"namespace": "n", "name": name, "paths": [format!("/{name}")], "service": "s"});
    with_routes["routes"] = json!([route("a"), route("b")]);
    let refused = ask(admin, "POST", "apply", Some(with_routes), 422).await;
    assert_eq!(super::pointers(&refused), found);
}

/// Texts that are sensitive, and a bundle that has them in all kinds.
fn sensitive() -> (Vec<String>, Value) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["gateway.test".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    let texts = vec![
        "open-sesame".to_owned(),
        "my-api-key".to_owned(),
        "my-password".to_owned(),
        "my-hmac-secret".to_owned(),
        key.lines().nth(1).unwrap().to_owned(),
    ];
    let mut bundle = json!({
        "namespaces": [{"name": "default"}],
        "secrets": [{"name": "s", "data": "open-sesame"}],
        "consumers": [{"name": "c", "credentials": [{"key": "my-api-key"},
            {"basic": {"username": "u", "password": "my-password"}}, {"hmac": {"id": "i", "secret": "my-hmac-secret"}}]}],
    });
    bundle["domains"] =
        json!([{"name": "d", "patterns": ["gateway.test"], "cert": cert, "key": key}]);
    bundle["services"] = json!([{"name": "s", "urls": ["https://127.0.0.1:9"], "tls": {"client_cert": cert, "client_key": key}}]);
    (texts, bundle)
}

fn assert_nowhere(texts: &[String], dir: &Path) {
    let mut files = 0;
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        files += 1;
        for text in texts {
            let found = bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes());
            assert!(!found, "{text} is in {}", path.display());
        }
    }
    assert!(files > 2, "{files} files in {}", dir.display());
}

#[tokio::test]
async fn sensitive_fields_are_in_no_answer_log_or_file_and_stay_over_a_rollback() {
    let (texts, bundle) = sensitive();
    // Through the Admin API alone: the configuration file would hold them.
    let process = stored(json!({"namespaces": [{"name": "default"}]}));
    let admin = process.admin_addr();
    let mut answers = Vec::new();
    answers.push(told(admin, "POST", "apply", Some(bundle.clone())).await);
    for kind in [
        "secret/default/s",
        "consumer/default/c",
        "domain/default/d",
        "service/default/s",
    ] {
        answers.push(told(admin, "GET", kind, None).await);
        answers.push(told(admin, "PATCH", kind, Some(json!({"tags": ["x"]}))).await);
    }
    ask(
        admin,
        "PUT",
        "secret/default/s",
        Some(json!({"data": "another"})),
        200,
    )
    .await;
    ask(admin, "DELETE", "consumer/default/c", None, 204).await;
    ask(admin, "DELETE", "domain/default/d", None, 204).await;
    // Wrong beside something sensitive.
    let mut wrong = bundle;
    wrong["secrets"][0]["tags"] = json!(1);
    wrong["consumers"][0]["credentials"][1]["basic"]["usernam"] = json!("u");
    wrong["domains"][0]["patterns"] = json!(["a b"]);
    wrong["services"][0]["urls"] = json!(["nope"]);
    let refused = told(admin, "POST", "apply", Some(wrong)).await;
    assert_eq!(refused.status, 422);
    answers.push(refused);
    for path in [
        "export",
        "export?format=yaml",
        "revision",
        "revision/2",
        "revision/3",
        "revision/8",
        "logs",
    ] {
        answers.push(told(admin, "GET", path, None).await);
    }
    let process = again(process.kill());
    let admin = process.admin_addr();
    answers.push(told(admin, "POST", "rollback", Some(json!({"to": 2}))).await);
    assert_eq!(
        answers.last().unwrap().status,
        200,
        "{}",
        answers.last().unwrap().text()
    );
    for answer in &answers {
        let text = answer.text();
        assert!(answer.status < 500, "{text}");
        assert!(
            texts.iter().all(|secret| !text.contains(secret.as_str())),
            "{text}"
        );
        assert!(!text.contains("another"), "{text}");
    }
    let log = process.output();
    assert!(
        texts.iter().all(|secret| !log.contains(secret.as_str())),
        "{log}"
    );
    assert_nowhere(&texts, &process.place().path().join("data"));

    // The domain is back with its key: without one its certificate would not compile. So are the credentials: a
    // state hash counts them. The secret is what it was before the rollback.
    let hash = super::state_hash(admin).await;
    ask(
        admin,
        "PUT",
        "secret/default/s",
        Some(json!({"data": "open-sesame"})),
        200,
    )
    .await;
    let then = ask(admin, "GET", "revision/2", None, 200).await;
    let now = super::state_hash(admin).await;
    assert_ne!(hash, now);
    let tags = ask(admin, "GET", "secret/default/s", None, 200).await;
    assert!(tags.get("tags").is_none(), "{tags}");
    assert_eq!(now, then["state_hash"].as_str().unwrap());
}
