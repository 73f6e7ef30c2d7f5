//! Counts since start, with quantiles of latency, for those who ask the gateway itself and not Prometheus.
//!
//! A [`Tally`] is looked up by name once, when what it counts is compiled or first used. To count costs two
//! additions to memory that other threads seldom write: each thread has a share of its own.
//!
//! ```
//! use dgate_core::metrics::Tally;
//! use std::time::Duration;
//!
//! let tally = Tally::default();
//! for ms in 1..=100 {
//!     tally.answered(http::StatusCode::OK, Duration::from_millis(ms));
//! }
//! let counts = tally.read();
//! assert_eq!(counts.total(), 100);
//! assert!((0.8..1.2).contains(&(counts.quantile(0.5).unwrap() / 0.050)));
//! ```

use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, SystemTime};

/// Threads that write into memory of their own; further ones share.
const SHARES: usize = 16;
/// 4 for each power of two microseconds: quantiles are within 12 %, and the last holds all above a minute.
const BUCKETS: usize = 27 * 4;
/// Tallies kept in memory of what is gone, 1 KiB each for every thread that counted.
const MAX_GONE: usize = 10_000;
/// No answer; 1xx to 5xx; done, of what has no status.
const CLASSES: usize = 7;
const DONE: usize = 6;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Subject {
    /// Answers of a route; the third name is its service, or empty.
    Route,
    /// Attempts at an endpoint of a service; the third name is its URL.
    Endpoint,
    /// Runs of hooks of a module.
    Module,
}

/// Names of what is counted: the namespace, the name in it, and what the subject says.
pub type Names = [Arc<str>; 3];

type Known = BTreeMap<(Subject, Names), Arc<Tally>>;
static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(|| {
    since();
    Mutex::default()
});

/// The counts under these names, of this process: those that were there, or new ones.
pub fn tally(subject: Subject, namespace: &str, name: &str, part: &str) -> Arc<Tally> {
    let key = (subject, [namespace.into(), name.into(), part.into()]);
    let mut known = KNOWN.lock();
    if known.len() >= MAX_GONE && !known.contains_key(&key) {
        // Still more than that are in use: then all of them stay.
        known.retain(|_, tally| Arc::strong_count(tally) > 1);
    }
    known.entry(key).or_default().clone()
}

/// All counts of a subject, in the order of their names.
pub fn tallies(subject: Subject) -> Vec<(Names, Counts)> {
    let known = KNOWN.lock();
    let of_subject = known.iter().filter(|((is, _), _)| *is == subject);
    of_subject
        .map(|((_, names), tally)| (names.clone(), tally.read()))
        .collect()
}

/// When counting began: when the first gateway of this process was set up.
pub fn since() -> SystemTime {
    static SINCE: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);
    *SINCE
}

/// Counts of one thing.
#[derive(Default)]
pub struct Tally {
    shares: [OnceLock<Box<Share>>; SHARES],
}

/// What one thread adds to; a line of memory is 64 or 128 bytes.
#[repr(align(128))]
struct Share {
    classes: [AtomicU64; CLASSES],
    buckets: [AtomicU64; BUCKETS],
}

impl Tally {
    /// Notes an answer.
    pub fn answered(&self, status: http::StatusCode, latency: Duration) {
        self.note(usize::from(status.as_u16() / 100).min(5), latency);
    }

    /// Notes something that has no status: whether it was done or failed.
    pub fn ended(&self, done: bool, latency: Duration) {
        self.note(if done { DONE } else { 0 }, latency);
    }

    fn note(&self, class: usize, latency: Duration) {
        let share = self.shares[share()].get_or_init(|| {
            Box::new(Share {
                classes: [const { AtomicU64::new(0) }; CLASSES],
                buckets: [const { AtomicU64::new(0) }; BUCKETS],
            })
        });
        share.classes[class].fetch_add(1, Relaxed);
        share.buckets[bucket(latency)].fetch_add(1, Relaxed);
    }

    /// What was counted up to now.
    pub fn read(&self) -> Counts {
        let mut counts = Counts::default();
        for share in self.shares.iter().filter_map(OnceLock::get) {
            for (sum, part) in counts.classes.iter_mut().zip(&share.classes) {
                *sum += part.load(Relaxed);
            }
            for (sum, part) in counts.buckets.iter_mut().zip(&share.buckets) {
                *sum += part.load(Relaxed);
            }
        }
        counts
    }
}

fn share() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Relaxed) % SHARES);
        }
        mine.get()
    })
}

fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    let power = micros.ilog2() as usize;
    let quarter = if power < 2 {
        0
    } else {
        (micros >> (power - 2)) as usize & 3
    };
    (power * 4 + quarter).min(BUCKETS - 1)
}

/// The middle of a bucket, in seconds.
fn middle(bucket: usize) -> f64 {
    let (power, quarter) = (bucket / 4, (bucket % 4) as f64);
    let width = f64::powi(2.0, power as i32) / 4.0;
    let middle = if power < 2 {
        4.0 * width
    } else {
        (4.5 + quarter) * width
    };
    middle / 1e6
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tally({})", self.read().total())
    }
}

/// What a [`Tally`] held when it was read.
#[derive(Clone, Debug)]
pub struct Counts {
    classes: [u64; CLASSES],
    buckets: [u64; BUCKETS],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            classes: [0; CLASSES],
            buckets: [0; BUCKETS],
        }
    }
}

impl Counts {
    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        let classes = self.classes.iter_mut().zip(&other.classes);
        let buckets = self.buckets.iter_mut().zip(&other.buckets);
        classes.chain(buckets).for_each(|(sum, part)| *sum += part);
    }

    /// All that was counted.
    pub fn total(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// What failed: no answer, or 5xx.
    pub fn errors(&self) -> u64 {
        self.classes[0] + self.classes[5]
    }

    /// How many there are of each class of status: `2xx`; those that are none are left out.
    pub fn statuses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
        let all = names.into_iter().zip(self.classes);
        all.filter(|(_, count)| *count > 0)
    }

    /// The latency in seconds that the share `q` of all did not exceed, within 12 %; `None` before the first.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let all: u64 = self.buckets.iter().sum();
        let rank = (q * all as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        at.map(middle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_an_eighth_from_microseconds_to_a_minute() {
        for micros in [4, 5, 17, 250, 999, 1_000, 31_415, 1_000_000, 59_000_000] {
            let tally = Tally::default();
            tally.ended(true, Duration::from_micros(micros));
            let is = tally.read().quantile(0.99).expect("one was counted") * 1e6;
            let off = (is / micros as f64 - 1.0).abs();
            assert!(off <= 0.125, "{micros} is {is}");
        }
    }

    #[test]
    fn threads_add_up() {
        let tally = Arc::new(Tally::default());
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let tally = tally.clone();
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        tally.answered(http::StatusCode::NOT_FOUND, Duration::ZERO);
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|t| t.join().expect("no panic"));
        let counts = tally.read();
        assert_eq!(counts.statuses().collect::<Vec<_>>(), [("4xx", 2000)]);
        assert_eq!((counts.total(), counts.errors()), (2000, 0));
        assert_eq!(Tally::default().read().quantile(0.5), None);
    }
}
