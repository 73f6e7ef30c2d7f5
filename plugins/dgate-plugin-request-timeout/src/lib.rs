//! `request-timeout`: the head of the response is there in time.
//!
//! It is [`TimeoutLayer`] of `dgate-core` under a name. tower-http's timeout answers by itself, so that no error
//! handler would see it.
//!
//! ```
//! use dgate_core::{Body, Error, Pipeline, Request, Response};
//! use dgate_plugin_request_timeout::{RequestTimeoutConfig, RequestTimeoutLayer};
//! use std::time::Duration;
//! use tower::{ServiceExt, service_fn};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let slow = service_fn(|_: Request| async {
//!     tokio::time::sleep(Duration::from_secs(5)).await;
//!     Ok::<_, dgate_core::BoxError>(Response::new(Body::empty()))
//! });
//! let config = RequestTimeoutConfig::new(Duration::from_secs(1));
//! let stack = Pipeline::builder().layer(RequestTimeoutLayer::new(config).unwrap()).service(slow);
//! let error = stack.oneshot(http::Request::new(Body::empty())).await.unwrap_err();
//! assert_eq!(Error::classify(error).status(), 504);
//! # }
//! ```

use dgate_core::layer::{Timeout, TimeoutLayer};
use dgate_core::units::Duration;
use dgate_core::{BoxError, FieldError, PipelineLayer, Plugin, Setup, plugin};
use schemars::JsonSchema;
use serde::Deserialize;
use tower_layer::Layer;

/// Fails with 504 `upstream_timeout` when the head of the response is not there in time.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestTimeoutConfig {
    /// From the moment the request comes to this plugin to the head of its response, with all that is between: plugins
    /// listed later, modules, queues, every attempt at the upstream. A body that streams is never cut.
    pub timeout: Duration,
}

impl RequestTimeoutConfig {
    /// At most this long.
    pub fn new(timeout: std::time::Duration) -> Self {
        Self {
            timeout: timeout.into(),
        }
    }
}

/// The time limit as a layer, and as the plugin `request-timeout`.
#[derive(Clone, Copy, Debug)]
pub struct RequestTimeoutLayer(TimeoutLayer);

impl RequestTimeoutLayer {
    /// A layer with this time limit.
    ///
    /// # Errors
    /// A limit of no time, which no request could keep.
    pub fn new(config: RequestTimeoutConfig) -> Result<Self, FieldError> {
        if config.timeout.is_zero() {
            return Err(FieldError::new(
                "/timeout",
                "the timeout must be longer than 0s",
            ));
        }
        Ok(Self(TimeoutLayer::deadline(config.timeout.get())))
    }
}

#[plugin]
impl Plugin for RequestTimeoutLayer {
    const NAME: &'static str = "request-timeout";
    type Config = RequestTimeoutConfig;

    fn new(config: RequestTimeoutConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self::new(config)?)
    }

    fn layer(&self) -> Option<PipelineLayer> {
        Some(PipelineLayer::new(*self))
    }
}

impl<S> Layer<S> for RequestTimeoutLayer {
    type Service = Timeout<S>;
    fn layer(&self, inner: S) -> Timeout<S> {
        self.0.layer(inner)
    }
}
