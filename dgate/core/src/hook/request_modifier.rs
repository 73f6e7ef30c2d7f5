//! `request_modifier`: before the handler or the upstream, once a request.
//!
//! ```
//! use dgate_core::{Body, Exchange, Flow, Interrupt, Pipeline, Request, hook::RequestModifierLayer};
//! use tower::ServiceExt;
//! async fn no_robots(_: Exchange, req: Request) -> Flow<Request> {
//!     if req.headers().contains_key("x-robot") {
//!         return Err(Interrupt::reply((http::StatusCode::FORBIDDEN, "no robots")));
//!     }
//!     Ok(req)
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let stack = Pipeline::builder()
//!     .layer(RequestModifierLayer::from_fn(no_robots))
//!     .service(Pipeline::handler(|_: Exchange| async { "welcome" }));
//! let robot = http::Request::get("/").header("x-robot", "1").body(Body::empty()).unwrap();
//! assert_eq!(stack.oneshot(robot).await.unwrap().status(), 403);
//! # }
//! ```

use super::{Flow, Hooks, Interrupt, call, hook_layer};
use crate::body::{BoxError, Request, Response};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::pipeline::Inner;
use std::future::Future;
use std::sync::Arc;

hook_layer! {
    /// Runs one `request_modifier`; a reply skips everything inside.
    RequestModifierLayer,
    /// The service of [`RequestModifierLayer`].
    RequestModifier,
    run
}

impl RequestModifierLayer {
    /// The hook as a function.
    pub fn from_fn<F, Fut>(hook: F) -> Self
    where
        F: Fn(Exchange, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Flow<Request>> + Send + 'static,
    {
        Self::new(super::from_fn::RequestModifierFn(hook))
    }
}

async fn run<S: Inner>(
    hooks: Arc<dyn Hooks>,
    mut inner: S,
    mut req: Request,
) -> Result<Response, BoxError> {
    let ctx = Exchange::ensure(&mut req);
    match modify(&*hooks, &ctx, req).await? {
        Ok(req) => call(&mut inner, req).await,
        Err(response) => Ok(response),
    }
}

/// The hook itself: the request to go on with, or an answer. The exchange survives a replaced request.
pub(super) async fn modify(
    hooks: &dyn Hooks,
    ctx: &Exchange,
    req: Request,
) -> Result<Result<Request, Response>, BoxError> {
    match hooks.request_modifier(ctx, req).await {
        Ok(mut req) => {
            if Exchange::of(&req).is_none() {
                ctx.attach(&mut req);
            }
            Ok(Ok(req))
        }
        Err(Interrupt::Reply(response)) => Ok(Err(*response)),
        Err(Interrupt::Fail(error)) => {
            Err(Error::module(error, hooks.name(), "request_modifier").into())
        }
    }
}
