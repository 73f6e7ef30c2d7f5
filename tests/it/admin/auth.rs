//! Who is let into the Admin API, what the others are told, and whose name a revision bears.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use dgate::config::{ConfigError, Environment, Node, check};
use dgate::{Admin, DGate};
use dgate_tests::client::Reply;
use dgate_tests::gateway::call;
use dgate_tests::process::{Place, Process};
use dgate_tests::upstream::TestUpstream;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::problem;

const PASSWORD: &str = "correct horse";
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
const ARGON2: &str = "$argon2id$v=19$m=8192,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$O8OCkAvhpQhmReVkNUjdbJd0jPyUmAqlZerzPg8/0Ps";
const KEY: &str = "key-of-ci-1234567890";
const SECRET: &str = "a-shared-secret-of-at-least-32-bytes";

/// An Admin API in this process.
struct Open {
    admin: SocketAddr,
    _running: dgate::admin::Running,
}

impl Open {
    async fn with(admin: Admin) -> Self {
        let gateway = DGate::builder().build().await.unwrap();
        let running = admin.start(&gateway).await.unwrap();
        Self {
            admin: running.address(),
            _running: running,
        }
    }

    async fn by(auth: Value) -> Self {
        let auth = serde_json::from_value(auth).unwrap();
        Self::with(Admin::on("127.0.0.1:0").auth(auth)).await
    }

    async fn get(&self, headers: &[(&str, &str)]) -> Reply {
        call(self.admin, "GET", "/api/v1/namespace", headers, None).await
    }

    async fn bearer(&self, token: &str) -> u16 {
        let value = format!("Bearer {token}");
        self.get(&[("Authorization", &value)]).await.status
    }

    async fn basic(&self, user: &str, password: &str) -> u16 {
        self.get(&[("Authorization", &basic(user, password))])
            .await
            .status
    }
}

fn basic(user: &str, password: &str) -> String {
    let text = format!("{user}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(text)
    )
}

fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

fn token(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: Value) -> String {
    let mut all = json!({"sub": "ops", "exp": in_seconds(60)});
    let claims = claims.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(claims);
    all.as_object_mut().unwrap().retain(|_, v| !v.is_null());
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    encode(&header, &all, key).unwrap()
}

#[tokio::test]
async fn users_are_let_in_by_password_whichever_hash_they_have() {
    let users = json!([{"username": "ops", "password_hash": BCRYPT}, {"username": "dev", "password_hash": ARGON2}]);
    let open = Open::by(json!({"type": "basic", "users": users})).await;
    for user in ["ops", "dev"] {
        // The second time it is known.
        for _ in 0..2 {
            assert_eq!(open.basic(user, PASSWORD).await, 200, "{user}");
            assert_eq!(open.basic(user, "wrong").await, 401, "{user}");
        }
        assert_eq!(open.basic(user, "").await, 401);
    }
    for (user, password) in [
        ("root", PASSWORD),
        ("", PASSWORD),
        ("", ""),
        ("ops:", PASSWORD),
    ] {
        assert_eq!(open.basic(user, password).await, 401, "{user}");
    }
    for value in ["Basic !!", "Basic", "Bearer x", "basic"] {
        let refused = open.get(&[("Authorization", value)]).await;
        problem(&refused, 401, "unauthorized");
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    }
    // Two say two things.
    let twice = basic("ops", PASSWORD);
    let twice = [
        ("Authorization", twice.as_str()),
        ("Authorization", "Basic !!"),
    ];
    assert_eq!(open.get(&twice).await.status, 401);
}

#[tokio::test]
async fn many_wrong_passwords_at_once_shut_nobody_out_for_good() {
    let users = json!([{"username": "dev", "password_hash": BCRYPT}]);
    let open = Open::by(json!({"type": "basic", "users": users})).await;
    let guesses = (0..100).map(|n| {
        let admin = open.admin;
        tokio::spawn(async move {
            let guess = basic("dev", &format!("guess {n}"));
            let headers = [("Authorization", guess.as_str())];
            call(admin, "GET", "/api/v1/namespace", &headers, None)
                .await
                .status
        })
    });
    for guess in guesses.collect::<Vec<_>>() {
        let status = guess.await.unwrap();
        assert!([401, 503].contains(&status), "{status}");
    }
    assert_eq!(open.basic("dev", PASSWORD).await, 200);
}

