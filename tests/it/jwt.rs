//! The plugin `jwt` in a whole gateway: consumers that come, change and go, an issuer whose keys are kept through
//! changes that do not concern it, and what the Admin API says of wrong credentials. What it makes of single tokens is
//! tested in its crate.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum_core::body::Body;
use dgate_tests::client::{DEADLINE, Reply, ask, poll_until};
use dgate_tests::gateway::{TestGateway, proxy_to};
use dgate_tests::upstream::TestUpstream;
use http::Response;
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};

const SECRET: &str = "a-shared-secret-of-at-least-32-bytes";

/// A key on P-256.
struct Signer(KeyPair);

impl Signer {
    fn new() -> Self {
        Self(KeyPair::generate().unwrap())
    }

    fn jwk(&self, kid: &str) -> Jwk {
        let public = DecodingKey::from_ec_pem(self.0.public_key_pem().as_bytes()).unwrap();
        let mut jwk = Jwk::from_decoding_key(&public, Some(Algorithm::ES256)).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        jwk.common.key_algorithm = Some(KeyAlgorithm::ES256);
        jwk
    }

    fn token(&self, kid: Option<&str>, iss: &str) -> String {
        let key = EncodingKey::from_ec_pem(self.0.serialize_pem().as_bytes()).unwrap();
        token(Algorithm::ES256, &key, kid, iss)
    }
}

fn token(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>, iss: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    // Whoever is spoken of with the key `k2` is nobody's staff.
    let groups = match kid {
        Some("k2") => json!([]),
        _ => json!(["staff"]),
    };
    let claims = json!({"iss": iss, "sub": "ann", "aud": "api", "exp": now.as_secs() + 300, "groups": groups});
    encode(&header, &claims, key).unwrap()
}

/// An issuer with the keys that were last put there.
fn issuer(keys: Vec<Jwk>) -> (TestUpstream, Arc<Mutex<Vec<Jwk>>>) {
    let keys = Arc::new(Mutex::new(keys));
    let published = keys.clone();
    let upstream = TestUpstream::with(move |_| {
        let set = json!({"keys": *published.lock().unwrap()}).to_string();
        async move { Response::new(Body::from(set)) }
    });
    (upstream, keys)
}

async fn bear(gateway: &TestGateway, token: &str) -> Reply {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Consumer-Username: root\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    ask(gateway.addr(), request).await
}

/// What the upstream got under a name.
fn got(upstream: &TestUpstream, name: &str) -> Option<String> {
    let last = upstream.requests().pop().unwrap();
    let value = last.headers.get(name)?;
    Some(value.to_str().unwrap().to_owned())
}

fn refused(answer: &Reply) {
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(answer.json()["code"], "unauthorized");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer realm="), "{challenge}");
}

fn guarded(upstream: &TestUpstream, config: Value) -> Value {
    let mut bundle = proxy_to(upstream.url());
    bundle["routes"][0]["plugins"] = json!([{"name": "jwt", "config": config}]);
    bundle
}

#[tokio::test]
async fn a_consumer_is_known_by_its_key_until_it_goes() {
    let upstream = TestUpstream::echo();
    let mut bundle = guarded(&upstream, json!({}));
    let ec = Signer::new();
    let keys = json!([
        {"jwt": {"key": "ann-1", "secret": SECRET}},
        {"jwt": {"key": "ann-2", "algorithm": "ES256", "public_key": ec.0.public_key_pem()}},
    ]);
    bundle["consumers"] =
        json!([{"name": "ann", "groups": ["staff", "gold"], "credentials": keys}]);
    let gateway = TestGateway::start(bundle);
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let hs = token(Algorithm::HS256, &secret, None, "ann-1");
    for (token, id) in [(&hs, "ann-1"), (&ec.token(None, "ann-2"), "ann-2")] {
        assert_eq!(bear(&gateway, token).await.status, 200);
        for (name, value) in [
            ("x-consumer-username", Some("ann")),
            ("x-consumer-groups", Some("staff,gold")),
            ("x-credential-identifier", Some(id)),
            ("authorization", None),
        ] {
            assert_eq!(got(&upstream, name).as_deref(), value, "{name}");
        }
    }
    // Each with its own key only.
    let seen = upstream.requests().len();
    refused(&bear(&gateway, &token(Algorithm::HS256, &secret, None, "ann-2")).await);
    refused(&bear(&gateway, &ec.token(None, "ann-1")).await);
    refused(&bear(&gateway, &hs[..hs.len() - 4]).await);

    let gone = gateway.admin("DELETE", "/api/v1/consumer/default/ann", None);
    assert_eq!(gone.await.status, 204);
    refused(&bear(&gateway, &hs).await);
    assert_eq!(upstream.requests().len(), seen);
}

