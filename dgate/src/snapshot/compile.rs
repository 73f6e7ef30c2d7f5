//! From a state to a snapshot: everything that needs more than one resource is checked here, and what did
//! not change is taken over from the snapshot before, with its connections and the state of its plugins.

use super::domain::{DomainPattern, DomainTable};
use super::matcher::Matchers;
use super::router::{Entry, Methods, Pattern, Router};
use super::stack::stack;
use super::{Route, Snapshot, Table};
use crate::config::{Node, PluginUse, join, validate_at};
use crate::resource::{self, Key, Kind, Spec, State, Stored};
use dgate_core::exchange::RouteInfo;
use dgate_core::hook::{Handlers, HookSet};
use dgate_core::metrics::RouteMetrics;
use dgate_core::plugin::{Plugged, Setup};
use dgate_core::upstream::{Protocol, Via};
use dgate_core::{Pipeline, Registry, Upstream};
use http::Method;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Global settings that are compiled into routes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Globals {
    /// Plugins on every route.
    pub plugins: Vec<PluginUse>,
    /// The name in `Via`.
    pub via: Option<Via>,
}

/// Compiles states.
#[derive(Clone)]
pub struct Compiler {
    registry: Arc<Registry>,
    globals: Globals,
    /// Routes that the program brings, in namespace `default`.
    own: Vec<(Pattern, Arc<Route>)>,
    /// Another number for other globals: routes of another generation are not taken over.
    generation: u64,
}

/// Something that does not compile.
#[derive(Debug)]
pub struct Problem {
    /// Whose fault it is.
    pub key: Key,
    /// JSON pointer within the resource.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
    /// Whether it is wrong by itself.
    pub kind: ProblemKind,
}

/// How a problem is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// Wrong by itself, or refers to nothing: 422.
    Invalid,
    /// Excluded by another resource: 409.
    Conflict,
}

/// What the next compilation may take over.
#[derive(Default)]
pub(super) struct Kept {
    generation: u64,
    tables: HashMap<String, Arc<Table>>,
    services: HashMap<String, HashMap<String, (Arc<Stored>, Upstream)>>,
    routes: HashMap<String, HashMap<String, KeptRoute>>,
    plugins: HashMap<(Option<Key>, usize), (PluginUse, Plugged)>,
}

#[derive(Clone)]
struct KeptRoute {
    inputs: Inputs,
    route: Arc<Route>,
}

/// What a route was compiled from.
#[derive(Clone)]
struct Inputs {
    route: Arc<Stored>,
    namespace: Arc<Stored>,
    service: Option<Arc<Stored>>,
}

impl Inputs {
    fn same(&self, other: &Self) -> bool {
        let service = match (&self.service, &other.service) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(&self.route, &other.route)
            && Arc::ptr_eq(&self.namespace, &other.namespace)
            && service
    }
}

impl Compiler {
    /// A compiler with these plugins and settings.
    pub fn new(registry: Arc<Registry>, globals: Globals) -> Self {
        Self {
            registry,
            globals,
            own: Vec::new(),
            generation: 0,
        }
    }

    /// Adds a route that the program brings.
    pub fn own_route(&mut self, pattern: Pattern, pipeline: Pipeline) {
        let (namespace, name): (Arc<str>, Arc<str>) = ("default".into(), pattern.as_str().into());
        let mut info = RouteInfo::default();
        info.paths = vec![pattern.as_str().to_owned()];
        info.metrics = RouteMetrics::new(namespace.clone(), name.clone());
        (info.namespace, info.name) = (namespace, name);
        self.own.push((
            pattern,
            Arc::new(Route {
                info: Arc::new(info),
                pipeline,
                max_body: None,
            }),
        ));
    }

    /// The plugins that resources may use.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The global settings.
    pub fn globals(&self) -> &Globals {
        &self.globals
    }

    /// The same with other global settings.
    pub fn with_globals(&self, globals: Globals) -> Self {
        Self {
            globals,
            generation: self.generation + 1,
            ..self.clone()
        }
    }

    /// Compiles a state.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(
        &self,
        state: &State,
        previous: Option<&Snapshot>,
    ) -> Result<Snapshot, Vec<Problem>> {
        let mut run = Run {
            compiler: self,
            state,
            old: previous.map(|p| &p.kept),
            kept: Kept {
                generation: self.generation,
                ..Kept::default()
            },
            problems: Vec::new(),
        };
        let snapshot = run.snapshot();
        match (snapshot, run.problems) {
            (Some(snapshot), problems) if problems.is_empty() => Ok(Snapshot {
                kept: run.kept,
                ..snapshot
            }),
            (_, problems) => Err(problems),
        }
    }
}

