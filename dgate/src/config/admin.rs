//! The control plane in the configuration file: where the Admin API listens and who may use it.
//!
//! What is secret here is a [`SecretText`]: it shows itself neither to `{:?}` nor to whoever writes a
//! configuration out.

use super::{Diagnostic, Limit, ListenAddr, Node, Size, address, join};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The control plane: the Admin API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct AdminConfig {
    /// Where it is served. `none` turns it off. Beyond loopback it needs authentication.
    pub listen: Limit<ListenAddr>,
    /// Who may use it.
    pub auth: AdminAuth,
    /// Networks it may be used from. Empty means all.
    #[serde(deserialize_with = "address::networks")]
    #[schemars(schema_with = "address::networks_schema")]
    pub allow: Vec<IpNet>,
    /// Refuse every write with 403.
    pub watch_only: bool,
    /// The bytes of a request body; above it 413.
    pub max_body: Size,
    /// Serves it over HTTPS.
    pub tls: Option<AdminTlsConfig>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: Limit::Of(ListenAddr::loopback(9080)),
            auth: AdminAuth::default(),
            allow: Vec::new(),
            watch_only: false,
            max_body: Size::mib(8),
            tls: None,
        }
    }
}

/// The certificate of the Admin API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AdminTlsConfig {
    /// The certificate with its chain, in PEM. Relative to the configuration file.
    pub cert_file: PathBuf,
    /// Its private key, in PEM. Relative to the configuration file.
    pub key_file: PathBuf,
}

/// Who may use the Admin API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum AdminAuth {
    /// Whoever can connect. Accepted only on a loopback address.
    #[default]
    None,
    /// Users with passwords, by `Authorization: Basic`.
    Basic {
        /// The users.
        #[schemars(length(min = 1))]
        users: Vec<AdminUser>,
    },
    /// Keys, in the header `X-DGate-Key` or as a bearer token.
    Key {
        /// The keys.
        #[schemars(length(min = 1))]
        keys: Vec<AdminKey>,
    },
    /// JSON Web Tokens, as bearer tokens. They must have `exp`; `sub` names who it is.
    Jwt(Jwt),
}

/// A user of the Admin API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AdminUser {
    /// The name: the author of what is changed.
    #[schemars(extend(
        "pattern" = r"^[^:\x00-\x1f\x7f]{1,256}$",
        "x-expect" = "a name without colons and control characters"
    ))]
    pub username: String,
    /// The password's hash: argon2id or bcrypt.
    #[schemars(extend(
        "pattern" = r"^(\$argon2id\$v=19\$m=[0-9]+,t=[0-9]+,p=[0-9]+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+|\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53})$",
        "x-expect" = "an argon2id (`$argon2id$…`) or bcrypt (`$2b$…`) hash",
        "writeOnly" = true
    ))]
    pub password_hash: SecretText,
}

/// A key of the Admin API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AdminKey {
    /// Whose it is: the author of what is changed.
    #[schemars(extend(
        "pattern" = r"^[^\x00-\x1f\x7f]{1,256}$",
        "x-expect" = "a name without control characters"
    ))]
    pub name: String,
    /// The key: 16 characters of ASCII or more, without spaces. `openssl rand -hex 16` makes one.
    #[schemars(extend(
        "pattern" = "^[!-~]{16,}$",
        "x-expect" = "16 characters of ASCII or more, without spaces",
        "writeOnly" = true
    ))]
    pub key: SecretText,
}

impl AdminKey {
    /// A key and whose it is.
    pub fn new(name: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            key: SecretText::new(key),
        }
    }
}

/// Which tokens are believed. One of `secret`, `public_key` and `jwks_url`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
#[non_exhaustive]
pub struct Jwt {
    /// The one algorithm that tokens may be signed with.
    pub algorithm: JwtAlgorithm,
    /// The shared secret of `HS256`, `HS384` and `HS512`: 32 bytes or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minLength" = 32, "writeOnly" = true))]
    pub secret: Option<SecretText>,
    /// The public key of the other algorithms, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "-----BEGIN ", "x-expect" = "a public key in PEM"))]
    pub public_key: Option<String>,
    /// Where the public keys are published as a JWK set; fetched at start and again when a token names another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^https?://", "x-expect" = "an http:// or https:// URL"))]
    pub jwks_url: Option<String>,
    /// The `aud` that a token must have. Left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The `iss` that a token must have. Left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
#[schemars(inline)]
#[allow(missing_docs, reason = "the names are those of RFC 7518")]
pub enum JwtAlgorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl JwtAlgorithm {
    /// Whether both sides share one secret.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

/// A text that is never shown: `{:?}` and serialization give `[redacted]`.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct SecretText(String);

impl SecretText {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for those who compare it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

impl AdminConfig {
    /// Checks what concerns several fields; `node` is the tree of the whole file.
    pub(super) fn check(&self, node: &Node, errors: &mut Vec<Diagnostic>) {
        let auth = "/admin/auth";
        let mut wrong =
            |pointer: String, detail: &str| errors.push(node.diagnose(&pointer, detail));
        match &self.auth {
            AdminAuth::None => {
                if let Some(address) = self.listen.get().filter(|a| !a.is_loopback()) {
                    let detail = format!(
                        "the Admin API on `{address}`, beyond loopback, needs authentication: set \
                         `admin.auth`, or listen on `127.0.0.1:9080`, or `none` to turn it off"
                    );
                    wrong("/admin/listen".to_owned(), &detail);
                }
            }
            AdminAuth::Basic { users } => {
                let names = users.iter().map(|u| u.username.as_str());
                for at in twice(names) {
                    wrong(
                        format!("{auth}/users/{at}/username"),
                        "there is another user of this name",
                    );
                }
            }
            AdminAuth::Key { keys } => {
                for at in twice(keys.iter().map(|k| k.name.as_str())) {
                    wrong(
                        format!("{auth}/keys/{at}/name"),
                        "there is another key of this name",
                    );
                }
                for at in twice(keys.iter().map(|k| k.key.reveal())) {
                    wrong(
                        format!("{auth}/keys/{at}/key"),
                        "another name has the same key",
                    );
                }
            }
            AdminAuth::Jwt(jwt) => {
                let given = [
                    ("secret", jwt.secret.is_some()),
                    ("public_key", jwt.public_key.is_some()),
                    ("jwks_url", jwt.jwks_url.is_some()),
                ];
                let given: Vec<_> = given.iter().filter(|g| g.1).map(|g| g.0).collect();
                let symmetric = jwt.algorithm.is_symmetric();
                match given.as_slice() {
                    [] if symmetric => wrong(auth.to_owned(), "this algorithm needs a `secret`"),
                    [] => wrong(
                        auth.to_owned(),
                        "this algorithm needs a `public_key` or a `jwks_url`",
                    ),
                    [one] if (*one == "secret") != symmetric => wrong(
                        join(auth, one),
                        if symmetric {
                            "this algorithm takes a `secret`"
                        } else {
                            "this algorithm takes a `public_key` or a `jwks_url`"
                        },
                    ),
                    [_] => {}
                    [_, second, ..] => wrong(
                        join(auth, second),
                        "only one of `secret`, `public_key` and `jwks_url`",
                    ),
                }
            }
        }
    }
}

/// Where a text stands that came before.
fn twice<'a>(all: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut seen = std::collections::HashSet::new();
    let again = all.enumerate().filter(|(_, text)| !seen.insert(*text));
    again.map(|(at, _)| at).collect()
}