#[tokio::test]
async fn keys_are_taken_from_their_header_or_as_bearer_tokens() {
    let keys =
        json!([{"name": "ci", "key": KEY}, {"name": "other", "key": "another-key-1234567890"}]);
    let open = Open::by(json!({"type": "key", "keys": keys})).await;
    assert_eq!(open.get(&[("X-DGate-Key", KEY)]).await.status, 200);
    assert_eq!(open.bearer(KEY).await, 200);
    assert_eq!(open.bearer("another-key-1234567890").await, 200);
    let shorter = &KEY[1..];
    for wrong in ["", shorter, "KEY-OF-CI-1234567890"] {
        let refused = open.get(&[("X-DGate-Key", wrong)]).await;
        problem(&refused, 401, "unauthorized");
        assert!(refused.header("www-authenticate").is_some());
    }
    // Browsers send no key by themselves, so pages and other hosts may ask.
    let page = [("X-DGate-Key", KEY), ("Origin", "http://console.test")];
    assert_eq!(open.get(&page).await.status, 200);
}

#[tokio::test]
async fn only_alive_and_ready_need_no_credential() {
    let open = Open::with(Admin::on("127.0.0.1:0").token(KEY)).await;
    let status = async |path: &str| call(open.admin, "GET", path, &[], None).await.status;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status(path).await, 200, "{path}");
    }
    for path in [
        "/metrics",
        "/openapi.json",
        "/api/v1/logs",
        "/api/v1/none",
        "/none",
        "/healthz/x",
        "/api/v1/export?x=/healthz",
        "//healthz",
        "/api/v1/../healthz",
    ] {
        assert_eq!(status(path).await, 401, "{path}");
    }
    assert_eq!(open.bearer(KEY).await, 200);
    // Load balancers ask from anywhere.
    let far = Admin::on("127.0.0.1:0").allow(["10.0.0.0/8".parse().unwrap()]);
    let far = Open::with(far).await;
    for (path, wanted) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 403)] {
        let answer = call(far.admin, "GET", path, &[], None).await;
        assert_eq!(answer.status, wanted, "{path}");
    }
    let short = Admin::on("127.0.0.1:0").token("short");
    let gateway = DGate::builder().build().await.unwrap();
    assert!(short.start(&gateway).await.is_err());
}

