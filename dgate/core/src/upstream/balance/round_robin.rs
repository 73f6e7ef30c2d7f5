//! Smooth weighted round robin, without a lock.
//!
//! The order is computed once (the algorithm of nginx's `ngx_http_upstream_round_robin`), a request takes
//! the next place in it. Weights are divided by their greatest common divisor and the order is at most
//! 4,096 places long; larger weights are rounded to it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const LONGEST: u64 = 4096;

/// The order in which endpoints take turns.
#[derive(Debug)]
pub(super) struct RoundRobin {
    order: Vec<u16>,
    next: AtomicUsize,
}

impl RoundRobin {
    /// An order for endpoints of these weights; a weight of 0 takes no turn unless all are 0.
    pub(super) fn new(weights: &[u32]) -> Self {
        let order = if weights.len() < 2 {
            Vec::new()
        } else {
            smooth(&reduce(weights))
        };
        // Processes that start together would otherwise all begin with the first endpoint.
        Self {
            next: AtomicUsize::new(fastrand::usize(..order.len().max(1))),
            order,
        }
    }

    /// The endpoint whose turn it is among those for which `fit` holds.
    pub(super) fn pick(&self, fit: impl Fn(usize) -> bool) -> Option<usize> {
        if self.order.is_empty() {
            return fit(0).then_some(0);
        }
        (0..=self.order.len())
            .map(|_| self.turn())
            .find(|at| fit(*at))
    }

    fn turn(&self) -> usize {
        usize::from(self.order[self.next.fetch_add(1, Relaxed) % self.order.len()])
    }
}

fn reduce(weights: &[u32]) -> Vec<u64> {
    let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    if sum == 0 {
        return vec![1; weights.len()];
    }
    let divisor = weights.iter().fold(0, |a, b| gcd(a, u64::from(*b)));
    if sum / divisor <= LONGEST {
        return weights.iter().map(|w| u64::from(*w) / divisor).collect();
    }
    weights
        .iter()
        .map(|w| {
            if *w == 0 {
                0
            } else {
                (u64::from(*w) * LONGEST / sum).max(1)
            }
        })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn smooth(weights: &[u64]) -> Vec<u16> {
    let total: i64 = weights.iter().map(|w| *w as i64).sum();
    let mut current = vec![0i64; weights.len()];
    (0..total)
        .map(|_| {
            let mut best = 0;
            for (at, weight) in weights.iter().enumerate() {
                current[at] += *weight as i64;
                if current[at] > current[best] {
                    best = at;
                }
            }
            current[best] -= total;
            best as u16
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept_and_spread() {
        assert_eq!(smooth(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        let turns = RoundRobin::new(&[300, 100]);
        let picks: Vec<_> = (0..8).map(|_| turns.pick(|_| true)).collect();
        assert_eq!(picks.iter().filter(|p| **p == Some(0)).count(), 6);
    }

    #[test]
    fn only_endpoints_that_fit_get_a_turn() {
        let turns = RoundRobin::new(&[1, 1, 1]);
        assert!((0..20).all(|_| turns.pick(|at| at == 2) == Some(2)));
        assert_eq!(turns.pick(|_| false), None);
    }

    #[test]
    fn huge_weights_are_rounded_and_zero_takes_no_turn() {
        let turns = RoundRobin::new(&[1_000_000_000, 1, 0]);
        assert!(turns.order.len() <= LONGEST as usize + 2);
        assert!(!turns.order.contains(&2) && turns.order.contains(&1));
    }
}
