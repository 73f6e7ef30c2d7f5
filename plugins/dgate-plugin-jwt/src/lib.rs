//! `jwt`: requests prove who they are from by a JSON Web Token (RFC 7519) in `Authorization: Bearer` (RFC 6750).
//!
//! Two ways: tokens that consumers sign, each with a key of its own, or tokens of an issuer that publishes its keys.
//! The files, in the order of a request: `token` takes the text apart, `claims` looks at what it says, `key` verifies
//! the signature, with a key of a consumer or one of a `set` that `remote` fetches.
//!
//! ```
//! use dgate_core::consumer::{Consumer, Consumers, Credential};
//! use dgate_core::{Body, Error, Exchange, ModuleLayer, Pipeline, Plugin, Setup};
//! use dgate_plugin_jwt::{Jwt, JwtConfig};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let credential = serde_json::json!({"jwt": {"key": "ann-key", "secret": "a secret of 32 bytes or some more"}});
//! let credential: Credential = serde_json::from_value(credential)?;
//! let consumers = Consumers::new(vec![Consumer::new("ann", vec![credential])]).expect("one only");
//! let jwt = Jwt::new(JwtConfig::default(), &Setup::default()).expect("valid").among(consumers.into());
//! let stack = Pipeline::builder()
//!     .layer(ModuleLayer::plugin(jwt))
//!     .service(Pipeline::handler(|ctx: Exchange| async move { ctx.identity().unwrap().name.clone() }));
//!
//! let error = stack.clone().oneshot(http::Request::new(Body::empty())).await.unwrap_err();
//! assert_eq!(Error::classify(error).status(), 401);
//! let token = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhbm4ta2V5IiwiZXhwIjo0MTAyNDQ0ODAwfQ.\
//!              dn5iIQy82Dej2gRcdldDA3aST4UXK_qoTfNNKM8YgKc";
//! let request = http::Request::get("/").header("authorization", format!("Bearer {token}")).body(Body::empty())?;
//! let answer = stack.oneshot(request).await.expect("the token is ann's");
//! # Ok(()) }
//! ```

mod algorithm;
mod claims;
mod key;
mod remote;
mod set;
mod token;
mod verified;

pub use algorithm::Algorithm;

use claims::Rules;
use dgate_core::authenticate::{Access, Proof, refusal};
use dgate_core::consumer::{Consumers, Credential, JwtCredential};
use dgate_core::exchange::Identity;
use dgate_core::units::Duration;
use dgate_core::{
    BoxError, Error, ErrorKind, Exchange, FieldError, Flow, Plugin, Request, Setup, plugin,
};
use http::{HeaderMap, HeaderValue, header};
use remote::{NoKey, Remote};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use token::{Rejected, Token};
use verified::Memory;

/// Lets requests in that bear a JSON Web Token: one that a consumer signed, or one of an issuer whose keys are behind
/// `jwks_uri`; all others get 401 `unauthorized`.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwtConfig {
    /// URL of the issuer's key set (RFC 7517). With it any token of `issuer` that holds is let in, and no consumer is
    /// needed; without it, tokens of consumers are.
    #[schemars(length(min = 1))]
    pub jwks_uri: Option<String>,
    /// What the claim `iss` must say; required with `jwks_uri`, and only there.
    #[schemars(length(min = 1))]
    pub issuer: Option<String>,
    /// The claim `aud` must name one of these. Empty: it is not looked at, and a token meant for somebody else will do.
    pub audiences: Vec<String>,
    /// Which algorithms are accepted. Empty: all that keys are for; with `jwks_uri` all but `HS…`.
    pub algorithms: Vec<Algorithm>,
    /// The claim that names the `key` of a consumer's credential. Default `iss`.
    #[schemars(length(min = 1))]
    pub key_claim: String,
    /// How far the clocks of who signs and who checks may be apart, for `exp` and `nbf`. Default 60s.
    pub leeway: Duration,
    /// How old the key set may be before it is fetched again. At least 1s. Default 10m.
    pub refresh: Duration,
    /// Takes the token out of the request. Default true.
    pub hide_credentials: bool,
    /// Name of the consumer as whom requests without a token pass; without one they are refused. Wrong tokens are
    /// refused all the same.
    #[schemars(length(min = 1))]
    pub anonymous: Option<String>,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            jwks_uri: None,
            issuer: None,
            audiences: Vec::new(),
            algorithms: Vec::new(),
            key_claim: KEY_CLAIM.to_owned(),
            leeway: Duration::from_secs(60),
            refresh: Duration::from_secs(600),
            hide_credentials: true,
            anonymous: None,
        }
    }
}

