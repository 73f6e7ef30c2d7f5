//! `redirect`: answers with a redirection.
//!
//! ```
//! use dgate_core::{Body, Exchange, ModuleLayer, Pipeline, Plugin, Setup};
//! use dgate_plugin_redirect::{Redirect, RedirectConfig};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dgate_core::BoxError> {
//! let plugin = Redirect::new(RedirectConfig::new("https://new.example.com/"), &Setup::default())?;
//! let stack = Pipeline::builder()
//!     .layer(ModuleLayer::plugin(plugin))
//!     .service(Pipeline::handler(|_: Exchange| async { "never reached" }));
//! let answer = stack.oneshot(http::Request::new(Body::empty())).await?;
//! assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (302, &"https://new.example.com/".parse()?));
//! # Ok(()) }
//! ```

use dgate_core::{
    Body, BoxError, Exchange, FieldError, Flow, Interrupt, Plugin, Request, Response, Setup, plugin,
};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;

/// Answers with a redirection (RFC 9110 §15.4); nothing further in sees the request.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectConfig {
    /// Where to: a URL, or a path on the same host.
    #[schemars(length(min = 1))]
    pub location: String,
    /// `301` and `308` for good, `302`, `303` and `307` for now; after `307` and `308` the method stays what it was.
    /// Default 302.
    #[serde(default = "found")]
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: u16,
}

fn found() -> u16 {
    302
}

impl RedirectConfig {
    /// A redirection for now.
    pub fn new(location: impl Into<String>) -> Self {
        Self {
            location: location.into(),
            status: found(),
        }
    }
}

/// The plugin.
#[derive(Clone, Debug)]
pub struct Redirect {
    location: HeaderValue,
    status: StatusCode,
}

#[plugin]
impl Plugin for Redirect {
    const NAME: &'static str = "redirect";
    type Config = RedirectConfig;

    fn new(config: RedirectConfig, _: &Setup) -> Result<Self, BoxError> {
        let text = &config.location;
        // A URI is visible ASCII; what else there is has to be percent-encoded by who writes it.
        let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let location = HeaderValue::from_str(text).ok().filter(|_| valid);
        let location = location.ok_or_else(|| {
            let text = format!("`{text}` is no URL: write it percent-encoded, without spaces");
            FieldError::new("/location", text)
        })?;
        if !matches!(config.status, 301..=303 | 307 | 308) {
            let text = "expected one of 301, 302, 303, 307, 308";
            return Err(FieldError::new("/status", text).into());
        }
        let status = StatusCode::from_u16(config.status)?;
        Ok(Self { location, status })
    }

    /// Answers where it is listed, before plugins listed later.
    async fn request_modifier(&self, _ctx: &Exchange, _req: Request) -> Flow<Request> {
        Err(Interrupt::reply(self.answer()))
    }

    /// The same; that it is here lets a route have no service.
    async fn request_handler(&self, _ctx: &Exchange, _req: Request) -> Flow<Response> {
        Ok(self.answer())
    }
}

impl Redirect {
    fn answer(&self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, self.location.clone());
        response
    }
}
