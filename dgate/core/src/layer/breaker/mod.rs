//! Stops asking what has been failing, for a while: a circuit breaker.
//!
//! Closed, it counts the calls of the last `window`. When enough of them failed, or were slow, it opens: calls fail
//! at once with [`ErrorKind::CircuitOpen`](crate::ErrorKind::CircuitOpen) (503). After `open_for` it lets
//! `half_open_requests` probes through. All succeed: it closes; one fails: it opens for twice as long.

mod config;
mod state;
mod window;

pub use config::{BreakerConfig, FallbackConfig, Scope};
pub use state::{Breaker, BreakerState, Permit};

pub(crate) use state::circuit_open;

use crate::body::{BoxError, BoxFuture, Request, Response};
use crate::error::Error;
use crate::pipeline::Inner;
use axum_core::response::IntoResponse;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Builds [`CircuitBreaker`]. One layer has one state, shared by all its clones. `scope` and `fallback` are for
/// services of a gateway: in a stack, an error handler outside answers.
///
/// ```
/// use dgate_core::{Body, Error, ErrorKind, Pipeline, layer::{BreakerConfig, CircuitBreakerLayer}};
/// use tower::{ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let broken = service_fn(|_: dgate_core::Request| async {
///     Err::<dgate_core::Response, _>(Error::new(ErrorKind::UpstreamConnect))
/// });
/// let layer = CircuitBreakerLayer::new(BreakerConfig::default().min_requests(2));
/// let stack = Pipeline::builder().layer(layer).service(broken);
/// let mut codes = Vec::new();
/// for _ in 0..3 {
///     let error = stack.clone().oneshot(http::Request::new(Body::empty())).await.unwrap_err();
///     codes.push(Error::classify(error).code());
/// }
/// assert_eq!(codes, ["upstream_connect_failed", "upstream_connect_failed", "circuit_open"]);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer(Arc<Breaker>);

impl CircuitBreakerLayer {
    /// A layer with a closed breaker of its own.
    pub fn new(config: BreakerConfig) -> Self {
        Self::shared(Arc::new(Breaker::new(config)))
    }

    /// A layer over a breaker that others use too.
    pub fn shared(breaker: Arc<Breaker>) -> Self {
        Self(breaker)
    }
}

impl<S> Layer<S> for CircuitBreakerLayer {
    type Service = CircuitBreaker<S>;
    fn layer(&self, inner: S) -> CircuitBreaker<S> {
        CircuitBreaker {
            inner,
            breaker: self.0.clone(),
        }
    }
}

/// The service of [`CircuitBreakerLayer`].
#[derive(Clone, Debug)]
pub struct CircuitBreaker<S> {
    inner: S,
    breaker: Arc<Breaker>,
}

impl<S: Inner> Service<Request> for CircuitBreaker<S> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request) -> Self::Future {
        let permit = match self.breaker.enter() {
            Ok(permit) => permit,
            Err(retry_in) => {
                return Box::pin(std::future::ready(Err(circuit_open(retry_in).into())));
            }
        };
        let call = self.inner.call(req);
        Box::pin(async move {
            let result = match call.await {
                Ok(response) => Ok(response.into_response()),
                Err(error) => Err(Error::classify(error.into())),
            };
            permit.end_with(result.as_ref().map(Response::status));
            Ok(result?)
        })
    }
}

#[cfg(test)]
mod tests;