const KEY_CLAIM: &str = "iss";
const SCHEME: &str = "bearer";
/// How a request without a token is told what it needs. RFC 6750 §3 wants a parameter after the scheme.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"dgate\"");
/// What tells clients when to ask again while the keys of an issuer cannot be had: a fetch is possible then.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// The plugin.
pub struct Jwt {
    access: Access,
    anonymous: Option<String>,
    rules: Rules,
    keys: Keys,
    memory: Memory,
    hide: bool,
}

/// Where the keys of tokens are.
enum Keys {
    Consumers {
        claim: String,
        algorithms: Vec<Algorithm>,
    },
    Issuer(Remote),
}

/// Why a request is not let in.
enum Refused {
    Rejected(Rejected),
    Unavailable,
}

impl From<Rejected> for Refused {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

#[plugin]
impl Plugin for Jwt {
    const NAME: &'static str = "jwt";
    const CONSUMERS: bool = true;
    type Config = JwtConfig;

    fn new(config: JwtConfig, _: &Setup) -> Result<Self, BoxError> {
        let (issuer, audiences) = (config.issuer.clone(), config.audiences.clone());
        Ok(Self {
            keys: Keys::new(&config)?,
            access: Access::new(CHALLENGE).anonymous(config.anonymous.clone()),
            anonymous: config.anonymous,
            rules: Rules {
                issuer,
                audiences,
                leeway: config.leeway,
            },
            memory: Memory::default(),
            hide: config.hide_credentials,
        })
    }

    fn consumer(&self) -> Option<&str> {
        self.anonymous.as_deref()
    }

    async fn request_modifier(&self, ctx: &Exchange, mut req: Request) -> Flow<Request> {
        let proof = match bearer(req.headers()) {
            Ok(None) => Proof::Missing,
            Ok(Some(token)) => self.prove(ctx, token).await.map_err(Error::from)?,
            Err(rejected) => return Err(Error::from(Refused::from(rejected)).into()),
        };
        let shown = matches!(proof, Proof::Of { .. });
        self.access.admit(ctx, req.headers_mut(), proof)?;
        if shown && self.hide {
            req.headers_mut().remove(header::AUTHORIZATION);
        }
        Ok(req)
    }
}

impl Jwt {
    /// The same with consumers that are looked for here and not in the exchange's route: for a stack of one's own.
    pub fn among(mut self, consumers: Arc<Consumers>) -> Self {
        self.access = self.access.among(consumers);
        self
    }

    async fn prove(&self, ctx: &Exchange, text: &[u8]) -> Result<Proof, Refused> {
        let token = Token::parse(text)?;
        // Before the signature, which costs the most, and before an unknown key is asked for.
        self.rules.check(&token.claims)?;
        match &self.keys {
            Keys::Issuer(remote) => {
                let key = remote.key(token.kid.as_deref(), token.algorithm).await;
                let key = key.map_err(|none| match none {
                    NoKey::Rejected(rejected) => Refused::Rejected(rejected),
                    NoKey::Unavailable => Refused::Unavailable,
                })?;
                self.memory.verify(&key, &token)?;
                Ok(of_issuer(token)?)
            }
            Keys::Consumers { claim, algorithms } => {
                let named = token.claim(claim).ok_or(Rejected::Key)?;
                let found = self
                    .access
                    .consumers(ctx)
                    .and_then(|all| all.by_issuer(named))
                    .ok_or(Rejected::Key)?;
                let Credential::Jwt(credential) = found.credential else {
                    return Err(Rejected::Key.into());
                };
                let own = key::algorithm_of(credential);
                let accepted = algorithms.is_empty() || algorithms.contains(&token.algorithm);
                if own != Some(token.algorithm) || !accepted {
                    return Err(Rejected::Algorithm.into());
                }
                let key = self.memory.key(credential).ok_or(Rejected::Key)?;
                self.memory.verify(&key, &token)?;
                Ok(Proof::from(found))
            }
        }
    }
}

impl Keys {
    fn new(config: &JwtConfig) -> Result<Self, FieldError> {
        let wrong = |field: &str, detail: &str| Err(FieldError::new(field, detail));
        let Some(url) = &config.jwks_uri else {
            if config.issuer.is_some() {
                return wrong("/issuer", "an issuer needs `jwks_uri`, where its keys are");
            }
            return Ok(Self::Consumers {
                claim: config.key_claim.clone(),
                algorithms: config.algorithms.clone(),
            });
        };
        if config.key_claim != KEY_CLAIM {
            let detail = "with `jwks_uri` no consumer is looked for: leave out `key_claim`";
            return wrong("/key_claim", detail);
        }
        match &config.issuer {
            None => {
                let detail = "`jwks_uri` needs `issuer`: what the claim `iss` of its tokens says";
                return wrong("/issuer", detail);
            }
            Some(issuer) if HeaderValue::from_str(issuer).is_err() => {
                return wrong("/issuer", "expected visible characters of ASCII");
            }
            Some(_) => {}
        }
        if let Some(at) = config.algorithms.iter().position(|one| one.is_symmetric()) {
            let detail = format!(
                "{} is for shared secrets, and a key set has public keys only",
                config.algorithms[at]
            );
            return wrong(&format!("/algorithms/{at}"), &detail);
        }
        if config.refresh.get() < std::time::Duration::from_secs(1) {
            return wrong("/refresh", "expected 1s or more");
        }
        let algorithms = match config.algorithms.is_empty() {
            true => Algorithm::ALL.into_iter().filter(|one| !one.is_symmetric()),
            false => return Self::issuer(url, config.algorithms.clone(), config),
        };
        Self::issuer(url, algorithms.collect(), config)
    }

