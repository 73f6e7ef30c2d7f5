//! `request-id`: the request id under a header of one's choice, echoed to the client.
//!
//! The gateway gives every request an `X-Request-Id` already. This plugin sends it under another name too,
//! answers with it, and can refuse to take one over from clients.
//!
//! ```yaml
//! plugins:
//!   - name: request-id
//!     config: { header_name: X-Correlation-Id }
//! ```

use dgate_core::exchange::random_id;
use dgate_core::{BoxError, Exchange, Flow, Plugin, Request, Response, Setup, plugin};
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

/// Sends the request id to the upstream under a header of one's choice, and answers with it.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestIdConfig {
    /// The header that carries the id. Default `X-Request-Id`.
    pub header_name: String,
    /// Keeps what the client sent under this name; otherwise it gets a new id. Default true.
    pub trust_incoming: bool,
    /// Answers with the header. Default true.
    pub echo: bool,
}

impl Default for RequestIdConfig {
    fn default() -> Self {
        Self {
            header_name: "X-Request-Id".to_owned(),
            trust_incoming: true,
            echo: true,
        }
    }
}

/// The plugin.
pub struct RequestId {
    name: HeaderName,
    trust: bool,
    echo: bool,
}

/// The id of this request, kept for the answer.
#[derive(Clone)]
struct Id(HeaderValue);

#[plugin]
impl Plugin for RequestId {
    const NAME: &'static str = "request-id";
    type Config = RequestIdConfig;

    fn new(config: RequestIdConfig, _: &Setup) -> Result<Self, BoxError> {
        let name = config
            .header_name
            .parse()
            .map_err(|_| format!("header_name: `{}` is no header name", config.header_name))?;
        Ok(Self {
            name,
            trust: config.trust_incoming,
            echo: config.echo,
        })
    }

    async fn request_modifier(&self, ctx: &Exchange, mut req: Request) -> Flow<Request> {
        let known = req
            .headers()
            .get(&self.name)
            .filter(|_| self.trust)
            .cloned();
        let id = match known {
            Some(id) => id,
            // Without trust the gateway's id may itself be what the client sent.
            None if !self.trust && req.headers().contains_key(&self.name) => random_id(),
            None => HeaderValue::from_str(ctx.id())?,
        };
        req.headers_mut().insert(self.name.clone(), id.clone());
        ctx.vars().insert(Id(id));
        Ok(req)
    }

    async fn response_modifier(&self, ctx: &Exchange, mut res: Response) -> Flow<Response> {
        let id = ctx.vars().get::<Id>().cloned();
        if let (true, Some(Id(id))) = (self.echo, id) {
            res.headers_mut().insert(self.name.clone(), id);
        }
        Ok(res)
    }
}
