//! `fetch_upstream`: where an attempt goes. Inside a [`RetryLayer`](crate::layer::RetryLayer) it is asked
//! again for each attempt; `ctx.attempt()` counts from 0.
//!
//! ```
//! use dgate_core::{Exchange, Flow, Target, hook::FetchUpstreamLayer};
//! use http::request::Parts;
//! async fn by_region(_: Exchange, head: Parts) -> Flow<Option<Target>> {
//!     let eu = head.headers.get("x-region").is_some_and(|r| r == "eu");
//!     Ok(if eu { Some("http://10.1.0.1:8080".parse()?) } else { None })
//! }
//! let layer = FetchUpstreamLayer::from_fn(by_region);
//! ```

use super::{Flow, Hooks, Interrupt, call, hook_layer};
use crate::body::{BoxError, Request, Response};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::pipeline::Inner;
use crate::target::Target;
use http::request::Parts;
use std::future::Future;
use std::sync::Arc;

hook_layer! {
    /// Chooses the target of the attempt that passes through.
    FetchUpstreamLayer,
    /// The service of [`FetchUpstreamLayer`].
    FetchUpstream,
    run
}

impl FetchUpstreamLayer {
    /// The hook as a function of the exchange and the request's head.
    pub fn from_fn<F, Fut>(hook: F) -> Self
    where
        F: Fn(Exchange, Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Flow<Option<Target>>> + Send + 'static,
    {
        Self::new(super::from_fn::FetchUpstreamFn(hook))
    }
}

async fn run<S: Inner>(
    hooks: Arc<dyn Hooks>,
    mut inner: S,
    mut req: Request,
) -> Result<Response, BoxError> {
    let ctx = Exchange::ensure(&mut req);
    let (head, body) = req.into_parts();
    match hooks.fetch_upstream(&ctx, &head).await {
        Ok(target) => {
            ctx.set_target(target);
            call(&mut inner, Request::from_parts(head, body)).await
        }
        Err(Interrupt::Reply(response)) => Ok(*response),
        Err(Interrupt::Fail(error)) => {
            Err(Error::module(error, hooks.name(), "fetch_upstream").into())
        }
    }
}
