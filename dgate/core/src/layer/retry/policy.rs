//! When to try again, how long to wait, and how much retrying a service gets in all.

use crate::body::{Body, Response};
use crate::error::{Error, ErrorKind};
use crate::units::{Duration, Size};
use http::{Method, StatusCode, header};
use http_body::Body as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{self, Instant};

/// Retries of a service. On with these defaults when absent; `attempts: 0` turns it off.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Extra tries after the first, at most 10. Default 2.
    #[schemars(range(max = 10))]
    pub attempts: u32,
    /// What is tried again. Default: connect_failure, reset, timeout, 502, 503, 504.
    pub on: Vec<Condition>,
    /// Methods that may be sent twice. A connection that could not be made is retried for every method.
    /// Default: GET, HEAD, OPTIONS, PUT, DELETE, TRACE (RFC 9110 §9.2.2).
    pub methods: Vec<String>,
    /// Pauses between tries: a random time up to `base × 2^n`, at most `max` ("full jitter").
    pub backoff: Backoff,
    /// Limit for one try, up to the response head. Default: none but `timeouts.request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<Duration>,
    /// How many retries a service gets in all, so that a failing one is not buried under them.
    pub budget: BudgetConfig,
    /// Largest request body that is kept for another try. Default 64KiB.
    pub max_body: Size,
}

/// Pauses between tries.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// Upper end of the first pause. Default 25ms.
    pub base: Duration,
    /// Upper end of every pause, and the longest `Retry-After` that is obeyed. Default 1s.
    pub max: Duration,
}

/// The retry budget of a service.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Retries per request, on average. Default 0.2.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub ratio: f64,
    /// Retries per second that are always allowed. Default 10.
    pub min_per_sec: u32,
}

/// Something that is worth another try.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "ConditionSchema")]
pub enum Condition {
    /// `connect_failure`: no connection could be made, or not in time.
    ConnectFailure,
    /// `reset`: the connection ended before an answer.
    Reset,
    /// `timeout`: no answer in time.
    Timeout,
    /// A status of 500 to 599.
    Status(u16),
}

impl Serialize for Condition {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ConnectFailure => to.serialize_str("connect_failure"),
            Self::Reset => to.serialize_str("reset"),
            Self::Timeout => to.serialize_str("timeout"),
            Self::Status(status) => to.serialize_u16(*status),
        }
    }
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(
    dead_code,
    reason = "the schema of Condition, for messages and documentation"
)]
enum ConditionSchema {
    Word(ConditionWord),
    Status(#[schemars(range(min = 500, max = 599))] u16),
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(
    dead_code,
    reason = "the schema of Condition, for messages and documentation"
)]
enum ConditionWord {
    ConnectFailure,
    Reset,
    Timeout,
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(from)? {
            serde_json::Value::String(text) => match text.as_str() {
                "connect_failure" => Ok(Self::ConnectFailure),
                "reset" => Ok(Self::Reset),
                "timeout" => Ok(Self::Timeout),
                other => Err(serde::de::Error::custom(format!(
                    "unknown retry condition `{other}`"
                ))),
            },
            serde_json::Value::Number(n) if n.as_u64().is_some_and(|n| (500..600).contains(&n)) => {
                Ok(Self::Status(n.as_u64().unwrap_or(500) as u16))
            }
            other => Err(serde::de::Error::custom(format!(
                "{other} is no retry condition"
            ))),
        }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: vec![
                Condition::ConnectFailure,
                Condition::Reset,
                Condition::Timeout,
                Condition::Status(502),
                Condition::Status(503),
                Condition::Status(504),
            ],
            methods: ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]
                .map(str::to_owned)
                .to_vec(),
            backoff: Backoff::default(),
            per_try_timeout: None,
            budget: BudgetConfig::default(),
            max_body: Size::kib(64),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: time::Duration::from_millis(25).into(),
            max: time::Duration::from_secs(1).into(),
        }
    }
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            ratio: 0.2,
            min_per_sec: 10,
        }
    }
}

impl RetryConfig {
    /// Sets the number of extra tries.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }
    /// Sets the limit for one try.
    pub fn per_try_timeout(mut self, limit: time::Duration) -> Self {
        self.per_try_timeout = Some(limit.into());
        self
    }
}

/// A [`RetryConfig`] made ready, with its budget.
#[derive(Debug)]
pub struct RetryPolicy {
    config: RetryConfig,
    methods: Vec<Method>,
    budget: Budget,
}