#[tokio::test]
async fn the_keys_of_an_issuer_are_kept_through_changes_and_followed() {
    let upstream = TestUpstream::echo();
    let (first, second) = (Signer::new(), Signer::new());
    let (issuer, keys) = issuer(vec![first.jwk("k1")]);
    let url = format!("{}/keys", issuer.url());
    let config = json!({"jwks_uri": url, "issuer": "them", "audiences": ["api"]});
    let mut bundle = guarded(&upstream, config);
    let gateway = TestGateway::start(bundle.clone());
    assert_eq!(issuer.requests().len(), 0);

    let token = first.token(Some("k1"), "them");
    assert_eq!(bear(&gateway, &token).await.status, 200);
    assert_eq!(
        got(&upstream, "x-consumer-username").as_deref(),
        Some("ann")
    );
    refused(&bear(&gateway, &first.token(Some("k1"), "others")).await);
    refused(&bear(&gateway, &second.token(Some("k1"), "them")).await);

    // Another route, and something else on this one.
    let other = json!({"name": "other", "paths": ["/other"], "service": "svc"});
    bundle["routes"].as_array_mut().unwrap().push(other);
    bundle["routes"][0]["tags"] = json!(["changed"]);
    gateway.apply(bundle.clone()).await;
    assert_eq!(bear(&gateway, &token).await.status, 200);
    assert_eq!(issuer.requests().len(), 1);

    // A new key, as soon as the issuer may be asked again.
    keys.lock().unwrap().push(second.jwk("k2"));
    let new = second.token(Some("k2"), "them");
    poll_until(DEADLINE, "the new key is known", async || {
        bear(&gateway, &new).await.status == 200
    })
    .await;
    assert_eq!(issuer.requests().len(), 2);
    // The issuer goes away; its keys stay.
    drop(issuer);
    assert_eq!(bear(&gateway, &token).await.status, 200);
    refused(&bear(&gateway, &first.token(Some("k3"), "them")).await);
}

#[tokio::test]
async fn plugins_behind_it_know_whom_the_issuer_speaks_of() {
    let upstream = TestUpstream::echo();
    let signer = Signer::new();
    let (issuer, _) = issuer(vec![signer.jwk("k1"), signer.jwk("k2")]);
    let mut bundle = guarded(
        &upstream,
        json!({"jwks_uri": issuer.url(), "issuer": "them"}),
    );
    let behind = [
        json!({"name": "acl", "config": {"allow": ["staff"]}}),
        json!({"name": "rate-limit", "config": {"limit": 2, "window": "1h", "by": "consumer"}}),
    ];
    let plugins = bundle["routes"][0]["plugins"].as_array_mut().unwrap();
    plugins.extend(behind);
    let gateway = TestGateway::start(bundle);
    let status = async |kid| {
        bear(&gateway, &signer.token(Some(kid), "them"))
            .await
            .status
    };
    assert_eq!(status("k2").await, 403);
    assert_eq!([status("k1").await, status("k1").await], [200, 200]);
    assert_eq!(status("k1").await, 429);
}

#[tokio::test]
async fn without_the_keys_of_the_issuer_nobody_is_let_in() {
    let upstream = TestUpstream::echo();
    let closed = dgate_tests::upstream::ClosedPort::new();
    let url = format!("http://{}/keys", closed.addr());
    let config = json!({"jwks_uri": url, "issuer": "them"});
    let gateway = TestGateway::start(guarded(&upstream, config));
    let answer = bear(&gateway, &Signer::new().token(Some("k"), "them")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["code"], "auth_unavailable");
    assert!(answer.header("retry-after").is_some());
    assert!(!answer.text().contains(&url), "{}", answer.text());
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn wrong_credentials_and_configurations_are_told_where_they_stand() {
    let upstream = TestUpstream::echo();
    let gateway = TestGateway::start(guarded(&upstream, json!({})));
    let pem = Signer::new().0.public_key_pem();
    for (jwt, at, says) in [
        (
            json!({"key": "k", "secret": "hush"}),
            "/secret",
            "32 or more",
        ),
        (
            json!({"key": "k", "algorithm": "HS265", "secret": SECRET}),
            "/algorithm",
            "HS256",
        ),
        (json!({"key": "k"}), "", "needs a `secret`"),
        (
            json!({"key": "k", "algorithm": "RS256", "public_key": pem}),
            "/public_key",
            "RSA",
        ),
        (
            json!({"key": "k", "algorithm": "ES256", "public_key": "-----BEGIN"}),
            "/public_key",
            "PEM",
        ),
        (
            json!({"key": "k", "secret": SECRET, "public_key": pem}),
            "/public_key",
            "no public key",
        ),
    ] {
        let credentials = json!({"credentials": [{"key": "1"}, {"jwt": jwt}]});
        let path = "/api/v1/consumer/default/ann";
        let answer = gateway.admin("PUT", path, Some(credentials)).await;
        assert_eq!(answer.status, 422, "{jwt} {}", answer.text());
        let errors = answer.json()["errors"].clone();
        assert_eq!(errors[0]["pointer"], format!("/credentials/1/jwt{at}"));
        let detail = errors[0]["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
        assert!(
            !answer.text().contains("hush") && !answer.text().contains(SECRET),
            "{detail}"
        );
    }
    let config = json!({"jwks_uri": "http://a/", "issuer": "a", "algorithms": ["HS256"]});
    let bundle = guarded(&upstream, config);
    let answer = gateway.admin("POST", "/api/v1/apply", Some(bundle)).await;
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.json()["errors"][0]["pointer"],
        "/routes/0/plugins/0/config/algorithms/0"
    );
}
