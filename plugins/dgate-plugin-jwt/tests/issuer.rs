//! `jwt` with the key set of an issuer on a real listener: which keys are taken, and when they are fetched.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]
#![allow(dead_code, reason = "each test uses a part of the support")]

mod support;

use axum::extract::State;
use axum::response::IntoResponse;
use dgate_core::{Body, Error, ErrorKind, Exchange, Pipeline, exchange::Client};
use dgate_plugin_jwt::Algorithm;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Signer, b64, bear, good, mac, plugin, reason, stack};
use tokio::sync::Notify;
use tower::ServiceExt;

/// An issuer that answers with what it was last told to.
#[derive(Clone)]
struct Issuer(Arc<Played>);

struct Played {
    answer: Mutex<(StatusCode, String)>,
    asked: AtomicUsize,
    /// Answers wait for this when it is there.
    gate: Mutex<Option<Arc<Notify>>>,
    gone: Notify,
    url: String,
}

/// Tells when an answer is given up.
struct Gone<'a>(&'a Played);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.gone.notify_one();
    }
}

impl Issuer {
    async fn with(keys: Vec<Value>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self(Arc::new(Played {
            answer: Mutex::default(),
            asked: AtomicUsize::new(0),
            gate: Mutex::default(),
            gone: Notify::new(),
            url: format!("http://{}/keys?v=1", listener.local_addr().unwrap()),
        }));
        issuer.publish(keys);
        let answer = async |State(Issuer(played)): State<Issuer>, uri: http::Uri| {
            assert_eq!(uri, "/keys?v=1");
            played.asked.fetch_add(1, SeqCst);
            let gate = played.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                let _gone = Gone(&played);
                gate.notified().await;
            }
            let (status, body) = played.answer.lock().unwrap().clone();
            (status, [("location", "http://127.0.0.1:9/")], body).into_response()
        };
        let app = axum::Router::new()
            .fallback(answer)
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        issuer
    }

    fn publish(&self, keys: Vec<Value>) {
        self.answer(200, json!({"keys": keys}).to_string());
    }

    fn answer(&self, status: u16, body: String) {
        *self.0.answer.lock().unwrap() = (StatusCode::from_u16(status).unwrap(), body);
    }

    fn asked(&self) -> usize {
        self.0.asked.load(SeqCst)
    }

    fn hold(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.0.gate.lock().unwrap() = Some(gate.clone());
        gate
    }

    fn config(&self, more: Value) -> Value {
        let mut config = json!({"jwks_uri": self.0.url, "issuer": "them", "audiences": ["us"]});
        let more = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        config
    }

    fn stack(&self) -> Pipeline {
        stack(plugin(self.config(json!({}))))
    }

    /// The issuer has this many requests behind it, soon.
    async fn is_asked(&self, times: usize) {
        for _ in 0..1000 {
            if self.asked() >= times {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(self.asked(), times);
    }
}

/// Lets time go by, without waiting for it.
async fn later(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// Does what asks nobody, while the clock stands: however long a loaded machine takes.
async fn meanwhile<T>(done: impl Future<Output = T>) -> T {
    tokio::time::pause();
    let done = done.await;
    tokio::time::resume();
    done
}

/// A key with its name, and what signs with it.
fn named(algorithm: &str, kid: &str) -> (Signer, Value) {
    let signer = Signer::new(algorithm);
    let jwk = signer.jwk_with(json!({"kid": kid, "alg": algorithm, "use": "sig"}));
    (signer, jwk)
}

fn token(signer: &Signer, algorithm: &str, kid: &str) -> String {
    signer.sign(algorithm, json!({"kid": kid}), json!({}))
}

#[tokio::test]
async fn a_token_of_the_issuer_needs_no_consumer() {
    for algorithm in ["RS512", "PS384", "ES256", "ES384", "ES512", "EdDSA"] {
        let (signer, jwk) = named(algorithm, "k");
        let issuer = Issuer::with(vec![jwk]).await;
        let stack = issuer.stack();
        let claims = json!({"groups": ["staff", "a,b", 7, "", "x\ny", "gold"]});
        let token = signer.sign(algorithm, json!({"kid": "k"}), claims);
        let sent = bear(&stack, &token).await.unwrap();
        assert_eq!(sent["x-consumer-username"], "ann", "{algorithm}");
        assert_eq!(sent["x-consumer-groups"], "staff,gold");
        assert_eq!(sent["x-credential-identifier"], "them");
        assert!(!sent.contains_key("authorization"));
        assert_eq!(issuer.asked(), 1);
    }
}

#[tokio::test]
async fn an_issuer_may_have_a_name() {
    let (signer, jwk) = named("ES256", "k");
    let issuer = Issuer::with(vec![jwk]).await;
    let url = issuer.0.url.replace("127.0.0.1", "localhost");
    let stack = stack(plugin(issuer.config(json!({"jwks_uri": url}))));
    bear(&stack, &token(&signer, "ES256", "k")).await.unwrap();
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn hooks_further_in_see_the_claims() {
    let (signer, jwk) = named("EdDSA", "k");
    let issuer = Issuer::with(vec![jwk]).await;
    let stack = issuer.stack();
    let token = signer.sign("EdDSA", json!({}), json!({"scope": "read", "sub": null}));
    let mut request = http::Request::get("/")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    let ctx = Exchange::new(Client::default());
    ctx.attach(&mut request);
    stack.oneshot(request).await.unwrap();
    let identity = ctx.identity().unwrap();
    // Without a subject it is known by its issuer.
    assert_eq!(identity.name, "them");
    assert_eq!(identity.metadata["scope"], "read");

    for sub in [json!(7), json!(""), json!("a\r\nx: y"), json!(["ann"])] {
        let token = signer.sign("EdDSA", json!({}), json!({"sub": sub}));
        let why = reason(bear(&issuer.stack(), &token).await);
        assert_eq!(why, "the token is malformed");
    }
}

#[tokio::test]
async fn claims_are_those_of_the_issuer() {
    let (signer, jwk) = named("EdDSA", "k");
    let issuer = Issuer::with(vec![jwk]).await;
    let stack = issuer.stack();
    for (claims, why) in [
        (
            json!({"iss": "others"}),
            "the issuer of the token is not accepted",
        ),
        (
            json!({"iss": null}),
            "the issuer of the token is not accepted",
        ),
        (
            json!({"aud": "you"}),
            "the token is meant for another audience",
        ),
        (json!({"exp": 1}), "the token has expired"),
    ] {
        let token = signer.sign("EdDSA", json!({"kid": "unknown"}), claims);
        assert_eq!(reason(bear(&stack, &token).await), why);
    }
    // Nobody was asked for the keys of such tokens.
    assert_eq!(issuer.asked(), 0);
}

#[tokio::test]
async fn only_a_key_that_is_for_it_verifies_a_token() {
    let unknown = "no key is known for the token";
    let algorithm = "the algorithm of the token is not accepted";
    let signature = "the signature of the token does not match";
    let (rsa, ec, ed) = (
        Signer::new("RS256"),
        Signer::new("ES256"),
        Signer::new("EdDSA"),
    );
    let ours = json!({"kid": "k"});
    let with = |signer: &Signer, more: Value| {
        let mut jwk = signer.jwk_with(ours.clone());
        let more = more.as_object().unwrap().clone();
        jwk.as_object_mut().unwrap().extend(more);
        jwk.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        jwk
    };
    let ec_token = ec.sign("ES256", ours.clone(), json!({}));
    let rs_token = rsa.sign("RS256", ours.clone(), json!({}));
    let ps_token = rsa.sign("PS256", ours.clone(), json!({}));
    let ed_token = ed.sign("EdDSA", ours.clone(), json!({}));
    let ed_named = ed.sign("Ed25519", ours.clone(), json!({}));
    let nameless = ec.sign("ES256", json!({}), json!({}));
    let confused = {
        let message = format!(
            "{}.{}",
            b64(r#"{"alg":"HS256","kid":"k"}"#),
            b64(good(json!({})).to_string())
        );
        let secret = Signer::new("HS256");
        let Signer::Secret(secret) = &secret else {
            panic!("HMAC has a secret")
        };
        format!(
            "{message}.{}",
            b64(mac("HS256", secret, message.as_bytes()))
        )
    };
    let p384 = Signer::new("ES384");
    let spare = with(&p384, json!({"kid": "spare"}));
    let other_ec = with(&Signer::new("ES256"), json!({"kid": "other"}));
    let y = ec.jwk()["y"].clone();
    for (jwk, token, why) in [
        (with(&ec, json!({})), &ec_token, None),
        (with(&ec, json!({"use": "sig"})), &ec_token, None),
        (with(&ec, json!({"key_ops": ["verify"]})), &ec_token, None),
        (
            with(&ec, json!({"alg": "ES256", "x5c": 1, "new": {}})),
            &ec_token,
            None,
        ),
        (with(&ec, json!({"use": "enc"})), &ec_token, Some(unknown)),
        (with(&ec, json!({"use": 7})), &ec_token, Some(unknown)),
        (
            with(&ec, json!({"key_ops": ["sign"]})),
            &ec_token,
            Some(unknown),
        ),
        (
            with(&ec, json!({"key_ops": "verify"})),
            &ec_token,
            Some(unknown),
        ),
        (with(&ec, json!({"alg": "ES384"})), &ec_token, Some(unknown)),
        (
            with(&ec, json!({"alg": "ECDH-ES"})),
            &ec_token,
            Some(unknown),
        ),
        (with(&ec, json!({"crv": "P-384"})), &ec_token, Some(unknown)),
        (
            with(&ec, json!({"crv": "secp256k1"})),
            &ec_token,
            Some(unknown),
        ),
        (with(&ec, json!({"crv": null})), &ec_token, Some(unknown)),
        (with(&ec, json!({"kty": "RSA"})), &ec_token, Some(unknown)),
        (with(&ec, json!({"kty": null})), &ec_token, Some(unknown)),
        (with(&ec, json!({"y": "AAAA"})), &ec_token, Some(unknown)),
        // Not on the curve.
        (with(&ec, json!({"x": y})), &ec_token, Some(unknown)),
        (with(&ec, json!({"kid": 7})), &ec_token, Some(unknown)),
        (with(&ec, json!({"kid": null})), &ec_token, Some(unknown)),
        (with(&ec, json!({"kid": "K"})), &ec_token, Some(unknown)),
        (with(&p384, json!({})), &ec_token, Some(unknown)),
        // Without a name the token has only one key that it may be.
        (with(&ec, json!({"kid": null})), &nameless, None),
        (with(&ec, json!({})), &nameless, None),
        (other_ec.clone(), &nameless, Some(signature)),
        // Which way of RSA, the key says if it says anything.
        (with(&rsa, json!({})), &rs_token, None),
        (with(&rsa, json!({})), &ps_token, None),
        (with(&rsa, json!({"alg": "PS256"})), &ps_token, None),
        (
            with(&rsa, json!({"alg": "PS256"})),
            &rs_token,
            Some(unknown),
        ),
        (
            with(&rsa, json!({"alg": "RSA-OAEP"})),
            &rs_token,
            Some(unknown),
        ),
        (with(&rsa, json!({"e": ""})), &rs_token, Some(unknown)),
        (with(&rsa, json!({"n": "AQAB"})), &rs_token, Some(unknown)),
        (with(&rsa, json!({"n": null})), &rs_token, Some(unknown)),
        // Names of RFC 9864.
        (with(&ed, json!({"alg": "Ed25519"})), &ed_token, None),
        (with(&ed, json!({"alg": "EdDSA"})), &ed_named, None),
        (
            with(&ed, json!({"crv": "X25519"})),
            &ed_token,
            Some(unknown),
        ),
        // A secret is none when it is published.
        (
            with(&Signer::new("HS256"), json!({"alg": "HS256"})),
            &confused,
            Some(algorithm),
        ),
        (with(&rsa, json!({})), &confused, Some(algorithm)),
    ] {
        // A second key, so that a set without the first is still one.
        let issuer = Issuer::with(vec![json!("no key"), jwk.clone(), spare.clone()]).await;
        let sent = bear(&issuer.stack(), token).await;
        match why {
            None => assert!(sent.is_ok(), "{jwk} {:?}", sent.err()),
            Some(why) => assert_eq!(reason(sent), why, "{jwk}"),
        }
    }
    // Two that it may be: none is tried out.
    let issuer = Issuer::with(vec![with(&ec, json!({})), other_ec]).await;
    let why = reason(bear(&issuer.stack(), &nameless).await);
    assert_eq!(why, unknown);
}

#[tokio::test]
async fn algorithms_that_are_not_listed_are_not_accepted() {
    let (signer, jwk) = named("ES256", "k");
    let issuer = Issuer::with(vec![jwk]).await;
    let token = token(&signer, "ES256", "k");
    let rsa_only = issuer.config(json!({"algorithms": ["RS256", "EdDSA"]}));
    let why = reason(bear(&stack(plugin(rsa_only)), &token).await);
    assert_eq!(why, "the algorithm of the token is not accepted");
    assert_eq!(issuer.asked(), 0);
    let own = issuer.config(json!({"algorithms": [Algorithm::ES256]}));
    bear(&stack(plugin(own)), &token).await.unwrap();
}

#[tokio::test]
async fn keys_that_are_made_up_ask_the_issuer_seldom() {
    let (signer, jwk) = named("ES256", "k");
    let issuer = Issuer::with(vec![jwk]).await;
    let stack = issuer.stack();
    let attack = async || {
        let tokens = (0..30).map(|n| token(&signer, "ES256", &format!("made-up-{n}")));
        let tokens: Vec<_> = tokens.collect();
        for sent in join_all(tokens.iter().map(|token| bear(&stack, token))).await {
            assert_eq!(reason(sent), "no key is known for the token");
        }
    };
    attack().await;
    meanwhile(attack()).await;
    assert_eq!(issuer.asked(), 1);
    // One more for each 2 s of it, and good tokens ask for nothing.
    later(3).await;
    attack().await;
    meanwhile(attack()).await;
    assert_eq!(issuer.asked(), 2);
    later(3).await;
    bear(&stack, &token(&signer, "ES256", "k")).await.unwrap();
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn a_new_key_is_known_with_its_first_token() {
    let ((old, old_jwk), (new, new_jwk)) = (named("ES256", "k1"), named("ES256", "k2"));
    let issuer = Issuer::with(vec![old_jwk.clone()]).await;
    let stack = issuer.stack();
    bear(&stack, &token(&old, "ES256", "k1")).await.unwrap();
    issuer.publish(vec![new_jwk.clone(), old_jwk]);
    later(3).await;
    bear(&stack, &token(&new, "ES256", "k2")).await.unwrap();
    bear(&stack, &token(&old, "ES256", "k1")).await.unwrap();
    assert_eq!(issuer.asked(), 2);
    // The old one is taken back: it goes when the set is fetched again.
    issuer.publish(vec![new_jwk]);
    later(601).await;
    bear(&stack, &token(&old, "ES256", "k1")).await.unwrap();
    issuer.is_asked(3).await;
    for _ in 0..1000 {
        if bear(&stack, &token(&old, "ES256", "k1")).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let why = reason(bear(&stack, &token(&old, "ES256", "k1")).await);
    assert_eq!(why, "no key is known for the token");
    bear(&stack, &token(&new, "ES256", "k2")).await.unwrap();
}

#[tokio::test]
async fn a_key_that_was_taken_back_is_not_believed_after_a_long_rest() {
    let ((old, old_jwk), (new, new_jwk)) = (named("ES256", "k1"), named("ES256", "k2"));
    let issuer = Issuer::with(vec![old_jwk]).await;
    let stack = issuer.stack();
    bear(&stack, &token(&old, "ES256", "k1")).await.unwrap();
    issuer.publish(vec![new_jwk]);
    later(1200).await;
    let why = reason(bear(&stack, &token(&old, "ES256", "k1")).await);
    assert_eq!(why, "no key is known for the token");
    bear(&stack, &token(&new, "ES256", "k2")).await.unwrap();
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn old_keys_serve_while_the_issuer_is_away() {
    let (signer, jwk) = named("ES256", "k");
    let issuer = Issuer::with(vec![jwk]).await;
    let stack = issuer.stack();
    let token = token(&signer, "ES256", "k");
    bear(&stack, &token).await.unwrap();
    for (status, body) in [
        (500, r#"{"keys": []}"#.to_owned()),
        (302, String::new()),
        (200, "<html>".to_owned()),
        (200, r#"{"keys": []}"#.to_owned()),
        (200, r#"{"keys": {}}"#.to_owned()),
        (
            200,
            format!(r#"{{"keys": [], "x": "{}"}}"#, "x".repeat(600_000)),
        ),
    ] {
        let before = issuer.asked();
        issuer.answer(status, body);
        later(100_000).await;
        bear(&stack, &token).await.unwrap();
        assert_eq!(issuer.asked(), before + 1);
        // At once, and without another fetch.
        meanwhile(bear(&stack, &token)).await.unwrap();
        assert_eq!(issuer.asked(), before + 1);
    }
    // Now it takes the question and does not answer: nobody waits for it again.
    let before = issuer.asked();
    let _gate = issuer.hold();
    later(3).await;
    for _ in 0..3 {
        let sent = tokio::time::timeout(Duration::from_secs(4), bear(&stack, &token));
        sent.await.expect("it waits for the issuer").unwrap();
    }
    issuer.is_asked(before + 1).await;
}

#[tokio::test]
async fn without_any_keys_it_cannot_be_told() {
    let (signer, jwk) = named("ES256", "k");
    let issuer = Issuer::with(Vec::new()).await;
    issuer.answer(503, String::new());
    let stack = issuer.stack();
    let token = token(&signer, "ES256", "k");
    let unavailable = |sent: Result<_, Error>| {
        let error = sent.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthUnavailable);
        assert_eq!(error.status(), 503);
        let (name, value) = &error.headers()[0];
        assert_eq!(
            (name.as_str(), value.as_bytes()),
            ("retry-after", &b"2"[..])
        );
    };
    unavailable(bear(&stack, &token).await);
    unavailable(meanwhile(bear(&stack, &token)).await);
    assert_eq!(issuer.asked(), 1);
    issuer.publish(vec![jwk]);
    later(2).await;
    bear(&stack, &token).await.unwrap();
    assert_eq!(issuer.asked(), 2);

    // Nobody listens there.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let nowhere = support::stack(plugin(json!({"jwks_uri": url, "issuer": "them"})));
    unavailable(bear(&nowhere, &token).await);
}

#[tokio::test]
async fn many_wait_for_one_fetch_and_none_of_them_ends_it() {
    let (signer, jwk) = named("ES256", "k");
    let issuer = Issuer::with(vec![jwk]).await;
    let gate = issuer.hold();
    let stack = issuer.stack();
    let token = token(&signer, "ES256", "k");
    // Whoever asks first goes away.
    let first = tokio::spawn({
        let (stack, token) = (stack.clone(), token.clone());
        async move { bear(&stack, &token).await }
    });
    issuer.is_asked(1).await;
    first.abort();
    let all = join_all((0..20).map(|_| bear(&stack, &token)));
    let (sent, ()) = tokio::join!(all, async {
        tokio::task::yield_now().await;
        gate.notify_one();
    });
    assert!(sent.iter().all(Result::is_ok));
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn a_fetch_ends_with_the_plugin() {
    let (signer, jwk) = named("ES256", "k");
    let issuer = Issuer::with(vec![jwk]).await;
    let _gate = issuer.hold();
    let stack = issuer.stack();
    let token = token(&signer, "ES256", "k");
    let waiting = tokio::spawn(async move { bear(&stack, &token).await });
    issuer.is_asked(1).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    // The connection is closed, long before the fetch would be given up.
    let gone = tokio::time::timeout(Duration::from_secs(4), issuer.0.gone.notified());
    gone.await.expect("the fetch goes on without the plugin");
}
