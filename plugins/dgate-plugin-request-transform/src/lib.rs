//! `request-transform`: headers, query and JSON body of requests, changed by operations.
//!
//! ```
//! use dgate_core::{Body, Exchange, ModuleLayer, Pipeline, Plugin, Request, Response, Setup};
//! use dgate_plugin_request_transform::{RequestTransform, RequestTransformConfig};
//! use tower::{ServiceExt, service_fn};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dgate_core::BoxError> {
//! let mut config = RequestTransformConfig::default();
//! config.remove.headers.push("x-internal".to_owned());
//! config.add.query.insert("version".to_owned(), "2".to_owned());
//! let plugin = RequestTransform::new(config, &Setup::default())?;
//! let stack = Pipeline::builder()
//!     .layer(ModuleLayer::plugin(plugin))
//!     .service(service_fn(|req: Request| async move {
//!         assert!(!req.headers().contains_key("x-internal"));
//!         assert_eq!(req.uri(), "/list?page=1&version=2");
//!         Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
//!     }));
//! let request = http::Request::get("/list?page=1").header("x-internal", "1").body(Body::empty())?;
//! stack.oneshot(request).await?;
//! # Ok(()) }
//! ```

mod query;

use dgate_core::transform::{HeaderOperations, JsonOperations, Operations, Rewritten, rewrite};
use dgate_core::units::Size;
use dgate_core::{BoxError, Error, ErrorKind, Exchange, Flow, Plugin, Request, Setup, plugin};
use http::Uri;
use http::uri::PathAndQuery;
use query::QueryOperations;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Changes headers, query and JSON body of requests by five operations, in the order remove, rename, replace, add,
/// append.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestTransformConfig {
    /// Takes away.
    pub remove: Removals,
    /// Gives another name, in place of what had that name.
    pub rename: Renames,
    /// Gives another value to what is there.
    pub replace: Values,
    /// Adds what is not there.
    pub add: Values,
    /// Adds one more value, whether one is there or not.
    pub append: Values,
    /// The largest body that is read for operations on JSON; above it 413 `body_too_large`. Default 1MiB.
    pub max_body: Size,
}

impl Default for RequestTransformConfig {
    fn default() -> Self {
        Self {
            remove: Removals::default(),
            rename: Renames::default(),
            replace: Values::default(),
            add: Values::default(),
            append: Values::default(),
            max_body: Size::mib(1),
        }
    }
}

/// What is taken away.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Removals {
    /// Names of headers.
    pub headers: Vec<String>,
    /// Names of query parameters.
    pub query: Vec<String>,
    /// Pointers to fields of the body: `/user/password`.
    pub json: Vec<String>,
}

/// New names, by the old one.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Renames {
    /// Names of headers.
    pub headers: BTreeMap<String, String>,
    /// Names of query parameters.
    pub query: BTreeMap<String, String>,
    /// Pointers to fields of the body: where it is, to where it goes.
    pub json: BTreeMap<String, String>,
}

/// Values, by name.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Values {
    /// Of headers.
    pub headers: BTreeMap<String, String>,
    /// Of query parameters.
    pub query: BTreeMap<String, String>,
    /// Of fields of the body, by pointer: anything that JSON can say.
    pub json: BTreeMap<String, Value>,
}

/// The plugin.
pub struct RequestTransform {
    headers: HeaderOperations,
    query: QueryOperations,
    json: JsonOperations,
    max_body: u64,
}

#[plugin]
impl Plugin for RequestTransform {
    const NAME: &'static str = "request-transform";
    type Config = RequestTransformConfig;

    fn new(config: RequestTransformConfig, _: &Setup) -> Result<Self, BoxError> {
        let RequestTransformConfig {
            remove,
            rename,
            replace,
            add,
            append,
            max_body,
        } = &config;
        Ok(Self {
            headers: HeaderOperations::new(Operations {
                remove: &remove.headers,
                rename: &rename.headers,
                replace: &replace.headers,
                add: &add.headers,
                append: &append.headers,
            })?,
            query: QueryOperations::new(Operations {
                remove: &remove.query,
                rename: &rename.query,
                replace: &replace.query,
                add: &add.query,
                append: &append.query,
            })?,
            json: JsonOperations::new(Operations {
                remove: &remove.json,
                rename: &rename.json,
                replace: &replace.json,
                add: &add.json,
                append: &append.json,
            })?,
            max_body: max_body.bytes(),
        })
    }

    async fn request_modifier(&self, _ctx: &Exchange, req: Request) -> Flow<Request> {
        let (mut head, body) = req.into_parts();
        // The body first: its headers say what it was before anyone changed them.
        let rewritten = rewrite(
            &self.json,
            &mut head.headers,
            body,
            self.max_body,
            ErrorKind::BodyTooLarge,
            ErrorKind::BadRequest,
        );
        let body = match rewritten.await? {
            Rewritten::Done(body) | Rewritten::Untouched(body) => body,
        };
        self.headers.apply(&mut head.headers);
        if !self.query.is_empty() {
            head.uri = self.target(head.uri)?;
        }
        Ok(Request::from_parts(head, body))
    }
}

impl RequestTransform {
    fn target(&self, uri: Uri) -> Result<Uri, Error> {
        let query = self.query.apply(uri.query().unwrap_or(""));
        let target = match query.as_str() {
            "" => uri.path().to_owned(),
            query => format!("{}?{query}", uri.path()),
        };
        // A target that came in is valid, and what is added is encoded: only its length can be wrong.
        let too_long = |cause: BoxError| Error::new(ErrorKind::UriTooLong).with_cause(cause);
        let target: PathAndQuery = target
            .try_into()
            .map_err(|e: http::uri::InvalidUri| too_long(e.into()))?;
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).map_err(|e| too_long(e.into()))
    }
}
