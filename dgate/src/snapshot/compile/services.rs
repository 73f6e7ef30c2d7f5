//! Services become upstreams, which keep their connections as long as the service stays what it is.

use super::{Run, secrets};
use crate::resource::{self, Key, Kind, Stored};
use dgate_core::Upstream;
use dgate_core::upstream::{Balancing, TlsConfig};
use serde_json::Value as Json;
use std::sync::Arc;

/// A service with its upstream.
pub(super) struct KeptService {
    stored: Arc<Stored>,
    pub(super) upstream: Upstream,
    /// Those of the namespace, when its TLS key names one.
    secrets: Vec<Arc<Stored>>,
}

impl Run<'_> {
    pub(super) fn service(&mut self, key: &Key, stored: &Arc<Stored>, spec: &resource::Service) {
        self.fallback(key, spec);
        let same_generation = self.old.filter(|o| o.generation == self.kept.generation);
        let known = self
            .old
            .and_then(|o| o.services.get(&key.namespace)?.get(&key.name));
        let key_text = spec.tls.as_ref().and_then(|tls| tls.client_key.as_ref());
        let secrets = match key_text {
            Some(text) if secrets::mentions(&Json::String(text.clone())) => {
                self.secrets_of(&key.namespace)
            }
            _ => Vec::new(),
        };
        let upstream = match known {
            Some(known)
                if Arc::ptr_eq(&known.stored, stored)
                    && secrets::same(&known.secrets, &secrets)
                    && same_generation.is_some() =>
            {
                Some(known.upstream.clone())
            }
            _ => self.upstream(key, spec, known.map(|known| &known.upstream)),
        };
        if let Some(upstream) = upstream {
            let kept = KeptService {
                stored: stored.clone(),
                upstream,
                secrets,
            };
            let of_namespace = self.kept.services.entry(key.namespace.clone());
            of_namespace.or_default().insert(key.name.clone(), kept);
        }
    }

    /// The TLS of a service, its key with the secrets that it names.
    fn tls(&mut self, key: &Key, spec: &resource::Service) -> Option<TlsConfig> {
        let mut tls = spec.tls.clone().unwrap_or_default();
        if let Some(text) = tls.client_key.take() {
            let revealed = self.reveal(&key.namespace, &Json::String(text), "/tls/client_key");
            let sound = revealed.problems.is_empty();
            for (pointer, detail) in revealed.problems {
                self.invalid(key, pointer, detail);
            }
            if !sound {
                return None;
            }
            tls.client_key = revealed.config.as_str().map(str::to_owned);
        }
        Some(tls)
    }

    /// What answers when the circuit is open: also of a service that is the same as before, since it may be another
    /// that has gone.
    fn fallback(&mut self, key: &Key, spec: &resource::Service) {
        let breaker = spec.circuit_breaker.as_ref();
        let Some(fallback) = breaker.and_then(|b| b.fallback.as_ref()) else {
            return;
        };
        let answers = fallback.status.is_some() || fallback.body.is_some();
        let at = "/circuit_breaker/fallback";
        let Some(name) = &fallback.service else {
            if !answers {
                let detail = "a fallback needs `status`, `body` or both, or `service`";
                self.invalid(key, at, detail);
            }
            return;
        };
        if answers {
            let detail = "a fallback is an answer (`status`, `body`) or a `service`, not both";
            self.invalid(key, at, detail);
        }
        let at = format!("{at}/service");
        if *name == spec.name {
            self.invalid(key, at, "a service cannot be its own fallback");
        } else if self
            .state
            .get(&Key::new(Kind::Service, &*key.namespace, &**name))
            .is_none()
        {
            let detail = format!(
                "service `{name}` does not exist in namespace `{}`",
                key.namespace
            );
            self.invalid(key, at, detail);
        }
    }

    fn upstream(
        &mut self,
        key: &Key,
        spec: &resource::Service,
        older: Option<&Upstream>,
    ) -> Option<Upstream> {
        let mut sound = true;
        for (at, endpoint) in spec.urls.iter().enumerate() {
            if let Err(error) = endpoint.url().parse::<dgate_core::Target>() {
                self.invalid(key, format!("/urls/{at}"), error.to_string());
                sound = false;
            }
        }
        let urls = spec.urls.iter().map(|endpoint| endpoint.url());
        if let Some(detail) = resource::protocol(spec.protocol, urls) {
            self.invalid(key, "/protocol", detail);
            sound = false;
        }
        if spec.load_balancer.on.is_some() && spec.load_balancer.policy != Balancing::Hash {
            let detail = "`on` is what `policy: hash` goes by: the other policies take none";
            self.invalid(key, "/load_balancer/on", detail);
            sound = false;
        }
        let retry = spec.retry.clone().unwrap_or_default();
        for (at, method) in retry.methods.iter().enumerate() {
            sound &= self
                .method(key, &format!("/retry/methods/{at}"), method)
                .is_some();
        }
        if !sound {
            return None;
        }
        let tls = self.tls(key, spec)?;
        let mut builder = Upstream::builder()
            .named(&*key.namespace, &*key.name)
            .load_balancer(spec.load_balancer.clone())
            .retry(retry)
            .timeouts(&spec.timeouts)
            .protocol(spec.protocol)
            .tls(tls)
            .preserve_host(spec.preserve_host)
            .disable_query_params(spec.disable_query_params)
            .hide_dgate_headers(spec.hide_dgate_headers);
        if let Some(breaker) = &spec.circuit_breaker {
            builder = builder.breaker(breaker.clone());
        }
        if let Some(health) = &spec.health_check {
            builder = builder.health_check(health.clone());
        }
        if let Some(limit) = &spec.max_inflight {
            builder = builder.max_inflight(limit.clone());
        }
        for endpoint in &spec.urls {
            builder = builder.weighted(endpoint.url(), endpoint.weight());
        }
        if let Some(via) = &self.compiler.globals.via {
            builder = builder.via(via.clone());
        }
        if let Some(older) = older {
            builder = builder.inherit(older);
        }
        // URLs are checked above: what is left is TLS.
        builder
            .build()
            .map_err(|error| self.invalid(key, "/tls", error.to_string()))
            .ok()
    }
}
