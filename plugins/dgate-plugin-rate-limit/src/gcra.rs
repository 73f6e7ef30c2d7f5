//! The counting: a generic cell rate algorithm (ITU-T I.371), one number for each key.
//!
//! That number is when the bucket of the key is full again. A request moves it one interval ahead, and is refused
//! when that is further ahead than a burst. Nothing runs in the background, and at most 114,688 keys are remembered.

use dgate_core::key::Bits;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// Shards, so that requests of different keys seldom meet at a lock.
const SHARDS: usize = 64;

/// Keys of a shard: what a hash map of 2048 buckets holds. All shards together then take at most 4.5 MiB.
const KEYS: usize = 1792;

type Shard = HashMap<u128, u64, BuildHasherDefault<Bits>>;

/// A rate with a burst.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Nanoseconds that one request takes of the rate.
    interval: u64,
    /// Nanoseconds of a whole burst.
    capacity: u64,
}

/// What was decided for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// When a refused request would be let through; nothing for one that is.
    pub wait: Option<Duration>,
    /// How many more requests would be let through now.
    pub remaining: u64,
    /// When the whole burst is there again.
    pub full: Duration,
}

impl Verdict {
    /// Whether the request is let through.
    pub fn allowed(&self) -> bool {
        self.wait.is_none()
    }
}

impl Rate {
    /// `limit` requests in `window`, of which `burst` may come at once. At most 10⁶ requests a second, so that an
    /// interval of whole nanoseconds is exact to 0.1 %; `None` above it, and for a limit or burst of 0.
    pub fn new(limit: u32, window: Duration, burst: u32) -> Option<Self> {
        let nanos = u64::try_from(window.as_nanos()).ok()?;
        let interval = nanos.checked_div(u64::from(limit))?;
        (interval >= 1000 && burst > 0).then(|| Self {
            interval,
            capacity: interval.saturating_mul(u64::from(burst)),
        })
    }

    /// Decides for a bucket that is full at `full` when it is `now`; gives the new `full`.
    fn decide(self, full: u64, now: u64) -> (u64, Verdict) {
        let full = full.max(now);
        let next = full.saturating_add(self.interval);
        let taken = next - now;
        if taken > self.capacity {
            let verdict = Verdict {
                wait: Some(Duration::from_nanos(taken - self.capacity)),
                remaining: 0,
                full: Duration::from_nanos(full - now),
            };
            return (full, verdict);
        }
        let verdict = Verdict {
            wait: None,
            remaining: (self.capacity - taken) / self.interval,
            full: Duration::from_nanos(taken),
        };
        (next, verdict)
    }
}

/// The buckets of all keys of one limit.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    started: Instant,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// All requests have one key: no map, no lock.
    One(AtomicU64),
    Many(Box<[Mutex<Shard>]>),
}

impl Buckets {
    /// Buckets, all of them full.
    pub fn new(rate: Rate) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self::of(rate, Held::Many(shards))
    }

    /// One bucket, whatever the key.
    pub fn one(rate: Rate) -> Self {
        Self::of(rate, Held::One(AtomicU64::new(0)))
    }

    fn of(rate: Rate, held: Held) -> Self {
        Self {
            rate,
            started: Instant::now(),
            held,
        }
    }

    /// Takes one request from the bucket of a key ([`dgate_core::key::Keys`]), now.
    pub fn take(&self, key: u128) -> Verdict {
        self.take_at(key, self.started.elapsed())
    }

    /// Takes one request at a time since the buckets were made. Times may come in any order.
    pub fn take_at(&self, key: u128, since: Duration) -> Verdict {
        let now = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        match &self.held {
            Held::One(full) => {
                let mut seen = full.load(Relaxed);
                loop {
                    let (next, verdict) = self.rate.decide(seen, now);
                    if !verdict.allowed() {
                        return verdict;
                    }
                    match full.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                        Ok(_) => return verdict,
                        Err(other) => seen = other,
                    }
                }
            }
            Held::Many(shards) => {
                // The map hashes by the lower half of the key.
                let mut shard = shards[(key >> 64) as usize % SHARDS].lock();
                if let Some(full) = shard.get_mut(&key) {
                    let (next, verdict) = self.rate.decide(*full, now);
                    *full = next;
                    return verdict;
                }
                if shard.len() >= KEYS {
                    make_room(&mut shard, now);
                }
                let (next, verdict) = self.rate.decide(0, now);
                shard.insert(key, next);
                verdict
            }
        }
    }
}

/// Forgets the keys whose buckets are full, which are as if never seen. When those are few, also the quarter that
/// is nearest to it: forgetting these gives the least away.
fn make_room(shard: &mut Shard, now: u64) {
    shard.retain(|_, full| *full > now);
    if shard.len() > KEYS / 4 * 3 {
        let mut all: Vec<u64> = shard.values().copied().collect();
        let (_, nearest, _) = all.select_nth_unstable(KEYS / 4);
        let nearest = *nearest;
        shard.retain(|_, full| *full > nearest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_keys_has_a_bound() {
        let hourly = Rate::new(10, Duration::from_secs(3600), 10).unwrap();
        let buckets = Buckets::new(hourly);
        let drained = u128::from(u64::MAX);
        for _ in 0..10 {
            assert!(buckets.take_at(drained, Duration::ZERO).allowed());
        }
        for key in 0..150_000u128 {
            buckets.take_at(key << 64 | key, Duration::from_nanos(key as u64));
        }
        let Held::Many(shards) = &buckets.held else {
            unreachable!()
        };
        let kept: usize = shards.iter().map(|s| s.lock().len()).sum();
        assert!(kept <= SHARDS * KEYS, "{kept}");
        // Who has used up its burst is forgotten last.
        assert!(!buckets.take_at(drained, Duration::from_secs(1)).allowed());
    }
}