impl RetryPolicy {
    /// A policy with a full budget. Names that are no HTTP method are left out; configurations are checked before.
    pub fn new(config: RetryConfig) -> Self {
        let methods = config
            .methods
            .iter()
            .filter_map(|m| m.parse().ok())
            .collect();
        Self {
            methods,
            budget: Budget::new(&config.budget),
            config,
        }
    }
    /// Extra tries after the first.
    pub fn attempts(&self) -> u32 {
        self.config.attempts
    }
    /// Limit for one try.
    pub fn per_try_timeout(&self) -> Option<time::Duration> {
        self.config.per_try_timeout.map(Into::into)
    }
    /// The budget of the service.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
    pub(super) fn max_body(&self) -> u64 {
        self.config.max_body.bytes()
    }
    pub(crate) fn repeats(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }
    /// Whether a request would be sent again when its connection turns out to be closed.
    pub(crate) fn repeats_after_reset(&self, method: &Method, body: &Body) -> bool {
        let kept = body.is_end_stream()
            || body
                .size_hint()
                .upper()
                .is_some_and(|size| size <= self.max_body());
        kept && self.repeats(method) && self.config.on.contains(&Condition::Reset)
    }
    pub(super) fn retries_connect(&self) -> bool {
        self.config.on.contains(&Condition::ConnectFailure)
    }
    pub(super) fn retries_status(&self, status: StatusCode) -> bool {
        status.is_server_error() && self.config.on.contains(&Condition::Status(status.as_u16()))
    }
    pub(super) fn retries_error(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::UpstreamReset => self.config.on.contains(&Condition::Reset),
            ErrorKind::UpstreamTimeout => self.config.on.contains(&Condition::Timeout),
            _ => false,
        }
    }
    /// How long to wait before try `tries` (from 1); `None` when `Retry-After` asks for more than `backoff.max`.
    pub(super) fn pause(
        &self,
        tries: u32,
        wanted: Option<time::Duration>,
    ) -> Option<time::Duration> {
        let max: time::Duration = self.config.backoff.max.into();
        if let Some(wanted) = wanted {
            return (wanted <= max).then_some(wanted);
        }
        let base: time::Duration = self.config.backoff.base.into();
        let ceiling = base.saturating_mul(1 << (tries - 1).min(16)).min(max);
        Some(ceiling.mul_f64(fastrand::f64()))
    }
}

/// `Retry-After` in seconds; the date form is not obeyed, since an upstream's clock may be off.
pub(super) fn retry_after(response: &Response) -> Option<time::Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    Some(time::Duration::from_secs(value.trim().parse().ok()?))
}

/// A token bucket: each request puts `ratio` tokens in, time puts `min_per_sec` in, each retry takes one out.
/// It holds at most ten seconds' worth of the minimum, and starts with one second's.
#[derive(Debug)]
pub struct Budget {
    /// Thousandths of a token.
    tokens: AtomicI64,
    deposit: i64,
    per_ms: i64,
    cap: i64,
    begun: Instant,
    refilled_ms: AtomicU64,
}

impl Budget {
    fn new(config: &BudgetConfig) -> Self {
        let per_ms = i64::from(config.min_per_sec);
        Self {
            tokens: AtomicI64::new(per_ms * 1000),
            deposit: (config.ratio * 1000.0) as i64,
            per_ms,
            cap: (per_ms * 10_000).max(10_000),
            begun: Instant::now(),
            refilled_ms: AtomicU64::new(0),
        }
    }

    /// One request came.
    pub fn deposit(&self) {
        if self.tokens.load(Relaxed) < self.cap {
            self.tokens.fetch_add(self.deposit, Relaxed);
        }
    }

    /// One retry wants to go; false when the budget is used up.
    pub fn withdraw(&self) -> bool {
        let now = self.begun.elapsed().as_millis() as u64;
        let last = self.refilled_ms.swap(now, Relaxed);
        let refill = self
            .per_ms
            .saturating_mul(now.saturating_sub(last).min(10_000) as i64);
        let _ = self
            .tokens
            .fetch_update(Relaxed, Relaxed, |t| Some((t + refill).min(self.cap)));
        self.tokens
            .fetch_update(Relaxed, Relaxed, |t| (t >= 1000).then_some(t - 1000))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_lets_the_minimum_and_then_the_ratio_through() {
        let budget = Budget::new(&BudgetConfig {
            ratio: 0.5,
            min_per_sec: 0,
        });
        assert!(!budget.withdraw());
        for _ in 0..10 {
            budget.deposit();
        }
        assert_eq!((0..20).filter(|_| budget.withdraw()).count(), 5);
    }

    #[test]
    fn pauses_stay_below_their_ceiling_and_obey_a_short_retry_after() {
        let policy = RetryPolicy::new(RetryConfig::default());
        for tries in 1..20 {
            assert!(
                policy
                    .pause(tries, None)
                    .is_some_and(|p| p <= time::Duration::from_secs(1))
            );
        }
        assert_eq!(
            policy.pause(1, Some(time::Duration::from_millis(700))),
            Some(time::Duration::from_millis(700))
        );
        assert_eq!(policy.pause(1, Some(time::Duration::from_secs(7))), None);
    }

    #[test]
    fn conditions_read_and_print_as_the_contract_has_them() {
        let text = r#"["connect_failure","reset","timeout",502]"#;
        let on: Vec<Condition> = serde_json::from_str(text).expect("valid conditions");
        assert_eq!(serde_json::to_string(&on).expect("conditions print"), text);
        assert!(serde_json::from_str::<Condition>("200").is_err());
    }
}
