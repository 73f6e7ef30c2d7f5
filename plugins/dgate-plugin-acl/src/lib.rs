//! `acl`: only consumers of some groups, or all but those of some.
//!
//! It looks at whom an authentication plugin before it has recognised, so it is listed after that one.
//!
//! ```
//! use dgate_core::exchange::{Client, Identity};
//! use dgate_core::{Body, Error, Exchange, Pipeline};
//! use dgate_plugin_acl::{AclConfig, AclLayer};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dgate_core::BoxError> {
//! let stack = Pipeline::builder()
//!     .layer(AclLayer::new(AclConfig::default().allow(["staff"]))?)
//!     .service(Pipeline::handler(|_: Exchange| async { "ok" }));
//! let mut request = http::Request::new(Body::empty());
//! let (ctx, mut ann) = (Exchange::new(Client::default()), Identity::default());
//! ann.groups = vec!["guests".into()];
//! ctx.set_identity(ann);
//! ctx.attach(&mut request);
//! let error = stack.oneshot(request).await.unwrap_err();
//! assert_eq!(Error::classify(error).status(), 403);
//! # Ok(()) }
//! ```

use dgate_core::exchange::Identity;
use dgate_core::{
    BoxError, BoxFuture, Error, ErrorKind, Exchange, FieldError, Pipeline, PipelineLayer, Plugin,
    Request, Response, Setup, plugin,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Lets consumers of some groups through, or all but those of some, and refuses the others with 403 `forbidden`.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AclConfig {
    /// Groups that are let through: a consumer needs one of them. Empty means all that are not in `deny`.
    pub allow: Vec<String>,
    /// Groups that are refused, also when the consumer is in one of `allow`.
    pub deny: Vec<String>,
}

impl AclConfig {
    /// Lets these groups through as well.
    pub fn allow(mut self, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.allow.extend(groups.into_iter().map(Into::into));
        self
    }

    /// Refuses these groups as well.
    pub fn deny(mut self, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.deny.extend(groups.into_iter().map(Into::into));
        self
    }
}

/// The plugin `acl`, and the same as a layer.
#[derive(Clone, Debug)]
pub struct AclLayer(Arc<AclConfig>);

impl AclLayer {
    /// A layer with these groups.
    ///
    /// # Errors
    /// Nothing in `allow` and `deny`.
    pub fn new(config: AclConfig) -> Result<Self, FieldError> {
        if config.allow.is_empty() && config.deny.is_empty() {
            let text = "nothing is restricted: list groups in `allow` or `deny`";
            return Err(FieldError::new("", text));
        }
        Ok(Self(Arc::new(config)))
    }
}

/// Whether a consumer is let through. Lists of groups are short: looking through both beats hashing.
fn lets(config: &AclConfig, who: &Identity) -> bool {
    let among = |groups: &[String]| who.groups.iter().any(|group| groups.contains(group));
    !among(&config.deny) && (config.allow.is_empty() || among(&config.allow))
}

#[plugin]
impl Plugin for AclLayer {
    const NAME: &'static str = "acl";
    type Config = AclConfig;

    fn new(config: AclConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self::new(config)?)
    }

    fn layer(&self) -> Option<PipelineLayer> {
        Some(PipelineLayer::new(self.clone()))
    }
}

impl Layer<Pipeline> for AclLayer {
    type Service = Acl<Pipeline>;
    fn layer(&self, inner: Pipeline) -> Self::Service {
        Acl {
            inner,
            config: self.0.clone(),
        }
    }
}

/// The service of [`AclLayer`].
#[derive(Clone, Debug)]
pub struct Acl<S> {
    inner: S,
    config: Arc<AclConfig>,
}

impl Service<Request> for Acl<Pipeline> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // a pipeline always is
    }

    fn call(&mut self, req: Request) -> Self::Future {
        let error = match Exchange::of(&req).and_then(Exchange::identity) {
            Some(who) if lets(&self.config, who) => return self.inner.answer(req),
            Some(_) => Error::new(ErrorKind::Forbidden)
                .with_detail("the consumer is in no group that may have this"),
            // No challenge: this plugin takes no credentials, and none that does has let the request come here.
            None => {
                Error::new(ErrorKind::Unauthorized).with_detail("the request is of no consumer")
            }
        };
        Box::pin(std::future::ready(Err(error.into())))
    }
}
