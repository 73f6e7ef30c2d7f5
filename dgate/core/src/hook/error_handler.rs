//! `error_handler`: an answer when there is no response, because of a network failure, a timeout, an open
//! breaker, a limit or a failed hook. Retries are over by then.
//!
//! ```
//! use dgate_core::{Body, Error, ErrorKind, Exchange, Pipeline, Request, Response, hook::ErrorHandlerLayer};
//! use tower::{ServiceExt, service_fn};
//! async fn friendly(_: Exchange, error: Error) -> Result<Response, Error> {
//!     Ok(Response::new(Body::from(format!("sorry: {}", error.code()))))
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let down = service_fn(|_: Request| async { Err::<Response, _>(Error::new(ErrorKind::UpstreamConnect)) });
//! let stack = Pipeline::builder().layer(ErrorHandlerLayer::from_fn(friendly)).service(down);
//! assert_eq!(stack.oneshot(http::Request::new(Body::empty())).await.unwrap().status(), 200);
//! # }
//! ```

use super::{ErrorAnswer, Hooks, call, hook_layer};
use crate::body::{BoxError, Request, Response};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::pipeline::Inner;
use std::future::Future;
use std::sync::Arc;

hook_layer! {
    /// Asks one `error_handler` for what fails inside.
    ErrorHandlerLayer,
    /// The service of [`ErrorHandlerLayer`].
    ErrorHandler,
    run
}

impl ErrorHandlerLayer {
    /// The hook as a function.
    pub fn from_fn<F, Fut>(hook: F) -> Self
    where
        F: Fn(Exchange, Error) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Error>> + Send + 'static,
    {
        Self::new(super::from_fn::ErrorHandlerFn(hook))
    }
}

async fn run<S: Inner>(
    hooks: Arc<dyn Hooks>,
    mut inner: S,
    mut req: Request,
) -> Result<Response, BoxError> {
    let ctx = Exchange::ensure(&mut req);
    match call(&mut inner, req).await {
        Ok(response) => Ok(response),
        Err(error) => handle(&*hooks, &ctx, error).await,
    }
}

/// The hook itself: its answer is marked, so that response modifiers leave it alone.
pub(super) async fn handle(
    hooks: &dyn Hooks,
    ctx: &Exchange,
    error: BoxError,
) -> Result<Response, BoxError> {
    let mut response = hooks.error_handler(ctx, Error::classify(error)).await?;
    response.extensions_mut().insert(ErrorAnswer);
    Ok(response)
}
