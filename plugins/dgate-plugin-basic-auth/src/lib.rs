//! `basic-auth`: only requests with the user name and password of a consumer (RFC 7617).
//!
//! ```
//! use dgate_core::consumer::{BasicCredential, Consumer, Consumers, Credential};
//! use dgate_core::{Body, Exchange, Pipeline};
//! use dgate_plugin_basic_auth::{BasicAuthConfig, BasicAuthLayer};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dgate_core::BoxError> {
//! let password = Credential::Basic(BasicCredential::new("ann", "open sesame"));
//! let consumers = Consumers::new(vec![Consumer::new("ann", vec![password])]).expect("one user");
//! let stack = Pipeline::builder()
//!     .layer(BasicAuthLayer::new(BasicAuthConfig::default())?.among(consumers.into()))
//!     .service(Pipeline::handler(|_: Exchange| async { "hello" }));
//! let request = http::Request::get("/").header("authorization", "Basic YW5uOm9wZW4gc2VzYW1l");
//! assert_eq!(stack.oneshot(request.body(Body::empty())?).await?.status(), 200);
//! # Ok(()) }
//! ```

mod password;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dgate_core::authenticate::{Access, Proof};
use dgate_core::consumer::{Consumers, Credential};
use dgate_core::{
    BoxError, BoxFuture, Error, ErrorKind, Exchange, FieldError, Pipeline, PipelineLayer, Plugin,
    Request, Response, Setup, plugin,
};
use http::{HeaderMap, HeaderValue, header};
use password::Verdict;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Longer than any password may be: a hash of more is only work.
const MAX_PASSWORD: usize = 4096;
const WRONG: Proof = Proof::Wrong("wrong user name or password");
const MALFORMED: Proof = Proof::Wrong("the credentials are malformed");

/// Lets requests with the user name and password of a consumer through (RFC 7617), and refuses the others with 401
/// `unauthorized`.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuthConfig {
    /// What browsers show when they ask for a password. Default `dgate`.
    pub realm: String,
    /// Takes the header `Authorization` out of the request before it goes on. Default true.
    pub hide_credentials: bool,
    /// Name of the consumer that requests without a password pass as; absent, they are refused. A wrong password is
    /// refused in any case.
    pub anonymous: Option<String>,
}

impl Default for BasicAuthConfig {
    fn default() -> Self {
        Self {
            realm: "dgate".to_owned(),
            hide_credentials: true,
            anonymous: None,
        }
    }
}

impl BasicAuthConfig {
    /// With this realm.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// Requests without a password pass as this consumer.
    pub fn anonymous(mut self, consumer: impl Into<String>) -> Self {
        self.anonymous = Some(consumer.into());
        self
    }
}

/// The plugin `basic-auth`, and the same as a layer.
///
/// Passwords that have a hash are verified on threads of their own, as many at a time as half the cores can, for all
/// layers of the process together; 128 more wait for at most 5 s, and what is above that is refused with 503
/// `overloaded`. One that was right is not verified again for 60 s.
#[derive(Clone, Debug)]
pub struct BasicAuthLayer(Arc<BasicAuth>);

#[derive(Clone, Debug)]
struct BasicAuth {
    access: Access,
    anonymous: Option<String>,
    hide: bool,
}

