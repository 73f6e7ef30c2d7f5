//! Builds a gateway in a program. The binary uses nothing else.

use super::{DGate, Settings, storage};
use crate::config::{
    self, Config, ConfigError, Diagnostic, Environment, Files, Node, Problem, Value, place_in,
};
use crate::control::{ChangeSet, Control, Declaration, Options, Rejection};
use crate::resource::read_bundle;
use crate::server::{self, Server};
use crate::snapshot::router::Pattern;
use crate::snapshot::{Compiler, Globals};
use dgate_core::layer::RetryConfig;
use dgate_core::pipeline::Inner;
use dgate_core::{Pipeline, PipelineLayer, Plugin, Registry, Upstream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tower_layer::Layer;

/// Builds a [`DGate`]. Layers are outermost first; all of them stand outside the router.
#[must_use = "a builder does nothing until `.build()` or `.serve(…)`"]
#[derive(Default)]
pub struct Builder {
    layers: Vec<PipelineLayer>,
    routes: Vec<(String, Own)>,
    registry: Registry,
    config: Option<Config>,
    resources: Option<Node>,
    files: Files,
    source: Option<PathBuf>,
    /// What paths in the configuration are relative to.
    base: PathBuf,
    file: Option<PathBuf>,
    #[cfg(all(feature = "cli", feature = "js"))]
    engine: Option<crate::js::Engine>,
    #[cfg(all(feature = "cli", feature = "js"))]
    outside: Option<Arc<dyn crate::js::Outside>>,
    #[cfg(feature = "admin")]
    admin: Option<crate::admin::Admin>,
}

/// A route that the program brings.
enum Own {
    /// To a URL; made when the configuration is known.
    Proxy(String),
    Stack(Pipeline),
}

impl Own {
    fn pipeline(self, globals: &Globals) -> Result<Pipeline, String> {
        match self {
            Self::Stack(stack) => Ok(stack),
            Self::Proxy(url) => {
                let mut upstream = Upstream::builder()
                    .endpoint(url)
                    .retry(RetryConfig::default());
                if let Some(via) = &globals.via {
                    upstream = upstream.via(via.clone());
                }
                upstream
                    .build()
                    .map(Upstream::pipeline)
                    .map_err(|e| e.to_string())
            }
        }
    }
}

/// Why a gateway does not start. Its text has one line for each thing that is wrong.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot be read or is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Routes of the program itself are invalid: each path, and why.
    #[error("{}", .0.iter().map(|(path, reason)| format!("route {path}: {reason}")).collect::<Vec<_>>().join("\n"))]
    Routes(Vec<(String, String)>),
    /// The storage cannot be opened, or its state not be read.
    #[error("{0}")]
    Storage(String),
    /// A listener cannot be opened, or a file it needs cannot be read.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
}

// `fn main() -> dgate::Result<()>` prints this one.
impl std::fmt::Debug for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl StartError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn refused(rejection: Rejection, source: Option<&Path>) -> Self {
        Self::Config(ConfigError::invalid(source, rejection.into_diagnostics()))
    }
}

impl Builder {
    /// Adds a layer around the router. `dgate::layer::trace()` is there already and may be left out.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Pipeline> + Send + Sync + 'static,
        L::Service: Inner,
    {
        self.layers.push(PipelineLayer::new(layer));
        self
    }

    /// Sends what matches a path to an upstream, with the retries and time limits that a service has by default.
    pub fn proxy(mut self, path: &str, url: impl Into<String>) -> Self {
        self.routes.push((path.to_owned(), Own::Proxy(url.into())));
        self
    }

    /// Sends what matches a path through a stack of one's own. Such routes are in namespace `default`.
    pub fn route<S: Inner>(mut self, path: &str, stack: S) -> Self {
        self.routes
            .push((path.to_owned(), Own::Stack(Pipeline::new(stack))));
        self
    }

    /// Registers a native plugin, so that resources can use it by its name.
    pub fn plugin<P: Plugin>(mut self) -> Self {
        self.registry.add::<P>();
        self
    }

    /// Sets the configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Reads the configuration, and the resources in it, from a file: YAML, JSON or TOML by its extension.
    pub fn config_file(mut self, path: impl AsRef<Path>) -> Self {
        self.file = Some(path.as_ref().to_owned());
        self
    }

    /// Sets a configuration that was loaded before, with the places of its resources.
    pub fn loaded(mut self, loaded: config::Loaded) -> Self {
        self.config = Some(loaded.config);
        self.resources = loaded.resources;
        self.files = loaded.files;
        self.source = loaded.source;
        self.base = loaded.base_dir;
        self
    }