/// A compiled route with what it was declared as.
type Declared<'a> = (Arc<Route>, &'a resource::Route, &'a Key);

impl Route {
    /// Stands in for a route that does not compile; a snapshot with one is never used.
    fn placeholder() -> Self {
        Self {
            info: Arc::default(),
            pipeline: Pipeline::of(Handlers),
            max_body: None,
        }
    }
}

/// One compilation.
struct Run<'a> {
    compiler: &'a Compiler,
    state: &'a State,
    old: Option<&'a Kept>,
    kept: Kept,
    problems: Vec<Problem>,
}

impl Run<'_> {
    fn snapshot(&mut self) -> Option<Snapshot> {
        let global = self.plugins(None, &self.compiler.globals.plugins, &Setup::default());
        for (key, stored) in self.state.of_kind(Kind::Service) {
            let Spec::Service(spec) = &stored.spec else {
                continue;
            };
            self.namespace_of(key);
            self.service(key, stored, spec);
        }
        let mut tables: BTreeMap<&str, Vec<Declared>> = BTreeMap::new();
        for (key, stored) in self.state.of_kind(Kind::Route) {
            let Spec::Route(spec) = &stored.spec else {
                continue;
            };
            // One that does not compile keeps its paths, whose own mistakes and conflicts are found below.
            let route = self.route(key, stored, spec, &global);
            let route = route.unwrap_or_else(|| Arc::new(Route::placeholder()));
            tables
                .entry(&key.namespace)
                .or_default()
                .push((route, spec, key));
        }
        for (key, _) in self.state.of_kind(Kind::Namespace) {
            tables.entry(&key.name).or_default();
        }
        if !self.compiler.own.is_empty() {
            tables.entry("default").or_default();
        }
        for (namespace, routes) in tables {
            self.table(namespace, routes);
        }
        let domains = self.domains()?;
        Some(Snapshot {
            revision: self.state.revision(),
            domains,
            fallback: self.kept.tables.get("default").cloned(),
            kept: Kept::default(),
        })
    }

    fn problem(
        &mut self,
        key: &Key,
        pointer: impl Into<String>,
        detail: impl Into<String>,
        kind: ProblemKind,
    ) {
        self.problems.push(Problem {
            key: key.clone(),
            pointer: pointer.into(),
            detail: detail.into(),
            kind,
        });
    }

    fn invalid(&mut self, key: &Key, pointer: impl Into<String>, detail: impl Into<String>) {
        self.problem(key, pointer, detail, ProblemKind::Invalid);
    }

    /// The namespace of a resource. One that is missing is a problem, and an empty one stands in for it, so that
    /// everything else that is wrong is found too.
    fn namespace_of(&mut self, key: &Key) -> Arc<Stored> {
        if let Some(found) = self.state.get(&Key::namespace(&key.namespace)) {
            return found.clone();
        }
        let name = &key.namespace;
        let detail = format!(
            "namespace `{name}` does not exist: declare it, in a file as `namespaces: [{{ name: {name} }}]`"
        );
        self.invalid(key, "/namespace", detail);
        Arc::new(Stored::placeholder(name))
    }

    /// Makes the plugins of one place ready; those that did not change keep their state.
    fn plugins(&mut self, owner: Option<&Key>, uses: &[PluginUse], setup: &Setup) -> Vec<Plugged> {
        let mut ready = Vec::with_capacity(uses.len());
        for (at, usage) in uses.iter().enumerate() {
            let slot = (owner.cloned(), at);
            let known = self
                .kept
                .plugins
                .get(&slot)
                .or(self.old.and_then(|o| o.plugins.get(&slot)))
                .filter(|(u, _)| u == usage);
            let plugged = match known {
                Some((_, plugged)) => Some(plugged.clone()),
                None => self.plug(owner, at, usage, setup),
            };
            if let Some(plugged) = plugged {
                self.kept
                    .plugins
                    .insert(slot, (usage.clone(), plugged.clone()));
                ready.push(plugged);
            }
        }
        ready
    }

    fn plug(
        &mut self,
        owner: Option<&Key>,
        at: usize,
        usage: &PluginUse,
        setup: &Setup,
    ) -> Option<Plugged> {
        // Global plugins belong to no resource; their problems name the configuration file's list.
        let global = Key::namespace("proxy.plugins");
        let owner = owner.unwrap_or(&global);
        let pointer = format!("/plugins/{at}");
        let Some(entry) = self.compiler.registry.get(&usage.name).cloned() else {
            let known: Vec<_> = self.compiler.registry.names().collect();
            let known = if known.is_empty() {
                "none is registered".to_owned()
            } else {
                format!("known ones are {}", known.join(", "))
            };
            self.invalid(
                owner,
                join(&pointer, "name"),
                format!("unknown plugin `{}`: {known}", usage.name),
            );
            return None;
        };
        let pointer = join(&pointer, "config");
        let errors = validate_at(&Node::from_json(&usage.config), entry.schema(), &pointer);
        if errors.is_empty() {
            return match entry.plug(usage.config.clone(), setup) {
                Ok(plugged) => Some(plugged),
                Err(error) => {
                    self.invalid(owner, pointer, format!("plugin `{}`: {error}", usage.name));
                    None
                }
            };
        }
        for error in errors {
            // The field by its name, unless the message has it: where the config stands in a list the pointer says little.
            let field = error.pointer.rsplit('/').next().unwrap_or_default();
            let named = error.detail.contains(&format!("`{field}`"));
            let detail = if named {
                error.detail
            } else {
                format!("`{field}`: {}", error.detail)
            };
            self.invalid(
                owner,
                error.pointer,
                format!("plugin `{}`: {detail}", usage.name),
            );
        }
        None
    }

    fn service(&mut self, key: &Key, stored: &Arc<Stored>, spec: &resource::Service) {
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

    fn route(
        &mut self,
        key: &Key,
        stored: &Arc<Stored>,
        spec: &resource::Route,
        global: &[Plugged],
    ) -> Option<Arc<Route>> {
        let namespace = self.namespace_of(key);
        let service = match &spec.service {
            Some(name) => {
                let found = self
                    .state
                    .get(&Key::new(Kind::Service, &*key.namespace, &**name))
                    .cloned();
                if found.is_none() {
                    self.invalid(
                        key,
                        "/service",
                        format!(
                            "service `{name}` does not exist in namespace `{}`",
                            key.namespace
                        ),
                    );
                    return None;
                }
                found
            }
            None => None,
        };
        let inputs = Inputs {
            route: stored.clone(),
            namespace,
            service,
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

    /// Keeps the plugins of a route that is taken over as it is.
    fn keep_plugins(&mut self, inputs: &Inputs) {
        let Some(old) = self.old else { return };
        for stored in [
            Some(&inputs.route),
            Some(&inputs.namespace),
            inputs.service.as_ref(),
        ]
        .into_iter()
        .flatten()
        {
            let key = stored.spec.key();
            let slots = (0..)
                .map(|at| (Some(key.clone()), at))
                .map_while(|slot| old.plugins.get_key_value(&slot));
            for (slot, value) in slots {
                self.kept
                    .plugins
                    .entry(slot.clone())
                    .or_insert_with(|| value.clone());
            }
        }
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
        let mut upstream = None;
        if let Some(Spec::Service(service)) = inputs.service.as_ref().map(|s| &s.spec) {
            let at = Setup::new(ns, format!("service/{}", service.name));
            plugins.extend(self.plugins(
                Some(&Key::new(Kind::Service, ns, &*service.name)),
                &service.plugins,
                &at,
            ));
            // Absent when the service itself does not compile: said there.
            upstream = Some(self.kept.services.get(ns)?.get(&service.name)?.1.clone());
        }
        plugins.extend(self.plugins(
            Some(key),
            &spec.plugins,
            &Setup::new(ns, format!("route/{}", spec.name)),
        ));
        let handled = plugins
            .iter()
            .any(|p| p.hooks.points().contains(HookSet::REQUEST_HANDLER));
        if upstream.is_none() && !handled {
            self.invalid(
                key,
                "",
                "the route needs a service, or a plugin that answers requests",
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
        let upstream = upstream.map(|u| u.for_route(strip, spec.preserve_host, &spec.timeouts));
        let (namespace_name, name): (Arc<str>, Arc<str>) = (ns.into(), spec.name.as_str().into());
        let mut info = RouteInfo::default();
        info.namespace_tags.clone_from(&namespace.tags);
        info.tags.clone_from(&spec.tags);
        info.paths.clone_from(&spec.paths);
        info.service = spec.service.as_deref().map(Into::into);
        info.metrics = RouteMetrics::new(namespace_name.clone(), name.clone());
        (info.namespace, info.name) = (namespace_name, name);
        Some(Arc::new(Route {
            info: Arc::new(info),
            pipeline: stack(&plugins, upstream),
            max_body: spec.max_body.map(|s| s.bytes()),
        }))
    }

    fn method(&mut self, key: &Key, pointer: &str, text: &str) -> Option<Method> {
        match text.parse::<Method>() {
            Ok(_) if text.chars().any(|c| c.is_ascii_lowercase()) => {
                self.invalid(
                    key,
                    pointer,
                    format!(
                        "methods are case-sensitive: did you mean `{}`?",
                        text.to_uppercase()
                    ),
                );
                None
            }
            Ok(method) => Some(method),
            Err(_) => {
                self.invalid(key, pointer, format!("`{text}` is no HTTP method"));
                None
            }
        }
    }

    fn table(&mut self, namespace: &str, routes: Vec<Declared>) {
        let own: &[(Pattern, Arc<Route>)] = if namespace == "default" {
            &self.compiler.own
        } else {
            &[]
        };
        let all: Vec<Arc<Route>> = routes
            .iter()
            .map(|(r, ..)| r.clone())
            .chain(own.iter().map(|(_, r)| r.clone()))
            .collect();
        let known = self.old.and_then(|o| o.tables.get(namespace));
        let same = known.filter(|t| {
            t.routes.len() == all.len() && t.routes.iter().zip(&all).all(|(a, b)| Arc::ptr_eq(a, b))
        });
        if let Some(same) = same {
            self.kept.tables.insert(namespace.to_owned(), same.clone());
            return;
        }
        let mut entries = Vec::new();
        for (route, spec, key) in routes {
            entries.extend(self.entries(key, spec, &route));
        }
        entries.extend(own.iter().map(|(pattern, route)| Entry {
            name: route.info.name.to_string(),
            pattern: pattern.clone(),
            priority: 0,
            methods: Methods::all(),
            matchers: Matchers::default(),
            value: route.clone(),
        }));
        match Router::build(entries) {
            Ok(router) => {
                self.kept.tables.insert(
                    namespace.to_owned(),
                    Arc::new(Table {
                        router,
                        routes: all,
                    }),
                );
            }
            Err(conflicts) => {
                for conflict in conflicts {
                    let key = Key::new(Kind::Route, namespace, &*conflict.name);
                    self.problem(&key, "/paths", conflict.to_string(), ProblemKind::Conflict);
                }
            }
        }
    }

    fn entries(
        &mut self,
        key: &Key,
        spec: &resource::Route,
        route: &Arc<Route>,
    ) -> Vec<Entry<Arc<Route>>> {
        let mut methods = if spec.methods.is_empty() {
            Methods::all()
        } else {
            Methods::default()
        };
        for (at, text) in spec.methods.iter().enumerate() {
            if let Some(method) = self.method(key, &format!("/methods/{at}"), text) {
                methods.insert(method);
            }
        }
        let matchers = Matchers::parse(&spec.headers, &spec.query).unwrap_or_else(|errors| {
            for error in errors {
                self.invalid(
                    key,
                    join(&join("", error.field), &error.name),
                    error.to_string(),
                );
            }
            Matchers::default()
        });
        let mut entries = Vec::new();
        for (at, text) in spec.paths.iter().enumerate() {
            match Pattern::parse(text) {
                Ok(pattern) => entries.push(Entry {
                    name: spec.name.clone(),
                    pattern,
                    priority: spec.priority,
                    methods: methods.clone(),
                    matchers: matchers.clone(),
                    value: route.clone(),
                }),
                Err(error) => self.invalid(key, format!("/paths/{at}"), error.to_string()),
            }
        }
        entries
    }

    fn domains(&mut self) -> Option<DomainTable<Arc<Table>>> {
        let mut all = Vec::new();
        for (key, stored) in self.state.of_kind(Kind::Domain) {
            let Spec::Domain(spec) = &stored.spec else {
                continue;
            };
            self.namespace_of(key);
            for (at, text) in spec.patterns.iter().enumerate() {
                match (
                    DomainPattern::parse(text),
                    self.kept.tables.get(&key.namespace),
                ) {
                    (Ok(pattern), Some(table)) => {
                        all.push((pattern, spec.priority, key.path(), table.clone()))
                    }
                    (Err(error), _) => {
                        self.invalid(key, format!("/patterns/{at}"), error.to_string())
                    }
                    // Its routes do not compile: said there.
                    (Ok(_), None) => {}
                }
            }
        }
        DomainTable::build(all)
            .map_err(|conflicts| {
                for conflict in conflicts {
                    let (namespace, name) = conflict
                        .second
                        .split_once('/')
                        .unwrap_or(("", &conflict.second));
                    let key = Key::new(Kind::Domain, namespace, name);
                    self.problem(
                        &key,
                        "/patterns",
                        conflict.to_string(),
                        ProblemKind::Conflict,
                    );
                }
            })
            .ok()
    }
}
