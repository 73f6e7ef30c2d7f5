//! `mock`: answers by itself.
//!
//! ```
//! use dgate_core::{Body, Exchange, ModuleLayer, Pipeline, Plugin, Setup};
//! use dgate_plugin_mock::{Mock, MockConfig};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dgate_core::BoxError> {
//! let config = MockConfig::default().status(201).body("not real");
//! let stack = Pipeline::builder()
//!     .layer(ModuleLayer::plugin(Mock::new(config, &Setup::default())?))
//!     .service(Pipeline::handler(|_: Exchange| async { "never reached" }));
//! let answer = stack.oneshot(http::Request::new(Body::empty())).await?;
//! assert_eq!(answer.status(), 201);
//! # Ok(()) }
//! ```

use bytes::Bytes;
use dgate_core::transform::is_framing;
use dgate_core::units::Duration;
use dgate_core::{
    Body, BoxError, Exchange, FieldError, Flow, Interrupt, Plugin, Request, Response, Setup, plugin,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Answers by itself, after a delay if there is one; nothing further in sees the request.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MockConfig {
    /// The status. Default 200.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Headers of the answer. A body without a `Content-Type` here is `text/plain` or `application/json`.
    pub headers: BTreeMap<String, String>,
    /// The body: a text as it is, anything else as JSON. Left out, there is none.
    pub body: Option<Value>,
    /// How long the answer is held back. Default 0s.
    pub delay: Duration,
}

impl Default for MockConfig {
    fn default() -> Self {
        Self {
            status: 200,
            headers: BTreeMap::new(),
            body: None,
            delay: Duration::ZERO,
        }
    }
}

impl MockConfig {
    /// Answers with this status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Answers with this body.
    pub fn body(mut self, body: impl Into<Value>) -> Self {
        self.body = Some(body.into());
        self
    }
}

/// The plugin.
#[derive(Clone, Debug)]
pub struct Mock {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    delay: std::time::Duration,
}

#[plugin]
impl Plugin for Mock {
    const NAME: &'static str = "mock";
    type Config = MockConfig;

    fn new(config: MockConfig, _: &Setup) -> Result<Self, BoxError> {
        let status = StatusCode::from_u16(config.status)
            .ok()
            .filter(|status| (200..600).contains(&status.as_u16()))
            .ok_or_else(|| FieldError::new("/status", "expected a status from 200 to 599"))?;
        let (body, media_type) = match config.body {
            None => (Bytes::new(), None),
            Some(Value::String(text)) => (text.into(), Some("text/plain; charset=utf-8")),
            Some(other) => (other.to_string().into(), Some("application/json")),
        };
        // RFC 9110 §15.3.5, §15.3.6, §15.4.5
        if matches!(config.status, 204 | 205 | 304) && !body.is_empty() {
            let text = format!("an answer with status {} has no body", config.status);
            return Err(FieldError::new("/body", text).into());
        }
        let mut headers = HeaderMap::new();
        if let Some(media_type) = media_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        for (text, value) in &config.headers {
            let wrong = |detail: &str| {
                let escaped = text.replace('~', "~0").replace('/', "~1");
                FieldError::new(format!("/headers/{escaped}"), detail)
            };
            let name: HeaderName = text.parse().map_err(|_| wrong("this is no header name"))?;
            if is_framing(&name) {
                return Err(wrong("this belongs to the connection and cannot be set").into());
            }
            let value = HeaderValue::from_str(value)
                .map_err(|_| wrong("the text cannot stand in a header"))?;
            headers.insert(name, value);
        }
        Ok(Self {
            status,
            headers,
            body,
            delay: config.delay.get(),
        })
    }

    /// Answers where it is listed, before plugins listed later.
    async fn request_modifier(&self, _ctx: &Exchange, _req: Request) -> Flow<Request> {
        Err(Interrupt::reply(self.answer().await))
    }

    /// The same; that it is here lets a route have no service.
    async fn request_handler(&self, _ctx: &Exchange, _req: Request) -> Flow<Response> {
        Ok(self.answer().await)
    }
}

impl Mock {
    async fn answer(&self) -> Response {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }
}
