//! `key-auth`: only requests with the API key of a consumer.
//!
//! ```
//! use dgate_core::consumer::{Consumer, Consumers, Credential};
//! use dgate_core::{Body, Exchange, Pipeline};
//! use dgate_plugin_key_auth::{KeyAuthConfig, KeyAuthLayer};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dgate_core::BoxError> {
//! let ann = Consumer::new("ann", vec![Credential::Key("s3cret".into())]);
//! let consumers = Consumers::new(vec![ann]).expect("one key is not twice there");
//! let stack = Pipeline::builder()
//!     .layer(KeyAuthLayer::new(KeyAuthConfig::default())?.among(consumers.into()))
//!     .service(Pipeline::handler(|_: Exchange| async { "hello" }));
//! let request = http::Request::get("/?a=1").header("apikey", "s3cret");
//! let answer = stack.oneshot(request.body(Body::empty())?).await?;
//! assert_eq!(answer.status(), 200);
//! # Ok(()) }
//! ```

mod query;

use dgate_core::authenticate::{Access, Proof};
use dgate_core::consumer::Consumers;
use dgate_core::{
    BoxError, BoxFuture, Error, Exchange, FieldError, Pipeline, PipelineLayer, Plugin, Request,
    Response, Setup, plugin,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Lets requests with the API key of a consumer through, and refuses the others with 401 `unauthorized`.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyAuthConfig {
    /// Names of the headers and query parameters that carry the key. Default `[apikey]`. In the header `Authorization`
    /// the key may stand behind `Bearer`.
    #[schemars(length(min = 1))]
    pub key_names: Vec<String>,
    /// Where keys are looked for: `header`, `query` or both. Default both.
    #[schemars(length(min = 1))]
    pub r#in: Vec<Place>,
    /// Takes the key out of the request before it goes on. Default true.
    pub hide_credentials: bool,
    /// Name of the consumer that requests without any key pass as; absent, they are refused. A wrong key is refused
    /// in any case.
    pub anonymous: Option<String>,
}

/// Where a key may stand.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In a header.
    Header,
    /// In a parameter of the query.
    Query,
}

impl Default for KeyAuthConfig {
    fn default() -> Self {
        Self {
            key_names: vec!["apikey".to_owned()],
            r#in: vec![Place::Header, Place::Query],
            hide_credentials: true,
            anonymous: None,
        }
    }
}

impl KeyAuthConfig {
    /// With keys under these names.
    pub fn key_names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.key_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Requests without a key pass as this consumer.
    pub fn anonymous(mut self, consumer: impl Into<String>) -> Self {
        self.anonymous = Some(consumer.into());
        self
    }
}

/// The plugin `key-auth`, and the same as a layer.
#[derive(Clone, Debug)]
pub struct KeyAuthLayer(Arc<KeyAuth>);

#[derive(Clone, Debug)]
struct KeyAuth {
    access: Access,
    anonymous: Option<String>,
    /// Empty when keys are looked for in the query alone.
    headers: Vec<HeaderName>,
    /// Empty when they are looked for in headers alone.
    params: Vec<String>,
    hide: bool,
}

impl KeyAuthLayer {
    /// A layer that asks for keys.
    ///
    /// # Errors
    /// No name or no place to look for keys, or a name that no header can have.
    pub fn new(config: KeyAuthConfig) -> Result<Self, FieldError> {
        let (names, places) = (&config.key_names, &config.r#in);
        if places.is_empty() {
            return Err(FieldError::new("/in", "expected `header`, `query` or both"));
        }
        if names.is_empty() {
            return Err(FieldError::new("/key_names", "expected a name"));
        }
        let mut headers = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let pointer = format!("/key_names/{at}");
            if name.is_empty() {
                return Err(FieldError::new(pointer, "expected a name"));
            }
            if places.contains(&Place::Header) {
                let no_header = |_| FieldError::new(pointer, format!("`{name}` is no header name"));
                headers.push(name.parse().map_err(no_header)?);
            }
        }
        let params = match places.contains(&Place::Query) {
            true => config.key_names,
            false => Vec::new(),
        };
        let challenge = HeaderValue::from_static("Key");
        Ok(Self(Arc::new(KeyAuth {
            access: Access::new(challenge).anonymous(config.anonymous.clone()),
            anonymous: config.anonymous,
            headers,
            params,
            hide: config.hide_credentials,
        })))
    }

