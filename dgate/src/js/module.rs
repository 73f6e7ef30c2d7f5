//! A compiled module: what it exports, its limits, and what it may reach. `hooks` runs it.

use super::group::Group;
use super::lib::cache::Cache;
use super::outside::Said;
use super::services::Services;
use super::slot::{Failure, Thrown, original};
use super::trace::Maps;
use super::vm::{Call, Limit};
use crate::resource::{Isolation, NetPermission, OnError};
use dgate_core::hook::HookSet;
use dgate_core::metrics::Tally;
use dgate_core::{Error, ErrorKind, Exchange, Target};
use std::sync::Arc;
use std::time::Duration;

/// The names of the hooks as exports; the first of each is the one in messages.
pub(super) const HOOKS: [&[&str]; 5] = [
    &["requestModifier"],
    &["fetchUpstream", "fetchUpstreamUrl"],
    &["requestHandler"],
    &["responseModifier"],
    &["errorHandler"],
];

/// The places of the hooks in [`HOOKS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    RequestModifier,
    FetchUpstream,
    RequestHandler,
    ResponseModifier,
    ErrorHandler,
}

impl Hook {
    pub(super) fn name(self) -> &'static str {
        HOOKS[self as usize][0]
    }

    /// The set of one.
    pub(super) fn set(at: usize) -> HookSet {
        [
            HookSet::REQUEST_MODIFIER,
            HookSet::FETCH_UPSTREAM,
            HookSet::REQUEST_HANDLER,
            HookSet::RESPONSE_MODIFIER,
            HookSet::ERROR_HANDLER,
        ][at]
    }
}

/// Limits of each invocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// Bytes.
    pub(crate) memory: usize,
    pub(crate) fetches: u32,
}

/// What a module may reach.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permissions {
    /// Absent: public addresses.
    pub(crate) net: Option<Vec<NetPermission>>,
    /// Absent: the namespace's own.
    pub(crate) state: Option<Vec<String>>,
    /// Absent: none.
    pub(crate) secrets: Option<Vec<String>>,
}

impl Permissions {
    /// Where a connection to this target may go. `None`: nowhere.
    pub(crate) fn target(&self, target: Target) -> Option<Target> {
        match &self.net {
            None => Some(target.public_only()),
            Some(hosts) => hosts
                .iter()
                .any(|entry| entry.allows(target.host(), target.port()))
                .then_some(target),
        }
    }
}

/// What every invocation of a module knows of it.
pub(crate) struct Meta {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) revision: u64,
    pub(crate) limits: Limits,
    pub(crate) permissions: Permissions,
    pub(crate) on_error: OnError,
    pub(crate) services: Arc<Services>,
    pub(crate) cache: Cache,
    /// Positions of the source, for every module of the group: stack traces cross modules.
    pub(crate) maps: Arc<Maps>,
    /// Runs of its hooks.
    pub(crate) tally: Arc<Tally>,
}

impl Meta {
    /// An exception as people read it: with the places in the source that they wrote.
    pub(super) fn describe(&self, thrown: &Thrown) -> String {
        let mut text = format!("{}: {}", thrown.name, thrown.message);
        let stack = self.maps.stack(&thrown.stack);
        if !stack.is_empty() {
            text.push('\n');
            text.push_str(&stack);
        }
        text
    }

    /// Logs what the module says.
    pub(super) fn log(&self, exchange: &Exchange, level: &str, text: &str) {
        self.write(exchange, level, text, false);
    }

    fn write(&self, exchange: &Exchange, level: &str, text: &str, failure: bool) {
        if let Some(outside) = &self.services.outside {
            outside.said(Said {
                level: match level {
                    "error" => "error",
                    "warn" => "warn",
                    "debug" | "trace" => "debug",
                    _ => "info",
                },
                module: self.name.to_string(),
                message: text.to_owned(),
                request_id: exchange.id().to_owned(),
                failure,
            });
        }
        let (namespace, module) = (&*self.namespace, &*self.name);
        let route = exchange.route().map(|r| &*r.name);
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(
                    target: "dgate::module", $level,
                    { "exchange.id" = exchange.id(), namespace, module, route },
                    "{text}"
                )
            };
        }
        match level {
            "error" => event!(tracing::Level::ERROR),
            "warn" => event!(tracing::Level::WARN),
            "debug" => event!(tracing::Level::DEBUG),
            "trace" => event!(tracing::Level::TRACE),
            _ => event!(tracing::Level::INFO),
        }
    }

    /// Logs and counts a failure.
    pub(super) fn note(&self, exchange: &Exchange, hook: &str, failure: &Failure) {
        match failure {
            Failure::Limit(limit) => {
                let namespace = self.namespace.to_string();
                metrics::counter!(
                    "dgate_module_limit_exceeded_total",
                    "limit" => limit.as_str(), "namespace" => namespace, "module" => self.name.to_string(),
                )
                .increment(1);
                self.write(
                    exchange,
                    "error",
                    &format!("{hook}: {}", self.limit(*limit)),
                    true,
                );
            }
            Failure::Thrown(thrown) => {
                self.write(
                    exchange,
                    "error",
                    &format!("{hook}: {}", self.describe(thrown)),
                    true,
                );
            }
            Failure::Broken(what) => {
                self.write(
                    exchange,
                    "error",
                    &format!("{hook}: defect of the gateway: {what}"),
                    true,
                );
            }
        }
    }

    fn limit(&self, limit: Limit) -> String {
        let bound = match limit {
            Limit::Cpu => format!("{:?}", self.limits.cpu),
            Limit::Wall => format!("{:?}", self.limits.wall),
            Limit::Memory => format!("{} bytes", self.limits.memory),
            Limit::Fetches => self.limits.fetches.to_string(),
            Limit::Stack => "the stack".to_owned(),
        };
        format!(
            "module `{}` reached its limit `{}` ({bound})",
            self.name,
            limit.as_str()
        )
    }

    /// A failure as the error that error handlers and clients see.
    pub(super) fn error(&self, call: &Call, hook: Hook, failure: Failure) -> Error {
        if let Failure::Thrown(thrown) = &failure
            && let Some(original) = original(call, thrown)
        {
            return original;
        }
        self.note(&call.exchange, hook.name(), &failure);
        match failure {
            Failure::Limit(limit) => {
                Error::new(ErrorKind::ModuleLimit).with_detail(self.limit(limit))
            }
            Failure::Thrown(thrown) => Error::new(ErrorKind::Module)
                .with_detail(format!("module `{}` failed in {}", self.name, hook.name()))
                .with_cause(self.describe(&thrown)),
            Failure::Broken(what) => Error::new(ErrorKind::Internal).with_cause(what),
        }
    }
}

/// A JavaScript or TypeScript module, compiled. `Clone` is one count.
#[derive(Clone)]
pub struct JsModule(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) meta: Arc<Meta>,
    pub(super) group: Arc<Group>,
    /// Its place in the group.
    pub(super) place: usize,
    /// What it exports.
    pub(super) exports: HookSet,
    pub(super) isolation: Isolation,
}

impl JsModule {
    /// The hooks that it exports.
    pub fn exports(&self) -> HookSet {
        self.0.exports
    }
}

impl std::fmt::Debug for JsModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsModule")
            .field("name", &self.0.meta.name)
            .field("exports", &self.0.exports)
            .finish_non_exhaustive()
    }
}
