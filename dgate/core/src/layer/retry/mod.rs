//! Tries again: [RFC 9110 §9.2.2](https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2) says for which methods.
//!
//! Whether a request can be sent again is decided before its body is touched. A connection that could not
//! be made is tried again for every method, since nothing was sent. A body is replayed from a buffer bounded
//! by `max_body`, filled only as the first attempt reads it; a larger one streams and is not retried.

mod lent;
mod policy;
mod replay;

pub use policy::{Budget, BudgetConfig, Condition, RetryConfig, RetryPolicy};

use crate::body::{Body, BoxError, BoxFuture, Request, Response};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::pipeline::Inner;
use axum_core::response::IntoResponse;
use http::Method;
use http_body::Body as _;
use lent::Lender;
use replay::Replay;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Builds [`Retry`]. One layer has one budget, shared by all its clones.
///
/// ```
/// use dgate_core::{Body, Error, ErrorKind, Pipeline, Request, Response, layer::{RetryConfig, RetryLayer}};
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
/// use tower::{ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let tries = Arc::new(AtomicU32::new(0));
/// let counted = tries.clone();
/// let flaky = service_fn(move |_: Request| {
///     let n = counted.fetch_add(1, Ordering::Relaxed);
///     async move { if n < 2 { Err(Error::new(ErrorKind::UpstreamConnect)) } else { Ok(Response::new(Body::empty())) } }
/// });
/// let stack = Pipeline::builder().layer(RetryLayer::new(RetryConfig::default().attempts(3))).service(flaky);
/// assert_eq!(stack.oneshot(Request::new(Body::empty())).await.unwrap().status(), 200);
/// assert_eq!(tries.load(Ordering::Relaxed), 3);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RetryLayer(Arc<RetryPolicy>);

impl RetryLayer {
    /// A layer with a budget of its own.
    pub fn new(config: RetryConfig) -> Self {
        Self(Arc::new(RetryPolicy::new(config)))
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;
    fn layer(&self, inner: S) -> Retry<S> {
        Retry {
            inner,
            policy: self.0.clone(),
        }
    }
}

/// The service of [`RetryLayer`].
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
    policy: Arc<RetryPolicy>,
}

impl<S: Inner> Service<Request> for Retry<S> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        let clone = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, clone);
        let policy = self.policy.clone();
        Box::pin(async move {
            let ctx = Exchange::ensure(&mut req);
            let (parts, body) = req.into_parts();
            let result = run(&policy, &ctx, &parts.method, body, |body| {
                let call = service.call(Request::from_parts(parts.clone(), body));
                async move {
                    match call.await {
                        Ok(response) => Ok(response.into_response()),
                        Err(error) => Err(Error::classify(error.into())),
                    }
                }
            });
            result.await.map_err(Into::into)
        })
    }
}

/// The loop itself: sends with `attempt` until an answer is good enough, or the policy says to stop.
/// The gateway's own upstream runs it without a box in between.
pub async fn run<F, Fut>(
    policy: &RetryPolicy,
    ctx: &Exchange,
    method: &Method,
    body: Body,
    mut attempt: F,
) -> Result<Response, Error>
where
    F: FnMut(Body) -> Fut,
    Fut: Future<Output = Result<Response, Error>>,
{
    policy.budget().deposit();
    let repeatable = policy.repeats(method);
    let mut source = Source::new(body, repeatable.then(|| policy.max_body()));
    let mut tries = 0;
    loop {
        ctx.set_attempt(tries);
        let result = attempt(source.body()).await;
        tries += 1;
        let again = match &result {
            Ok(response) => repeatable && policy.retries_status(response.status()),
            Err(error) if error.unsent() => policy.retries_connect(),
            Err(error) => repeatable && policy.retries_error(error),
        };
        if !again || tries > policy.attempts() || !source.whole() || !policy.budget().withdraw() {
            return result.map_err(|error| error.with_attempts(tries, None));
        }
        let wanted = result.as_ref().ok().and_then(policy::retry_after);
        let Some(pause) = policy.pause(tries, wanted) else {
            return result;
        };
        if let Some(route) = ctx.route() {
            route.metrics.retried();
        }
        tracing::debug!(
            exchange.id = ctx.id(),
            attempt = tries,
            status = result.as_ref().ok().map(|r| r.status().as_u16()),
            error.kind = result.as_ref().err().map(Error::code),
            "trying again"
        );
        drop(result);
        source.rewind();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Where the body of each attempt comes from.
enum Source {
    Empty,
    Replay(Replay),
    /// Sent again only when nothing of the request was sent.
    Lent(Lender),
}

impl Source {
    /// `limit` is that of a buffer, for a request that may be repeated.
    fn new(body: Body, limit: Option<u64>) -> Self {
        match limit {
            _ if body.is_end_stream() => Self::Empty,
            Some(limit) => Self::Replay(Replay::new(body, limit)),
            None => Self::Lent(Lender::new(body)),
        }
    }
    fn body(&mut self) -> Body {
        match self {
            Self::Empty => Body::empty(),
            Self::Replay(replay) => Body::new(replay.attempt()),
            Self::Lent(lender) => lender.lend(),
        }
    }
    /// Whether the next attempt can have the whole body.
    fn whole(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Replay(replay) => replay.whole(),
            Self::Lent(lender) => lender.whole(),
        }
    }
    /// Starts anew for the next attempt; whatever still reads for the last one is cut off.
    fn rewind(&mut self) {
        if let Self::Replay(replay) = self {
            replay.rewind();
        }
    }
}
