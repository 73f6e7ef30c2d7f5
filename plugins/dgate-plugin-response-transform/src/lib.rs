//! `response-transform`: headers and JSON body of responses, changed by operations.
//!
//! ```
//! use dgate_core::{Body, Exchange, ModuleLayer, Pipeline, Plugin, Setup};
//! use dgate_plugin_response_transform::{ResponseTransform, ResponseTransformConfig};
//! use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dgate_core::BoxError> {
//! let mut config = ResponseTransformConfig::default();
//! config.remove.headers.push("x-powered-by".to_owned());
//! let plugin = ResponseTransform::new(config, &Setup::default())?;
//! let stack = Pipeline::builder()
//!     .layer(ModuleLayer::plugin(plugin))
//!     .service(Pipeline::handler(|_: Exchange| async { ([("x-powered-by", "php")], "ok") }));
//! let answer = stack.oneshot(http::Request::new(Body::empty())).await?;
//! assert!(!answer.headers().contains_key("x-powered-by"));
//! # Ok(()) }
//! ```

use dgate_core::transform::{
    HeaderOperations, JsonOperations, Operations, Rewritten, is_json, rewrite,
};
use dgate_core::units::Size;
use dgate_core::{BoxError, ErrorKind, Exchange, Flow, Plugin, Request, Response, Setup, plugin};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Changes headers and JSON body of responses by five operations, in the order remove, rename, replace, add, append.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResponseTransformConfig {
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
    /// The largest body that is read for operations on JSON; above it 502 `upstream_protocol`. Default 1MiB.
    pub max_body: Size,
}

impl Default for ResponseTransformConfig {
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
    /// Of fields of the body, by pointer: anything that JSON can say.
    pub json: BTreeMap<String, Value>,
}

/// The plugin.
pub struct ResponseTransform {
    headers: HeaderOperations,
    json: JsonOperations,
    max_body: u64,
}

#[plugin]
impl Plugin for ResponseTransform {
    const NAME: &'static str = "response-transform";
    type Config = ResponseTransformConfig;

    fn new(config: ResponseTransformConfig, _: &Setup) -> Result<Self, BoxError> {
        let ResponseTransformConfig {
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

    async fn request_modifier(&self, _ctx: &Exchange, mut req: Request) -> Flow<Request> {
        if !self.json.is_empty() {
            // Neither a compressed body nor a part of one can be transformed.
            let headers = req.headers_mut();
            headers.insert(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            );
            headers.remove(header::RANGE);
        }
        Ok(req)
    }

    async fn response_modifier(&self, _ctx: &Exchange, res: Response) -> Flow<Response> {
        let (mut head, body) = res.into_parts();
        if !self.json.is_empty() && is_json(&head.headers) {
            about_another_body(&mut head.headers, body.is_end_stream());
        }
        let rewritten = rewrite(
            &self.json,
            &mut head.headers,
            body,
            self.max_body,
            ErrorKind::UpstreamProtocol,
            ErrorKind::UpstreamProtocol,
        );
        let body = match rewritten.await? {
            Rewritten::Done(body) | Rewritten::Untouched(body) => body,
        };
        self.headers.apply(&mut head.headers);
        Ok(Response::from_parts(head, body))
    }
}

/// What headers say of the upstream's bytes and does not hold for those that are sent. Without a body (an answer to
/// HEAD, a 304) they tell of one that would be transformed.
fn about_another_body(headers: &mut HeaderMap, empty: bool) {
    if empty {
        let none = |length: &HeaderValue| length == "0";
        if !headers.get(header::CONTENT_LENGTH).is_some_and(none) {
            headers.remove(header::CONTENT_LENGTH);
        }
    }
    headers.remove(header::ACCEPT_RANGES);
    // A strong validator is one of bytes (RFC 9110 §8.8.1); the meaning is as fresh as it was.
    let strong = headers.get(header::ETAG);
    let strong = strong.filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak =
        strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok());
    if let Some(weak) = weak {
        headers.insert(header::ETAG, weak);
    }
}
