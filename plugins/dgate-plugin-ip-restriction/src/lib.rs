//! `ip-restriction`: only clients of some networks, or all but those of some.
//!
//! ```
//! use dgate_core::{Body, Error, Exchange, Pipeline, exchange::Client};
//! use dgate_plugin_ip_restriction::{IpRestrictionConfig, IpRestrictionLayer};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dgate_core::BoxError> {
//! let internal = IpRestrictionConfig::default().allow(["10.0.0.0/8".parse()?]);
//! let stack = Pipeline::builder()
//!     .layer(IpRestrictionLayer::new(internal)?)
//!     .service(Pipeline::handler(|_: Exchange| async { "ok" }));
//! let mut request = http::Request::new(Body::empty());
//! let mut client = Client::default();
//! client.ip = Some("192.0.2.1".parse()?);
//! Exchange::new(client).attach(&mut request);
//! let error = stack.oneshot(request).await.unwrap_err();
//! assert_eq!(Error::classify(error).status(), 403);
//! # Ok(()) }
//! ```

mod network;

pub use network::{Network, NetworkError};

use dgate_core::{
    BoxError, BoxFuture, Error, ErrorKind, Exchange, FieldError, Pipeline, PipelineLayer, Plugin,
    Request, Response, Setup, plugin,
};
use http::StatusCode;
use network::Addresses;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Lets clients of some networks through, or all but those of some, and refuses the others with 403 `forbidden`.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IpRestrictionConfig {
    /// Networks and single addresses that are let through. Empty means all that are not in `deny`.
    pub allow: Vec<Network>,
    /// Networks and single addresses that are refused, also when they are in `allow`.
    pub deny: Vec<Network>,
    /// The status of a refusal. Default 403.
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
}

impl Default for IpRestrictionConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            status: 403,
        }
    }
}

impl IpRestrictionConfig {
    /// Lets these through as well.
    pub fn allow(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.allow.extend(networks);
        self
    }

    /// Refuses these as well.
    pub fn deny(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.deny.extend(networks);
        self
    }
}

/// The restriction as a layer, and as the plugin `ip-restriction`.
#[derive(Clone, Debug)]
pub struct IpRestrictionLayer(Arc<Restriction>);

#[derive(Debug)]
struct Restriction {
    allow: Addresses,
    deny: Addresses,
    status: StatusCode,
}

impl IpRestrictionLayer {
    /// A layer with this restriction.
    ///
    /// # Errors
    /// Nothing in `allow` and `deny`, or a status that is none of a refusal.
    pub fn new(config: IpRestrictionConfig) -> Result<Self, FieldError> {
        if config.allow.is_empty() && config.deny.is_empty() {
            let text = "nothing is restricted: list networks in `allow` or `deny`";
            return Err(FieldError::new("", text));
        }
        let status = StatusCode::from_u16(config.status)
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
            .ok_or_else(|| FieldError::new("/status", "expected a status from 400 to 599"))?;
        Ok(Self(Arc::new(Restriction {
            allow: Addresses::of(&config.allow),
            deny: Addresses::of(&config.deny),
            status,
        })))
    }
}

impl Restriction {
    /// Without an address no one is let through: embedded without `ConnectInfo` there is none.
    fn lets(&self, ip: Option<IpAddr>) -> bool {
        ip.is_some_and(|ip| {
            !self.deny.contain(ip) && (self.allow.is_empty() || self.allow.contain(ip))
        })
    }
}

#[plugin]
impl Plugin for IpRestrictionLayer {
    const NAME: &'static str = "ip-restriction";
    type Config = IpRestrictionConfig;

    fn new(config: IpRestrictionConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self::new(config)?)
    }

    fn layer(&self) -> Option<PipelineLayer> {
        Some(PipelineLayer::new(self.clone()))
    }
}

impl Layer<Pipeline> for IpRestrictionLayer {
    type Service = IpRestriction<Pipeline>;
    fn layer(&self, inner: Pipeline) -> Self::Service {
        IpRestriction {
            inner,
            restriction: self.0.clone(),
        }
    }
}

/// The service of [`IpRestrictionLayer`].
#[derive(Clone, Debug)]
pub struct IpRestriction<S> {
    inner: S,
    restriction: Arc<Restriction>,
}

impl Service<Request> for IpRestriction<Pipeline> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // a pipeline always is
    }

    fn call(&mut self, req: Request) -> Self::Future {
        let ip = Exchange::of(&req).and_then(Exchange::client_ip);
        if self.restriction.lets(ip) {
            return self.inner.answer(req);
        }
        let error = Error::new(ErrorKind::Forbidden)
            .with_status(self.restriction.status)
            .with_detail("requests from this address are not allowed");
        Box::pin(std::future::ready(Err(error.into())))
    }
}
