//! Counts of the last seconds, without a lock.
//!
//! The window is ten slots long. A slot is one word: which turn of the ring it belongs to, and three counts; a
//! count that would not fit halves all three, which keeps their ratios.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SLOTS: u64 = 10;
const BITS: u32 = 16;
const MASK: u64 = (1 << BITS) - 1;

/// A ring of counts over time.
#[derive(Debug)]
pub(super) struct Window {
    slots: [AtomicU64; SLOTS as usize],
    /// Milliseconds.
    slot: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
}

/// One slot, unpacked.
#[derive(Clone, Copy)]
struct Slot {
    turn: u64,
    counts: [u64; 3],
}

impl Slot {
    fn unpack(word: u64) -> Self {
        let part = |at: u32| (word >> (at * BITS)) & MASK;
        Self {
            turn: part(3),
            counts: [part(0), part(1), part(2)],
        }
    }

    fn pack(self) -> u64 {
        let [calls, failed, slow] = self.counts;
        calls | failed << BITS | slow << (2 * BITS) | self.turn << (3 * BITS)
    }
}

impl Window {
    pub(super) fn new(span: std::time::Duration) -> Self {
        Self {
            slots: [const { AtomicU64::new(0) }; SLOTS as usize],
            slot: (span.as_millis() as u64).div_ceil(SLOTS).max(1),
        }
    }

    /// Counts one call that ended at `now`, in milliseconds.
    pub(super) fn add(&self, now: u64, failed: bool, slow: bool) {
        let tick = now / self.slot;
        let turn = turn(tick);
        let add = [1, u64::from(failed), u64::from(slow)];
        let _ = self.slots[(tick % SLOTS) as usize].fetch_update(Relaxed, Relaxed, |word| {
            let mut slot = Slot::unpack(word);
            if slot.turn != turn {
                slot = Slot {
                    turn,
                    counts: [0; 3],
                };
            }
            if slot.counts[0] == MASK {
                slot.counts = slot.counts.map(|n| n / 2);
            }
            for (count, more) in slot.counts.iter_mut().zip(add) {
                *count += more;
            }
            Some(slot.pack())
        });
    }

    /// What was counted in the window that ends at `now`.
    pub(super) fn sum(&self, now: u64) -> Sum {
        let tick = now / self.slot;
        let mut sum = Sum::default();
        for at in tick.saturating_sub(SLOTS - 1)..=tick {
            let slot = Slot::unpack(self.slots[(at % SLOTS) as usize].load(Relaxed));
            if slot.turn == turn(at) {
                let [calls, failed, slow] = slot.counts.map(|n| n as u32);
                sum.calls += calls;
                sum.failed += failed;
                sum.slow += slow;
            }
        }
        sum
    }

    pub(super) fn clear(&self) {
        for slot in &self.slots {
            slot.store(0, Relaxed);
        }
    }
}

/// Never 0, which is that of a slot nobody has used.
fn turn(tick: u64) -> u64 {
    (tick / SLOTS) % MASK + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_older_than_the_window_no_longer_counts() {
        let window = Window::new(Duration::from_secs(10));
        for second in 0..10 {
            window.add(second * 1000, second % 2 == 0, false);
        }
        let sum = |calls, failed| Sum {
            calls,
            failed,
            slow: 0,
        };
        assert_eq!(window.sum(9_999), sum(10, 5));
        assert_eq!(window.sum(10_000), sum(9, 4));
        assert_eq!(window.sum(18_500), sum(1, 0));
        assert_eq!(window.sum(40_000), sum(0, 0));
        window.add(40_000, true, true);
        assert_eq!(window.sum(40_000).slow, 1);
        window.clear();
        assert_eq!(window.sum(40_000), sum(0, 0));
    }

    #[test]
    fn more_than_a_slot_holds_keeps_the_ratio() {
        let window = Window::new(Duration::from_secs(10));
        for n in 0..200_000 {
            window.add(5, n % 4 == 0, false);
        }
        let sum = window.sum(5);
        let ratio = f64::from(sum.failed) / f64::from(sum.calls);
        assert!(
            sum.calls > 30_000 && (0.24..0.26).contains(&ratio),
            "{sum:?}"
        );
    }

    #[test]
    fn threads_add_up() {
        let window = Window::new(Duration::from_secs(10));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| window.add(77, true, false)));
            }
        });
        assert_eq!(window.sum(77).failed, 4000);
    }
}
