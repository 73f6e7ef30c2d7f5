//! Services become upstreams, which keep their connections as long as the service stays what it is.

use super::Run;
use crate::resource::{self, Key, Stored};
use dgate_core::Upstream;
use dgate_core::upstream::Protocol;
use std::sync::Arc;

impl Run<'_> {
    pub(super) fn service(&mut self, key: &Key, stored: &Arc<Stored>, spec: &resource::Service) {
        let same_generation = self.old.filter(|o| o.generation == self.kept.generation);
        let known = self
            .old
            .and_then(|o| o.services.get(&key.namespace)?.get(&key.name));
        let upstream = match known {
            Some((old, upstream)) if Arc::ptr_eq(old, stored) && same_generation.is_some() => {
                Some(upstream.clone())
            }
            _ => self.upstream(key, spec, known.map(|(_, upstream)| upstream)),
        };
        if let Some(upstream) = upstream {
            self.kept
                .services
                .entry(key.namespace.clone())
                .or_default()
                .insert(key.name.clone(), (stored.clone(), upstream));
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
        let wrong = |url: &str| match spec.protocol {
            Protocol::Http2 => url.starts_with("http://").then_some(
                "`http2` is HTTP/2 over TLS, and needs https:// URLs: without TLS it is `h2c`",
            ),
            Protocol::H2c => url.starts_with("https://").then_some(
                "`h2c` is HTTP/2 without TLS, and needs http:// URLs: over TLS it is `http2`",
            ),
            _ => None,
        };
        if let Some(detail) = spec.urls.iter().find_map(|endpoint| wrong(endpoint.url())) {
            self.invalid(key, "/protocol", detail);
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
        let mut builder = Upstream::builder()
            .named(&*key.namespace, &*key.name)
            .retry(retry)
            .timeouts(&spec.timeouts)
            .protocol(spec.protocol)
            .tls(spec.tls.clone().unwrap_or_default())
            .preserve_host(spec.preserve_host)
            .disable_query_params(spec.disable_query_params)
            .hide_dgate_headers(spec.hide_dgate_headers);
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
