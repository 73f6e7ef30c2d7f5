//! Routes become stacks. One whose inputs are all the same as before is taken over as it is.

use super::super::Route;
use super::super::router::Pattern;
use super::super::stack::stack;
use super::{Run, secrets};
use crate::config::PluginUse;
use crate::resource::{self, Key, Kind, Spec, Stored};
use dgate_core::consumer::Consumers;
use dgate_core::exchange::RouteInfo;
use dgate_core::hook::{Handlers, HookSet};
use dgate_core::metrics::RouteMetrics;
use dgate_core::plugin::{Plugged, Setup};
use dgate_core::{Hooks, Pipeline, Upstream};
use std::sync::Arc;

#[derive(Clone)]
pub(super) struct KeptRoute {
    pub(super) inputs: Inputs,
    pub(super) route: Arc<Route>,
}

/// What a route was compiled from.
#[derive(Clone)]
pub(super) struct Inputs {
    pub(super) route: Arc<Stored>,
    pub(super) namespace: Arc<Stored>,
    pub(super) service: Option<Arc<Stored>>,
    /// The service that takes over when the circuit of `service` is open.
    pub(super) fallback: Option<Arc<Stored>>,
    pub(super) modules: Vec<Arc<dyn Hooks>>,
    /// Those that plugins on the route may name, when one names any.
    secrets: Vec<Arc<Stored>>,
    /// Those of the namespace, when a plugin of the route's looks for them.
    consumers: Option<Arc<Consumers>>,
}

impl Inputs {
    /// The plugins that are declared on the route, its namespace and its service.
    fn plugins(&self) -> impl Iterator<Item = &PluginUse> {
        let places = [
            Some(&self.route),
            Some(&self.namespace),
            self.service.as_ref(),
        ];
        places.into_iter().flatten().flat_map(|s| match &s.spec {
            Spec::Route(route) => &*route.plugins,
            Spec::Namespace(namespace) => &*namespace.plugins,
            Spec::Service(service) => &*service.plugins,
            _ => &[],
        })
    }

    fn same(&self, other: &Self) -> bool {
        let same = |one: &Option<Arc<Stored>>, other: &Option<Arc<Stored>>| match (one, other) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        // By address alone: the same type may have several tables of methods.
        let address = |hooks: &Arc<dyn Hooks>| Arc::as_ptr(hooks).cast::<()>();
        let modules = self.modules.iter().map(address);
        Arc::ptr_eq(&self.route, &other.route)
            && Arc::ptr_eq(&self.namespace, &other.namespace)
            && same(&self.service, &other.service)
            && same(&self.fallback, &other.fallback)
            && modules.eq(other.modules.iter().map(address))
            && secrets::same(&self.secrets, &other.secrets)
            && self.consumers.as_ref().map(Arc::as_ptr) == other.consumers.as_ref().map(Arc::as_ptr)
    }
}

impl Route {
    /// Stands in for a route that does not compile; a snapshot with one is never used.
    pub(super) fn placeholder() -> Self {
        Self {
            info: Arc::default(),
            pipeline: Pipeline::of(Handlers),
            max_body: None,
        }
    }
}

/// What the plugins that stand on a route are told of their place.
fn setup_of(route: &Key) -> Setup {
    Setup::new(&*route.namespace, format!("route/{}", route.name))
}