impl BasicAuthLayer {
    /// A layer that asks for passwords.
    ///
    /// # Errors
    /// A realm that cannot stand in a header.
    pub fn new(config: BasicAuthConfig) -> Result<Self, FieldError> {
        let quoted = config.realm.replace('\\', r"\\").replace('"', "\\\"");
        let challenge = format!("Basic realm=\"{quoted}\", charset=\"UTF-8\"");
        let challenge = HeaderValue::from_str(&challenge)
            .ok()
            .filter(|_| config.realm.is_ascii())
            .ok_or_else(|| FieldError::new("/realm", "expected printable ASCII characters"))?;
        Ok(Self(Arc::new(BasicAuth {
            access: Access::new(challenge).anonymous(config.anonymous.clone()),
            anonymous: config.anonymous,
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

/// What a request shows.
enum Shown {
    Nothing,
    Malformed,
    User { name: String, password: String },
}

impl BasicAuth {
    async fn check(&self, req: &mut Request) -> Result<(), Error> {
        let ctx = Exchange::ensure(req);
        let shown = shown(req.headers());
        let none = matches!(shown, Shown::Nothing);
        let proof = match shown {
            Shown::Nothing => Proof::Missing,
            Shown::Malformed => MALFORMED,
            Shown::User { name, password } => self.proof(&ctx, &name, password).await?,
        };
        self.access.admit(&ctx, req.headers_mut(), proof)?;
        if self.hide && !none {
            req.headers_mut().remove(header::AUTHORIZATION);
        }
        Ok(())
    }

    async fn proof(&self, ctx: &Exchange, name: &str, password: String) -> Result<Proof, Error> {
        let Some(all) = self.access.consumers(ctx) else {
            return Ok(WRONG);
        };
        let found = all.by_username(name);
        // In the place of a user that is not there another one's password, which takes as long.
        let basic = match found.as_ref().map(|found| found.credential) {
            Some(Credential::Basic(basic)) => Some(basic),
            _ => all.any_password(),
        };
        let Some(basic) = basic else {
            return Ok(WRONG);
        };
        match password::verify(basic, password, found.is_some()).await {
            Verdict::Right => Ok(found.map_or(WRONG, Proof::from)),
            Verdict::Wrong => Ok(WRONG),
            Verdict::Busy => Err(Error::new(ErrorKind::Overloaded)
                .with_detail("too many passwords are being verified")
                .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))),
        }
    }
}

/// The one user name and password of a request. What has another scheme is for somebody else.
fn shown(headers: &HeaderMap) -> Shown {
    let basic = |value: &HeaderValue| {
        let (scheme, text) = value.as_bytes().split_first_chunk::<6>()?;
        scheme
            .eq_ignore_ascii_case(b"basic ")
            .then(|| text.trim_ascii().to_vec())
    };
    let all = headers.get_all(header::AUTHORIZATION);
    let mut shown = all.iter().filter_map(basic);
    let (Some(text), None) = (shown.next(), shown.next()) else {
        return match all.iter().any(|value| basic(value).is_some()) {
            true => Shown::Malformed,
            false => Shown::Nothing,
        };
    };
    let decoded = STANDARD.decode(text).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((name, password)) if password.len() <= MAX_PASSWORD => Shown::User {
            name: name.to_owned(),
            password: password.to_owned(),
        },
        _ => Shown::Malformed,
    }
}

#[plugin]
impl Plugin for BasicAuthLayer {
    const NAME: &'static str = "basic-auth";
    const CONSUMERS: bool = true;
    type Config = BasicAuthConfig;

    fn new(config: BasicAuthConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self::new(config)?)
    }

    fn consumer(&self) -> Option<&str> {
        self.0.anonymous.as_deref()
    }

    fn layer(&self) -> Option<PipelineLayer> {
        Some(PipelineLayer::new(self.clone()))
    }
}

impl Layer<Pipeline> for BasicAuthLayer {
    type Service = BasicAuthService<Pipeline>;
    fn layer(&self, inner: Pipeline) -> Self::Service {
        BasicAuthService {
            inner,
            auth: self.0.clone(),
        }
    }
}

/// The service of [`BasicAuthLayer`].
#[derive(Clone, Debug)]
pub struct BasicAuthService<S> {
    inner: S,
    auth: Arc<BasicAuth>,
}

impl Service<Request> for BasicAuthService<Pipeline> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // a pipeline always is
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        let (auth, inner) = (self.auth.clone(), self.inner.clone());
        Box::pin(async move {
            auth.check(&mut req).await?;
            inner.answer(req).await
        })
    }
}
