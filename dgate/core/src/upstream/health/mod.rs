//! Whether an endpoint is fit for requests: by asking it (active), and by how requests went (passive).

mod config;
mod probe;

pub use config::{ActiveConfig, HealthConfig, PassiveConfig};
pub(super) use probe::Way;

use crate::metrics::Names;
use http::StatusCode;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The health of one endpoint.
#[derive(Debug)]
pub(super) struct Health {
    config: HealthConfig,
    names: Option<Names>,
    begun: Instant,
    /// By active checks.
    unhealthy: AtomicBool,
    /// Checks of one kind in a row: good ones above 0, bad ones below.
    row: AtomicI64,
    /// Milliseconds since `begun`; 0 when it is not ejected.
    ejected_until: AtomicU64,
    /// When requests failed, in the same milliseconds; no more than eject it.
    failures: Mutex<VecDeque<u64>>,
    way: Way,
    checking: AtomicBool,
    checks: Mutex<Option<Checks>>,
}

/// The task that asks. It ends with the health that it is for.
#[derive(Debug)]
struct Checks(JoinHandle<()>);

impl Drop for Checks {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Health {
    /// Healthy, until the contrary shows. `way` leads active checks to the endpoint; they begin at once within a
    /// tokio runtime, and else with the first request.
    pub(super) fn new(config: HealthConfig, names: Option<Names>, way: Way) -> Arc<Self> {
        let health = Arc::new(Self {
            config,
            names,
            begun: Instant::now(),
            unhealthy: AtomicBool::new(false),
            row: AtomicI64::new(0),
            ejected_until: AtomicU64::new(0),
            failures: Mutex::default(),
            way,
            checking: AtomicBool::new(false),
            checks: Mutex::new(None),
        });
        health.check();
        health
    }

    pub(super) fn config(&self) -> &HealthConfig {
        &self.config
    }

    /// Begins active checks, unless there are none to do or they are under way: one load.
    pub(super) fn check(self: &Arc<Self>) {
        if self.checking.load(Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.checking.swap(true, Relaxed) {
            return;
        }
        if let Some(active) = &self.config.active {
            let task = probe::run(Arc::downgrade(self), active.clone(), self.way.clone());
            *self.checks.lock() = Some(Checks(runtime.spawn(task)));
        }
    }

    /// Whether it gets requests; without the clock unless it was ejected.
    pub(super) fn fit(&self) -> bool {
        !self.unhealthy.load(Relaxed) && !self.ejected()
    }

    /// Whether passive checks have ejected it.
    pub(super) fn ejected(&self) -> bool {
        let until = self.ejected_until.load(Relaxed);
        if until == 0 {
            return false;
        }
        if self.now() < until {
            return true;
        }
        let over = self
            .ejected_until
            .compare_exchange(until, 0, Relaxed, Relaxed);
        if over.is_ok() {
            self.log("back", None);
        }
        false
    }

    /// The word for stats: `healthy`, `unhealthy` (by active checks) or `ejected` (by passive ones).
    pub(super) fn word(&self) -> &'static str {
        match self.unhealthy.load(Relaxed) {
            true => "unhealthy",
            false if self.ejected() => "ejected",
            false => "healthy",
        }
    }

    /// Notes a request that failed; true when it is time to eject the endpoint, for which [`Self::eject`] is asked.
    pub(super) fn failed(&self) -> bool {
        let Some(passive) = &self.config.passive else {
            return false;
        };
        let now = self.now();
        let window = passive.window.as_millis() as u64;
        let mut failures = self.failures.lock();
        failures.push_back(now);
        while failures.len() > passive.failures as usize
            || failures.front().is_some_and(|at| at + window < now)
        {
            failures.pop_front();
        }
        failures.len() == passive.failures as usize && !self.ejected()
    }

    /// Leaves the endpoint out for a while, unless as many of its siblings are left out as may be.
    pub(super) fn eject<'a>(&self, siblings: impl Iterator<Item = &'a Self>) {
        // Rare, and the only way to be sure that two do not take the last place at once.
        static EJECTING: Mutex<()> = Mutex::new(());
        let Some(passive) = &self.config.passive else {
            return;
        };
        let _one_by_one = EJECTING.lock();
        let (mut all, mut ejected) = (0, 0);
        for sibling in siblings {
            all += 1;
            ejected += usize::from(sibling.ejected());
        }
        let most = (f64::from(all) * passive.max_ejected).floor() as usize;
        if self.ejected() || ejected >= most {
            return;
        }
        let time = passive.eject_for.as_millis() as u64;
        self.ejected_until.store(self.now() + time.max(1), Relaxed);
        self.failures.lock().clear();
        self.log(
            "ejected",
            Some(&format!("{} requests failed", passive.failures)),
        );
    }

    /// Notes an active check.
    fn checked(&self, active: &ActiveConfig, result: Result<(), String>) {
        let good = result.is_ok();
        let step = |row: i64| match good {
            true => Some(row.max(0) + 1),
            false => Some(row.min(0) - 1),
        };
        let row = self.row.fetch_update(Relaxed, Relaxed, step);
        let row = row.ok().and_then(step).unwrap_or_default();
        let enough = match good {
            true => row >= i64::from(active.healthy),
            false => -row >= i64::from(active.unhealthy),
        };
        if enough && self.unhealthy.swap(!good, Relaxed) == good {
            let word = if good { "back" } else { "unhealthy" };
            self.log(word, result.err().as_deref());
        }
    }

    fn log(&self, state: &str, reason: Option<&str>) {
        let name = |at: usize| self.names.as_ref().map(|names| &*names[at]);
        let (namespace, upstream, endpoint) = (name(0), name(1), name(2));
        if state == "back" {
            tracing::info!(namespace, upstream, endpoint, "endpoint is healthy again");
        } else {
            tracing::warn!(
                namespace,
                upstream,
                endpoint,
                state,
                reason,
                "endpoint gets no requests"
            );
        }
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

/// Whether passive checks take an answer for a failure.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error()
}
