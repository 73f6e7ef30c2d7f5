//! `response_modifier`: after a response arrived, on the answer that will be sent. An error handler's
//! answer passes none.
//!
//! ```
//! use dgate_core::{Body, Exchange, Flow, Pipeline, Response, hook::ResponseModifierLayer};
//! use tower::ServiceExt;
//! async fn created(_: Exchange, mut res: Response) -> Flow<Response> {
//!     *res.status_mut() = http::StatusCode::CREATED;
//!     Ok(res)
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let stack = Pipeline::builder()
//!     .layer(ResponseModifierLayer::from_fn(created))
//!     .service(Pipeline::handler(|_: Exchange| async { "ok" }));
//! assert_eq!(stack.oneshot(http::Request::new(Body::empty())).await.unwrap().status(), 201);
//! # }
//! ```

use super::{Flow, Hooks, Interrupt, call, hook_layer, is_error_answer};
use crate::body::{BoxError, Request, Response};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::pipeline::Inner;
use std::future::Future;
use std::sync::Arc;

hook_layer! {
    /// Runs one `response_modifier` on what comes from inside.
    ResponseModifierLayer,
    /// The service of [`ResponseModifierLayer`].
    ResponseModifier,
    run
}

impl ResponseModifierLayer {
    /// The hook as a function.
    pub fn from_fn<F, Fut>(hook: F) -> Self
    where
        F: Fn(Exchange, Response) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Flow<Response>> + Send + 'static,
    {
        Self::new(super::from_fn::ResponseModifierFn(hook))
    }
}

async fn run<S: Inner>(
    hooks: Arc<dyn Hooks>,
    mut inner: S,
    mut req: Request,
) -> Result<Response, BoxError> {
    let ctx = Exchange::ensure(&mut req);
    let res = call(&mut inner, req).await?;
    modify(&*hooks, &ctx, res).await
}

/// The hook itself.
pub(super) async fn modify(
    hooks: &dyn Hooks,
    ctx: &Exchange,
    res: Response,
) -> Result<Response, BoxError> {
    if is_error_answer(&res) {
        return Ok(res);
    }
    match hooks.response_modifier(ctx, res).await {
        Ok(response) => Ok(response),
        Err(Interrupt::Reply(response)) => Ok(*response),
        Err(Interrupt::Fail(error)) => {
            Err(Error::module(error, hooks.name(), "response_modifier").into())
        }
    }
}
