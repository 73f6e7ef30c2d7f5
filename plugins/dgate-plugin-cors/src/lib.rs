//! `cors`: which other origins a browser lets use the answers (Cross-Origin Resource Sharing, Fetch standard §3.3).
//!
//! [`CorsLayer`] of tower-http with what a gateway adds to it: an `OPTIONS` request that is no preflight goes on to
//! the service, what the service itself says of CORS is taken away, and errors carry the headers too, so that a page
//! can read why it was refused.
//!
//! ```
//! use dgate_core::{Body, Exchange, Pipeline};
//! use dgate_plugin_cors::{CorsConfig, CorsLayer};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dgate_core::BoxError> {
//! let stack = Pipeline::builder()
//!     .layer(CorsLayer::new(CorsConfig::new(["https://app.test"]))?)
//!     .service(Pipeline::handler(|_: Exchange| async { "ok" }));
//! let request = http::Request::get("/").header("origin", "https://app.test").body(Body::empty())?;
//! let answer = stack.oneshot(request).await?;
//! assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.test");
//! # Ok(()) }
//! ```
//!
//! [`CorsLayer`]: tower_http::cors::CorsLayer

mod origin;

use dgate_core::units::Duration;
use dgate_core::{
    Body, BoxError, BoxFuture, Error, FieldError, Pipeline, PipelineLayer, Plugin, Request,
    Response, Setup, plugin,
};
use http::{HeaderName, Method, header};
use origin::Pattern;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_http::cors;
use tower_layer::Layer;
use tower_service::Service;

/// Says which other origins a browser lets use the answers, and answers the preflights of these.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    /// Origins that may: `https://app.example.com`, `*.example.com` for every host below one (over http and https, or
    /// `https://*.example.com`), `/regex/` over the whole origin, or `*` for all.
    #[schemars(length(min = 1))]
    pub allow_origins: Vec<String>,
    /// Methods they may use, or `*`. Default GET, HEAD, POST.
    #[serde(default = "safelisted")]
    pub allow_methods: Vec<String>,
    /// Request headers they may send beyond those that are always allowed, or `*`.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Response headers they may read beyond those that are always readable, or `*`.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Lets requests carry cookies and credentials. Then none of the lists may be `*`. Default false.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long a browser may remember the answer to a preflight, in whole seconds. Without it, browsers take 5s.
    #[serde(default)]
    pub max_age: Option<Duration>,
}

/// The CORS-safelisted methods.
fn safelisted() -> Vec<String> {
    ["GET", "HEAD", "POST"].map(str::to_owned).into()
}

impl CorsConfig {
    /// Lets these origins use safelisted methods and headers.
    pub fn new<T: Into<String>>(origins: impl IntoIterator<Item = T>) -> Self {
        Self {
            allow_origins: origins.into_iter().map(Into::into).collect(),
            allow_methods: safelisted(),
            allow_headers: Vec::new(),
            expose_headers: Vec::new(),
            allow_credentials: false,
            max_age: None,
        }
    }
}

/// The policy as a layer, and as the plugin `cors`.
#[derive(Clone, Debug)]
pub struct CorsLayer(cors::CorsLayer);

impl CorsLayer {
    /// A layer with this policy.
    ///
    /// # Errors
    /// An entry that is no origin, method or header name, or a `*` beside credentials.
    pub fn new(config: CorsConfig) -> Result<Self, FieldError> {
        let lists = [
            ("allow_origins", &config.allow_origins),
            ("allow_methods", &config.allow_methods),
            ("allow_headers", &config.allow_headers),
            ("expose_headers", &config.expose_headers),
        ];
        for (field, list) in lists {
            let star = list.iter().position(|entry| entry == "*");
            if let (true, Some(at)) = (config.allow_credentials, star) {
                let text = "`*` does not go with `allow_credentials`: name what is allowed (Fetch standard §3.3.5)";
                return Err(FieldError::new(format!("/{field}/{at}"), text));
            }
        }
        if config.allow_origins.is_empty() {
            return Err(FieldError::new(
                "/allow_origins",
                "needs at least 1 entry, has 0",
            ));
        }
        let mut patterns = Vec::with_capacity(config.allow_origins.len());
        for (at, entry) in config.allow_origins.iter().enumerate() {
            let pattern = Pattern::parse(entry);
            patterns.push(pattern.map_err(|e| FieldError::new(format!("/allow_origins/{at}"), e))?);
        }
        let mut layer = cors::CorsLayer::new()
            .allow_credentials(config.allow_credentials)
            // Answers differ by this alone; what a preflight asks for is in no cache.
            .vary([header::ORIGIN]);
        layer = match patterns.iter().any(|p| matches!(p, Pattern::Any)) {
            true => layer.allow_origin(cors::Any).vary([]),
            false => layer.allow_origin(cors::AllowOrigin::predicate(move |origin, _| {
                let origin = origin.to_str().unwrap_or_default();
                patterns.iter().any(|pattern| pattern.is(origin))
            })),
        };
        layer = match all::<Method>("allow_methods", &config.allow_methods)? {
            None => layer.allow_methods(cors::Any),
            Some(methods) => layer.allow_methods(methods),
        };
        layer = match all::<HeaderName>("allow_headers", &config.allow_headers)? {
            None => layer.allow_headers(cors::Any),
            Some(names) => layer.allow_headers(names),
        };
        layer = match all::<HeaderName>("expose_headers", &config.expose_headers)? {
            None => layer.expose_headers(cors::Any),
            Some(names) => layer.expose_headers(names),
        };
        if let Some(age) = config.max_age {
            layer = layer.max_age(age.get());
        }
        Ok(Self(layer))
    }
}

