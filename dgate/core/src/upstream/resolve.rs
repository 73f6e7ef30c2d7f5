//! The names of a service, resolved in the background: every A and AAAA record is an endpoint.
//!
//! A task asks again when what it was told expires, within bounds, and swaps the endpoints when the answer is another;
//! what stays the same keeps its connections and its state. A failed refresh keeps the last good answer. Until the
//! first answer, each new connection looks the name up.

use super::Shared;
use super::balance::{Balancer, LoadBalancerConfig};
use super::build::Spec;
use crate::body::{BoxError, BoxFuture};
use arc_swap::ArcSwap;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The shortest and the longest time that an answer is good for, whatever it says itself.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// After a failure.
const AGAIN_IN: Duration = Duration::from_secs(2);
/// For one look-up, the tries at all servers included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Records of a name that are used.
const MOST: usize = 256;

/// The addresses of hosts.
pub(super) type Found = BTreeMap<Box<str>, Vec<IpAddr>>;

/// Who knows the addresses of names, such as a service registry.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a host.
    fn resolve(&self, host: &str) -> BoxFuture<Result<Resolved, BoxError>>;
}

/// The addresses of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Of both families, in any order.
    pub addresses: Vec<IpAddr>,
    /// How long they are good for; taken as at least 1 s and at most 60 s.
    pub ttl: Duration,
}

/// DNS by the system's configuration, and `/etc/hosts`.
struct System(LazyLock<Result<TokioResolver, String>>);

impl System {
    fn shared() -> Arc<dyn Resolve> {
        static SHARED: LazyLock<Arc<System>> = LazyLock::new(|| {
            Arc::new(System(LazyLock::new(|| {
                let mut builder = TokioResolver::builder_tokio().map_err(|e| e.to_string())?;
                builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
                builder.build().map_err(|e| e.to_string())
            })))
        });
        SHARED.clone()
    }
}

impl Resolve for System {
    fn resolve(&self, host: &str) -> BoxFuture<Result<Resolved, BoxError>> {
        let resolver = self.0.clone();
        let host = host.to_owned();
        Box::pin(async move {
            let answer = resolver?.lookup_ip(host).await?;
            Ok(Resolved {
                addresses: answer.iter().collect(),
                ttl: answer
                    .valid_until()
                    .saturating_duration_since(std::time::Instant::now()),
            })
        })
    }
}

/// What the names of a service stand for.
pub(super) struct Following {
    live: ArcSwap<Shared>,
    found: Mutex<Found>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

impl Following {
    pub(super) fn current(&self) -> Arc<Shared> {
        self.live.load_full()
    }

    pub(super) fn found(&self) -> Found {
        self.found.lock().clone()
    }
}

/// A service whose names are followed, beginning with `first`. Outside of a tokio runtime they are not: then each
/// new connection looks its name up.
pub(super) fn following(
    spec: Spec,
    found: Found,
    first: Shared,
    resolver: Option<Arc<dyn Resolve>>,
) -> Arc<Shared> {
    let root = Arc::new(Shared {
        // Those of `live` count; these are none.
        endpoints: Vec::new(),
        balancer: Balancer::new(&LoadBalancerConfig::default(), &[], &[]),
        watched: false,
        dynamic: first.dynamic.clone(),
        outer: first.outer.clone(),
        retry: first.retry.clone(),
        protocol: first.protocol,
        tls: first.tls.clone(),
        names: Some(Following {
            live: ArcSwap::from_pointee(first),
            found: Mutex::new(found),
            task: Mutex::new(None),
        }),
    });
    if let (Ok(runtime), Some(names)) = (tokio::runtime::Handle::try_current(), &root.names) {
        let resolver = resolver.unwrap_or_else(System::shared);
        let task = follow(Arc::downgrade(&root), spec, resolver);
        *names.task.lock() = Some(runtime.spawn(task));
    }
    root
}

async fn follow(root: Weak<Shared>, spec: Spec, resolver: Arc<dyn Resolve>) {
    // Said once each time that it begins.
    let mut failing = BTreeSet::new();
    loop {
        let asked = spec.hosts().map(|host| {
            let answer = tokio::time::timeout(PATIENCE, resolver.resolve(host));
            async move { (host, answer.await) }
        });
        let answers = futures_util::future::join_all(asked).await;
        let Some(root) = root.upgrade() else { return };
        let Some(names) = &root.names else { return };
        let mut found = names.found();
        let mut next = TTL.1;
        for (host, answer) in answers {
            let reason = match answer {
                Ok(Ok(answer)) if !answer.addresses.is_empty() => {
                    next = next.min(answer.ttl);
                    found.insert(host.into(), ordered(answer.addresses));
                    failing.remove(host);
                    continue;
                }
                Ok(Ok(_)) => "it has no address".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            next = next.min(AGAIN_IN);
            let kept = found.contains_key(host);
            if failing.insert(host.to_owned()) {
                let (namespace, upstream) = spec.name_of();
                tracing::warn!(
                    namespace,
                    upstream,
                    host,
                    reason,
                    kept,
                    "a name cannot be resolved"
                );
            }
        }
        if found != names.found() {
            swap(&root, &spec, found);
        }
        drop(root);
        tokio::time::sleep_until(Instant::now() + next.clamp(TTL.0, TTL.1)).await;
    }
}

/// The same records in another order are the same.
fn ordered(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MOST);
    addresses
}

fn swap(root: &Shared, spec: &Spec, found: Found) {
    let Some(names) = &root.names else { return };
    let older = names.current();
    match spec.shared(&found, Some(&older), root.retry.clone(), root.outer.clone()) {
        Ok(next) => {
            let endpoints = next.endpoints.len();
            let (namespace, upstream) = spec.name_of();
            tracing::info!(
                namespace,
                upstream,
                endpoints,
                "names of a service have other addresses"
            );
            names.live.store(Arc::new(next));
            *names.found.lock() = found;
        }
        Err(error) => tracing::warn!(%error, "the addresses of a service cannot be used"),
    }
}
