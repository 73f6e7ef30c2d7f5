//! The load of endpoints, and the better of two of them.
//!
//! Two at random and the better one is nearly as good as the best of all, and does not send everybody to the
//! endpoint that looked best a moment ago (M. Mitzenmacher, "The power of two choices", 2001).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// How fast what was measured fades, in seconds.
const FADES_IN: f64 = 10.0;
/// What an endpoint is taken for that nothing is known of: slow enough not to get everything at once.
const UNKNOWN: f32 = 0.03;
/// What a failure counts as: one that comes quickly must not look like a fast endpoint.
const FAILED: f32 = 1.0;
/// Microseconds in a unit of the stamp, as a shift: 32 bits of them are 19 hours.
const STAMP_SHIFT: u32 = 4;

/// What an endpoint is doing.
#[derive(Debug)]
pub(in crate::upstream) struct Load {
    under_way: AtomicU32,
    /// Seconds as `f32` in the upper half, the time they were noted at in the lower.
    latency: AtomicU64,
    begun: Instant,
}

impl Load {
    pub(in crate::upstream) fn new() -> Arc<Self> {
        Arc::new(Self {
            under_way: AtomicU32::new(0),
            latency: AtomicU64::new(u64::from(UNKNOWN.to_bits()) << 32),
            begun: Instant::now(),
        })
    }

    /// Counts one request until the guard is dropped.
    pub(in crate::upstream) fn begin(self: &Arc<Self>) -> Loaded {
        self.under_way.fetch_add(1, Relaxed);
        Loaded(self.clone())
    }

    /// Requests under way.
    pub(in crate::upstream) fn under_way(&self) -> f64 {
        f64::from(self.under_way.load(Relaxed))
    }

    /// Expected seconds for one more request.
    pub(super) fn cost(&self) -> f64 {
        let (latency, fresh) = self.faded(self.latency.load(Relaxed), self.stamp());
        // What nobody has measured lately is forgotten, so that an endpoint that was slow gets another chance.
        f64::from(latency) * fresh * (self.under_way() + 1.0)
    }

    /// Notes how long the head of an answer took.
    pub(in crate::upstream) fn note(&self, took: Duration, failed: bool) {
        let took = match failed {
            true => took.as_secs_f32().max(FAILED),
            false => took.as_secs_f32(),
        };
        let now = self.stamp();
        let _ = self.latency.fetch_update(Relaxed, Relaxed, |word| {
            let (latency, fresh) = self.faded(word, now);
            let next = match took >= latency {
                true => took,
                false => (f64::from(latency) * fresh + f64::from(took) * (1.0 - fresh)) as f32,
            };
            Some(u64::from(next.to_bits()) << 32 | u64::from(now))
        });
    }

    /// A latency and how much of it still counts.
    fn faded(&self, word: u64, now: u32) -> (f32, f64) {
        let age = now.wrapping_sub(word as u32);
        // Noted by another thread a moment later than `now`.
        let age = if age > u32::MAX / 2 { 0 } else { age };
        let seconds = (u64::from(age) << STAMP_SHIFT) as f64 / 1e6;
        let latency = f32::from_bits((word >> 32) as u32);
        (latency, (-seconds / FADES_IN).exp())
    }

    fn stamp(&self) -> u32 {
        (self.begun.elapsed().as_micros() >> STAMP_SHIFT) as u32
    }
}

/// One request under way.
#[derive(Debug)]
pub(in crate::upstream) struct Loaded(Arc<Load>);

impl Drop for Loaded {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// One of `among` at random, by weight, and not `but`.
pub(super) fn weighted(among: &[usize], weights: &[u32], but: Option<usize>) -> usize {
    let left = || among.iter().copied().filter(|at| Some(*at) != but);
    let sum: u64 = left().map(|at| u64::from(weights[at])).sum();
    let mut place = fastrand::u64(..sum.max(1));
    let mut last = among[0];
    for at in left() {
        last = at;
        match place.checked_sub(u64::from(weights[at])) {
            Some(rest) => place = rest,
            None => break,
        }
    }
    last
}

/// The cheaper of two of `among`, which are two or more; the first drawn when they are the same, so that shares
/// follow the weights while there is no load.
pub(super) fn better_of_two(
    among: &[usize],
    weights: &[u32],
    cost: impl Fn(usize) -> f64,
) -> usize {
    let first = weighted(among, weights, None);
    let second = weighted(among, weights, Some(first));
    match cost(second) < cost(first) {
        true => second,
        false => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[test]
    fn draws_follow_the_weights() {
        let mut drawn = [0; 3];
        for _ in 0..10_000 {
            drawn[weighted(&[0, 1, 2], &[6, 3, 1], None)] += 1;
        }
        assert!((5_500..6_500).contains(&drawn[0]), "{drawn:?}");
        assert!((700..1_300).contains(&drawn[2]), "{drawn:?}");
        assert!((0..100).all(|_| weighted(&[1, 2], &[6, 3, 1], Some(1)) == 2));
    }

    #[test]
    fn the_one_with_fewer_requests_wins_and_weights_decide_a_tie() {
        let busy = |at: usize| [5.0, 0.0][at];
        assert!((0..100).all(|_| better_of_two(&[0, 1], &[1, 1], busy) == 1));
        let heavy = (0..10_000).filter(|_| better_of_two(&[0, 1], &[3, 1], |_| 0.0) == 0);
        assert!((7_000..8_000).contains(&heavy.count()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peak_counts_at_once_and_fades() {
        let load = Load::new();
        load.note(Duration::from_secs(2), false);
        assert!((load.cost() - 2.0).abs() < 0.01);
        let other = load.begin();
        assert!((load.cost() - 4.0).abs() < 0.01);
        drop(other);
        advance(Duration::from_secs(10)).await;
        load.note(Duration::from_millis(10), false);
        assert!((0.7..0.8).contains(&load.cost()), "{}", load.cost());
        advance(Duration::from_secs(60)).await;
        assert!(load.cost() < 0.01);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_failure_is_no_fast_answer() {
        let load = Load::new();
        load.note(Duration::from_micros(100), true);
        assert!(load.cost() > 0.9);
    }
}