    /// Sets the engine of modules.
    #[cfg(all(feature = "cli", feature = "js"))]
    pub(crate) fn engine(mut self, engine: crate::js::Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Tells what modules say and throw, besides logging it.
    #[cfg(all(feature = "cli", feature = "js"))]
    pub(crate) fn outside(mut self, outside: Arc<dyn crate::js::Outside>) -> Self {
        self.outside = Some(outside);
        self
    }

    /// Opens an Admin API when the gateway serves.
    #[cfg(feature = "admin")]
    pub fn admin(mut self, admin: crate::admin::Admin) -> Self {
        self.admin = Some(admin);
        self
    }

    /// Checks and compiles everything. No listener is opened.
    ///
    /// # Errors
    /// Everything that is wrong with configuration, resources and routes.
    pub async fn build(self) -> Result<DGate, StartError> {
        self.build_now()
    }

    pub(crate) fn build_now(mut self) -> Result<DGate, StartError> {
        if let Some(file) = self.file.take() {
            let loaded = config::load_file(&file, &Environment::of_process())?;
            self = self.loaded(loaded);
        }
        let config = self.config.unwrap_or_default();
        // Pools are made with a part for each worker.
        dgate_core::upstream::set_workers(server::worker_count(config.proxy.workers));
        #[cfg(feature = "plugins")]
        crate::plugins::register(&mut self.registry);
        let globals = Settings::globals(&config);
        let ledger = storage::open(config.storage.as_ref(), &self.base)?;
        let mut compiler = Compiler::new(Arc::new(self.registry), globals.clone());
        #[cfg(feature = "js")]
        {
            let reached = Arc::new(crate::control::Reached(ledger.clone()));
            #[cfg(feature = "cli")]
            let engine = match self.outside {
                Some(outside) => {
                    crate::js::Engine::within(outside, Some(reached.clone()), Some(reached))
                }
                None => crate::js::Engine::with_stores(Some(reached.clone()), Some(reached)),
            };
            #[cfg(not(feature = "cli"))]
            let engine = crate::js::Engine::with_stores(Some(reached.clone()), Some(reached));
            compiler = compiler.with_engine(engine);
        }
        #[cfg(all(feature = "cli", feature = "js"))]
        if let Some(engine) = self.engine {
            compiler = compiler.with_engine(engine);
        }
        let mut known = std::collections::HashSet::new();
        let mut wrong = Vec::new();
        for (path, own) in self.routes {
            let made = match Pattern::parse(&path) {
                Ok(_) if !known.insert(path.clone()) => {
                    Err("the program has a route with this path already".to_owned())
                }
                Ok(pattern) => own
                    .pipeline(&globals)
                    .map(|pipeline| compiler.own_route(pattern, pipeline)),
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = made {
                wrong.push((path, reason));
            }
        }
        if !wrong.is_empty() {
            return Err(StartError::Routes(wrong));
        }
        let control = Control::unserved(compiler, ledger);
        let resources = self
            .resources
            .or_else(|| config.resources.as_ref().map(Node::from_json));
        let declared = resources.as_ref().map(|bundle| Declared {
            bundle,
            files: &self.files,
            source: self.source.as_deref(),
            prefix: "/resources",
        });
        take_declared(&control, declared.as_ref(), None)?;
        control
            .serve_stored()
            .map_err(|e| StartError::refused(e, self.source.as_deref()))?;
        let layers = self.layers;
        Ok(DGate::new(Settings::new(&config), control, |router| {
            (!layers.is_empty()).then(|| {
                layers
                    .iter()
                    .rev()
                    .fold(router, |inner, layer| layer.layer(inner))
            })
        }))
    }

    /// Builds, listens and serves until SIGTERM or SIGINT, then lets requests in flight finish.
    ///
    /// # Errors
    /// As [`Self::build`], and when an address cannot be bound.
    pub async fn serve(mut self, address: impl AsRef<str>) -> Result<(), StartError> {
        #[cfg(feature = "admin")]
        let admin = self.admin.take();
        let gateway = self.build_now()?;
        let server = Server::start(&gateway, &[address.as_ref()], gateway.settings().workers)?;
        #[cfg(feature = "admin")]
        let admin = match admin {
            Some(admin) => Some(admin.start(&gateway).await?),
            None => None,
        };
        server::terminated()
            .await
            .map_err(StartError::io("signal handler"))?;
        #[cfg(feature = "admin")]
        if let Some(admin) = &admin {
            admin.set_draining();
        }
        server.shutdown(gateway.settings().shutdown_timeout).await;
        Ok(())
    }
}

/// A bundle as a file declares it.
pub(crate) struct Declared<'a> {
    pub(crate) bundle: &'a Node,
    /// The files that its texts came from.
    pub(crate) files: &'a Files,
    /// The file it stands in.
    pub(crate) source: Option<&'a Path>,
    /// The pointer to it within that file.
    pub(crate) prefix: &'static str,
}

impl Declared<'_> {
    fn invalid(&self, found: Vec<Diagnostic>) -> StartError {
        let mut text = None;
        let mut place = |diagnostic| {
            // Looked at only for a wrong text, once; a file that is gone says nothing.
            let text = text.get_or_insert_with(|| {
                let read = |path| std::fs::read_to_string(path).unwrap_or_default();
                self.source.map(read).unwrap_or_default()
            });
            self.place(diagnostic, text)
        };
        let problems = found.into_iter().map(&mut place).collect();
        StartError::Config(ConfigError::of(self.source, problems))
    }

