//! Public keys that an issuer publishes (RFC 7517), fetched with the gateway's own client when the first
//! token comes, and again when they are old or a token names a key that is not among them. What tokens
//! name is anyone's choice, so fetches are one at a time and apart in time.

use super::Denied;
use arc_swap::ArcSwap;
use dgate_core::{Body, Upstream};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use jsonwebtoken::jwk::{JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long keys are good without a look at the issuer's: a key that is taken back is refused after this.
const FRESH: Duration = Duration::from_secs(600);
/// The least time between two fetches.
const APART: Duration = Duration::from_secs(10);
/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A set of a hundred RSA keys is 100 KiB.
const MAX_SIZE: usize = 512 * 1024;

/// A set of keys behind a URL.
pub(super) struct Jwks {
    client: Upstream,
    target: Uri,
    algorithm: Algorithm,
    known: ArcSwap<Known>,
    turn: Semaphore,
}

#[derive(Default)]
struct Known {
    keys: Vec<(Option<String>, DecodingKey)>,
    /// When these keys came.
    since: Option<Instant>,
    /// When they were last asked for.
    tried: Option<Instant>,
}

impl Known {
    fn find(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        match (kid, self.keys.as_slice()) {
            (Some(kid), all) => {
                let found = all.iter().find(|(name, _)| name.as_deref() == Some(kid));
                found.map(|(_, key)| key)
            }
            (None, [(_, only)]) => Some(only),
            (None, _) => None,
        }
    }

    fn is_fresh(&self) -> bool {
        self.since.is_some_and(|at| at.elapsed() < FRESH)
    }

    fn may_be_asked_again(&self) -> bool {
        self.tried.is_none_or(|at| at.elapsed() >= APART)
    }
}

impl Jwks {
    pub(super) fn new(url: &str, algorithm: Algorithm) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|e| format!("no URL: {e}"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("no URL with a host".to_owned());
        };
        let client = Upstream::builder()
            .endpoint(format!("{scheme}://{authority}"))
            .build()
            .map_err(|e| e.to_string())?;
        let target = uri.path_and_query().map_or("/", |p| p.as_str());
        Ok(Self {
            client,
            target: target.parse().map_err(|e| format!("no path: {e}"))?,
            algorithm,
            known: ArcSwap::default(),
            turn: Semaphore::new(1),
        })
    }

    /// The key of this name; without a name the only one.
    pub(super) async fn key(&self, kid: Option<&str>) -> Result<DecodingKey, Denied> {
        let good = |known: &Known| known.find(kid).filter(|_| known.is_fresh()).cloned();
        if let Some(key) = good(&self.known.load()) {
            return Ok(key);
        }
        let turn = self.turn.acquire().await;
        // Another call may have fetched them meanwhile.
        if let Some(key) = good(&self.known.load()) {
            return Ok(key);
        }
        if self.known.load().may_be_asked_again() {
            self.fetch().await;
        }
        drop(turn);
        // Old keys are better than none while the issuer is away.
        let known = self.known.load();
        match (known.find(kid), known.since) {
            (Some(key), _) => Ok(key.clone()),
            (None, Some(_)) => Err(Denied::Unauthenticated("unknown key")),
            (None, None) => Err(Denied::Unavailable(
                "the keys behind admin.auth.jwks_url cannot be fetched",
            )),
        }
    }

    async fn fetch(&self) {
        let fetched = tokio::time::timeout(TIMEOUT, self.ask()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("it takes too long".to_owned()));
        let tried = Some(Instant::now());
        let next = match fetched {
            Ok(keys) => Known {
                keys,
                since: tried,
                tried,
            },
            Err(error) => {
                tracing::warn!(%error, "the keys behind admin.auth.jwks_url cannot be fetched");
                let old = self.known.load();
                Known {
                    keys: old.keys.clone(),
                    since: old.since,
                    tried,
                }
            }
        };
        self.known.store(Arc::new(next));
    }

    async fn ask(&self) -> Result<Vec<(Option<String>, DecodingKey)>, String> {
        let request = Request::get(self.target.clone())
            .header(http::header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|e| e.to_string())?;
        let answer = self.client.clone().pipeline().answer(request).await;
        let answer = answer.map_err(|e| e.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("status {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_SIZE).collect().await;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        let set: JwkSet = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        let mut keys = Vec::new();
        for jwk in &set.keys {
            let common = &jwk.common;
            let signs = common
                .public_key_use
                .as_ref()
                .is_none_or(|u| *u == PublicKeyUse::Signature);
            let key = DecodingKey::from_jwk(jwk).ok();
            let key = key.filter(|key| signs && key.family() == self.algorithm.family());
            keys.extend(key.map(|key| (common.key_id.clone(), key)));
        }
        if keys.is_empty() {
            return Err("it holds no key for this algorithm".to_owned());
        }
        Ok(keys)
    }
}
