//! `request-size-limit`: request bodies have at most so many bytes.
//!
//! ```
//! use dgate_core::{Body, Error, Exchange, Pipeline, units::Size};
//! use dgate_plugin_request_size_limit::{RequestSizeLimitConfig, RequestSizeLimitLayer};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let stack = Pipeline::builder()
//!     .layer(RequestSizeLimitLayer::new(RequestSizeLimitConfig::new(Size::new(4))))
//!     .service(Pipeline::handler(|_: Exchange| async { "ok" }));
//! let error = stack.oneshot(http::Request::new(Body::from("12345"))).await.unwrap_err();
//! assert_eq!(Error::classify(error).status(), 413);
//! # }
//! ```

use dgate_core::layer::body_limit;
use dgate_core::units::Size;
use dgate_core::{
    BoxError, BoxFuture, Error, ErrorKind, Pipeline, PipelineLayer, Plugin, Request, Response,
    Setup, plugin,
};
use http::header;
use http_body::Body as _;
use schemars::JsonSchema;
use serde::Deserialize;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Refuses request bodies above a size with 413 `body_too_large`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestSizeLimitConfig {
    /// The most bytes that a body may have.
    pub max_body_bytes: Size,
    /// Refuses a body whose length is not declared in `Content-Length` with 411 `length_required`, before any of it
    /// is read. Default false.
    #[serde(default)]
    pub require_content_length: bool,
}

impl RequestSizeLimitConfig {
    /// At most this many bytes, declared or not.
    pub fn new(max_body_bytes: Size) -> Self {
        Self {
            max_body_bytes,
            require_content_length: false,
        }
    }
}

/// The limit as a layer, and as the plugin `request-size-limit`.
#[derive(Clone, Copy, Debug)]
pub struct RequestSizeLimitLayer(RequestSizeLimitConfig);

impl RequestSizeLimitLayer {
    /// A layer with this limit.
    pub fn new(config: RequestSizeLimitConfig) -> Self {
        Self(config)
    }
}

#[plugin]
impl Plugin for RequestSizeLimitLayer {
    const NAME: &'static str = "request-size-limit";
    type Config = RequestSizeLimitConfig;

    fn new(config: RequestSizeLimitConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self(config))
    }

    fn layer(&self) -> Option<PipelineLayer> {
        Some(PipelineLayer::new(*self))
    }
}

impl Layer<Pipeline> for RequestSizeLimitLayer {
    type Service = RequestSizeLimit<Pipeline>;
    fn layer(&self, inner: Pipeline) -> Self::Service {
        RequestSizeLimit {
            inner,
            config: self.0,
        }
    }
}

/// The service of [`RequestSizeLimitLayer`].
#[derive(Clone, Debug)]
pub struct RequestSizeLimit<S> {
    inner: S,
    config: RequestSizeLimitConfig,
}

impl Service<Request> for RequestSizeLimit<Pipeline> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // a pipeline always is
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        match self.config.apply(&mut req) {
            Ok(()) => self.inner.answer(req),
            Err(error) => Box::pin(std::future::ready(Err(error.into()))),
        }
    }
}

impl RequestSizeLimitConfig {
    fn apply(self, req: &mut Request) -> Result<(), Error> {
        if self.require_content_length
            && !req.headers().contains_key(header::CONTENT_LENGTH)
            && !req.body().is_end_stream()
        {
            return Err(Error::new(ErrorKind::LengthRequired));
        }
        body_limit::apply(req, self.max_body_bytes.bytes())
    }
}
