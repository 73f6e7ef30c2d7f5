//! Builds an upstream from what a service, or a program, says.

use super::Upstream;
use super::balance::LoadBalancerConfig;
use super::build::Spec;
use super::config::{Protocol, Timeouts, TimeoutsConfig, TlsConfig};
use super::connect::Tls;
use super::forward::{Rules, Via};
use super::health::HealthConfig;
use super::outer::Outer;
use super::resolve::{self, Resolve};
use super::watch::Wishes;
use crate::body::BoxError;
use crate::layer::breaker::{BreakerConfig, Scope};
use crate::layer::inflight::MaxInflightConfig;
use crate::layer::retry::{RetryConfig, RetryPolicy};
use crate::target::Target;
use std::sync::Arc;

/// Builds an [`Upstream`].
#[must_use = "a builder does nothing until `.build()`"]
#[derive(Default)]
pub struct UpstreamBuilder {
    urls: Vec<(String, u32)>,
    balancing: LoadBalancerConfig,
    retry: Option<RetryConfig>,
    breaker: Option<BreakerConfig>,
    health: Option<HealthConfig>,
    inflight: Option<MaxInflightConfig>,
    timeouts: Timeouts,
    protocol: Protocol,
    tls: TlsConfig,
    via: Option<Via>,
    preserve_host: bool,
    drop_query: bool,
    hide: bool,
    heir_of: Option<Upstream>,
    name: Option<(String, String)>,
    resolver: Option<Arc<dyn Resolve>>,
}

impl UpstreamBuilder {
    /// Adds an endpoint, `http://` or `https://`, with an optional base path.
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        self.weighted(url, 1)
    }
    /// Adds an endpoint that gets `weight` times the share of one with weight 1.
    pub fn weighted(mut self, url: impl Into<String>, weight: u32) -> Self {
        self.urls.push((url.into(), weight));
        self
    }
    /// Turns retries on. Without it an upstream tries once; a service of the gateway retries by default.
    pub fn retry(mut self, config: RetryConfig) -> Self {
        self.retry = (config.attempts > 0).then_some(config);
        self
    }
    /// Sets how requests are spread over the endpoints.
    pub fn load_balancer(mut self, config: LoadBalancerConfig) -> Self {
        self.balancing = config;
        self
    }
    /// Puts a circuit breaker before each endpoint, or before all of them.
    pub fn breaker(mut self, config: BreakerConfig) -> Self {
        self.breaker = Some(config);
        self
    }
    /// Checks the health of the endpoints. Active checks are a task that ends with the upstream.
    pub fn health_check(mut self, config: HealthConfig) -> Self {
        self.health = Some(config);
        self
    }
    /// Bounds the requests under way.
    pub fn max_inflight(mut self, config: MaxInflightConfig) -> Self {
        self.inflight = Some(config);
        self
    }
    /// Sets time limits over the defaults.
    pub fn timeouts(mut self, config: &TimeoutsConfig) -> Self {
        self.timeouts = self.timeouts.with(config);
        self
    }
    /// Sets which HTTP it speaks.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }
    /// Sets TLS for `https://` endpoints.
    pub fn tls(mut self, config: TlsConfig) -> Self {
        self.tls = config;
        self
    }
    /// Sets the name in `Via`; default: one for the process.
    pub fn via(mut self, via: Via) -> Self {
        self.via = Some(via);
        self
    }
    /// Sends the client's `Host` instead of the endpoint's.
    pub fn preserve_host(mut self, preserve: bool) -> Self {
        self.preserve_host = preserve;
        self
    }
    /// Sends no query string.
    pub fn disable_query_params(mut self, disable: bool) -> Self {
        self.drop_query = disable;
        self
    }
    /// Adds no `Via` to responses.
    pub fn hide_dgate_headers(mut self, hide: bool) -> Self {
        self.hide = hide;
        self
    }
    /// Sets who knows the addresses of names; default: the system's DNS and `/etc/hosts`.
    pub fn resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = Some(resolver);
        self
    }
    /// Counts attempts at its endpoints under this namespace and name.
    pub fn named(mut self, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        self.name = Some((namespace.into(), name.into()));
        self
    }
    /// Takes over from an older upstream what is still the same: kept connections, and the state of breakers, health
    /// and limits.
    pub fn inherit(mut self, older: &Upstream) -> Self {
        self.heir_of = Some(older.clone());
        self
    }

    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    /// A URL that is no target, TLS settings that do not parse.
    pub fn build(self) -> Result<Upstream, BoxError> {
        let mut urls = Vec::with_capacity(self.urls.len());
        for (url, weight) in &self.urls {
            urls.push((url.parse::<Target>()?, *weight));
        }
        // Connections made under other settings are not for us.
        let older = self
            .heir_of
            .filter(|o| o.shared.protocol == self.protocol && o.shared.tls.same(&self.tls));
        let found = older.as_ref().map(|o| o.shared.found()).unwrap_or_default();
        let older = older.map(|o| o.shared.current());
        let older = older.as_deref();
        let tls = match older {
            Some(older) => older.tls.clone(),
            None => Arc::new(Tls::new(self.tls)?),
        };
        let of_endpoints = self.breaker.as_ref().filter(|b| b.scope == Scope::Endpoint);
        let spec = Spec {
            urls,
            wishes: Wishes {
                breaker: of_endpoints.map(|config| BreakerConfig {
                    fallback: None,
                    ..config.clone()
                }),
                health: self.health,
                load: self.balancing.counts_load(),
            },
            balancing: self.balancing,
            name: self.name,
            protocol: self.protocol,
            tls,
        };
        let retry = self.retry.map(|config| {
            let same = older.and_then(|o| o.retry.clone().filter(|r| *r.config() == config));
            same.unwrap_or_else(|| Arc::new(RetryPolicy::new(config)))
        });
        let outer = Outer::new(
            self.breaker.as_ref(),
            self.inflight.as_ref(),
            older.and_then(|o| o.outer.as_deref()),
            spec.names(""),
        );
        let shared = spec.shared(&found, older, retry, outer)?;
        Ok(Upstream {
            shared: match spec.has_names() {
                true => resolve::following(spec, found, shared, self.resolver),
                false => Arc::new(shared),
            },
            fallback: None,
            rules: Arc::new(Rules {
                via: self.via.unwrap_or_else(|| Via::process().clone()),
                strip_segments: 0,
                keep_query: !self.drop_query,
                preserve_host: self.preserve_host,
                hide: self.hide,
            }),
            timeouts: self.timeouts,
        })
    }
}