    fn issuer(
        url: &str,
        algorithms: Vec<Algorithm>,
        config: &JwtConfig,
    ) -> Result<Self, FieldError> {
        Remote::new(url, algorithms, config.refresh.get())
            .map(Self::Issuer)
            .map_err(|detail| FieldError::new("/jwks_uri", detail))
    }
}

/// The token of a request; `None` when it shows none. Another scheme is for another plugin.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Rejected> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (one, None) = (all.next(), all.next()) else {
        return Err(Rejected::Several);
    };
    let Some(one) = one.map(HeaderValue::as_bytes) else {
        return Ok(None);
    };
    let (scheme, rest) = one.split_at(one.len().min(SCHEME.len()));
    if !scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) {
        return Ok(None);
    }
    match rest {
        [b' ', ..] => Ok(Some(rest.trim_ascii())),
        [] => Err(Rejected::Malformed),
        _ => Ok(None),
    }
}

/// Whoever an issuer speaks of: `sub`, or the issuer itself when a token has none. Groups are the claim `groups`
/// (RFC 9068 §2.2.3.1), the metadata all claims.
fn of_issuer(token: Token<'_>) -> Result<Proof, Rejected> {
    let issuer = token.claim("iss").ok_or(Rejected::Issuer)?.to_owned();
    let name = match token.claims.get("sub") {
        None => issuer.clone(),
        Some(Value::String(name)) if is_name(name) => name.clone(),
        Some(_) => return Err(Rejected::Malformed),
    };
    let groups = match token.claims.get("groups") {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str),
        _ => [].iter().filter_map(Value::as_str),
    };
    let mut identity = Identity::default();
    identity.name = name;
    // A comma would make two of one in `X-Consumer-Groups`.
    identity.groups = groups
        .filter(|group| is_name(group) && !group.contains(','))
        .map(str::to_owned)
        .collect();
    identity.metadata = Value::Object(token.claims);
    Ok(Proof::Of {
        identity: Arc::new(identity),
        credential: issuer,
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control())
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Rejected(rejected) => {
                let text = rejected.text();
                let challenge = format!(
                    "Bearer realm=\"dgate\", error=\"invalid_token\", error_description=\"{text}\""
                );
                let challenge = HeaderValue::try_from(challenge).unwrap_or(CHALLENGE);
                refusal(&challenge).with_detail(text)
            }
            Refused::Unavailable => {
                Self::new(ErrorKind::AuthUnavailable).with_header(header::RETRY_AFTER, RETRY_AFTER)
            }
        }
    }
}

/// Looks at a consumer's credential before it is taken: algorithm, length of the secret, form and kind of the key.
///
/// # Errors
/// What is wrong, with a pointer into the credential; secrets are not told.
///
/// ```
/// let credential = serde_json::json!({"key": "ann", "algorithm": "HS512", "secret": "short"});
/// let error = dgate_plugin_jwt::check(&serde_json::from_value(credential)?).unwrap_err();
/// assert_eq!(error.pointer(), "/secret");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn check(credential: &JwtCredential) -> Result<(), FieldError> {
    key::key_of(credential).map(drop)
}