    /// Looks for consumers here and not in the exchange's route: for a stack of one's own.
    pub fn among(self, consumers: Arc<Consumers>) -> Self {
        let mut own = (*self.0).clone();
        own.access = own.access.among(consumers);
        Self(Arc::new(own))
    }
}

impl KeyAuth {
    fn check(&self, req: &mut Request) -> Result<(), Error> {
        let ctx = Exchange::ensure(req);
        let proof = {
            let mut shown = self.shown(req);
            match (shown.next(), shown.next()) {
                (None, _) => Proof::Missing,
                // Which of them the next one behind us would believe is not known.
                (Some(_), Some(_)) => Proof::Wrong("the request has more than one API key"),
                (Some(key), None) => self
                    .access
                    .consumers(&ctx)
                    .and_then(|all| all.by_key(key))
                    .map_or(Proof::Wrong("the API key is not valid"), Proof::from),
            }
        };
        let found = !matches!(proof, Proof::Missing);
        self.access.admit(&ctx, req.headers_mut(), proof)?;
        if self.hide && found {
            self.strip(req)?;
        }
        Ok(())
    }

    /// Everything that the request shows as a key.
    fn shown<'a>(&'a self, req: &'a Request) -> impl Iterator<Item = Cow<'a, [u8]>> {
        let of = |name| keys_in(req.headers(), name);
        let in_headers = self.headers.iter().flat_map(of).map(Cow::Borrowed);
        let query = match self.params.is_empty() {
            true => None,
            false => req.uri().query(),
        };
        let in_query = query::pairs(query.unwrap_or_default(), &self.params);
        in_headers.chain(in_query.map(|value| match value {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }))
    }

    fn strip(&self, req: &mut Request) -> Result<(), Error> {
        for name in &self.headers {
            let is_key = keys_in(req.headers(), name).next().is_some();
            if is_key {
                req.headers_mut().remove(name);
            }
        }
        if !self.params.is_empty()
            && let Some(target) = query::without(req.uri(), &self.params)?
        {
            *req.uri_mut() = target;
        }
        Ok(())
    }
}

/// The keys in the headers of this name. `Authorization` is not only for keys: there one stands alone or behind
/// `Bearer`, and what has another scheme is none.
fn keys_in<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let all = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    all.filter_map(move |value| {
        if *name != header::AUTHORIZATION {
            return Some(value);
        }
        match value.split_first_chunk::<7>() {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => {
                Some(key.trim_ascii())
            }
            _ => Some(value).filter(|value| !value.contains(&b' ')),
        }
    })
}

#[plugin]
impl Plugin for KeyAuthLayer {
    const NAME: &'static str = "key-auth";
    const CONSUMERS: bool = true;
    type Config = KeyAuthConfig;

    fn new(config: KeyAuthConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self::new(config)?)
    }

    fn consumer(&self) -> Option<&str> {
        self.0.anonymous.as_deref()
    }

    fn layer(&self) -> Option<PipelineLayer> {
        Some(PipelineLayer::new(self.clone()))
    }
}

impl Layer<Pipeline> for KeyAuthLayer {
    type Service = KeyAuthService<Pipeline>;
    fn layer(&self, inner: Pipeline) -> Self::Service {
        KeyAuthService {
            inner,
            auth: self.0.clone(),
        }
    }
}

/// The service of [`KeyAuthLayer`].
#[derive(Clone, Debug)]
pub struct KeyAuthService<S> {
    inner: S,
    auth: Arc<KeyAuth>,
}

impl Service<Request> for KeyAuthService<Pipeline> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // a pipeline always is
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        match self.auth.check(&mut req) {
            Ok(()) => self.inner.answer(req),
            Err(error) => Box::pin(std::future::ready(Err(error.into()))),
        }
    }
}
