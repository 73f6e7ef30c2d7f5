//! From a service to the endpoint of one attempt, and back with what came of it.
//!
//! An endpoint gets the attempt when it was not tried yet, is healthy and its breaker lets it through. Tried ones come
//! next; while none is healthy, health is no criterion (panic); a breaker always is.

use super::client::Sent;
use super::watch::{Visit, Watch};
use super::{Endpoint, Progress, Upstream};
use crate::error::{Error, ErrorKind};
use crate::exchange::Exchange;
use crate::layer::breaker::circuit_open;
use crate::layer::inflight::hold;

use http::request::Parts;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;

impl Upstream {
    /// The balancer's choice: another endpoint than those tried, while there is one.
    pub(super) fn choose(
        &self,
        ctx: &Exchange,
        parts: &Parts,
        progress: &Mutex<Progress>,
    ) -> Result<Arc<Endpoint>, Error> {
        let endpoints = &self.shared.endpoints;
        if self.shared.watched {
            return self.choose_watched(ctx, parts, &mut progress.lock());
        }
        match endpoints.len() {
            0 => Err(ErrorKind::NoEndpoint.into()),
            1 => Ok(endpoints[0].clone()),
            _ => {
                let balancer = &self.shared.balancer;
                let tried = &mut progress.lock().tried;
                let at = balancer
                    .pick(ctx, parts, endpoints, |at| !tried.contains(&at))
                    .or_else(|| balancer.pick(ctx, parts, endpoints, |_| true))
                    .ok_or(ErrorKind::NoEndpoint)?;
                tried.push(at);
                Ok(endpoints[at].clone())
            }
        }
    }

    fn choose_watched(
        &self,
        ctx: &Exchange,
        parts: &Parts,
        progress: &mut Progress,
    ) -> Result<Arc<Endpoint>, Error> {
        let (endpoints, balancer) = (&self.shared.endpoints, &self.shared.balancer);
        let watch = |at: usize| endpoints[at].watch.as_ref();
        let healthy = |at: usize| watch(at).is_none_or(|w| w.fit());
        let panic = !(0..endpoints.len()).any(|at| balancer.serves(at) && healthy(at));
        // Those whose breaker let nothing through after all: others were quicker to be its probes.
        let mut refused: SmallVec<[usize; 4]> = SmallVec::new();
        loop {
            let tried = &progress.tried;
            let takes = |at: usize| {
                (panic || healthy(at))
                    && !refused.contains(&at)
                    && watch(at).is_none_or(|w| w.admits())
            };
            let choice = balancer
                .pick(ctx, parts, endpoints, |at| {
                    !tried.contains(&at) && takes(at)
                })
                .or_else(|| balancer.pick(ctx, parts, endpoints, takes));
            let Some(at) = choice else {
                return Err(match endpoints.is_empty() {
                    true => ErrorKind::NoEndpoint.into(),
                    false => self.all_open(),
                });
            };
            if let Some(watch) = watch(at) {
                match Visit::begin(watch) {
                    Ok(visit) => progress.visit = Some(Box::new(visit)),
                    Err(_) => {
                        refused.push(at);
                        continue;
                    }
                }
            }
            progress.tried.push(at);
            return Ok(endpoints[at].clone());
        }
    }

    /// Begins a visit to an endpoint that a hook chose.
    pub(super) fn visit(watch: &Arc<Watch>, progress: &Mutex<Progress>) -> Result<(), Error> {
        let visit = Visit::begin(watch).map_err(circuit_open)?;
        progress.lock().visit = Some(Box::new(visit));
        Ok(())
    }

    /// The error when every breaker is open: the first that will let something through says when.
    fn all_open(&self) -> Error {
        let watches = self
            .shared
            .endpoints
            .iter()
            .filter_map(|e| e.watch.as_ref());
        let breakers = watches.filter_map(|w| w.breaker.as_ref());
        circuit_open(breakers.map(|b| b.retry_in()).min().unwrap_or_default())
    }

    /// Ends the visit of an attempt, if there is one.
    pub(super) fn left(&self, sent: &mut Result<Sent, Error>, progress: &Mutex<Progress>) {
        let Some(visit) = progress.lock().visit.take() else {
            return;
        };
        let result = match &sent {
            Ok(Sent::Answer(response, _) | Sent::Switched(response, _)) => Ok(response.status()),
            Err(error) => Err(error),
        };
        let loaded = visit.end(result, &self.shared.endpoints);
        if let (Ok(Sent::Answer(response, _)), Some(loaded)) = (sent, loaded) {
            hold(response, loaded);
        }
    }
}
