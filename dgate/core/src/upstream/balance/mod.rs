//! Which endpoint takes an attempt.
//!
//! A policy chooses among the endpoints that fit: not tried yet by this request, healthy, their breaker not open.
//! It decides with atomics, and no policy but those that look at load costs an endpoint any bookkeeping.

mod hash;
mod load;
mod round_robin;

pub use hash::HashKey;
pub(super) use load::{Load, Loaded};

use super::Endpoint;
use crate::exchange::Exchange;
use hash::Ring;
use http::request::Parts;
use load::better_of_two;
use round_robin::RoundRobin;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::sync::Arc;

/// How requests are spread over the endpoints.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoadBalancerConfig {
    /// The policy. Default `round_robin`.
    pub policy: Balancing,
    /// What `hash` goes by: `client_ip`, `header:NAME`, `cookie:NAME`, `path`, `query:NAME` or `consumer`; a request
    /// without it goes anywhere. Default `client_ip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<HashKey>,
}

impl LoadBalancerConfig {
    /// A policy with what it needs by default.
    pub fn new(policy: Balancing) -> Self {
        Self { policy, on: None }
    }
    /// Whether endpoints have to keep their load.
    pub(super) fn counts_load(&self) -> bool {
        matches!(self.policy, Balancing::LeastRequest | Balancing::PeakEwma)
    }
    /// `hash` by this key.
    pub fn hash(on: HashKey) -> Self {
        Self {
            policy: Balancing::Hash,
            on: Some(on),
        }
    }
}

/// A balancing policy.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balancing {
    /// In turns, by weight, smoothly.
    #[default]
    RoundRobin,
    /// At random, by weight.
    Random,
    /// The one of two chosen at random with fewer requests under way, for its weight.
    LeastRequest,
    /// The one of two chosen at random with less latency times requests under way. A peak counts at once and fades
    /// over ten seconds.
    PeakEwma,
    /// The same key to the same endpoint: one of n that goes away moves only its own share.
    Hash,
}

/// A policy made ready for some endpoints.
#[derive(Debug)]
pub(super) struct Balancer {
    policy: Policy,
    weights: Box<[u32]>,
}

#[derive(Debug)]
enum Policy {
    RoundRobin(RoundRobin),
    Random,
    LeastRequest,
    PeakEwma,
    Hash(Ring),
}

impl Balancer {
    /// `urls` name the endpoints of these weights; a weight of 0 takes no request unless all are 0.
    pub(super) fn new(config: &LoadBalancerConfig, weights: &[u32], urls: &[String]) -> Self {
        let policy = match config.policy {
            Balancing::RoundRobin => Policy::RoundRobin(RoundRobin::new(weights)),
            Balancing::Random => Policy::Random,
            Balancing::LeastRequest => Policy::LeastRequest,
            Balancing::PeakEwma => Policy::PeakEwma,
            Balancing::Hash => Policy::Hash(Ring::new(config.on.clone(), urls)),
        };
        let weights = match weights.iter().all(|w| *w == 0) {
            true => vec![1; weights.len()],
            false => weights.to_vec(),
        };
        Self {
            policy,
            weights: weights.into(),
        }
    }

    /// Whether an endpoint takes requests at all.
    pub(super) fn serves(&self, at: usize) -> bool {
        self.weights[at] > 0
    }

    /// Whether it looks at the headers of a request for each attempt.
    pub(super) fn reads_headers(&self) -> bool {
        matches!(&self.policy, Policy::Hash(ring) if ring.reads_headers())
    }

    /// The choice among the endpoints for which `fit` holds.
    pub(super) fn pick(
        &self,
        ctx: &Exchange,
        parts: &Parts,
        endpoints: &[Arc<Endpoint>],
        fit: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if let Policy::RoundRobin(turns) = &self.policy {
            return turns.pick(fit);
        }
        let fit = (0..endpoints.len()).filter(|at| self.serves(*at) && fit(*at));
        let among: SmallVec<[usize; 16]> = fit.collect();
        if among.len() < 2 {
            return among.first().copied();
        }
        let weights = &self.weights;
        let weight = |at: usize| f64::from(weights[at]);
        let load = |at: usize| endpoints[at].watch.as_ref()?.load.as_deref();
        Some(match &self.policy {
            Policy::RoundRobin(_) | Policy::Random => load::weighted(&among, weights, None),
            Policy::LeastRequest => better_of_two(&among, weights, |at| {
                load(at).map_or(0.0, Load::under_way) / weight(at)
            }),
            Policy::PeakEwma => better_of_two(&among, weights, |at| {
                load(at).map_or(0.0, Load::cost) / weight(at)
            }),
            Policy::Hash(ring) => match ring.key(ctx, parts) {
                Some(key) => ring.pick(key, &among, weights),
                None => load::weighted(&among, weights, None),
            },
        })
    }
}
