//! From what a service says to its endpoints: one for each URL, or for each address of a URL's name. Made when the
//! upstream is built, and again whenever its names stand for something else.

use super::balance::{Balancer, LoadBalancerConfig};
use super::connect::Tls;
use super::health::Way;
use super::outer::Outer;
use super::resolve::Found;
use super::watch::{Watch, Wishes};
use super::{Endpoint, Protocol, Shared};
use crate::body::BoxError;
use crate::layer::retry::RetryPolicy;
use crate::metrics::{self, Names, Subject};
use crate::target::Target;
use std::net::IpAddr;
use std::sync::Arc;

/// What a service says of its endpoints.
pub(super) struct Spec {
    pub(super) urls: Vec<(Target, u32)>,
    pub(super) balancing: LoadBalancerConfig,
    pub(super) wishes: Wishes,
    pub(super) name: Option<(String, String)>,
    pub(super) protocol: Protocol,
    pub(super) tls: Arc<Tls>,
}

impl Spec {
    /// Under which names a state is shown; `None` for a service without a name.
    pub(super) fn names(&self, endpoint: &str) -> Option<Names> {
        let (namespace, name) = self.name.as_ref()?;
        Some([(&**namespace).into(), (&**name).into(), endpoint.into()])
    }

    /// Namespace and name, for logs.
    pub(super) fn name_of(&self) -> (Option<&str>, Option<&str>) {
        self.name.as_ref().map(|(a, b)| (&**a, &**b)).unzip()
    }

    /// Hosts that have to be looked up.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        let hosts = self.urls.iter().map(|(target, _)| target.host());
        hosts.filter(|host| host.parse::<IpAddr>().is_err())
    }

    pub(super) fn has_names(&self) -> bool {
        self.hosts().next().is_some()
    }

    /// The endpoints, with what is the same in `older`.
    ///
    /// # Errors
    /// A host that cannot stand in a header.
    pub(super) fn shared(
        &self,
        found: &Found,
        older: Option<&Shared>,
        retry: Option<Arc<RetryPolicy>>,
        outer: Option<Arc<Outer>>,
    ) -> Result<Shared, BoxError> {
        let (targets, weights): (Vec<_>, Vec<_>) = self.addressed(found).into_iter().unzip();
        let labels: Vec<String> = targets.iter().map(Target::label).collect();
        let balancer = Balancer::new(&self.balancing, &weights, &labels);
        let mut endpoints = Vec::with_capacity(targets.len());
        for (target, label) in targets.into_iter().zip(&labels) {
            let known = older.and_then(|o| o.endpoints.iter().find(|e| e.target == target));
            let mut endpoint = match known {
                Some(known) => Endpoint::clone(known),
                None => {
                    let named = self.name.as_ref().map(|(namespace, name)| {
                        metrics::tally(Subject::Endpoint, namespace, name, label)
                    });
                    Endpoint::new(target.clone(), named)?
                }
            };
            endpoint.target = target.clone();
            let watched = known.and_then(|k| k.watch.as_deref());
            endpoint.watch = Watch::new(&self.wishes, watched, self.names(label), || Way {
                target,
                protocol: self.protocol,
                tls: self.tls.clone(),
            });
            endpoints.push(Arc::new(endpoint));
        }
        Ok(Shared {
            watched: endpoints.iter().any(|e| e.watch.is_some()),
            endpoints,
            names: None,
            dynamic: older.map(|o| o.dynamic.clone()).unwrap_or_default(),
            balancer,
            outer,
            retry,
            protocol: self.protocol,
            tls: self.tls.clone(),
        })
    }

    /// A target for each address that is known, and the URL where none is. The addresses of a URL share its weight.
    fn addressed(&self, found: &Found) -> Vec<(Target, u32)> {
        /// What all weights are multiplied by, so that they can be shared.
        const PARTS: u32 = 720;
        let shares = self.urls.iter().any(|(t, _)| found.contains_key(t.host()));
        if !shares {
            return self.urls.clone();
        }
        let mut all = Vec::with_capacity(self.urls.len());
        for (target, weight) in &self.urls {
            let weight = weight.saturating_mul(PARTS);
            match found.get(target.host()).filter(|ips| !ips.is_empty()) {
                None => all.push((target.clone(), weight)),
                Some(ips) => {
                    let share = weight / ips.len() as u32;
                    for (at, ip) in ips.iter().enumerate() {
                        let other = |o: &&IpAddr| o.is_ipv4() != ip.is_ipv4();
                        let others: Vec<_> = ips.iter().filter(other).copied().collect();
                        let or = others.get(at % others.len().max(1)).copied();
                        all.push((target.pinned(*ip, or), share.max(u32::from(weight > 0))));
                    }
                }
            }
        }
        all
    }
}
