//! `request_handler`: answers instead of an upstream.
//!
//! ```
//! use dgate_core::{Body, Error, ErrorKind, Exchange, Flow, Pipeline, Request, Response, hook::RequestHandlerLayer};
//! use tower::{ServiceExt, service_fn};
//! async fn teapot(_: Exchange, _: Request) -> Flow<Response> {
//!     let mut res = Response::new(Body::from("short and stout"));
//!     *res.status_mut() = http::StatusCode::IM_A_TEAPOT;
//!     Ok(res)
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let never = service_fn(|_: Request| async { Err::<Response, _>(Error::new(ErrorKind::Internal)) });
//! let stack = Pipeline::builder().layer(RequestHandlerLayer::from_fn(teapot)).service(never);
//! assert_eq!(stack.oneshot(http::Request::new(Body::empty())).await.unwrap().status(), 418);
//! # }
//! ```

use super::{Flow, Hooks, hook_layer};
use crate::body::{BoxError, BoxFuture, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::exchange::Exchange;
use crate::pipeline::{Answer, Inner};
use std::future::Future;
use std::sync::Arc;

hook_layer! {
    /// Answers with one `request_handler`; nothing inside runs.
    RequestHandlerLayer,
    /// The service of [`RequestHandlerLayer`].
    RequestHandler,
    run
}

impl RequestHandlerLayer {
    /// The hook as a function.
    pub fn from_fn<F, Fut>(hook: F) -> Self
    where
        F: Fn(Exchange, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Flow<Response>> + Send + 'static,
    {
        Self::new(super::from_fn::RequestHandlerFn(hook))
    }
}

async fn run<S: Inner>(
    hooks: Arc<dyn Hooks>,
    _inner: S,
    mut req: Request,
) -> Result<Response, BoxError> {
    let ctx = Exchange::ensure(&mut req);
    Ok(super::handle(&*hooks, &ctx, req).await?)
}

/// The end of a stack without an upstream: asks the request handlers that modules further out recorded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handlers;

impl Answer for Handlers {
    fn answer(&self, mut req: Request) -> BoxFuture<Result<Response, BoxError>> {
        Box::pin(async move {
            let ctx = Exchange::ensure(&mut req);
            match super::handler(&ctx) {
                Some(handler) => Ok(super::handle(&*handler, &ctx, req).await?),
                None => Err(Error::new(ErrorKind::Internal)
                    .with_cause("the route has neither a service nor a request handler")
                    .into()),
            }
        })
    }
}
