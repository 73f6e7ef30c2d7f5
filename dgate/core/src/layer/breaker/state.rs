//! Closed, open, half-open: the state of one breaker.
//!
//! Closed costs a call one load before it and two additions after it. The lock is taken when the state changes and
//! while it is half-open, when only a few calls pass.

use super::config::BreakerConfig;
use super::window::Window;
use crate::error::{Error, ErrorKind};
use crate::metrics::Names;
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;
use tokio::time::Instant;

/// What a breaker does with calls.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets all through and counts them.
    Closed,
    /// Lets a few through, to see whether it can close.
    HalfOpen,
    /// Lets none through.
    Open,
}

impl BreakerState {
    /// The lowercase word of stats and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// The state of one circuit breaker, shared by all that call the same thing.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    names: Option<Names>,
    begun: Instant,
    window: Window,
    /// Failures since the last success.
    row: AtomicU32,
    phase: AtomicU64,
    /// Milliseconds since `begun`.
    open_until: AtomicU64,
    turn: Mutex<Turn>,
}

/// A state and the number of changes before it: calls of an earlier one say nothing about a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phase(u64);

impl Phase {
    fn state(self) -> BreakerState {
        match self.0 & 3 {
            0 => BreakerState::Closed,
            1 => BreakerState::HalfOpen,
            _ => BreakerState::Open,
        }
    }
    fn next(self, state: BreakerState) -> Self {
        Self(((self.0 >> 2) + 1) << 2 | state as u64)
    }
}

#[derive(Debug, Default)]
struct Turn {
    /// How often it opened since it was closed.
    opened: u32,
    /// Probes let through that have not been given up.
    probes: u32,
    succeeded: u32,
}

