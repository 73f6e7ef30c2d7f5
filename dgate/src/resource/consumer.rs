//! A consumer: who sends requests, by what they prove it, and what they belong to.

use super::{default_namespace, is_default};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::fmt;

/// Somebody who sends requests. The authentication plugins find a consumer by its credentials.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Its namespace. Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub namespace: String,
    /// Its name.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub name: String,
    /// What it proves itself by. Never given out; left out of a change, what is stored stays. An empty list takes
    /// all of them away.
    #[serde(default, skip_serializing)]
    pub credentials: Option<Vec<Credential>>,
    /// What it belongs to, for plugins and upstreams.
    #[serde(default, skip_serializing_if = "is_default")]
    pub groups: Vec<String>,
    /// Anything else that modules want to know of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: Map<String, Json>,
    /// Free words for lists and modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
}

/// One thing that a consumer proves itself by.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Credential {
    /// An API key.
    Key(#[schemars(length(min = 1))] String),
    /// A user name with its password (RFC 7617).
    Basic(BasicCredential),
    /// What its JSON Web Tokens are signed with.
    Jwt(JwtCredential),
    /// What its requests are signed with.
    Hmac(HmacCredential),
}

/// A user name with its password.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicCredential {
    /// The name; no colon in it.
    #[schemars(regex(pattern = "^[^:]+$"))]
    pub username: String,
    /// The password.
    pub password: String,
}

/// What tokens are verified with.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtCredential {
    /// What the claim `iss` of its tokens says, or the one that the plugin names.
    pub key: String,
    /// `HS256`, `RS256`, `ES256` and so on (RFC 7518). Default `HS256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The shared secret, for `HS…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The public key in PEM, for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// What requests are signed with.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacCredential {
    /// What a request names the secret by.
    pub id: String,
    /// The shared secret.
    pub secret: String,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.credentials.as_ref().map(|all| vec!["…"; all.len()]);
        f.debug_struct("Consumer")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("credentials", &hidden)
            .field("groups", &self.groups)
            .field("metadata", &self.metadata)
            .field("tags", &self.tags)
            .finish()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(…)",
            Self::Basic(_) => "Basic(…)",
            Self::Jwt(_) => "Jwt(…)",
            Self::Hmac(_) => "Hmac(…)",
        })
    }
}
