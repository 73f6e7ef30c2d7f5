//! `rate-limit`: at most so many requests of a key in a window.
//!
//! A plugin by its name, or a layer of any stack:
//!
//! ```
//! use dgate_core::{Body, Error, Exchange, Key, Pipeline};
//! use dgate_plugin_rate_limit::{RateLimitConfig, RateLimitLayer};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dgate_core::BoxError> {
//! let limit = RateLimitConfig::per_second(1).by(Key::Header("x-api-key".parse()?));
//! let stack = Pipeline::builder()
//!     .layer(RateLimitLayer::new(limit)?)
//!     .service(Pipeline::handler(|_: Exchange| async { "ok" }));
//! let request = || http::Request::get("/").header("x-api-key", "a").body(Body::empty());
//! assert_eq!(stack.clone().oneshot(request()?).await?.headers()["ratelimit"], "\"header\";r=0;t=1");
//! assert_eq!(Error::classify(stack.oneshot(request()?).await.unwrap_err()).status(), 429);
//! # Ok(()) }
//! ```

pub mod gcra;

use axum_core::response::IntoResponse;
use dgate_core::key::Keys;
use dgate_core::pipeline::Inner;
use dgate_core::units::Duration;
use dgate_core::{
    BoxError, Error, ErrorKind, Exchange, FieldError, Key, PipelineLayer, Plugin, Request,
    Response, Setup, plugin,
};
use gcra::{Buckets, Rate, Verdict};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pin_project_lite::pin_project;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// Lets at most so many requests of a key through in a window, and refuses the others with 429 `rate_limited`.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Requests that a key has in a window. At most 1000000 a second.
    pub limit: NonZeroU32,
    /// The window. What was used comes back evenly over it, not all at its end. Default 1m.
    #[serde(default = "minute")]
    pub window: Duration,
    /// Requests of a key that may come at once; left out, as many as `limit`.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
    /// What is counted together: `client_ip` (of IPv6 the network of 64 bits), `consumer`, `header:NAME`, `route` or
    /// `global`, which is all that passes here. Requests without the consumer or header count by their address.
    /// Default `client_ip`.
    #[serde(default)]
    pub by: Key,
    /// Who counts together: each `node` alone, or all of a `cluster`. A gateway without a cluster is one node.
    /// Default `node`.
    #[serde(default)]
    pub scope: Scope,
    /// The status of a refusal. Default 429.
    #[serde(default = "too_many")]
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// Sends `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` too, for clients that know earlier
    /// drafts. Default false.
    #[serde(default)]
    pub legacy_headers: bool,
}

/// Who counts together.
#[non_exhaustive]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Scope {
    /// Each node alone.
    #[default]
    Node,
    /// All nodes of the cluster.
    Cluster,
}

fn minute() -> Duration {
    Duration::from_secs(60)
}

fn too_many() -> u16 {
    429
}

impl RateLimitConfig {
    /// This many requests of a client address in a window.
    pub fn new(limit: NonZeroU32, window: std::time::Duration) -> Self {
        Self {
            limit,
            window: window.into(),
            burst: None,
            by: Key::default(),
            scope: Scope::default(),
            status: too_many(),
            legacy_headers: false,
        }
    }

    /// This many requests of a client address in a second; 0 is taken for 1.
    pub fn per_second(limit: u32) -> Self {
        let limit = NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        Self::new(limit, std::time::Duration::from_secs(1))
    }

    /// Counts by this.
    pub fn by(mut self, key: Key) -> Self {
        self.by = key;
        self
    }

    /// Lets this many come at once.
    pub fn burst(mut self, burst: NonZeroU32) -> Self {
        self.burst = Some(burst);
        self
    }
}

/// The limit as a layer, and as the plugin `rate-limit`. Clones count together.
#[derive(Clone, Debug)]
pub struct RateLimitLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keys: Keys,
    buckets: Buckets,
    status: StatusCode,
    policy: HeaderValue,
    limit: u32,
    window: Duration,
    legacy: bool,
}

impl RateLimitLayer {
    /// A limit of which nothing is used.
    ///
    /// # Errors
    /// More than 1000000 requests a second, an empty window, or a status that is none of a refusal.
    pub fn new(config: RateLimitConfig) -> Result<Self, FieldError> {
        let limit = config.limit.get();
        let burst = config.burst.unwrap_or(config.limit).get();
        if config.window.is_zero() {
            return Err(FieldError::new(
                "/window",
                "the window must be longer than 0s",
            ));
        }
        let rate = Rate::new(limit, config.window.get(), burst).ok_or_else(|| {
            let window = config.window;
            let text = format!("{limit} requests in {window} are more than 1000000 a second");
            FieldError::new("/limit", text)
        })?;
        let status = StatusCode::from_u16(config.status)
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
            .ok_or_else(|| FieldError::new("/status", "expected a status from 400 to 599"))?;
        Ok(Self(Arc::new(Shared {
            buckets: match config.by {
                Key::Global => Buckets::one(rate),
                _ => Buckets::new(rate),
            },
            policy: policy(&config),
            keys: Keys::new(config.by),
            status,
            limit,
            window: config.window,
            legacy: config.legacy_headers,
        })))
    }
}