    /// Says where an error is, in `text` or in the file that the wrong text came from.
    fn place(&self, mut found: Diagnostic, text: &str) -> Problem {
        let mut file = None;
        let node = self.bundle.at(&found.pointer);
        if let Some(within) = &found.within {
            if let Some(path) = self.files.get(&found.pointer) {
                file = Some(path.clone());
                found.span = Some(within.span);
                found.detail.clone_from(&within.detail);
            } else if let Some(node) = node
                && let Some(value) = node.as_str()
                && let Some(span) = place_in(text, node.span, value, within.span)
            {
                found.span = Some(span);
                found.detail.clone_from(&within.detail);
            }
        }
        if found.span.is_none() && found.pointer.is_empty() {
            // Not in the bundle: a global plugin, or what is stored.
            return Problem {
                diagnostic: found,
                variable: None,
                file,
            };
        }
        if found.span.is_none() {
            let placed = self.bundle.diagnose(&found.pointer, "");
            found.span = placed.span;
        }
        Problem {
            diagnostic: Diagnostic {
                pointer: format!("{}{}", self.prefix, found.pointer),
                ..found
            },
            variable: None,
            file,
        }
    }
}

/// Applies the bundle of a configuration file when it differs from the one that was applied last: what was changed
/// through the Admin API since then stays otherwise. What its namespaces hold besides goes, and so do the namespaces
/// of the last one that it no longer names. A file without a bundle declares an empty one.
///
/// `globals` count with the bundle, if it is applied: each may need what the other brings.
pub(crate) fn take_declared(
    control: &Control,
    declared: Option<&Declared<'_>>,
    globals: Option<Globals>,
) -> Result<(), StartError> {
    let last = control.ledger().declared();
    let Some(declared) = declared else {
        let Some(last) = last.filter(|last| !last.namespaces.is_empty()) else {
            return Ok(());
        };
        let nothing = Node::from_json(&serde_json::json!({}));
        let declared = Declared {
            bundle: &nothing,
            files: &Files::new(),
            source: None,
            prefix: "/resources",
        };
        return declare(control, &declared, Some(last), globals);
    };
    declare(control, declared, last, globals)
}

fn declare(
    control: &Control,
    declared: &Declared<'_>,
    last: Option<Declaration>,
    globals: Option<Globals>,
) -> Result<(), StartError> {
    let text = declared.bundle.to_json().to_string();
    let now = Declaration {
        digest: control.state().digest(&text),
        namespaces: namespaces(declared.bundle),
    };
    if last.as_ref() == Some(&now) {
        return Ok(());
    }
    let options = Options {
        prune: true,
        prune_namespaces: last.map(|last| last.namespaces).unwrap_or_default(),
        declared: Some(now),
        globals,
        ..Options::default()
    };
    apply(control, declared, &options)
}

/// Applies a bundle as one changeset; what its namespaces hold besides goes.
pub(crate) fn apply_bundle(control: &Control, declared: &Declared<'_>) -> Result<(), StartError> {
    let options = Options {
        prune: true,
        ..Options::default()
    };
    apply(control, declared, &options)
}

fn apply(control: &Control, declared: &Declared<'_>, options: &Options) -> Result<(), StartError> {
    let read = read_bundle(declared.bundle).map_err(|found| declared.invalid(found))?;
    let change = ChangeSet {
        author: "config file".to_owned(),
        ..ChangeSet::bundle(read)
    };
    match control.apply(change, options) {
        Ok(_) => Ok(()),
        Err(Rejection::Storage(error)) => Err(StartError::Storage(error.to_string())),
        Err(rejection) => Err(declared.invalid(rejection.into_diagnostics())),
    }
}

/// The namespaces that a bundle declares.
fn namespaces(bundle: &Node) -> Vec<String> {
    let Some(Value::List(items)) = bundle.get("namespaces").map(|n| &n.value) else {
        return Vec::new();
    };
    let names = items.iter().filter_map(|item| item.get("name")?.as_str());
    names.map(str::to_owned).collect()
}