/// The entries of a list; `None` for a `*`.
fn all<T: FromStr>(field: &str, list: &[String]) -> Result<Option<Vec<T>>, FieldError> {
    if list.iter().any(|entry| entry == "*") {
        return Ok(None);
    }
    let noun = if field == "allow_methods" {
        "method"
    } else {
        "header name"
    };
    let parsed = list.iter().enumerate().map(|(at, entry)| {
        let wrong =
            |_| FieldError::new(format!("/{field}/{at}"), format!("`{entry}` is no {noun}"));
        entry.parse().map_err(wrong)
    });
    parsed.collect::<Result<_, _>>().map(Some)
}

#[plugin]
impl Plugin for CorsLayer {
    const NAME: &'static str = "cors";
    type Config = CorsConfig;

    fn new(config: CorsConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self::new(config)?)
    }

    fn layer(&self) -> Option<PipelineLayer> {
        Some(PipelineLayer::new(self.clone()))
    }
}

impl Layer<Pipeline> for CorsLayer {
    type Service = Cors;
    fn layer(&self, inner: Pipeline) -> Cors {
        Cors(self.0.layer(Carrying(inner)))
    }
}

/// The service of [`CorsLayer`].
#[derive(Clone, Debug)]
pub struct Cors(cors::Cors<Carrying>);

/// Marks an `OPTIONS` request that is no preflight, while tower-http takes it for a `GET`.
#[derive(Clone, Copy)]
struct PlainOptions;

impl Service<Request> for Cors {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(|never| match never {})
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        let has = |name| req.headers().contains_key(name);
        let preflight = has(header::ORIGIN) && has(header::ACCESS_CONTROL_REQUEST_METHOD);
        if req.method() == Method::OPTIONS && !preflight {
            req.extensions_mut().insert(PlainOptions);
            *req.method_mut() = Method::GET;
        }
        let answer = self.0.call(req);
        Box::pin(async move {
            let Ok(mut response) = answer.await;
            let carried = response.extensions_mut().remove::<Carried>();
            let Some(error) = carried.and_then(|carried| carried.0.lock().take()) else {
                return Ok(response);
            };
            let mut error = Error::classify(error);
            for (name, value) in response.headers() {
                error = error.with_header(name.clone(), value.clone());
            }
            Err(error.into())
        })
    }
}

/// A pipeline whose errors pass tower-http as answers, to get their headers.
#[derive(Clone, Debug)]
struct Carrying(Pipeline);

#[derive(Clone)]
struct Carried(Arc<Mutex<Option<BoxError>>>);

/// What an upstream may say of CORS; here this policy alone speaks.
const SPOKEN: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

impl Service<Request> for Carrying {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(())) // a pipeline always is
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        if req.extensions_mut().remove::<PlainOptions>().is_some() {
            *req.method_mut() = Method::OPTIONS;
        }
        let answer = self.0.answer(req);
        Box::pin(async move {
            Ok(match answer.await {
                Ok(mut response) => {
                    for name in SPOKEN {
                        response.headers_mut().remove(name);
                    }
                    response
                }
                Err(error) => {
                    let mut response = Response::new(Body::empty());
                    let carried = Carried(Arc::new(Mutex::new(Some(error))));
                    response.extensions_mut().insert(carried);
                    response
                }
            })
        })
    }
}
