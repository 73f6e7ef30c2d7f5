//! What is kept of an endpoint beyond its connections, when its service asks for it: breaker, health, load.
//!
//! An attempt at such an endpoint is a [`Visit`]: it begins with the breaker's permit and ends with a result, or
//! without one when the client broke off.

use super::Endpoint;
use super::balance::{Load, Loaded};
use super::health::{Health, HealthConfig, Way, is_failure};
use crate::error::Error;
use crate::layer::breaker::{Breaker, BreakerConfig, Permit};
use crate::metrics::{self, Names, Seen, Watched};
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a service wants to know of its endpoints.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Of scope `endpoint`.
    pub(super) breaker: Option<BreakerConfig>,
    pub(super) health: Option<HealthConfig>,
    pub(super) load: bool,
}

/// The state of one endpoint.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) breaker: Option<Arc<Breaker>>,
    pub(super) health: Option<Arc<Health>>,
    pub(super) load: Option<Arc<Load>>,
}

impl Watch {
    /// What the service wishes, with what is the same as in an older one; `None` when it wishes for nothing.
    pub(super) fn new(
        wishes: &Wishes,
        older: Option<&Self>,
        names: Option<Names>,
        way: impl FnOnce() -> Way,
    ) -> Option<Arc<Self>> {
        let breaker = wishes.breaker.as_ref().map(|config| {
            let same = older.and_then(|o| o.breaker.clone().filter(|b| b.config() == config));
            same.unwrap_or_else(|| Arc::new(breaker(config.clone(), names.clone())))
        });
        let health = wishes.health.as_ref().map(|config| {
            let same = older.and_then(|o| o.health.clone().filter(|h| h.config() == config));
            same.unwrap_or_else(|| Health::new(config.clone(), names.clone(), way()))
        });
        let load = wishes
            .load
            .then(|| older.and_then(|o| o.load.clone()))
            .map(|same| same.unwrap_or_else(Load::new));
        if breaker.is_none() && health.is_none() && load.is_none() {
            return None;
        }
        let watch = Arc::new(Self {
            breaker,
            health,
            load,
        });
        if let Some(names) = names {
            let watched: Arc<dyn Watched> = watch.clone();
            metrics::watch(names, Arc::downgrade(&watched));
        }
        Some(watch)
    }

    /// Whether health checks let it take requests.
    pub(super) fn fit(&self) -> bool {
        self.health.as_ref().is_none_or(|health| health.fit())
    }

    /// Whether its breaker would let a request through now.
    pub(super) fn admits(&self) -> bool {
        self.breaker.as_ref().is_none_or(|breaker| breaker.admits())
    }
}

/// A breaker under names, if there are any.
pub(super) fn breaker(config: BreakerConfig, names: Option<Names>) -> Breaker {
    match names {
        Some(names) => Breaker::named(config, names),
        None => Breaker::new(config),
    }
}

impl Watched for Watch {
    fn seen(&self) -> Seen {
        Seen {
            health: self.health.as_ref().map(|h| h.word()),
            breaker: self.breaker.as_ref().map(|b| b.state().as_str()),
            inflight: self.load.as_ref().map(|l| l.under_way() as u64),
            ..Seen::default()
        }
    }
}

/// One attempt at a watched endpoint.
pub(super) struct Visit {
    watch: Arc<Watch>,
    permit: Option<Permit>,
    loaded: Option<Loaded>,
    begun: Instant,
}

impl Visit {
    /// Begins one, or says in how long the endpoint's breaker may let it through.
    pub(super) fn begin(watch: &Arc<Watch>) -> Result<Self, Duration> {
        let permit = watch.breaker.as_ref().map(Breaker::enter).transpose()?;
        if let Some(health) = &watch.health {
            health.check();
        }
        Ok(Self {
            permit,
            loaded: watch.load.as_ref().map(Load::begin),
            begun: Instant::now(),
            watch: watch.clone(),
        })
    }

    /// Ends it with what came of it. Gives back what counts the request until its answer has been sent.
    pub(super) fn end(
        self,
        result: Result<StatusCode, &Error>,
        siblings: &[Arc<Endpoint>],
    ) -> Option<Loaded> {
        if let Some(permit) = self.permit {
            permit.end_with(result);
        }
        let failed = match result {
            Ok(status) => is_failure(status),
            Err(error) => error.blames_inside(),
        };
        if let Some(load) = &self.watch.load
            && (failed || result.is_ok())
        {
            load.note(self.begun.elapsed(), failed);
        }
        if let Some(health) = &self.watch.health
            && failed
            && health.failed()
        {
            let watches = siblings.iter().filter_map(|e| e.watch.as_ref());
            health.eject(watches.filter_map(|w| w.health.as_deref()));
        }
        self.loaded
    }
}
