//! A deadline for everything inside, up to the response head. A body that streams is never cut.

use crate::body::{BoxError, Request};
use crate::error::{Error, ErrorKind};
use crate::pipeline::Inner;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower_layer::Layer;
use tower_service::Service;

/// Fails with [`ErrorKind::UpstreamTimeout`] (504) when the head of the response is not there in time.
///
/// ```
/// use dgate_core::{Body, Pipeline, layer::TimeoutLayer};
/// use std::time::Duration;
/// use tower::{ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let slow = service_fn(|_: dgate_core::Request| async {
///     tokio::time::sleep(Duration::from_secs(5)).await;
///     Ok::<_, dgate_core::BoxError>(dgate_core::Response::new(Body::empty()))
/// });
/// let stack = Pipeline::builder().layer(TimeoutLayer::deadline(Duration::from_secs(1))).service(slow);
/// let error = stack.oneshot(http::Request::new(Body::empty())).await.unwrap_err();
/// assert_eq!(dgate_core::Error::classify(error).code(), "upstream_timeout");
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer(Duration);

impl TimeoutLayer {
    /// At most this long from the call to the response head.
    pub fn deadline(limit: Duration) -> Self {
        Self(limit)
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;
    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout {
            inner,
            limit: self.0,
        }
    }
}

/// The service of [`TimeoutLayer`].
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    inner: S,
    limit: Duration,
}

impl<S: Inner> Service<Request> for Timeout<S> {
    type Response = S::Res;
    type Error = BoxError;
    type Future = Deadline<S::Fut>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request) -> Self::Future {
        Deadline {
            inner: self.inner.call(req),
            sleep: tokio::time::sleep(self.limit),
            limit: self.limit,
        }
    }
}

pin_project! {
    /// The future of [`Timeout`].
    pub struct Deadline<F> {
        #[pin]
        inner: F,
        #[pin]
        sleep: tokio::time::Sleep,
        limit: Duration,
    }
}

impl<F, T, E> Future for Deadline<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.inner.poll(cx) {
            return Poll::Ready(result.map_err(Into::into));
        }
        this.sleep
            .poll(cx)
            .map(|()| Err(passed(*this.limit).into()))
    }
}

/// The error of a deadline that passed.
pub(crate) fn passed(limit: Duration) -> Error {
    Error::new(ErrorKind::UpstreamTimeout).with_cause(format!("no response head within {limit:?}"))
}
