//! A module or a plugin as one layer: all its hooks in their places.
//!
//! The two modifiers and the error handler run here. `request_handler` and `fetch_upstream` are recorded on
//! the exchange and asked where the stack ends, so that the modifiers of modules further in come first.

use super::{HookSet, Hooks, call, error_handler, record, request_modifier, response_modifier};
use crate::body::{BoxError, BoxFuture, Request, Response};
use crate::exchange::Exchange;
use crate::pipeline::Inner;
use crate::plugin::{Plugin, PluginHooks};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// The layer of an `Arc<dyn Hooks>`; a hook that is absent costs nothing.
///
/// ```
/// use dgate_core::{Body, Exchange, Flow, Hooks, HookSet, ModuleLayer, Pipeline, Response};
/// use tower::ServiceExt;
/// struct Stamp;
/// #[async_trait::async_trait]
/// impl Hooks for Stamp {
///     fn points(&self) -> HookSet { HookSet::RESPONSE_MODIFIER }
///     async fn response_modifier(&self, _: &Exchange, mut res: Response) -> Flow<Response> {
///         res.headers_mut().insert("x-stamp", "1".parse()?);
///         Ok(res)
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let stack = Pipeline::builder()
///     .layer(ModuleLayer::new(Stamp))
///     .service(Pipeline::handler(|_: Exchange| async { "ok" }));
/// let response = stack.oneshot(http::Request::new(Body::empty())).await.unwrap();
/// assert_eq!(response.headers()["x-stamp"], "1");
/// # }
/// ```
#[derive(Clone)]
pub struct ModuleLayer(Arc<dyn Hooks>);

impl ModuleLayer {
    /// A layer of hooks.
    pub fn new(hooks: impl Hooks) -> Self {
        Self(Arc::new(hooks))
    }

    /// A layer of hooks that are shared already.
    pub fn shared(hooks: Arc<dyn Hooks>) -> Self {
        Self(hooks)
    }

    /// A layer of a native plugin. A layer of the plugin's own ([`Plugin::layer`]) is not in it.
    pub fn plugin<P: Plugin>(plugin: P) -> Self {
        Self(Arc::new(PluginHooks(plugin)))
    }
}

impl<S> Layer<S> for ModuleLayer {
    type Service = Module<S>;
    fn layer(&self, inner: S) -> Module<S> {
        Module {
            inner,
            hooks: self.0.clone(),
            points: self.0.points(),
        }
    }
}

/// The service of [`ModuleLayer`].
#[derive(Clone)]
pub struct Module<S> {
    inner: S,
    hooks: Arc<dyn Hooks>,
    points: HookSet,
}

impl<S: Inner> Service<Request> for Module<S> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let (hooks, points) = (self.hooks.clone(), self.points);
        Box::pin(async move {
            let ctx = Exchange::ensure(&mut req);
            match run(&hooks, points, &ctx, &mut inner, req).await {
                Err(error) if points.contains(HookSet::ERROR_HANDLER) => {
                    error_handler::handle(&*hooks, &ctx, error).await
                }
                result => result,
            }
        })
    }
}

/// Everything but the module's own error handler, which sees what fails in here.
async fn run<S: Inner>(
    hooks: &Arc<dyn Hooks>,
    points: HookSet,
    ctx: &Exchange,
    inner: &mut S,
    mut req: Request,
) -> Result<Response, BoxError> {
    if points.contains(HookSet::REQUEST_MODIFIER) {
        match request_modifier::modify(&**hooks, ctx, req).await? {
            Ok(modified) => req = modified,
            // A reply passes the response modifiers further out, not this module's own.
            Err(response) => return Ok(response),
        }
    }
    if points.contains(HookSet::REQUEST_HANDLER) || points.contains(HookSet::FETCH_UPSTREAM) {
        record(ctx, hooks);
    }
    let response = call(inner, req).await?;
    if points.contains(HookSet::RESPONSE_MODIFIER) {
        return response_modifier::modify(&**hooks, ctx, response).await;
    }
    Ok(response)
}

impl std::fmt::Debug for ModuleLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModuleLayer({})", self.0.name())
    }
}
