//! What is counted for every route: floor 0. Handles of the `metrics` facade, looked up once per route and
//! kept, so that a request costs a few atomic operations. Without a recorder they do nothing.
//!
//! | metric | labels | what |
//! | --- | --- | --- |
//! | `dgate_requests_total` | `namespace route status` (class: `2xx`) | requests whose answer has ended |
//! | `dgate_request_duration_seconds` | `namespace route` | from the request's head to the end of the answer |
//! | `dgate_response_bytes_total` | `namespace route` | body bytes sent to clients |
//! | `dgate_upstream_attempts_total` | `namespace route` | attempts at upstreams beyond the first |

mod tally;

pub use tally::{Counts, Names, Subject, Tally, since, tallies, tally};

use metrics::{Counter, Histogram, counter, histogram};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The handles of one route.
#[derive(Default)]
pub struct RouteMetrics {
    namespace: Arc<str>,
    route: Arc<str>,
    requests: [OnceLock<Counter>; 6],
    duration: OnceLock<Histogram>,
    bytes: OnceLock<Counter>,
    retries: OnceLock<Counter>,
    service: Arc<str>,
    tally: OnceLock<Arc<Tally>>,
}

impl RouteMetrics {
    /// Handles under these labels, registered at their first use.
    pub fn new(namespace: Arc<str>, route: Arc<str>) -> Self {
        Self {
            namespace,
            route,
            ..Self::default()
        }
    }

    /// The same for a route to this service.
    pub fn to_service(self, service: Arc<str>) -> Self {
        Self { service, ..self }
    }

    /// Notes one answer that has ended.
    pub fn answered(&self, status: http::StatusCode, bytes: u64, latency: Duration) {
        let class = usize::from(status.as_u16() / 100).min(5);
        self.requests[class]
            .get_or_init(|| counter!("dgate_requests_total", "namespace" => self.namespace.to_string(), "route" => self.route.to_string(), "status" => CLASSES[class]))
            .increment(1);
        self.duration
            .get_or_init(|| histogram!("dgate_request_duration_seconds", "namespace" => self.namespace.to_string(), "route" => self.route.to_string()))
            .record(latency.as_secs_f64());
        self.tally
            .get_or_init(|| tally(Subject::Route, &self.namespace, &self.route, &self.service))
            .answered(status, latency);
        if bytes > 0 {
            self.bytes
                .get_or_init(|| counter!("dgate_response_bytes_total", "namespace" => self.namespace.to_string(), "route" => self.route.to_string()))
                .increment(bytes);
        }
    }

    /// Notes one more attempt at the upstream after the first.
    pub fn retried(&self) {
        self.retries
            .get_or_init(|| counter!("dgate_upstream_attempts_total", "namespace" => self.namespace.to_string(), "route" => self.route.to_string()))
            .increment(1);
    }
}

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RouteMetrics({}/{})", self.namespace, self.route)
    }
}
