//! The engine of modules: floor 6. A STUB that stands where the engine will: it finds exports by a regex, runs
//! nothing, and refuses what tests need refused (`const = `, imports of what is not there).

use crate::resource::Module;
use dgate_core::{Body, Exchange, Flow, HookSet, Hooks, Request, Response};
use regex::Regex;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};

/// What the modules of one gateway share.
#[derive(Clone)]
pub struct Engine;

/// One module as it is stored.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The module.
    pub module: &'a Module,
    /// The revision that last wrote it.
    pub revision: u64,
}

/// The modules of one namespace, compiled.
#[derive(Clone, Default)]
pub struct Modules(Arc<BTreeMap<String, Arc<JsModule>>>);

/// A compiled module.
pub struct JsModule {
    name: String,
    points: HookSet,
    source: String,
    revision: u64,
    warnings: Vec<Fault>,
}

/// What is wrong with a module, or doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub module: String,
    /// Line and column in its source, from 1.
    pub position: Option<(u32, u32)>,
    /// What is wrong.
    pub detail: String,
}

static EXPORTS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^\s*export\s+(?:async\s+)?(?:function|const)\s+(\w+)").expect("a valid regex")
});
static IMPORTS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?m)\bimport\b[^'"\n]*['"]\./([^'"\n]+)['"]"#).expect("a valid regex")
});

impl Engine {
    /// The services of a gateway that has nothing but modules.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self
    }

    /// Compiles all modules of a namespace; those that did not change stay as they are in `previous`.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn compile(
        &self,
        _namespace: &str,
        sources: &[Source<'_>],
        previous: Option<&Modules>,
    ) -> Result<Modules, Vec<Fault>> {
        let names: HashSet<&str> = sources.iter().map(|s| s.module.name.as_str()).collect();
        let mut faults = Vec::new();
        let mut modules = BTreeMap::new();
        for source in sources {
            let module = source.module;
            let mut wrong = |offset: usize, detail: String| {
                faults.push(Fault {
                    module: module.name.clone(),
                    position: Some(place(&module.source, offset)),
                    detail,
                });
            };
            if let Some(at) = module.source.find("const = ") {
                wrong(at + 6, "Expected a name, found =".to_owned());
            }
            for found in IMPORTS.captures_iter(&module.source) {
                if let Some(target) = found.get(1)
                    && !names.contains(target.as_str())
                {
                    wrong(
                        target.start(),
                        format!("there is no module `{}`", target.as_str()),
                    );
                }
            }
            let known = previous
                .and_then(|p| p.get(&module.name))
                .filter(|k| k.source == module.source && k.revision == source.revision);
            let compiled =
                known.unwrap_or_else(|| Arc::new(JsModule::new(module, source.revision)));
            modules.insert(module.name.clone(), compiled);
        }
        if faults.is_empty() {
            Ok(Modules(Arc::new(modules)))
        } else {
            Err(faults)
        }
    }
}

fn place(text: &str, offset: usize) -> (u32, u32) {
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let col = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line as u32, col as u32)
}

impl Modules {
    /// One by name.
    pub fn get(&self, name: &str) -> Option<Arc<JsModule>> {
        self.0.get(name).cloned()
    }

    /// What is doubtful in them.
    pub fn warnings(&self) -> Vec<Fault> {
        self.0.values().flat_map(|m| m.warnings.clone()).collect()
    }
}

impl JsModule {
    fn new(module: &Module, revision: u64) -> Self {
        let mut points = HookSet::NONE;
        let mut warnings = Vec::new();
        for found in EXPORTS.captures_iter(&module.source) {
            let Some(name) = found.get(1) else { continue };
            points = points
                | match name.as_str() {
                    "requestModifier" => HookSet::REQUEST_MODIFIER,
                    "fetchUpstream" | "fetchUpstreamUrl" => HookSet::FETCH_UPSTREAM,
                    "requestHandler" => HookSet::REQUEST_HANDLER,
                    "responseModifier" => HookSet::RESPONSE_MODIFIER,
                    "errorHandler" => HookSet::ERROR_HANDLER,
                    "requestHandlr" => {
                        warnings.push(Fault {
                            module: module.name.clone(),
                            position: Some(place(&module.source, name.start())),
                            detail: "`requestHandlr` is no hook, did you mean `requestHandler`?"
                                .to_owned(),
                        });
                        HookSet::NONE
                    }
                    _ => HookSet::NONE,
                };
        }
        Self {
            name: module.name.clone(),
            points,
            source: module.source.clone(),
            revision,
            warnings,
        }
    }
}

#[async_trait::async_trait]
impl Hooks for JsModule {
    fn points(&self) -> HookSet {
        self.points
    }
    fn name(&self) -> &str {
        &self.name
    }
    async fn request_handler(&self, _: &Exchange, _: Request) -> Flow<Response> {
        Ok(Response::new(Body::from(format!("stub {}", self.name))))
    }
}
