//! What a circuit breaker can be told.

use crate::units::{Duration, Statuses};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A circuit breaker: stops asking what has been failing, for a while. Off when absent.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// How far back calls count. Default 10s.
    pub window: Duration,
    /// Calls in the window below which no ratio opens it. Default 20.
    #[schemars(range(min = 1, max = 100_000))]
    pub min_requests: u32,
    /// Share of failed calls that opens it. Default 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub error_ratio: f64,
    /// A call that takes at least this long to the head of its answer is slow. Default none: no call is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_call: Option<Duration>,
    /// Share of slow calls that opens it. Default 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub slow_ratio: f64,
    /// Failures one after the other that open it, however few calls there were. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub consecutive_failures: Option<u32>,
    /// Answers that are failures, besides no answer at all. Default 500-599.
    pub failure_statuses: Vec<Statuses>,
    /// How long it stays open the first time; twice as long each time that the probes after it fail. Default 5s.
    pub open_for: Duration,
    /// The longest that it stays open. Default 60s.
    pub max_open_for: Duration,
    /// Probes that are let through after that; when all of them succeed, it closes. Default 3.
    #[schemars(range(min = 1, max = 1000))]
    pub half_open_requests: u32,
    /// `endpoint`: one for each endpoint, and others take over; `service`: one for all of them. Default endpoint.
    pub scope: Scope,
    /// What answers instead of 503 `circuit_open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackConfig>,
}

/// What a circuit breaker is for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Each endpoint has one.
    #[default]
    Endpoint,
    /// The service has one.
    Service,
}

/// An answer or another service, for when the circuit is open.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FallbackConfig {
    /// The status of an answer. Default 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// The body of an answer. Text, or JSON when it is an object or a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A service of the same namespace that takes the request instead; its own fallback is not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            min_requests: 20,
            error_ratio: 0.5,
            slow_call: None,
            slow_ratio: 0.5,
            consecutive_failures: None,
            failure_statuses: vec![Statuses::new(500, 599)],
            open_for: Duration::from_secs(5),
            max_open_for: Duration::from_secs(60),
            half_open_requests: 3,
            scope: Scope::Endpoint,
            fallback: None,
        }
    }
}

impl BreakerConfig {
    /// Sets the calls below which no ratio opens it.
    pub fn min_requests(mut self, calls: u32) -> Self {
        self.min_requests = calls;
        self
    }
    /// Sets how long it stays open the first time.
    pub fn open_for(mut self, time: std::time::Duration) -> Self {
        self.open_for = time.into();
        self
    }
}
