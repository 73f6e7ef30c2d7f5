//! Bounds how many requests are under way at once, with a bounded queue before it: a limit, a queue, a deadline
//! and a load shed in one layer.
//!
//! A request is under way until the body of its answer has ended, or was dropped. After an upgrade (101) it is over.

use crate::body::{Body, BoxError, BoxFuture, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::pipeline::Inner;
use crate::units::Duration;
use axum_core::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::{Frame, SizeHint};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_layer::Layer;
use tower_service::Service;

/// A bound on requests under way. Over it: 503 `overloaded` with `Retry-After`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxInflightConfig {
    /// Requests under way at once, until the body of their answer has ended.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: u32,
    /// Requests that may wait for a place. Default 0: none waits.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub queue: u32,
    /// The longest that one waits. Default 1s: a client that waits longer has often gone already.
    #[serde(default = "default_queue_timeout")]
    pub queue_timeout: Duration,
}

fn default_queue_timeout() -> Duration {
    Duration::from_secs(1)
}

impl MaxInflightConfig {
    /// At most this many at once; none waits.
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            queue: 0,
            queue_timeout: default_queue_timeout(),
        }
    }
    /// Lets this many wait for a place, each at most so long.
    pub fn queue(mut self, places: u32, longest: std::time::Duration) -> Self {
        self.queue = places;
        self.queue_timeout = longest.into();
        self
    }
}

/// The places of one limit, shared by all that are counted together.
#[derive(Debug)]
pub struct Inflight {
    config: MaxInflightConfig,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    _place: OwnedSemaphorePermit,
}

impl Inflight {
    /// All places are free.
    pub fn new(config: MaxInflightConfig) -> Self {
        Self {
            places: Arc::new(Semaphore::new(config.limit as usize)),
            waiting: AtomicUsize::new(0),
            config,
        }
    }

    /// What it was told.
    pub fn config(&self) -> &MaxInflightConfig {
        &self.config
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        (self.config.limit as usize).saturating_sub(self.places.available_permits())
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// A place, after those who came before.
    ///
    /// # Errors
    /// [`ErrorKind::Overloaded`]: neither a place nor one in the queue is free, or none was in time.
    pub async fn enter(&self) -> Result<Place, Error> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(Place { _place: place });
        }
        let _waits = Waits::new(&self.waiting, self.config.queue).ok_or_else(overloaded)?;
        let place = self.places.clone().acquire_owned();
        match tokio::time::timeout(self.config.queue_timeout.get(), place).await {
            Ok(Ok(place)) => Ok(Place { _place: place }),
            _ => Err(overloaded()),
        }
    }
}

/// A place in the queue.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize, places: u32) -> Option<Self> {
        let more = |n| (n < places as usize).then_some(n + 1);
        let taken = waiting.fetch_update(Relaxed, Relaxed, more);
        taken.is_ok().then(|| Self(waiting))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Places come free at any moment: a second is the shortest that the header can say.
fn overloaded() -> Error {
    Error::new(ErrorKind::Overloaded)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Makes the body of a response keep `guard` until it has ended.
pub fn hold<G: Send + Unpin + 'static>(response: &mut Response, guard: G) {
    use http_body::Body as _;
    if response.body().is_end_stream() {
        return;
    }
    let body = std::mem::replace(response.body_mut(), Body::empty());
    let guard = Some(guard);
    *response.body_mut() = Body::new(Held { body, guard });
}

struct Held<G> {
    body: Body,
    guard: Option<G>,
}

impl<G: Send + Unpin + 'static> http_body::Body for Held<G> {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(&frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.guard = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Builds [`MaxInflight`]. One layer has one limit, shared by all its clones.
///
/// ```
/// use dgate_core::{Body, Error, Pipeline, layer::{MaxInflightConfig, MaxInflightLayer}};
/// use tower::{ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let slow = service_fn(|_: dgate_core::Request| async {
///     tokio::time::sleep(std::time::Duration::from_secs(1)).await;
///     Ok::<_, dgate_core::BoxError>(dgate_core::Response::new(Body::empty()))
/// });
/// let stack = Pipeline::builder().layer(MaxInflightLayer::new(MaxInflightConfig::new(1))).service(slow);
/// let call = || stack.clone().oneshot(http::Request::new(Body::empty()));
/// let (first, second) = tokio::join!(call(), call());
/// assert_eq!(first.unwrap().status(), 200);
/// assert_eq!(Error::classify(second.unwrap_err()).code(), "overloaded");
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MaxInflightLayer(Arc<Inflight>);

impl MaxInflightLayer {
    /// A layer with a limit of its own.
    pub fn new(config: MaxInflightConfig) -> Self {
        Self::shared(Arc::new(Inflight::new(config)))
    }

    /// A layer over a limit that others use too.
    pub fn shared(limit: Arc<Inflight>) -> Self {
        Self(limit)
    }
}

impl<S> Layer<S> for MaxInflightLayer {
    type Service = MaxInflight<S>;
    fn layer(&self, inner: S) -> MaxInflight<S> {
        MaxInflight {
            inner,
            limit: self.0.clone(),
        }
    }
}

/// The service of [`MaxInflightLayer`].
#[derive(Clone, Debug)]
pub struct MaxInflight<S> {
    inner: S,
    limit: Arc<Inflight>,
}

impl<S: Inner> Service<Request> for MaxInflight<S> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request) -> Self::Future {
        let clone = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, clone);
        let limit = self.limit.clone();
        Box::pin(async move {
            let place = limit.enter().await?;
            let response = service.call(req).await.map_err(Into::into)?;
            let mut response = response.into_response();
            hold(&mut response, place);
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn limit(limit: u32, queue: u32) -> Arc<Inflight> {
        let config = MaxInflightConfig::new(limit).queue(queue, Duration::from_millis(200));
        Arc::new(Inflight::new(config))
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_next_place_and_who_comes_after_is_refused() {
        let limit = limit(1, 1);
        let first = limit.enter().await.expect("a place");
        let waiting = tokio::spawn({
            let limit = limit.clone();
            async move { limit.enter().await.map(drop) }
        });
        while limit.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let error = limit.enter().await.expect_err("the queue is full");
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert_eq!(error.headers().len(), 1);
        drop(first);
        waiting.await.expect("no panic").expect("a place");
        assert_eq!((limit.under_way(), limit.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_has_an_end_and_leaves_no_trace() {
        let limit = limit(1, 5);
        let held = limit.enter().await.expect("a place");
        let begun = tokio::time::Instant::now();
        assert!(limit.enter().await.is_err());
        assert_eq!(begun.elapsed(), Duration::from_millis(200));
        // A client that goes while it waits.
        let gone = tokio::time::timeout(Duration::from_millis(10), limit.enter()).await;
        assert!(gone.is_err());
        drop(held);
        assert_eq!((limit.under_way(), limit.waiting()), (0, 0));
        assert!(limit.enter().await.is_ok());
    }

    #[tokio::test]
    async fn a_place_is_taken_until_the_body_has_ended() {
        use http_body_util::BodyExt;
        let limit = limit(1, 0);
        let place = limit.enter().await.expect("a place");
        let mut response = Response::new(Body::from("text"));
        hold(&mut response, place);
        assert_eq!(limit.under_way(), 1);
        let mut body = response.into_body();
        body.frame().await.expect("a frame").expect("no error");
        assert_eq!(limit.under_way(), 0);
        let place = limit.enter().await.expect("a place");
        let mut response = Response::new(Body::from("text"));
        hold(&mut response, place);
        drop(response);
        assert_eq!(limit.under_way(), 0);
    }
}
