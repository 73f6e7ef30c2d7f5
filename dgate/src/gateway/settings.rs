//! The settings that a request meets, made from the configuration file. They can change while it runs.

use crate::config::Config;
use crate::server::ConnLimits;
use crate::snapshot::Globals;
use dgate_core::upstream::Via;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use std::time::Duration;

/// What of the configuration concerns every request.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Settings {
    /// Peers whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Headers on every response.
    pub response_headers: HeaderMap,
    /// Largest request body of routes that say nothing else.
    pub max_body: Option<u64>,
    /// Whether a client is told what a module threw.
    pub expose_module_errors: bool,
    /// Limits of connections and heads.
    pub limits: ConnLimits,
    /// Connections at one time.
    pub max_connections: Option<usize>,
    /// Connections at one time from one address.
    pub max_connections_per_ip: Option<u32>,
    /// Threads that serve; 0 is one a core. Read when a server starts.
    pub workers: usize,
    /// How long a drain may take.
    pub shutdown_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(&Config::default())
    }
}

impl Settings {
    /// The settings of a configuration, which is checked already.
    pub fn new(config: &Config) -> Self {
        let (proxy, limits) = (&config.proxy, &config.proxy.limits);
        let header = |(name, value): (&String, &String)| {
            Some((
                name.parse::<HeaderName>().ok()?,
                HeaderValue::from_str(value).ok()?,
            ))
        };
        Self {
            trusted_proxies: proxy.trusted_proxies.clone(),
            response_headers: proxy.response_headers.iter().filter_map(header).collect(),
            max_body: limits.max_body.get().map(|s| s.bytes()),
            expose_module_errors: proxy.expose_module_errors,
            limits: ConnLimits {
                max_header_bytes: limits.max_header_bytes.as_usize(),
                max_headers: limits.max_headers as usize,
                max_uri: limits.max_uri.as_usize(),
                header_timeout: limits.header_timeout.get().map(Into::into),
                idle_timeout: limits.idle_timeout.get().map(Into::into),
                extended_connect: false,
            },
            max_connections: limits.max_connections.get().map(|n| n as usize),
            max_connections_per_ip: limits.max_connections_per_ip.get(),
            workers: proxy.workers,
            shutdown_timeout: proxy.shutdown_timeout.into(),
        }
    }

    /// The part of a configuration that is compiled into routes.
    pub fn globals(config: &Config) -> Globals {
        Globals {
            plugins: config.proxy.plugins.clone(),
            via: config.proxy.via.as_deref().and_then(Via::new),
        }
    }
}
