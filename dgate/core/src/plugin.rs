//! Native plugins: floor 3. A plugin is a type with a name, a typed configuration and some of the five
//! hooks, written as plain `async fn`s under `#[dgate::plugin]`.
//!
//! ```
//! use dgate_core::{BoxError, Exchange, Flow, Plugin, Request, Setup, plugin};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! pub struct TagConfig {
//!     /// The value of `X-Tag` on every request.
//!     tag: String,
//! }
//!
//! pub struct Tag(http::HeaderValue);
//!
//! #[plugin]
//! impl Plugin for Tag {
//!     const NAME: &'static str = "tag";
//!     type Config = TagConfig;
//!     fn new(config: TagConfig, _: &Setup) -> Result<Self, BoxError> {
//!         Ok(Self(config.tag.parse()?))
//!     }
//!     async fn request_modifier(&self, _ctx: &Exchange, mut req: Request) -> Flow<Request> {
//!         req.headers_mut().insert("x-tag", self.0.clone());
//!         Ok(req)
//!     }
//! }
//! assert_eq!(Tag::HOOKS.names().collect::<Vec<_>>(), ["request_modifier"]);
//! ```

use crate::body::{BoxError, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::exchange::Exchange;
use crate::hook::{Flow, HookSet, Hooks};
use crate::pipeline::PipelineLayer;
use crate::target::Target;
use async_trait::async_trait;
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::sync::Arc;

/// A native plugin. Put `#[dgate::plugin]` over the `impl`: it fills [`Plugin::HOOKS`] from the methods
/// that are there.
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The name in configurations: lower case with dashes.
    const NAME: &'static str;
    /// The hooks it implements; written by `#[dgate::plugin]`.
    const HOOKS: HookSet;
    /// Whether it looks for consumers: then [`RouteInfo::consumers`](crate::exchange::RouteInfo::consumers) has
    /// those of its namespace.
    const CONSUMERS: bool = false;
    /// Its configuration. `#[serde(deny_unknown_fields)]` belongs on it; its field docs are the manual.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes the plugin for one place in the configuration. An error refuses the whole change; a [`FieldError`]
    /// says at which field.
    fn new(config: Self::Config, setup: &Setup) -> Result<Self, BoxError>;

    /// The consumer that it counts on by name: a configuration without it is refused.
    fn consumer(&self) -> Option<&str> {
        None
    }

    /// See [`Hooks::fetch_upstream`].
    fn fetch_upstream(
        &self,
        _ctx: &Exchange,
        _head: &Parts,
    ) -> impl Future<Output = Flow<Option<Target>>> + Send {
        std::future::ready(Ok(None))
    }
    /// See [`Hooks::request_handler`].
    fn request_handler(
        &self,
        _ctx: &Exchange,
        _req: Request,
    ) -> impl Future<Output = Flow<Response>> + Send {
        std::future::ready(Err(Error::new(ErrorKind::Internal)
            .with_cause("no request handler")
            .into()))
    }
    /// See [`Hooks::request_modifier`].
    fn request_modifier(
        &self,
        _ctx: &Exchange,
        req: Request,
    ) -> impl Future<Output = Flow<Request>> + Send {
        std::future::ready(Ok(req))
    }
    /// See [`Hooks::response_modifier`].
    fn response_modifier(
        &self,
        _ctx: &Exchange,
        res: Response,
    ) -> impl Future<Output = Flow<Response>> + Send {
        std::future::ready(Ok(res))
    }
    /// See [`Hooks::error_handler`].
    fn error_handler(
        &self,
        _ctx: &Exchange,
        err: Error,
    ) -> impl Future<Output = Result<Response, Error>> + Send {
        std::future::ready(Err(err))
    }

    /// A tower layer of the plugin's own, outside its hooks: for what wraps a call as a whole.
    fn layer(&self) -> Option<PipelineLayer> {
        None
    }
}

/// Where a plugin is being set up.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The namespace; empty for a global plugin.
    pub namespace: String,
    /// The route or service whose plugin it is, as `route/name`; empty for a namespace's or a global one.
    pub place: String,
}

impl Setup {
    /// A setup for a place in a namespace.
    pub fn new(namespace: impl Into<String>, place: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            place: place.into(),
        }
    }
}

/// What is wrong with one field of a configuration, said by [`Plugin::new`]: for what a schema cannot say.
///
/// ```
/// use dgate_core::FieldError;
/// let error = FieldError::new("/allow/0", "`10.0.0.0/99` is no network");
/// assert_eq!(error.pointer(), "/allow/0");
/// assert_eq!(error.to_string(), "`10.0.0.0/99` is no network");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct FieldError {
    pointer: String,
    detail: String,
}

impl FieldError {
    /// An error at a JSON pointer (RFC 6901) inside the plugin's configuration: `/field`, `/list/0`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }

    /// Where it is.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }
}

/// A plugin as hooks.
pub(crate) struct PluginHooks<P>(pub(crate) P);

#[async_trait]
impl<P: Plugin> Hooks for PluginHooks<P> {
    fn points(&self) -> HookSet {
        P::HOOKS
    }
    fn name(&self) -> &str {
        P::NAME
    }
    async fn fetch_upstream(&self, ctx: &Exchange, head: &Parts) -> Flow<Option<Target>> {
        self.0.fetch_upstream(ctx, head).await
    }
    async fn request_handler(&self, ctx: &Exchange, req: Request) -> Flow<Response> {
        self.0.request_handler(ctx, req).await
    }
    async fn request_modifier(&self, ctx: &Exchange, req: Request) -> Flow<Request> {
        self.0.request_modifier(ctx, req).await
    }
    async fn response_modifier(&self, ctx: &Exchange, res: Response) -> Flow<Response> {
        self.0.response_modifier(ctx, res).await
    }
    async fn error_handler(&self, ctx: &Exchange, err: Error) -> Result<Response, Error> {
        self.0.error_handler(ctx, err).await
    }
}

/// A plugin made ready for one place: its hooks, and its own layer.
#[derive(Clone)]
pub struct Plugged {
    /// The hooks.
    pub hooks: Arc<dyn Hooks>,
    /// The layer of its own.
    pub layer: Option<PipelineLayer>,
    /// The consumer that it counts on by name.
    pub consumer: Option<Arc<str>>,
}

impl Plugged {
    /// Makes a plugin ready.
    pub fn new<P: Plugin>(plugin: P) -> Self {
        let layer = plugin.layer();
        let consumer = plugin.consumer().map(Into::into);
        Self {
            hooks: Arc::new(PluginHooks(plugin)),
            layer,
            consumer,
        }
    }
}
