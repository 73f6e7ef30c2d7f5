//! Signs tokens, good and bad, and sends them through a pipeline.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature as sig;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dgate_core::consumer::{Consumer, Consumers, Credential};
use dgate_core::{Body, Error, ErrorKind, ModuleLayer, Pipeline, Plugin, Request, Response, Setup};
use dgate_plugin_jwt::{Jwt, JwtConfig};
use http::HeaderMap;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use tower::{ServiceExt, service_fn};

/// A key that signs.
pub(crate) enum Signer {
    Secret(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>, &'static str),
    Ed(Box<Ed25519KeyPair>),
}

impl Signer {
    /// A new key for an algorithm.
    pub(crate) fn new(algorithm: &str) -> Self {
        match &algorithm[..2] {
            "HS" => Self::Secret(b"0123456789abcdef".repeat(4)),
            "RS" | "PS" => Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
            "ES" => {
                let (kind, curve) = match algorithm {
                    "ES256" => (&sig::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
                    "ES384" => (&sig::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
                    _ => (&sig::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
                };
                Self::Ec(Box::new(EcdsaKeyPair::generate(kind).unwrap()), curve)
            }
            _ => Self::Ed(Box::new(Ed25519KeyPair::generate().unwrap())),
        }
    }

    /// The public key as key sets have it, without `kid` and `alg`.
    pub(crate) fn jwk(&self) -> Value {
        match self {
            Self::Secret(secret) => json!({"kty": "oct", "k": b64(secret)}),
            Self::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let [n, e] = [n, e].map(|number| b64(number.big_endian_without_leading_zero()));
                json!({"kty": "RSA", "n": n, "e": e})
            }
            Self::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())})
            }
        }
    }

    /// The public key as key sets have it, with these further parameters.
    pub(crate) fn jwk_with(&self, more: Value) -> Value {
        let mut jwk = self.jwk();
        let more = more.as_object().unwrap().clone();
        jwk.as_object_mut().unwrap().extend(more);
        jwk
    }

    /// The public key as X.509 has it.
    pub(crate) fn der(&self) -> Vec<u8> {
        match self {
            Self::Secret(_) => panic!("a secret has no public key"),
            Self::Rsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::Ec(pair, _) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        }
    }

    /// The public key in PEM.
    pub(crate) fn pem(&self) -> String {
        pem::encode(&pem::Pem::new("PUBLIC KEY", self.der()))
    }

    /// A credential with this key.
    pub(crate) fn credential(&self, key: &str, algorithm: &str) -> Value {
        match self {
            Self::Secret(secret) => {
                json!({"key": key, "algorithm": algorithm, "secret": std::str::from_utf8(secret).unwrap()})
            }
            _ => json!({"key": key, "algorithm": algorithm, "public_key": self.pem()}),
        }
    }

    /// A token with this header and these claims, as text: what is wrong in them stays so.
    pub(crate) fn sign_text(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(claims));
        let signature = self.signature(algorithm, message.as_bytes());
        format!("{message}.{}", b64(signature))
    }

    /// A token with these claims beside good ones; `null` takes one away.
    pub(crate) fn sign(&self, algorithm: &str, header: Value, claims: Value) -> String {
        let mut all = json!({"alg": algorithm, "typ": "JWT"});
        let header = header.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(header);
        self.sign_text(algorithm, &all.to_string(), &good(claims).to_string())
    }

    fn signature(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Secret(secret) => mac(algorithm, secret, message),
            Self::Rsa(pair) => {
                let padding: &dyn sig::RsaEncoding = match algorithm {
                    "RS384" => &sig::RSA_PKCS1_SHA384,
                    "RS512" => &sig::RSA_PKCS1_SHA512,
                    "PS256" => &sig::RSA_PSS_SHA256,
                    "PS384" => &sig::RSA_PSS_SHA384,
                    "PS512" => &sig::RSA_PSS_SHA512,
                    _ => &sig::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::Ec(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// What HMAC makes of a message.
pub(crate) fn mac(algorithm: &str, secret: &[u8], message: &[u8]) -> Vec<u8> {
    let method = match algorithm {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let key = hmac::Key::new(method, secret);
    hmac::sign(&key, message).as_ref().to_vec()
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// That many seconds from now, as claims have times.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

/// Good claims of `them`, with others; `null` takes one away.
pub(crate) fn good(claims: Value) -> Value {
    let mut all = json!({"iss": "them", "sub": "ann", "aud": "us", "exp": in_seconds(300)});
    let claims = claims.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(claims);
    all.as_object_mut().unwrap().retain(|_, v| !v.is_null());
    all
}

/// The plugin with this configuration.
pub(crate) fn plugin(config: Value) -> Jwt {
    let config: JwtConfig = serde_json::from_value(config).unwrap();
    Jwt::new(config, &Setup::default()).unwrap()
}

/// The plugin with this configuration and a consumer `ann` with these keys of tokens.
pub(crate) fn of_ann(config: Value, credentials: Vec<Value>) -> Pipeline {
    let credentials = credentials.into_iter().map(|jwt| {
        let credential: Credential = serde_json::from_value(json!({"jwt": jwt})).unwrap();
        credential
    });
    let mut ann = Consumer::new("ann", credentials.collect());
    ann.groups = vec!["staff".to_owned()];
    let guest = Consumer::new("guest", Vec::new());
    let all = Consumers::new(vec![ann, guest]).unwrap();
    stack(plugin(config).among(all.into()))
}

/// The plugin over a service that answers with the headers that it got.
pub(crate) fn stack(jwt: Jwt) -> Pipeline {
    let end = service_fn(|req: Request| async move {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = req.headers().clone();
        Ok::<_, std::convert::Infallible>(response)
    });
    Pipeline::builder()
        .layer(ModuleLayer::plugin(jwt))
        .service(end)
}

/// One request with these values of `Authorization`: the headers that the service got.
pub(crate) async fn send(stack: &Pipeline, authorization: &[&str]) -> Result<HeaderMap, Error> {
    let mut request = http::Request::get("/").body(Body::empty()).unwrap();
    for value in authorization {
        let value = value.parse().unwrap();
        request.headers_mut().append("authorization", value);
    }
    let answer = stack.clone().oneshot(request).await;
    answer
        .map(|response| response.headers().clone())
        .map_err(Error::classify)
}

/// One request with a token: the headers that the service got.
pub(crate) async fn bear(stack: &Pipeline, token: &str) -> Result<HeaderMap, Error> {
    send(stack, &[&format!("Bearer {token}")]).await
}

/// Why a token is refused, as the client reads it.
#[track_caller]
pub(crate) fn reason(result: Result<HeaderMap, Error>) -> String {
    let error = result.expect_err("the token is accepted");
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    let challenge = challenge(&error);
    let text = challenge
        .strip_prefix("Bearer realm=\"dgate\", error=\"invalid_token\", error_description=\"")
        .unwrap_or_else(|| panic!("{challenge}"));
    text.trim_end_matches('"').to_owned()
}

/// What `WWW-Authenticate` says.
pub(crate) fn challenge(error: &Error) -> &str {
    let mut all = error.headers().iter();
    let (_, value) = all.find(|(name, _)| name == "www-authenticate").unwrap();
    value.to_str().unwrap()
}
