//! What endpoints and services are like at the moment, for those who ask: breakers, health, requests under way.
//!
//! Nothing is written while requests pass: whoever has a state is asked for it when statistics are read, and says
//! it itself.

use super::Names;
use metrics::gauge;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Weak};

/// The state of an endpoint or, with an empty third name, of a service. What it does not have is absent.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `healthy`, `unhealthy` or `ejected`.
    pub health: Option<&'static str>,
    /// `closed`, `half_open` or `open`.
    pub breaker: Option<&'static str>,
    /// Requests under way.
    pub inflight: Option<u64>,
    /// Requests that wait for a place.
    pub waiting: Option<u64>,
}

/// Something with a state.
pub trait Watched: Send + Sync {
    /// The state now.
    fn seen(&self) -> Seen;
}

type Known = BTreeMap<Names, Vec<Weak<dyn Watched>>>;
static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// Shows a state under these names (namespace, service, endpoint) as long as it lives. The newest one that lives
/// is shown: an older one may still have requests, a newer one may have been made on trial.
pub fn watch(names: Names, what: Weak<dyn Watched>) {
    let mut known = KNOWN.lock();
    let of_name = known.entry(names).or_default();
    of_name.retain(|w| w.strong_count() > 0);
    of_name.push(what);
}

/// All states, in the order of their names.
pub fn watched() -> Vec<(Names, Seen)> {
    let mut alive = Vec::new();
    KNOWN.lock().retain(|names, known| {
        known.retain(|w| w.strong_count() > 0);
        alive.extend(known.last().map(|w| (names.clone(), w.clone())));
        !known.is_empty()
    });
    // Asked without the lock: what lives until then may end with it.
    let seen = |(names, what): (Names, Weak<dyn Watched>)| Some((names, what.upgrade()?.seen()));
    alive.into_iter().filter_map(seen).collect()
}

/// Sets the gauges of all states, before a recorder is read: `dgate_endpoint_healthy` (1 or 0),
/// `dgate_circuit_breaker_state` (0 closed, 1 half-open, 2 open), `dgate_upstream_inflight_requests` and
/// `dgate_upstream_waiting_requests`. What has gone is healthy, closed and at rest.
pub fn publish() {
    static PUBLISHED: Mutex<BTreeSet<(&str, Names)>> = Mutex::new(BTreeSet::new());
    let mut now = BTreeSet::new();
    let set = |gauge: &'static str, [namespace, service, endpoint]: &Names, value: f64| {
        let labels = [
            ("namespace", namespace.to_string()),
            ("service", service.to_string()),
            ("endpoint", endpoint.to_string()),
        ];
        gauge!(gauge, &labels).set(value);
    };
    for (names, seen) in watched() {
        let values = [
            (HEALTHY, seen.health.map(|h| f64::from(h == "healthy"))),
            (
                BREAKER,
                seen.breaker.map(|state| match state {
                    "closed" => 0.0,
                    "half_open" => 1.0,
                    _ => 2.0,
                }),
            ),
            (INFLIGHT, seen.inflight.map(|n| n as f64)),
            (WAITING, seen.waiting.map(|n| n as f64)),
        ];
        for (gauge, value) in values {
            if let Some(value) = value {
                set(gauge, &names, value);
                now.insert((gauge, names.clone()));
            }
        }
    }
    let mut published = PUBLISHED.lock();
    for (gauge, names) in published.difference(&now) {
        set(gauge, names, f64::from(*gauge == HEALTHY));
    }
    *published = now;
}

const HEALTHY: &str = "dgate_endpoint_healthy";
const BREAKER: &str = "dgate_circuit_breaker_state";
const INFLIGHT: &str = "dgate_upstream_inflight_requests";
const WAITING: &str = "dgate_upstream_waiting_requests";

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Open(u64);
    impl Watched for Open {
        fn seen(&self) -> Seen {
            Seen {
                inflight: Some(self.0),
                ..Seen::default()
            }
        }
    }

    #[test]
    fn the_newest_that_lives_is_shown() {
        let names: Names = ["watch-test".into(), "s".into(), "".into()];
        let shown = || {
            let mine = watched().into_iter().filter(|(n, _)| n[0] == names[0]);
            mine.filter_map(|(_, s)| s.inflight).collect::<Vec<_>>()
        };
        let first: Arc<dyn Watched> = Arc::new(Open(1));
        watch(names.clone(), Arc::downgrade(&first));
        let trial: Arc<dyn Watched> = Arc::new(Open(2));
        watch(names.clone(), Arc::downgrade(&trial));
        assert_eq!(shown(), [2]);
        drop(trial);
        assert_eq!(shown(), [1]);
        drop(first);
        assert_eq!(shown(), [0; 0]);
    }
}
