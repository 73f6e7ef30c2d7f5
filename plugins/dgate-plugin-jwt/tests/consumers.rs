//! `jwt` with keys of consumers, through the public API: good tokens of every algorithm, and what attackers make of them.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]
#![allow(dead_code, reason = "each test uses a part of the support")]

mod support;

use dgate_core::consumer::JwtCredential;
use dgate_core::{FieldError, Plugin, Setup};
use dgate_plugin_jwt::{Algorithm, Jwt, JwtConfig, check};
use serde_json::{Value, json};
use support::{Signer, b64, bear, challenge, good, in_seconds, mac, of_ann, reason, send};

const CLAIM: &str = "them";

/// A key of `ann`, and the plugin that knows it.
fn one(algorithm: &str) -> (Signer, dgate_core::Pipeline) {
    let signer = Signer::new(algorithm);
    let stack = of_ann(json!({}), vec![signer.credential(CLAIM, algorithm)]);
    (signer, stack)
}

#[tokio::test]
async fn every_algorithm_lets_the_consumer_in_and_no_other_does_with_its_key() {
    // A key of RSA takes its time to make: one does for all six.
    let kinds = ["HS256", "RS256", "ES256", "ES384", "ES512", "EdDSA"];
    let [own, others] = [(); 2].map(|()| kinds.map(|kind| (kind, Signer::new(kind))));
    let of = |signers: &'static [(&str, Signer)], algorithm: &str| {
        let kind = match &algorithm[..1] {
            "H" => "HS256",
            "R" | "P" => "RS256",
            _ => algorithm,
        };
        &signers.iter().find(|(name, _)| *name == kind).unwrap().1
    };
    let (own, others): (&'static _, &'static _) = (Box::leak(own.into()), Box::leak(others.into()));
    for algorithm in Algorithm::ALL.map(Algorithm::as_str) {
        let signer = of(own, algorithm);
        let stack = of_ann(json!({}), vec![signer.credential(CLAIM, algorithm)]);
        let token = signer.sign(algorithm, json!({}), json!({}));
        // Twice: the second time it is remembered.
        for _ in 0..2 {
            let sent = bear(&stack, &token).await.unwrap();
            assert_eq!(sent["x-consumer-username"], "ann", "{algorithm}");
            assert_eq!(sent["x-consumer-groups"], "staff");
            assert_eq!(sent["x-credential-identifier"], CLAIM);
            assert!(!sent.contains_key("authorization"));
        }
        for other in Algorithm::ALL.map(Algorithm::as_str) {
            let token = of(others, other).sign(other, json!({}), json!({}));
            let why = match other == algorithm {
                // HMAC has one secret in these tests.
                true if algorithm.starts_with("HS") => continue,
                true => "the signature of the token does not match",
                false => "the algorithm of the token is not accepted",
            };
            assert_eq!(reason(bear(&stack, &token).await), why, "{other}");
        }
    }
}

#[tokio::test]
async fn a_remembered_token_is_still_looked_at() {
    let (signer, stack) = one("ES256");
    let token = signer.sign("ES256", json!({}), json!({}));
    bear(&stack, &token).await.unwrap();
    let (message, _) = token.rsplit_once('.').unwrap();
    for changed in [
        format!("{message}.{}", b64([0; 64])),
        format!("{message}."),
        format!("{token}A"),
    ] {
        reason(bear(&stack, &changed).await);
    }
    // Another consumer's key with the same name.
    let other = Signer::new("ES256");
    let stack = of_ann(json!({}), vec![other.credential(CLAIM, "ES256")]);
    let why = reason(bear(&stack, &token).await);
    assert_eq!(why, "the signature of the token does not match");
}

