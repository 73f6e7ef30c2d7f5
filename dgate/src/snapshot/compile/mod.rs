//! From a state to a snapshot: everything that needs more than one resource is checked here, and what did
//! not change is taken over from the snapshot before, with its connections and the state of its plugins.

mod certificates;
mod consumers;
mod modules;
mod plugins;
mod routes;
mod secrets;
mod services;
mod tables;

use super::router::Pattern;
use super::{Route, Site, Snapshot, Table};
use crate::config::{PluginUse, Within};
use crate::resource::{self, Key, Kind, Spec, State, Stored};
use certificates::KeptCertificate;
use consumers::KeptConsumers;
use dgate_core::exchange::RouteInfo;
use dgate_core::metrics::RouteMetrics;
use dgate_core::plugin::{Plugged, Setup};
use dgate_core::upstream::Via;
use dgate_core::{Pipeline, Registry};
use http::Method;
use modules::KeptModules;
pub use modules::Warning;
use routes::{Inputs, KeptRoute};
use services::KeptService;
use std::collections::{BTreeMap, HashMap, HashSet};
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
    #[cfg(feature = "js")]
    engine: crate::js::Engine,
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
    /// Who else is part of it: of a conflict the other one, which may be the one that is new.
    pub other: Option<Key>,
    /// JSON pointer within the resource.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
    /// Whether it is wrong by itself.
    pub kind: ProblemKind,
    /// Where in the text that the pointer leads to.
    pub within: Option<Within>,
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
    services: HashMap<String, HashMap<String, KeptService>>,
    modules: HashMap<String, KeptModules>,
    consumers: HashMap<String, KeptConsumers>,
    certificates: HashMap<Key, KeptCertificate>,
    routes: HashMap<String, HashMap<String, KeptRoute>>,
    plugins: HashMap<(Option<Key>, usize), (PluginUse, Plugged)>,
}

impl Compiler {
    /// A compiler with these plugins and settings.
    pub fn new(registry: Arc<Registry>, globals: Globals) -> Self {
        Self {
            registry,
            #[cfg(feature = "js")]
            engine: crate::js::Engine::new(),
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

    /// The same with this engine for modules.
    #[cfg(feature = "js")]
    pub fn with_engine(mut self, engine: crate::js::Engine) -> Self {
        self.engine = engine;
        self
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
            failed: HashSet::new(),
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

impl Kept {
    /// What looks wrong in the compiled modules and in certificates.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &Warning> {
        let modules = self.modules.values().flat_map(|m| &m.warnings);
        modules.chain(self.certificates.values().flat_map(|c| &c.warnings))
    }
}

/// A compiled route with what it was declared as.
type Declared<'a> = (Arc<Route>, &'a resource::Route, &'a Key);

/// One compilation.
struct Run<'a> {
    compiler: &'a Compiler,
    state: &'a State,
    old: Option<&'a Kept>,
    kept: Kept,
    problems: Vec<Problem>,
    /// Plugins that can't be made ready, by the place of their use: owner and number.
    failed: HashSet<(Option<Key>, usize)>,
}

impl Run<'_> {
    fn snapshot(&mut self) -> Option<Snapshot> {
        let global = self.plugins(None, &self.compiler.globals.plugins, &Setup::default());
        self.consumers();
        for kind in [Kind::Secret, Kind::Collection] {
            for (key, _) in self.state.of_kind(kind) {
                self.namespace_of(key);
            }
        }
        for (key, stored) in self.state.of_kind(Kind::Service) {
            let Spec::Service(spec) = &stored.spec else {
                continue;
            };
            self.namespace_of(key);
            self.service(key, stored, spec);
        }
        self.modules();
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
        self.unused_plugins();
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
            domains: domains.sites,
            fallback: self.kept.tables.get("default").cloned().map(Site::of),
            #[cfg(feature = "tls")]
            certificates: domains.certificates,
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
            other: None,
            pointer: pointer.into(),
            detail: detail.into(),
            kind,
            within: None,
        });
    }

    fn invalid(&mut self, key: &Key, pointer: impl Into<String>, detail: impl Into<String>) {
        self.problem(key, pointer, detail, ProblemKind::Invalid);
    }

    /// Two that exclude each other by what is at `pointer` in both.
    fn conflict(&mut self, key: &Key, other: Key, pointer: &str, detail: String) {
        self.problem(key, pointer, detail, ProblemKind::Conflict);
        if let Some(problem) = self.problems.last_mut() {
            problem.other = Some(other);
        }
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

    fn method(&mut self, key: &Key, pointer: &str, text: &str) -> Option<Method> {
        resource::method(text)
            .map_err(|detail| self.invalid(key, pointer, detail))
            .ok()
    }
}
