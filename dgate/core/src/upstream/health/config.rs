//! What health checks can be told.

use crate::units::{Duration, Statuses};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Health checks of the endpoints. Off when absent. While no endpoint is healthy, all get requests.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// Asks each endpoint from time to time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveConfig>,
    /// Watches the answers to requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive: Option<PassiveConfig>,
}

/// Active health checks: `GET`s on connections of their own.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActiveConfig {
    /// The path, with a query if need be; a path in the endpoint's URL is not put before it. Default `/`.
    #[schemars(regex(pattern = "^/[!-~]*$"))]
    pub path: String,
    /// From one to the next. Default 5s.
    pub interval: Duration,
    /// For one, connection included, up to the head of its answer. Default 1s.
    pub timeout: Duration,
    /// Good ones in a row that make an endpoint healthy again. Default 2.
    #[schemars(range(min = 1, max = 1000))]
    pub healthy: u32,
    /// Bad ones in a row that make it unhealthy. Default 3.
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy: u32,
    /// Answers that are good. Default 200-399.
    pub statuses: Vec<Statuses>,
    /// The port. Default: the endpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The `Host`. Default: the endpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[!-~]+$"))]
    pub host: Option<String>,
}

/// Passive health checks: an endpoint that fails requests is left out for a while.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PassiveConfig {
    /// Failed requests within `window` that eject an endpoint: no answer, or a status of 500 to 599. Default 5.
    #[schemars(range(min = 1, max = 10_000))]
    pub failures: u32,
    /// How far back failed requests count. Default 10s.
    pub window: Duration,
    /// How long it stays ejected. Default 30s.
    pub eject_for: Duration,
    /// The largest share of the endpoints that is ejected at a time. Default 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_ejected: f64,
}

impl Default for ActiveConfig {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
            statuses: vec![Statuses::new(200, 399)],
            port: None,
            host: None,
        }
    }
}

impl Default for PassiveConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            window: Duration::from_secs(10),
            eject_for: Duration::from_secs(30),
            max_ejected: 0.5,
        }
    }
}
