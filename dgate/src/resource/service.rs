//! A service: an upstream, and how the gateway talks to it.

use super::{default_namespace, is_default};
use crate::config::PluginUse;
use dgate_core::layer::{BreakerConfig, MaxInflightConfig, RetryConfig};
pub use dgate_core::upstream::{Balancing, LoadBalancerConfig as LoadBalancer};
use dgate_core::upstream::{HealthConfig, Protocol, TimeoutsConfig, TlsConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An upstream with one endpoint or several.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its namespace. Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub namespace: String,
    /// Its name.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub name: String,
    /// Endpoints: `http://` or `https://`, each a URL or `{url, weight}`. A path in a URL is put before every
    /// request's path. Without any it answers 503 `no_endpoint`, unless a module names the upstream (`fetchUpstream`).
    pub urls: Vec<Endpoint>,
    /// How requests are spread over the endpoints.
    #[serde(default, skip_serializing_if = "is_default")]
    pub load_balancer: LoadBalancer,
    /// Time limits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: TimeoutsConfig,
    /// Retries; on with defaults when absent, `{attempts: 0}` turns them off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryConfig>,
    /// A circuit breaker: stops asking what has been failing, for a while. Off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<BreakerConfig>,
    /// Health checks of the endpoints. Off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthConfig>,
    /// A bound on requests under way; over it 503 `overloaded`. Off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_inflight: Option<MaxInflightConfig>,
    /// TLS for `https://` endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// `auto` (HTTP/1.1, or what ALPN agrees on over TLS), `http1`, `http2` (over TLS) or `h2c`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// Sends the client's `Host` instead of the endpoint's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preserve_host: bool,
    /// Adds no `Via` to responses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hide_dgate_headers: bool,
    /// Sends no query string to the upstream.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disable_query_params: bool,
    /// Plugins on every route of this service.
    #[serde(default, skip_serializing_if = "is_default")]
    pub plugins: Vec<PluginUse>,
    /// Free words for lists and modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Endpoint {
    /// A URL.
    Url(String),
    /// A URL with a weight.
    Weighted(WeightedEndpoint),
}

/// A URL with a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedEndpoint {
    /// The URL.
    pub url: String,
    /// Its share, relative to the others'.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: u32,
}

impl Endpoint {
    /// The URL.
    pub fn url(&self) -> &str {
        match self {
            Self::Url(url) => url,
            Self::Weighted(endpoint) => &endpoint.url,
        }
    }
    /// The weight; 1 unless written.
    pub fn weight(&self) -> u32 {
        match self {
            Self::Url(_) => 1,
            Self::Weighted(endpoint) => endpoint.weight,
        }
    }
}