#[tokio::test]
async fn beyond_loopback_nothing_opens_without_authentication() {
    let gateway = DGate::builder().build().await.unwrap();
    assert!(Admin::on("0.0.0.0:0").start(&gateway).await.is_err());
    assert!(
        Admin::on("0.0.0.0:0")
            .token(KEY)
            .start(&gateway)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn tokens_are_believed_by_signature_time_and_claims() {
    let config = json!({"type": "jwt", "algorithm": "HS256", "secret": SECRET, "audience": "dgate", "issuer": "us"});
    let open = Open::by(config).await;
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let good = json!({"aud": "dgate", "iss": "us"});
    let sign = |more: Value| {
        let mut claims = good.clone();
        let more = more.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(more);
        token(Algorithm::HS256, None, &key, claims)
    };
    assert_eq!(open.bearer(&sign(json!({}))).await, 200);
    assert_eq!(
        open.bearer(&sign(json!({"aud": ["x", "dgate"]}))).await,
        200
    );
    for wrong in [
        json!({"exp": in_seconds(-3600)}),
        json!({"exp": null}),
        json!({"nbf": in_seconds(3600)}),
        json!({"aud": "other"}),
        json!({"aud": null}),
        json!({"iss": "them"}),
        json!({"iss": null}),
    ] {
        assert_eq!(open.bearer(&sign(wrong.clone())).await, 401, "{wrong}");
    }
    let other = EncodingKey::from_secret(b"another-secret-of-at-least-32-bytes!");
    let forged = token(Algorithm::HS256, None, &other, good.clone());
    assert_eq!(open.bearer(&forged).await, 401);
    // RFC 7515 section 4.1.11.
    for critical in [vec![], vec!["exp".to_owned()]] {
        let mut header = Header::new(Algorithm::HS256);
        header.crit = Some(critical);
        let claims = json!({"sub": "ops", "exp": in_seconds(60), "aud": "dgate", "iss": "us"});
        let critical = encode(&header, &claims, &key).unwrap();
        assert_eq!(open.bearer(&critical).await, 401, "{header:?}");
    }
    let stronger = token(Algorithm::HS512, None, &key, good.clone());
    assert_eq!(open.bearer(&stronger).await, 401);
    let unsigned = sign(json!({}));
    let (_, payload) = unsigned.split_once('.').unwrap();
    let (payload, _) = payload.split_once('.').unwrap();
    let none = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    for none in [
        format!("{none}.{payload}."),
        format!("{none}.{payload}"),
        "a.b.c".to_owned(),
    ] {
        assert_eq!(open.bearer(&none).await, 401, "{none}");
    }
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_shared_secret() {
    let pair = KeyPair::generate().unwrap();
    let pem = pair.public_key_pem();
    let open =
        Open::by(json!({"type": "jwt", "algorithm": "ES256", "public_key": pem.clone()})).await;
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    assert_eq!(
        open.bearer(&token(Algorithm::ES256, None, &key, json!({})))
            .await,
        200
    );
    let confused = EncodingKey::from_secret(pem.as_bytes());
    let confused = token(Algorithm::HS256, None, &confused, json!({}));
    assert_eq!(open.bearer(&confused).await, 401);
}

/// An issuer that publishes one key.
fn issuer(kid: &str, pair: &KeyPair) -> TestUpstream {
    let public = DecodingKey::from_ec_pem(pair.public_key_pem().as_bytes()).unwrap();
    let mut jwk = Jwk::from_decoding_key(&public, Some(Algorithm::ES256)).unwrap();
    jwk.common.key_id = Some(kid.to_owned());
    jwk.common.key_algorithm = Some(KeyAlgorithm::ES256);
    let set = serde_json::to_string(&JwkSet { keys: vec![jwk] }).unwrap();
    TestUpstream::with(move |_| {
        let set = set.clone();
        async move { http::Response::new(axum_core::body::Body::from(set)) }
    })
}

#[tokio::test]
async fn keys_of_an_issuer_are_fetched_and_not_asked_for_with_every_strange_token() {
    let pair = KeyPair::generate().unwrap();
    let issuer = issuer("k1", &pair);
    let url = format!("{}/.well-known/jwks.json?v=1", issuer.url());
    let open = Open::by(json!({"type": "jwt", "algorithm": "ES256", "jwks_url": url})).await;
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let sign = |kid| token(Algorithm::ES256, kid, &key, json!({}));
    assert_eq!(open.bearer(&sign(Some("k1"))).await, 200);
    assert_eq!(open.bearer(&sign(None)).await, 200);
    for _ in 0..5 {
        assert_eq!(open.bearer(&sign(Some("k2"))).await, 401);
    }
    let asked = issuer.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path(), "/.well-known/jwks.json?v=1");
}

#[tokio::test]
async fn without_the_keys_of_the_issuer_it_cannot_be_told_who_calls() {
    let pair = KeyPair::generate().unwrap();
    let config =
        json!({"type": "jwt", "algorithm": "ES256", "jwks_url": "http://127.0.0.1:9/keys"});
    let open = Open::by(config).await;
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let value = format!(
        "Bearer {}",
        token(Algorithm::ES256, Some("k"), &key, json!({}))
    );
    let refused = open.get(&[("Authorization", &value)]).await;
    problem(&refused, 503, "auth_unavailable");
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test]
async fn the_author_of_a_revision_is_who_called() {
    let put = async |open: &Open, headers: &[(&str, &str)], name: &str| {
        let path = format!("/api/v1/namespace/{name}");
        let put = call(open.admin, "PUT", &path, headers, Some(json!({}))).await;
        assert_eq!(put.status, 201, "{}", put.text());
        let all = call(open.admin, "GET", "/api/v1/revision", headers, None).await;
        all.json()["items"][0]["author"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let users = json!([{"username": "ops", "password_hash": BCRYPT}]);
    let open = Open::by(json!({"type": "basic", "users": users})).await;
    let auth = basic("ops", PASSWORD);
    assert_eq!(put(&open, &[("Authorization", &auth)], "a").await, "ops");
    let open = Open::by(json!({"type": "key", "keys": [{"name": "ci", "key": KEY}]})).await;
    assert_eq!(put(&open, &[("X-DGate-Key", KEY)], "a").await, "ci");
    let open = Open::by(json!({"type": "jwt", "algorithm": "HS256", "secret": SECRET})).await;
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let named = |sub: Value| {
        format!(
            "Bearer {}",
            token(Algorithm::HS256, None, &key, json!({"sub": sub}))
        )
    };
    assert_eq!(
        put(&open, &[("Authorization", &named("ann".into()))], "a").await,
        "ann"
    );
    assert_eq!(
        put(&open, &[("Authorization", &named(Value::Null))], "b").await,
        "jwt"
    );
    let open = Open::by(json!({"type": "none"})).await;
    assert_eq!(put(&open, &[], "a").await, "admin");
}

#[test]
fn what_is_wrong_with_the_configuration_is_said_with_its_place_and_no_secret() {
    for (auth, pointer, says) in [
        (
            json!({"type": "bsic"}),
            "/admin/auth/type",
            "did you mean `basic`",
        ),
        (
            json!({"type": "basic", "users": []}),
            "/admin/auth/users",
            "",
        ),
        (
            json!({"type": "basic", "user": []}),
            "/admin/auth/user",
            "did you mean `users`",
        ),
        (
            json!({"type": "basic", "users": [{"username": "a", "password_hash": "hunter2"}]}),
            "/admin/auth/users/0/password_hash",
            "argon2id",
        ),
        (
            json!({"type": "key", "keys": [{"name": "a", "key": "hunter2"}]}),
            "/admin/auth/keys/0/key",
            "16 characters",
        ),
        (
            json!({"type": "key", "keys": [{"nme": "a", "key": KEY}]}),
            "/admin/auth/keys/0/nme",
            "did you mean `name`",
        ),
        (
            json!({"type": "jwt", "algorithm": "none", "secret": SECRET}),
            "/admin/auth/algorithm",
            "HS256",
        ),
        (
            json!({"type": "jwt", "algorithm": "HS256", "secret": "hunter2"}),
            "/admin/auth/secret",
            "32",
        ),
        (
            json!({"type": "jwt", "algorithm": "HS256", "secret": SECRET, "audienc": "x"}),
            "/admin/auth/audienc",
            "did you mean `audience`",
        ),
        (
            json!({"type": "jwt", "algorithm": "RS256"}),
            "/admin/auth",
            "public_key",
        ),
        (
            json!({"type": "jwt", "algorithm": "RS256", "secret": SECRET}),
            "/admin/auth/secret",
            "public_key",
        ),
        (
            json!({"type": "jwt", "algorithm": "RS256", "public_key": "-----BEGIN ", "jwks_url": "http://a"}),
            "/admin/auth/jwks_url",
            "only one",
        ),
    ] {
        let config = json!({"version": 1, "admin": {"auth": auth}});
        let found = check(
            Path::new("f"),
            Node::from_json(&config),
            &Environment::default(),
        );
        let Err(ConfigError::Invalid { problems, .. }) = found else {
            panic!("{auth} is taken");
        };
        let at = problems.iter().find(|p| p.diagnostic.pointer == pointer);
        let detail = &at
            .unwrap_or_else(|| panic!("{auth} {problems:?}"))
            .diagnostic
            .detail;
        assert!(detail.contains(says), "{auth} {detail}");
        assert!(
            !detail.contains("hunter2") && !detail.contains(SECRET),
            "{detail}"
        );
    }
}

#[test]
fn what_no_schema_sees_in_a_key_is_found_by_check_and_serve() {
    let pem = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----";
    let config = json!({
        "version": 1,
        "admin": {"auth": {"type": "jwt", "algorithm": "RS256", "public_key": pem}},
    });
    let place = Place::new().file("dgate.json", &config.to_string());
    for command in [&["serve"][..], &["check", "dgate.json"]] {
        let done = place.run(command);
        assert_eq!(done.code, Some(78), "{done:?}");
        assert!(
            done.stderr.contains("dgate.json:1:") && done.stderr.contains("RSA public key"),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn a_configuration_shows_its_secrets_to_nobody() {
    let config = json!({"version": 1, "admin": {"auth": {"type": "key", "keys": [{"name": "a", "key": KEY}]}}});
    let config = dgate::config::Config::from_node(&Node::from_json(&config)).unwrap();
    let shown = format!("{config:?}{}", serde_json::to_string(&config).unwrap());
    assert!(
        !shown.contains(KEY) && shown.contains("[redacted]"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_reload_changes_who_is_let_in_and_a_bad_one_changes_nothing() {
    let auth = |key: &str| json!({"admin": {"auth": {"type": "key", "keys": [{"name": "ci", "key": key}]}}});
    let process = Process::start(auth(KEY));
    let admin = process.admin_addr();
    let status = async |key: &str| {
        let headers = [("X-DGate-Key", key)];
        call(admin, "GET", "/api/v1/namespace", &headers, None)
            .await
            .status
    };
    assert_eq!(status(KEY).await, 200);
    process.reload(auth("too-short"));
    process.wait_for_line("is refused");
    assert_eq!(status(KEY).await, 200);
    process.reload(auth("another-key-1234567890"));
    process.wait_for_line("read again");
    assert_eq!(
        (status(KEY).await, status("another-key-1234567890").await),
        (401, 200)
    );
    assert!(!process.output().contains("another-key"));
}

#[tokio::test]
async fn a_reload_never_opens_a_listener_beyond_loopback_to_everyone() {
    let config = |listen: &str, auth: Value| {
        json!({
            "version": 1,
            "log": {"format": "json"},
            "proxy": {"listen": "127.0.0.1:0"},
            "admin": {"listen": listen, "auth": auth},
        })
        .to_string()
    };
    let key = json!({"type": "key", "keys": [{"name": "ci", "key": KEY}]});
    let place = Place::new().file("dgate.json", &config("0.0.0.0:0", key));
    let process = place.serve(&[]);
    let admin = SocketAddr::from(([127, 0, 0, 1], process.admin_addr().port()));
    let ask = async || {
        call(admin, "GET", "/api/v1/namespace", &[], None)
            .await
            .status
    };
    assert_eq!(ask().await, 401);
    // Right by itself; but the listener stays what it is until a restart.
    let open = config("127.0.0.1:0", json!({"type": "none"}));
    process.place().write("dgate.json", &open);
    process.signal("HUP");
    process.wait_for_line("needs authentication there");
    assert_eq!(ask().await, 401);
}

#[tokio::test]
async fn writes_and_refusals_are_in_the_audit_log_and_a_flood_of_them_is_counted() {
    let process = Process::start(
        json!({"admin": {"auth": {"type": "key", "keys": [{"name": "ci", "key": KEY}]}}}),
    );
    let admin = process.admin_addr();
    let headers = [("X-DGate-Key", KEY)];
    let path = "/api/v1/namespace/audited";
    call(admin, "PUT", path, &headers, Some(json!({}))).await;
    let line: Value = serde_json::from_str(&process.wait_for_line("write call")).unwrap();
    let text = line.to_string();
    for part in ["dgate::audit", "ci", "PUT", path, "201", "127.0.0.1"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    for _ in 0..200 {
        call(admin, "PUT", path, &[("X-DGate-Key", "wrong")], None).await;
    }
    process.wait_for_line("authentication refused");
    let output = process.output();
    let refused = output.matches("authentication refused").count();
    assert!(refused < 150, "{refused}");
    assert_eq!(output.matches("write call").count(), 1);
    assert!(!output.contains(KEY));
}

#[tokio::test]
async fn the_name_in_a_token_adds_nothing_to_the_audit_log_but_itself() {
    let process = Process::start(json!({
        "admin": {"auth": {"type": "jwt", "algorithm": "HS256", "secret": SECRET}},
        "log": {"format": "text"},
    }));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let claims = json!({"sub": "a status=500 b"});
    let bearer = format!("Bearer {}", token(Algorithm::HS256, None, &key, claims));
    let headers = [("Authorization", &*bearer)];
    let path = "/api/v1/namespace/audited";
    call(process.admin_addr(), "PUT", path, &headers, Some(json!({}))).await;
    let line = process.wait_for_line("write call");
    assert!(line.contains(r#"who="a status=500 b""#), "{line}");
    assert!(line.contains(&format!("path=\"{path}\"")), "{line}");
}

#[test]
fn with_tls_it_speaks_https_alone() {
    let key = KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let config = json!({
        "version": 1,
        "log": {"format": "json"},
        "proxy": {"listen": "127.0.0.1:0"},
        "admin": {"listen": "127.0.0.1:0", "tls": {"cert_file": "c.pem", "key_file": "k.pem"}},
    });
    let process = Place::new()
        .file("c.pem", &cert)
        .file("k.pem", &key.serialize_pem())
        .file("dgate.json", &config.to_string())
        .serve(&[]);
    let admin = process.admin_addr();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // One that never begins its handshake keeps nobody else waiting.
        let _slow = tokio::net::TcpStream::connect(admin).await.unwrap();
        let (status, text) = https(admin, &cert).await;
        assert_eq!((status, text.as_str()), (200, "ok\n"));
    });
}

/// `GET /healthz` over TLS, trusting this certificate.
async fn https(admin: SocketAddr, cert: &str) -> (u16, String) {
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(admin).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let status = text[9..12].parse().unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}
