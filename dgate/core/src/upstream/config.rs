//! How to talk to an upstream: the settings that services, routes and programs share.

use crate::units::{Duration as Text, Limit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which HTTP an upstream speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 over plain connections, what ALPN agrees on over TLS.
    #[default]
    Auto,
    /// HTTP/1.1 always.
    Http1,
    /// HTTP/2 over TLS.
    Http2,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
}

/// Time limits towards an upstream. A field left out has its default, or on a route the service's value.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// For a connection, TLS handshake included. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Limit<Text>>,
    /// For all attempts together, up to the response head. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Limit<Text>>,
    /// For one attempt, up to the response head. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Limit<Text>>,
    /// Between two frames of a response body. Default 60s. A stream as a whole has no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Limit<Text>>,
}

/// TLS towards an upstream.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Name in SNI and in the certificate. Default: the host of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// PEM certificates that are trusted instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<String>,
    /// PEM certificate chain that identifies the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<String>,
    /// PEM private key of `client_cert`. Never given out; left out of a change, the one that is stored stays.
    #[serde(skip_serializing)]
    #[schemars(extend("writeOnly" = true))]
    pub client_key: Option<String>,
    /// Takes any certificate. Default false.
    pub skip_verify: bool,
    /// `1.2` or `1.3`. Default 1.2.
    #[schemars(regex(pattern = "^1\\.[23]$"))]
    pub min_version: String,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            server_name: None,
            ca_cert: None,
            client_cert: None,
            client_key: None,
            skip_verify: false,
            min_version: "1.2".to_owned(),
        }
    }
}

impl std::fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConfig")
            .field("server_name", &self.server_name)
            .field("skip_verify", &self.skip_verify)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) connect: Option<Duration>,
    pub(super) request: Option<Duration>,
    pub(super) attempt: Option<Duration>,
    pub(super) idle: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = |s| Some(Duration::from_secs(s));
        Self {
            connect: secs(1),
            request: secs(30),
            attempt: None,
            idle: secs(60),
        }
    }
}

impl Timeouts {
    pub(super) fn with(self, config: &TimeoutsConfig) -> Self {
        let over = |field: &Option<Limit<Text>>, base| {
            field.as_ref().map_or(base, |l| l.get().map(Into::into))
        };
        Self {
            connect: over(&config.connect, self.connect),
            request: over(&config.request, self.request),
            attempt: over(&config.attempt, self.attempt),
            idle: over(&config.idle, self.idle),
        }
    }
}