#[tokio::test]
async fn a_token_has_no_say_in_how_it_is_verified() {
    let (signer, stack) = one("RS256");
    let claims = good(json!({})).to_string();
    let message = |header: &str| format!("{}.{}", b64(header), b64(&claims));
    // A public key taken for a shared secret, in all the forms that it may have.
    let n = signer.jwk()["n"].as_str().unwrap().to_owned();
    for secret in [
        signer.pem().into_bytes(),
        signer.pem().trim().as_bytes().to_vec(),
        signer.der(),
        n.into_bytes(),
        Vec::new(),
    ] {
        for algorithm in ["HS256", "HS512"] {
            let message = message(&format!("{{\"alg\":\"{algorithm}\"}}"));
            let signature = mac(algorithm, &secret, message.as_bytes());
            let token = format!("{message}.{}", b64(signature));
            let why = reason(bear(&stack, &token).await);
            assert_eq!(why, "the algorithm of the token is not accepted");
        }
    }
    for algorithm in [
        "none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "HS1", "ES256K",
    ] {
        let message = message(&json!({"alg": algorithm}).to_string());
        let why = reason(bear(&stack, &format!("{message}.")).await);
        assert_eq!(
            why, "the algorithm of the token is not accepted",
            "{algorithm}"
        );
    }
    // One key, another way to sign with it.
    for other in ["RS384", "RS512", "PS256"] {
        let token = signer.sign(other, json!({}), json!({}));
        reason(bear(&stack, &token).await);
        let lying = signer.sign_text(other, r#"{"alg":"RS256"}"#, &claims);
        reason(bear(&stack, &lying).await);
    }
    // Keys that a token brings along are not looked at.
    let own = Signer::new("RS256");
    let brought = json!({"jwk": own.jwk(), "jku": "http://127.0.0.1:1/", "x5c": [b64(own.der())]});
    let token = own.sign("RS256", brought, json!({}));
    let why = reason(bear(&stack, &token).await);
    assert_eq!(why, "the signature of the token does not match");
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_or_in_none_is_refused() {
    let (signer, stack) = one("HS256");
    let (header, claims) = (r#"{"alg":"HS256"}"#, good(json!({})).to_string());
    let sign = |header: &str, claims: &str| signer.sign_text("HS256", header, claims);
    bear(&stack, &sign(header, &claims)).await.unwrap();

    let twice = "the token names a claim or a header parameter twice";
    let broken = "the token is malformed";
    let with = |more: &str| claims.replacen('{', &format!("{{{more},"), 1);
    for (header, claims, why) in [
        (
            r#"{"alg":"none","alg":"HS256"}"#,
            claims.clone(),
            twice.to_owned(),
        ),
        (
            r#"{"alg":"HS256","kid":"a","kid":"a"}"#,
            claims.clone(),
            twice.into(),
        ),
        (header, with(r#""iss":"others""#), twice.into()),
        (header, with(r#""exp":1"#), twice.into()),
        (header, with(r#""ann":1,"ann":2"#), twice.into()),
        (
            r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
            claims.clone(),
            "the token needs an extension that is not known (crit)".into(),
        ),
        (
            r#"{"alg":"HS256","crit":[]}"#,
            claims.clone(),
            "the token needs an extension that is not known (crit)".into(),
        ),
        (r#"{"alg":256}"#, claims.clone(), broken.into()),
        (r#"{"alg":["HS256"]}"#, claims.clone(), broken.into()),
        (r#"{"typ":"JWT"}"#, claims.clone(), broken.into()),
        (r#"{"alg":"HS256","kid":7}"#, claims.clone(), broken.into()),
        (r#"["HS256"]"#, claims.clone(), broken.into()),
        (header, "[]".into(), broken.into()),
        (header, "null".into(), broken.into()),
        (header, format!("{claims}{claims}"), broken.into()),
        (header, claims.replace('}', ""), broken.into()),
        (header, String::new(), broken.into()),
    ] {
        let token = sign(header, &claims);
        assert_eq!(reason(bear(&stack, &token).await), why, "{header} {claims}");
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let (signer, stack) = one("HS256");
    let token = signer.sign("HS256", json!({}), json!({}));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let short = &signature[..signature.len() - 2];
    let long = "x".repeat(16 * 1024 + 1);
    let bad = [
        "",
        "a",
        "a.b.c",
        "..",
        "...",
        "e30.e30.",
        &format!("{message}."),
        message,
        &format!("{token}."),
        &format!(".{token}"),
        &format!("{token}=="),
        &format!("{token} "),
        &format!("{token},"),
        &format!("{header}.{claims}.{short}"),
        &format!("{header}..{signature}"),
        &format!("{header}=.{claims}.{signature}"),
        &format!("\"{token}\""),
        &format!("{token} {token}"),
        &long,
    ];
    for text in bad {
        if text.trim() == token {
            bear(&stack, text).await.unwrap();
            continue;
        }
        reason(bear(&stack, text).await);
    }
    // The last digit of base64url has bits to spare: one signature has one text.
    let last = signature.as_bytes()[signature.len() - 1];
    let spare = (last + 1) as char;
    let token = format!("{message}.{}{spare}", &signature[..signature.len() - 1]);
    reason(bear(&stack, &token).await);
}

#[tokio::test]
async fn where_the_token_stands() {
    let (signer, stack) = one("HS256");
    let token = signer.sign("HS256", json!({}), json!({}));
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer  "] {
        send(&stack, &[&format!("{scheme} {token}")]).await.unwrap();
    }
    let bearer = &*format!("Bearer {token}");
    for several in [&[bearer, bearer][..], &["Basic YTpi", bearer]] {
        let why = reason(send(&stack, several).await);
        assert_eq!(why, "there is more than one Authorization header");
    }
    // Nothing that is a token: no error is told, only what is needed (RFC 6750 section 3.1).
    for nothing in [&[][..], &["Basic YTpi"], &["Bearertoken x"], &[&token]] {
        let error = send(&stack, nothing).await.unwrap_err();
        assert_eq!(challenge(&error), "Bearer realm=\"dgate\"", "{nothing:?}");
    }
    assert_eq!(
        reason(send(&stack, &["Bearer"]).await),
        "the token is malformed"
    );
}

#[tokio::test]
async fn claims_are_those_of_now_and_of_a_known_key() {
    let (signer, stack) = one("HS256");
    let expired = "the token has expired";
    for (claims, why) in [
        (json!({"exp": in_seconds(-30)}), None), // within the leeway of 60 s
        (json!({"exp": in_seconds(-90)}), Some(expired)),
        (json!({"exp": 0}), Some(expired)),
        (json!({"exp": null}), Some("the token has no exp")),
        (json!({"exp": "9"}), Some("the token is malformed")),
        (json!({"nbf": in_seconds(30)}), None),
        (
            json!({"nbf": in_seconds(90)}),
            Some("the token is not valid yet"),
        ),
        (json!({"aud": "anybody"}), None),
        (
            json!({"iss": "others"}),
            Some("no key is known for the token"),
        ),
        (json!({"iss": null}), Some("no key is known for the token")),
        (
            json!({"iss": [CLAIM]}),
            Some("no key is known for the token"),
        ),
    ] {
        let token = signer.sign("HS256", json!({}), claims.clone());
        let sent = bear(&stack, &token).await;
        match why {
            None => assert!(sent.is_ok(), "{claims}"),
            Some(why) => assert_eq!(reason(sent), why, "{claims}"),
        }
    }
}

#[tokio::test]
async fn the_configuration_narrows() {
    let signer = Signer::new("HS256");
    let credential = || vec![signer.credential(CLAIM, "HS256")];
    let token = |claims| signer.sign("HS256", json!({}), claims);

    let stack = of_ann(json!({"algorithms": ["RS256", "HS512"]}), credential());
    let why = reason(bear(&stack, &token(json!({}))).await);
    assert_eq!(why, "the algorithm of the token is not accepted");

    let stack = of_ann(json!({"audiences": ["us"], "leeway": "0s"}), credential());
    bear(&stack, &token(json!({}))).await.unwrap();
    let why = reason(bear(&stack, &token(json!({"aud": "you"}))).await);
    assert_eq!(why, "the token is meant for another audience");
    let late = token(json!({"exp": in_seconds(-5)}));
    assert_eq!(reason(bear(&stack, &late).await), "the token has expired");

    let stack = of_ann(json!({"key_claim": "client"}), credential());
    let named = token(json!({"client": CLAIM, "iss": "anybody"}));
    bear(&stack, &named).await.unwrap();
    reason(bear(&stack, &token(json!({}))).await);

    let stack = of_ann(json!({"hide_credentials": false}), credential());
    let sent = bear(&stack, &token(json!({}))).await.unwrap();
    assert!(sent.contains_key("authorization"));

    let stack = of_ann(json!({"anonymous": "guest"}), credential());
    let sent = send(&stack, &["Basic YTpi"]).await.unwrap();
    assert_eq!(sent["x-consumer-username"], "guest");
    assert_eq!(sent["authorization"], "Basic YTpi");
    reason(bear(&stack, "wrong").await);
}

#[test]
fn credentials_are_looked_at_before_they_are_taken() {
    let [rsa, ec, ed] = ["RS256", "ES256", "EdDSA"].map(Signer::new);
    let p384 = Signer::new("ES384");
    let long = "x".repeat(64);
    for (credential, pointer, says) in [
        (json!({"key": "k", "secret": &long[..32]}), None, ""),
        (rsa.credential("k", "PS512"), None, ""),
        (p384.credential("k", "ES384"), None, ""),
        (
            json!({"key": "", "secret": long}),
            Some("/key"),
            "a text without control",
        ),
        (
            json!({"key": "a\nb", "secret": long}),
            Some("/key"),
            "a text without control",
        ),
        (
            json!({"key": "k", "secret": "hush"}),
            Some("/secret"),
            "32 or more",
        ),
        (
            json!({"key": "k", "algorithm": "HS512", "secret": &long[..32]}),
            Some("/secret"),
            "HS512 needs 64",
        ),
        (
            json!({"key": "k", "algorithm": "none"}),
            Some("/algorithm"),
            "expected one of HS256",
        ),
        (
            json!({"key": "k", "algorithm": "hs256", "secret": long}),
            Some("/algorithm"),
            "unknown",
        ),
        (json!({"key": "k"}), Some(""), "needs a `secret`"),
        (
            json!({"key": "k", "algorithm": "ES256"}),
            Some(""),
            "needs a `public_key`",
        ),
        (
            json!({"key": "k", "algorithm": "ES256", "secret": long}),
            Some("/secret"),
            "takes a `public_key`",
        ),
        (
            json!({"key": "k", "secret": long, "public_key": rsa.pem()}),
            Some("/public_key"),
            "no public key",
        ),
        (
            json!({"key": "k", "algorithm": "RS256", "secret": long, "public_key": rsa.pem()}),
            Some("/secret"),
            "no secret",
        ),
        (
            json!({"key": "k", "algorithm": "RS256", "public_key": "AAAA"}),
            Some("/public_key"),
            "BEGIN PUBLIC KEY",
        ),
        (
            json!({"key": "k", "algorithm": "RS256", "public_key": rsa.pem() + &rsa.pem()}),
            Some("/public_key"),
            "one public key",
        ),
        (
            json!({"key": "k", "algorithm": "RS256", "public_key": "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----"}),
            Some("/public_key"),
            "of RSA with 2048",
        ),
        (
            json!({"key": "k", "algorithm": "RS256", "public_key": "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"}),
            Some("/public_key"),
            "private key",
        ),
        (
            ec.credential("k", "RS256"),
            Some("/public_key"),
            "of RSA with 2048",
        ),
        (rsa.credential("k", "ES256"), Some("/public_key"), "P-256"),
        (p384.credential("k", "ES256"), Some("/public_key"), "P-256"),
        (ed.credential("k", "ES256"), Some("/public_key"), "P-256"),
        (ec.credential("k", "EdDSA"), Some("/public_key"), "Ed25519"),
        (
            json!({"key": "k", "algorithm": "RS256", "public_key": SHORT_RSA}),
            Some("/public_key"),
            "of RSA with 2048",
        ),
    ] {
        let given: JwtCredential = serde_json::from_value(credential.clone()).unwrap();
        let found = check(&given).err();
        let at = found.as_ref().map(FieldError::pointer);
        assert_eq!(at, pointer, "{credential} {found:?}");
        let text = found.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(says), "{credential}: {text}");
        assert!(!text.contains("hush") && !text.contains(&long), "{text}");
    }
}

/// 1024 bits, which RFC 7518 section 3.3 forbids.
const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDKxKkrtc1K/UTPWLZMLkQbsyVs\n\
    B/+aEOIzkjQLhvokUp0iGl+B511cox/CIG27F9VzOcZsHw5+1+P8mk3nMhFBxqzR\n\
    cwNHOXzo3gZdAQkPd7tMozNym9ZEGsuluRGggbphcFIEPfyUoymO1avTsi/vqv+H\n\
    7ZybtfREHrfy376qkwIDAQAB\n\
    -----END PUBLIC KEY-----";

#[test]
fn a_wrong_configuration_is_told_at_its_field() {
    let issuer = |more: Value| {
        let mut config =
            json!({"jwks_uri": "https://issuer.test/keys", "issuer": "https://issuer.test"});
        let more = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        config.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        config
    };
    for (config, pointer) in [
        (json!({}), None),
        (issuer(json!({})), None),
        (issuer(json!({"jwks_uri": "http://issuer.test"})), None),
        (json!({"issuer": "https://issuer.test"}), Some("/issuer")),
        (issuer(json!({"issuer": null})), Some("/issuer")),
        (issuer(json!({"issuer": "a\nb"})), Some("/issuer")),
        (issuer(json!({"key_claim": "sub"})), Some("/key_claim")),
        (
            issuer(json!({"algorithms": ["RS256", "HS256"]})),
            Some("/algorithms/1"),
        ),
        (issuer(json!({"refresh": "0s"})), Some("/refresh")),
        (
            issuer(json!({"jwks_uri": "issuer.test/keys"})),
            Some("/jwks_uri"),
        ),
        (issuer(json!({"jwks_uri": "/keys"})), Some("/jwks_uri")),
        (
            issuer(json!({"jwks_uri": "ftp://issuer.test/"})),
            Some("/jwks_uri"),
        ),
        (
            issuer(json!({"jwks_uri": "https://a:b@issuer.test/"})),
            Some("/jwks_uri"),
        ),
        (
            issuer(json!({"jwks_uri": "https://issuer.test/a b"})),
            Some("/jwks_uri"),
        ),
    ] {
        let parsed: JwtConfig = serde_json::from_value(config.clone()).unwrap();
        let error = Jwt::new(parsed, &Setup::default()).err();
        let error = error.map(|error| *error.downcast::<FieldError>().unwrap());
        assert_eq!(
            error.as_ref().map(FieldError::pointer),
            pointer,
            "{config} {error:?}"
        );
    }
}
