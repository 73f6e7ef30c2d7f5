//! `concurrency-limit`: at most so many requests of a key at a time.
//!
//! Not tower's `ConcurrencyLimit`: it queues without bound in `poll_ready`, which does not pass the seam of a
//! [`Pipeline`](dgate_core::Pipeline), and lets go at the head of the response, while its body still streams.
//!
//! ```
//! use dgate_core::{Body, Error, Exchange, Pipeline};
//! use dgate_plugin_concurrency_limit::{ConcurrencyLimitConfig, ConcurrencyLimitLayer};
//! use std::num::NonZeroU32;
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let config = ConcurrencyLimitConfig::new(NonZeroU32::MIN);
//! let stack = Pipeline::builder()
//!     .layer(ConcurrencyLimitLayer::new(config))
//!     .service(Pipeline::handler(|_: Exchange| async { "ok" }));
//! let request = || http::Request::new(Body::empty());
//! let first = stack.clone().oneshot(request()).await.unwrap(); // its body has not ended
//! let second = stack.clone().oneshot(request()).await.unwrap_err();
//! assert_eq!(Error::classify(second).status(), 503);
//! drop(first);
//! assert!(stack.oneshot(request()).await.is_ok());
//! # }
//! ```

mod slots;

use axum_core::response::IntoResponse;
use bytes::Bytes;
use dgate_core::pipeline::Inner;
use dgate_core::units::Duration;
use dgate_core::{
    Body, BoxError, BoxFuture, Error, ErrorKind, Exchange, Key, PipelineLayer, Plugin, Request,
    Response, Setup, plugin,
};
use http::{HeaderValue, header};
use http_body::{Body as _, Frame, SizeHint};
use schemars::JsonSchema;
use serde::Deserialize;
use slots::{Place, Slots};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// Lets at most so many requests of a key be in flight, and refuses the others with 503 `overloaded`.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyLimitConfig {
    /// Requests of a key that may be in flight, each until the body of its answer has ended.
    pub max_inflight: NonZeroU32,
    /// Requests of a key that may wait for one of these to end. Default 0.
    #[serde(default)]
    pub queue: u32,
    /// How long one waits. Default 1s.
    #[serde(default = "second")]
    pub queue_timeout: Duration,
    /// What is counted together: `global`, which is all that passes here, `client_ip` (of IPv6 the network of 64
    /// bits), `consumer`, `header:NAME` or `route`. Requests without the consumer or header count by their address.
    /// Default `global`.
    #[serde(default = "all")]
    pub by: Key,
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn all() -> Key {
    Key::Global
}

impl ConcurrencyLimitConfig {
    /// At most this many of all requests, without a queue.
    pub fn new(max_inflight: NonZeroU32) -> Self {
        Self {
            max_inflight,
            queue: 0,
            queue_timeout: second(),
            by: all(),
        }
    }

    /// Lets this many wait, each for so long.
    pub fn queue(mut self, queue: u32, timeout: std::time::Duration) -> Self {
        (self.queue, self.queue_timeout) = (queue, timeout.into());
        self
    }

    /// Counts by this.
    pub fn by(mut self, key: Key) -> Self {
        self.by = key;
        self
    }
}

/// The limit as a layer, and as the plugin `concurrency-limit`. Clones count together.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimitLayer(Arc<Slots>);

impl ConcurrencyLimitLayer {
    /// A limit with nothing in flight.
    pub fn new(config: ConcurrencyLimitConfig) -> Self {
        Self(Arc::new(Slots::new(
            config.by,
            config.max_inflight.get(),
            config.queue,
            config.queue_timeout.get(),
        )))
    }
}

#[plugin]
impl Plugin for ConcurrencyLimitLayer {
    const NAME: &'static str = "concurrency-limit";
    type Config = ConcurrencyLimitConfig;

    fn new(config: ConcurrencyLimitConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self::new(config))
    }

    fn layer(&self) -> Option<PipelineLayer> {
        Some(PipelineLayer::new(self.clone()))
    }
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimit<S>;
    fn layer(&self, inner: S) -> ConcurrencyLimit<S> {
        ConcurrencyLimit {
            inner,
            slots: self.0.clone(),
        }
    }
}

/// The service of [`ConcurrencyLimitLayer`].
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit<S> {
    inner: S,
    slots: Arc<Slots>,
}

impl<S: Inner> Service<Request> for ConcurrencyLimit<S> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let slots = self.slots.clone();
        Box::pin(async move {
            let ctx = Exchange::ensure(&mut req);
            let key = slots.keys.of(&ctx, req.headers());
            let place = match slots.visit(key).take() {
                Ok(place) => Some(place),
                Err(visit) => visit.wait().await,
            };
            let Some(place) = place else {
                return Err(refusal(&slots).into());
            };
            let answer = inner.call(req).await.map_err(Into::into)?;
            Ok(answer.into_response().map(|body| hold(body, place)))
        })
    }
}

fn refusal(slots: &Slots) -> Error {
    // When a place will be free is not known; a second is long for a request and short for a client.
    Error::new(ErrorKind::Overloaded)
        .with_detail(format!(
            "{} requests are in flight already, which is the limit",
            slots.places
        ))
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Keeps a place until a body has ended.
fn hold(body: Body, place: Place) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(Holding {
        body,
        place: Some(place),
    })
}

struct Holding {
    body: Body,
    place: Option<Place>,
}

impl http_body::Body for Holding {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(polled, Some(Ok(_))) || self.body.is_end_stream() {
            self.place = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
