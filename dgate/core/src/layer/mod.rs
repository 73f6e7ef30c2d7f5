//! Traffic layers, one a file: floor 2. A layer knows no hook and no other layer.

pub mod adapter;
pub mod body_limit;
pub mod breaker;
pub mod headers;
pub mod inflight;
pub mod retry;
pub mod rewrite;
pub mod timeout;
pub mod trace;

pub use adapter::{AxumLayer, axum};
pub use body_limit::{BodyLimit, BodyLimitLayer};
pub use breaker::{BreakerConfig, CircuitBreaker, CircuitBreakerLayer};
pub use headers::{SetHeaders, SetHeadersLayer};
pub use inflight::{MaxInflight, MaxInflightConfig, MaxInflightLayer};
pub use retry::{Retry, RetryConfig, RetryLayer};
pub use rewrite::{StripPrefix, StripPrefixLayer};
pub use timeout::{Timeout, TimeoutLayer};
pub use trace::{Trace, TraceLayer};

/// The outermost layer of a gateway: request id, trace context, access record, metrics, and errors as answers.
pub fn trace() -> TraceLayer {
    TraceLayer::new()
}