impl Run<'_> {
    pub(super) fn route(
        &mut self,
        key: &Key,
        stored: &Arc<Stored>,
        spec: &resource::Route,
        global: &[Plugged],
    ) -> Option<Arc<Route>> {
        let namespace = self.namespace_of(key);
        let mut complete = true;
        let mut service = None;
        if let Some(name) = &spec.service {
            let named = Key::new(Kind::Service, &*key.namespace, &**name);
            service = self.state.get(&named).cloned();
            if service.is_none() {
                complete = false;
                let namespace = &key.namespace;
                let detail = format!("service `{name}` does not exist in namespace `{namespace}`");
                self.invalid(key, "/service", detail);
            }
        }
        let modules = self.listed(key, spec);
        let Some(modules) = modules.filter(|_| complete) else {
            // What else is wrong is told at the same time.
            self.plugins(Some(key), &spec.plugins, &setup_of(key));
            return None;
        };
        let inputs = Inputs {
            route: stored.clone(),
            namespace,
            fallback: service.as_ref().and_then(|s| self.fallback_of(key, s)),
            service,
            modules,
            secrets: Vec::new(),
            consumers: None,
        };
        let inputs = Inputs {
            secrets: self.secrets_in(&inputs),
            consumers: self.consumers_for(&inputs),
            ..inputs
        };
        let same_generation = self.old.filter(|o| o.generation == self.kept.generation);
        let known = same_generation
            .and_then(|o| o.routes.get(&key.namespace)?.get(&key.name))
            .filter(|k| k.inputs.same(&inputs));
        let route = match known {
            Some(known) => {
                self.keep_plugins(&inputs);
                known.route.clone()
            }
            None => self.build_route(key, spec, &inputs, global)?,
        };
        self.kept
            .routes
            .entry(key.namespace.clone())
            .or_default()
            .insert(
                key.name.clone(),
                KeptRoute {
                    inputs,
                    route: route.clone(),
                },
            );
        Some(route)
    }

    /// The secrets that the plugins of a route may name.
    fn secrets_in(&self, inputs: &Inputs) -> Vec<Arc<Stored>> {
        let mentions = |usage: &PluginUse| secrets::mentions(&usage.config);
        let namespace = &inputs.route.spec.key().namespace;
        let mut named = match inputs.plugins().any(mentions) {
            true => self.secrets_of(namespace),
            false => Vec::new(),
        };
        // Those on every route have the secrets of namespace `default`.
        if self.compiler.globals.plugins.iter().any(mentions) {
            named.extend(self.secrets_of("default"));
        }
        named
    }

    /// The consumers that the plugins of a route look for.
    fn consumers_for(&self, inputs: &Inputs) -> Option<Arc<Consumers>> {
        let registry = &self.compiler.registry;
        let global = &self.compiler.globals.plugins;
        let wants = |usage: &PluginUse| registry.get(&usage.name).is_some_and(|p| p.consumers());
        let namespace = inputs.route.spec.key().namespace;
        let wanted = inputs.plugins().chain(global).any(wants);
        wanted.then(|| self.consumers_of(&namespace)).flatten()
    }

    /// The consumers that plugins count on by name. Where a plugin is not the route's own, the route says it: what
    /// its namespace holds decides.
    fn check_named_consumers(
        &mut self,
        key: &Key,
        spec: &resource::Route,
        inputs: &Inputs,
        plugins: &[Plugged],
    ) {
        let elsewhere = plugins.len().saturating_sub(spec.plugins.len());
        for (at, name) in plugins.iter().enumerate() {
            let Some(name) = &name.consumer else { continue };
            let all = inputs.consumers.as_deref();
            if all.is_some_and(|all| all.by_name(name).is_some()) {
                continue;
            }
            let pointer = match at.checked_sub(elsewhere) {
                Some(own) => format!("/plugins/{own}/config/anonymous"),
                None => String::new(),
            };
            let plugin = plugins[at].hooks.name();
            let detail = format!(
                "plugin `{plugin}`: consumer `{name}` does not exist in namespace `{}`",
                key.namespace
            );
            self.invalid(key, pointer, detail);
        }
    }

    /// The service that another names as its fallback; one that does not exist is said there.
    fn fallback_of(&self, key: &Key, service: &Stored) -> Option<Arc<Stored>> {
        let Spec::Service(service) = &service.spec else {
            return None;
        };
        let fallback = service.circuit_breaker.as_ref()?.fallback.as_ref()?;
        let name = fallback.service.as_deref()?;
        let found = Key::new(Kind::Service, &*key.namespace, name);
        self.state.get(&found).cloned()
    }

    fn build_route(
        &mut self,
        key: &Key,
        spec: &resource::Route,
        inputs: &Inputs,
        global: &[Plugged],
    ) -> Option<Arc<Route>> {
        let mut plugins = global.to_vec();
        let (Spec::Namespace(namespace), ns) = (&inputs.namespace.spec, key.namespace.as_str())
        else {
            return None;
        };
        plugins.extend(self.plugins(
            Some(&Key::namespace(ns)),
            &namespace.plugins,
            &Setup::new(ns, ""),
        ));
        let service = match inputs.service.as_ref().map(|s| &s.spec) {
            Some(Spec::Service(service)) => Some(service),
            _ => None,
        };
        if let Some(service) = service {
            let at = Setup::new(ns, format!("service/{}", service.name));
            plugins.extend(self.plugins(
                Some(&Key::new(Kind::Service, ns, &*service.name)),
                &service.plugins,
                &at,
            ));
        }
        plugins.extend(self.plugins(Some(key), &spec.plugins, &setup_of(key)));
        let upstream = match service {
            // Absent when the service itself does not compile: said there.
            Some(service) => {
                let kept = self.kept.services.get(ns)?.get(&service.name)?;
                Some(kept.upstream.clone())
            }
            None => None,
        };
        // One that can't be made ready might have been the one that answers.
        let of_service = service.map_or(0, |service| service.plugins.len());
        let declared = namespace.plugins.len() + of_service + spec.plugins.len();
        if plugins.len() < self.compiler.globals.plugins.len() + declared {
            return None;
        }
        self.check_named_consumers(key, spec, inputs, &plugins);
        let handled = plugins
            .iter()
            .map(|p| &p.hooks)
            .chain(&inputs.modules)
            .any(|hooks| hooks.points().contains(HookSet::REQUEST_HANDLER));
        if upstream.is_none() && !handled {
            self.invalid(
                key,
                "",
                "the route needs a service, or a module or plugin that answers requests (`requestHandler`)",
            );
            return None;
        }
        let strips = spec
            .paths
            .iter()
            .filter_map(|p| Pattern::parse(p).ok())
            .map(|p| {
                if spec.strip_path {
                    p.prefix_segments()
                } else {
                    0
                }
            });
        let strip = strips.clone().max().unwrap_or(0);
        if strips.clone().min() != Some(strip) && strip > 0 {
            self.invalid(key, "/strip_path", "the paths of this route have literal prefixes of different length: make one route of each");
            return None;
        }
        let for_route = |u: &Upstream| u.for_route(strip, spec.preserve_host, &spec.timeouts);
        let upstream = upstream.map(|upstream| {
            let Some(Spec::Service(other)) = inputs.fallback.as_ref().map(|s| &s.spec) else {
                return for_route(&upstream);
            };
            let other = self.kept.services.get(ns).and_then(|s| s.get(&other.name));
            match other {
                Some(other) => for_route(&upstream).with_fallback(for_route(&other.upstream)),
                None => for_route(&upstream),
            }
        });
        let (namespace_name, name): (Arc<str>, Arc<str>) = (ns.into(), spec.name.as_str().into());
        let mut info = RouteInfo::default();
        info.consumers.clone_from(&inputs.consumers);
        info.namespace_tags.clone_from(&namespace.tags);
        info.tags.clone_from(&spec.tags);
        info.paths.clone_from(&spec.paths);
        info.service = spec.service.as_deref().map(Into::into);
        if let Some(Spec::Service(service)) = inputs.service.as_ref().map(|s| &s.spec) {
            info.service_tags.clone_from(&service.tags);
            info.service_urls = service.urls.iter().map(|e| e.url().to_owned()).collect();
        }
        info.metrics = RouteMetrics::new(namespace_name.clone(), name.clone())
            .to_service(info.service.clone().unwrap_or_default());
        (info.namespace, info.name) = (namespace_name, name);
        Some(Arc::new(Route {
            info: Arc::new(info),
            pipeline: stack(&plugins, &inputs.modules, upstream),
            max_body: spec.max_body.map(|s| s.bytes()),
        }))
    }
}