#[plugin]
impl Plugin for RateLimitLayer {
    const NAME: &'static str = "rate-limit";
    type Config = RateLimitConfig;

    fn new(config: RateLimitConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self::new(config)?)
    }

    fn layer(&self) -> Option<PipelineLayer> {
        Some(PipelineLayer::new(self.clone()))
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;
    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit {
            inner,
            shared: self.0.clone(),
        }
    }
}

/// The service of [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: Inner> Service<Request> for RateLimit<S> {
    type Response = Response;
    type Error = BoxError;
    type Future = Limited<S::Fut>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request) -> Limited<S::Fut> {
        let ctx = Exchange::ensure(&mut req);
        let key = self.shared.keys.of(&ctx, req.headers());
        let verdict = self.shared.buckets.take(key);
        let state = if verdict.allowed() {
            State::Allowed {
                inner: self.inner.call(req),
                shared: self.shared.clone(),
                verdict,
            }
        } else {
            State::Refused {
                error: Some(self.shared.refusal(verdict).into()),
            }
        };
        Limited { state }
    }
}

pin_project! {
    /// The future of [`RateLimit`].
    pub struct Limited<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = Project]
    enum State<F> {
        Allowed { #[pin] inner: F, shared: Arc<Shared>, verdict: Verdict },
        Refused { error: Option<BoxError> },
    }
}

impl<F, T, E> Future for Limited<F>
where
    F: Future<Output = Result<T, E>>,
    T: IntoResponse,
    E: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Project::Allowed {
                inner,
                shared,
                verdict,
            } => {
                let mut response = ready!(inner.poll(cx)).map_err(Into::into)?.into_response();
                let told = response.headers_mut();
                shared.tell(*verdict, |name, value| {
                    told.append(name, value);
                });
                Poll::Ready(Ok(response))
            }
            Project::Refused { error } => {
                Poll::Ready(Err(error.take().expect("polled once after it is ready")))
            }
        }
    }
}

impl Shared {
    fn refusal(&self, verdict: Verdict) -> Error {
        let wait = seconds(verdict.wait.unwrap_or_default());
        let detail = format!(
            "the limit of {} requests in {} is reached: try again in {wait} s",
            self.limit, self.window
        );
        let mut error = Error::new(ErrorKind::RateLimited)
            .with_status(self.status)
            .with_detail(detail)
            .with_header(header::RETRY_AFTER, wait.into());
        let mut told = HeaderMap::new();
        self.tell(verdict, |name, value| {
            told.insert(name, value);
        });
        for (name, value) in &told {
            error = error.with_header(name.clone(), value.clone());
        }
        error
    }

    /// The headers of draft-ietf-httpapi-ratelimit-headers. They are lists: limits further out add their own.
    fn tell(&self, verdict: Verdict, mut header: impl FnMut(HeaderName, HeaderValue)) {
        const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
        const STATE: HeaderName = HeaderName::from_static("ratelimit");
        let (word, full) = (self.keys.by().word(), seconds(verdict.full));
        let state = format!("\"{word}\";r={};t={full}", verdict.remaining);
        header(POLICY, self.policy.clone());
        if let Ok(state) = HeaderValue::try_from(state) {
            header(STATE, state);
        }
        if self.legacy {
            let legacy = [
                ("ratelimit-limit", u64::from(self.limit)),
                ("ratelimit-remaining", verdict.remaining),
                ("ratelimit-reset", full),
            ];
            for (name, value) in legacy {
                header(HeaderName::from_static(name), value.into());
            }
        }
    }
}

/// The value of `RateLimit-Policy`; a window that is no whole number of seconds cannot be said there.
fn policy(config: &RateLimitConfig) -> HeaderValue {
    let (word, quota) = (config.by.word(), config.limit);
    let window = match (config.window.as_secs(), config.window.subsec_nanos()) {
        (seconds, 0) => format!(";w={seconds}"),
        _ => String::new(),
    };
    HeaderValue::try_from(format!("\"{word}\";q={quota}{window}"))
        .expect("a word, two numbers and their punctuation are visible ASCII")
}

/// Whole seconds, rounded up: who waits that long has waited long enough.
fn seconds(span: std::time::Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