impl Breaker {
    /// A closed one.
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            window: Window::new(config.window.get()),
            config,
            names: None,
            begun: Instant::now(),
            row: AtomicU32::new(0),
            phase: AtomicU64::new(0),
            open_until: AtomicU64::new(0),
            turn: Mutex::default(),
        }
    }

    /// A closed one that logs and counts its changes under these names: namespace, service, endpoint.
    pub fn named(config: BreakerConfig, names: Names) -> Self {
        Self {
            names: Some(names),
            ..Self::new(config)
        }
    }

    /// What it was told.
    pub fn config(&self) -> &BreakerConfig {
        &self.config
    }

    /// Its state. Open stays open until a call comes after its time.
    pub fn state(&self) -> BreakerState {
        self.phase().state()
    }

    /// Whether a call would be let through now; without the clock while it is closed.
    pub fn admits(&self) -> bool {
        match self.state() {
            BreakerState::Closed => true,
            BreakerState::Open => self.now() >= self.open_until.load(Relaxed),
            BreakerState::HalfOpen => self.turn.lock().probes < self.config.half_open_requests,
        }
    }

    /// Lets a call through, or says in how long it may come again.
    ///
    /// # Errors
    /// The circuit is open, or all probes are on their way.
    pub fn enter(self: &Arc<Self>) -> Result<Permit, Duration> {
        let mut phase = self.phase();
        if phase.state() != BreakerState::Closed {
            phase = self.probe()?;
        }
        Ok(Permit {
            breaker: Some(self.clone()),
            phase,
            begun: Instant::now(),
        })
    }

    /// In how long it lets a call through again; at least a moment.
    pub fn retry_in(&self) -> Duration {
        let left = self.open_until.load(Relaxed).saturating_sub(self.now());
        Duration::from_millis(left.max(1))
    }

    /// What a result says: failed or not, or nothing, as when the client broke off.
    pub fn judge(&self, result: Result<StatusCode, &Error>) -> Option<bool> {
        match result {
            Ok(status) => {
                let failures = &self.config.failure_statuses;
                Some(failures.iter().any(|set| set.contains(status)))
            }
            Err(error) => error.blames_inside().then_some(true),
        }
    }

    fn probe(&self) -> Result<Phase, Duration> {
        let mut turn = self.turn.lock();
        let phase = self.phase();
        match phase.state() {
            BreakerState::Closed => return Ok(phase),
            BreakerState::Open if self.now() < self.open_until.load(Relaxed) => {
                return Err(self.retry_in());
            }
            BreakerState::Open => {
                turn.probes = 0;
                turn.succeeded = 0;
                self.change(phase, BreakerState::HalfOpen);
            }
            BreakerState::HalfOpen => {}
        }
        if turn.probes >= self.config.half_open_requests {
            return Err(Duration::from_secs(1));
        }
        turn.probes += 1;
        Ok(self.phase())
    }

    fn ended(&self, of: Phase, failed: bool, took: Duration) {
        let slow = self.config.slow_call.is_some_and(|s| took >= s.get());
        match of.state() {
            _ if self.phase() != of => {}
            BreakerState::Closed => {
                let now = self.now();
                self.window.add(now, failed, slow);
                if self.trips(failed, now) {
                    self.open(of);
                }
            }
            BreakerState::HalfOpen if failed || slow => self.open(of),
            BreakerState::HalfOpen => {
                let mut turn = self.turn.lock();
                if self.phase() == of {
                    turn.succeeded += 1;
                    if turn.succeeded >= self.config.half_open_requests {
                        turn.opened = 0;
                        self.window.clear();
                        self.row.store(0, Relaxed);
                        self.change(of, BreakerState::Closed);
                    }
                }
            }
            BreakerState::Open => {}
        }
    }

    fn trips(&self, failed: bool, now: u64) -> bool {
        let row = match failed {
            true => self.row.fetch_add(1, Relaxed) + 1,
            false => {
                if self.row.load(Relaxed) > 0 {
                    self.row.store(0, Relaxed);
                }
                0
            }
        };
        let config = &self.config;
        if failed && config.consecutive_failures.is_some_and(|n| row >= n) {
            return true;
        }
        let sum = self.window.sum(now);
        let reaches =
            |part: u32, ratio: f64| part > 0 && f64::from(part) >= ratio * f64::from(sum.calls);
        sum.calls >= config.min_requests
            && (reaches(sum.failed, config.error_ratio) || reaches(sum.slow, config.slow_ratio))
    }

    fn open(&self, of: Phase) {
        let mut turn = self.turn.lock();
        if self.phase() != of {
            return;
        }
        let longest = self.config.max_open_for.get();
        let time = self.config.open_for.get();
        let time = time.saturating_mul(1 << turn.opened.min(20)).min(longest);
        turn.opened += 1;
        let until = self.now().saturating_add(time.as_millis() as u64);
        self.open_until.store(until, Relaxed);
        self.change(of, BreakerState::Open);
    }

    /// With the lock held.
    fn change(&self, of: Phase, to: BreakerState) {
        self.phase.store(of.next(to).0, SeqCst);
        let Some([namespace, service, endpoint]) = &self.names else {
            return;
        };
        let (state, endpoint) = (to.as_str(), &**endpoint);
        if to == BreakerState::Open {
            let labels = [
                ("namespace", namespace.to_string()),
                ("service", service.to_string()),
                ("endpoint", endpoint.to_owned()),
            ];
            metrics::counter!("dgate_circuit_breaker_opened_total", &labels).increment(1);
            let retry_in = self.retry_in();
            tracing::warn!(%namespace, upstream = %service, endpoint, state, ?retry_in, "circuit breaker changed");
        } else {
            tracing::info!(%namespace, upstream = %service, endpoint, state, "circuit breaker changed");
        }
    }

    fn give_up(&self, of: Phase) {
        if of.state() == BreakerState::HalfOpen {
            let mut turn = self.turn.lock();
            if self.phase() == of {
                turn.probes -= 1;
            }
        }
    }

    fn phase(&self) -> Phase {
        Phase(self.phase.load(SeqCst))
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

/// The right to one call. Dropped without [`Permit::end`], the call counts as never made: a probe's place is free
/// again.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts for nothing"]
pub struct Permit {
    breaker: Option<Arc<Breaker>>,
    phase: Phase,
    begun: Instant,
}

impl Permit {
    /// The call begins only now: what it waited for before is not its doing.
    pub fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// Notes how the call ended; `None` when it says nothing about what was called.
    pub fn end(mut self, failed: Option<bool>) {
        if let (Some(failed), Some(breaker)) = (failed, self.breaker.as_deref()) {
            breaker.ended(self.phase, failed, self.begun.elapsed());
            self.breaker = None;
        }
    }

    /// Notes the call's result, as [`Breaker::judge`] sees it.
    pub fn end_with(self, result: Result<StatusCode, &Error>) {
        let failed = self.breaker.as_deref().and_then(|b| b.judge(result));
        self.end(failed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(breaker) = &self.breaker {
            breaker.give_up(self.phase);
        }
    }
}

/// The error of a circuit that is open, with `Retry-After` in whole seconds.
pub(crate) fn circuit_open(retry_in: Duration) -> Error {
    let seconds = retry_in.as_millis().div_ceil(1000).max(1);
    Error::new(ErrorKind::CircuitOpen)
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds as u64))
}
