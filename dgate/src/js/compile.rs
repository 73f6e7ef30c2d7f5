//! From the sources of a namespace to groups of bytecode.
//!
//! Every source is transpiled; its imports are checked against what the others export, since the engine would
//! say that only when a module is linked; modules that import each other become a group; a group whose sources
//! did not change is taken over with its slots.

mod bytecode;
mod imports;

use super::group::Group;
use super::module::{HOOKS, Hook, Inner, JsModule, Limits, Meta, Permissions};
use super::services::Services;
use super::slot::{Code, Slot};
use super::store::{SecretStore, StateStore};
use super::trace::{self, Maps};
use crate::resource::{Isolation, Language, Module};
use bytecode::{bytecode, loading_failed};
use dgate_core::hook::HookSet;
use dgate_core::metrics::{Subject, tally};
use dgate_typescript::{Transpiled, transpile};
use imports::{check_imports, groups, misspelt, specifiers};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What the modules of one gateway share: the client of `fetch`, caches, stores. `Clone` is one count.
#[derive(Clone)]
pub struct Engine(Arc<Services>);

/// One module as it is stored.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The module.
    pub module: &'a Module,
    /// The revision that last wrote it.
    pub revision: u64,
}

/// The modules of one namespace, compiled. `Clone` is one count.
#[derive(Clone, Default)]
pub struct Modules(Arc<Compiled>);

#[derive(Default)]
struct Compiled {
    modules: BTreeMap<String, Arc<JsModule>>,
    prepared: BTreeMap<String, Arc<Prepared>>,
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.module, self.detail),
            None => write!(f, "{}: {}", self.module, self.detail),
        }
    }
}

/// A source that was transpiled.
#[derive(Clone)]
struct Prepared {
    module: Module,
    revision: u64,
    out: Transpiled,
    /// May import `dgate/test`.
    test: bool,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An engine with stores in memory.
    pub fn new() -> Self {
        Self::with_stores(None, None)
    }

    /// An engine with these stores behind `dgate/state` and `dgate/secrets`.
    pub fn with_stores(
        state: Option<Arc<dyn StateStore>>,
        secrets: Option<Arc<dyn SecretStore>>,
    ) -> Self {
        Self(Services::new(state, secrets, None))
    }

    /// The same in a world that is played.
    #[cfg(feature = "cli")]
    pub(crate) fn within(
        outside: Arc<dyn super::outside::Outside>,
        state: Option<Arc<dyn StateStore>>,
        secrets: Option<Arc<dyn SecretStore>>,
    ) -> Self {
        Self(Services::new(state, secrets, Some(outside)))
    }

    /// Compiles all modules of a namespace; those that did not change stay as they are in `previous`.
    ///
    /// Takes about a millisecond for each module that changed: call it off the workers.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn compile(
        &self,
        namespace: &str,
        sources: &[Source<'_>],
        previous: Option<&Modules>,
    ) -> Result<Modules, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut prepared = BTreeMap::new();
        for source in sources {
            match prepare(source, previous) {
                Ok(one) => drop(prepared.insert(source.module.name.clone(), one)),
                Err(found) => faults.extend(found),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        for one in prepared.values() {
            check_imports(one, &prepared, &mut faults);
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut modules = BTreeMap::new();
        let mut warnings = Vec::new();
        for names in groups(&prepared) {
            let members: Vec<_> = names
                .iter()
                .filter_map(|n| prepared.get(n).cloned())
                .collect();
            if let Some(kept) = taken_over(&members, previous) {
                modules.extend(kept);
                continue;
            }
            match self.group(namespace, &members, previous) {
                Ok(made) => modules.extend(made),
                Err(found) => faults.extend(found),
            }
        }
        for one in prepared.values() {
            misspelt(one, &mut warnings);
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Modules(Arc::new(Compiled {
            modules,
            prepared,
            warnings,
        })))
    }

    fn group(
        &self,
        namespace: &str,
        members: &[Arc<Prepared>],
        previous: Option<&Modules>,
    ) -> Result<Vec<(String, Arc<JsModule>)>, Vec<Fault>> {
        let maps = maps(members);
        let code = bytecode(members, &maps)?;
        let memory = members.iter().map(|m| m.module.limits.memory()).max();
        let code = Arc::new(Code {
            modules: code,
            places: members.iter().map(|m| key(&m.module.name)).collect(),
            memory: memory.unwrap_or(usize::MAX),
            test: None,
        });
        let group = Group::new(code, self.0.clone())
            .map_err(|failure| vec![loading_failed(members, &maps, &failure)])?;
        let isolation = members
            .iter()
            .map(|m| m.module.isolation)
            .max_by_key(|i| strictness(*i))
            .unwrap_or_default();
        let group = Arc::new(group);
        let older = members.iter().find_map(|m| previous?.get(&m.module.name));
        if let Some(older) = older {
            group.warm(&older.0.group);
        }
        let exports = group.exports();
        let made = members.iter().enumerate().map(|(place, one)| {
            let module = &one.module;
            let meta = Meta {
                namespace: namespace.into(),
                name: module.name.as_str().into(),
                revision: one.revision,
                limits: Limits {
                    cpu: module.limits.cpu(),
                    wall: module.limits.wall(),
                    memory: module.limits.memory(),
                    fetches: module.limits.fetches(),
                },
                permissions: Permissions {
                    // An entry that is none was refused when the resource was read; it allows nothing.
                    net: module.permissions.net.as_ref().map(|entries| {
                        let parsed = entries.iter().map(|entry| entry.parse());
                        parsed.filter_map(Result::ok).collect()
                    }),
                    state: module.permissions.state.clone(),
                    secrets: module.permissions.secrets.clone(),
                },
                on_error: module.on_error,
                services: self.0.clone(),
                cache: self.0.cache(namespace),
                maps: maps.clone(),
                tally: tally(Subject::Module, namespace, &module.name, ""),
            };
            let inner = Inner {
                meta: Arc::new(meta),
                group: group.clone(),
                place,
                exports: exports.get(place).copied().unwrap_or(HookSet::NONE),
                isolation,
            };
            (module.name.clone(), Arc::new(JsModule(Arc::new(inner))))
        });
        Ok(made.collect())
    }
}

impl Modules {
    /// One by name.
    pub fn get(&self, name: &str) -> Option<Arc<JsModule>> {
        self.0.modules.get(name).cloned()
    }

    /// What is doubtful about them, such as an export that looks like a misspelt hook.
    pub fn warnings(&self) -> Vec<Fault> {
        self.0.warnings.clone()
    }
}

fn maps(members: &[Arc<Prepared>]) -> Arc<Maps> {
    let mut maps = Maps::default();
    for one in members {
        let extension = match one.module.language {
            Language::JavaScript => ".js",
            _ => ".ts",
        };
        let source = trace::Source {
            extension,
            map: one.out.map.clone(),
        };
        maps.insert(one.module.name.clone(), source);
    }
    Arc::new(maps)
}

/// Compiles a test, the first of these modules, with those that it imports; nothing of it has run yet.
#[cfg(feature = "cli")]
pub(super) fn test(modules: &[Module], memory: usize) -> Result<(Code, Arc<Maps>), Vec<Fault>> {
    let mut faults = Vec::new();
    let mut prepared = BTreeMap::new();
    for (at, module) in modules.iter().enumerate() {
        let source = Source {
            module,
            revision: 0,
        };
        match prepare(&source, None).map(Arc::unwrap_or_clone) {
            Ok(mut one) => {
                one.test = at == 0;
                prepared.insert(module.name.clone(), Arc::new(one));
            }
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() {
        for one in prepared.values() {
            check_imports(one, &prepared, &mut faults);
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let members: Vec<_> = prepared.into_values().collect();
    let maps = maps(&members);
    let code = Code {
        modules: bytecode(&members, &maps)?,
        places: Vec::new(),
        memory,
        test: modules.first().map(|m| key(&m.name)),
    };
    Ok((code, maps))
}

/// The name of a module in the engine.
fn key(name: &str) -> String {
    format!("./{name}")
}

fn strictness(isolation: Isolation) -> u8 {
    match isolation {
        Isolation::Thread => 2,
        Isolation::Request => 1,
        _ => 0,
    }
}

fn language(module: &Module) -> dgate_typescript::Language {
    match module.language {
        Language::JavaScript => dgate_typescript::Language::JavaScript,
        _ => dgate_typescript::Language::TypeScript,
    }
}

/// Transpiles a source, unless that was done before.
fn prepare(source: &Source<'_>, previous: Option<&Modules>) -> Result<Arc<Prepared>, Vec<Fault>> {
    let module = source.module;
    let known = previous.and_then(|p| p.0.prepared.get(&module.name));
    if let Some(known) = known
        && known.revision == source.revision
        && known.module == *module
    {
        return Ok(known.clone());
    }
    let out = transpile(&module.name, &module.source, language(module)).map_err(|found| {
        let fault = |d: dgate_typescript::Diagnostic| Fault {
            module: module.name.clone(),
            position: Some((d.line, d.column)),
            detail: d.message,
        };
        found.into_iter().map(fault).collect::<Vec<_>>()
    })?;
    Ok(Arc::new(Prepared {
        module: module.clone(),
        revision: source.revision,
        out,
        test: false,
    }))
}

/// The `./…` specifiers of a module, for those who look for its files; none of one that does not parse.
pub(crate) fn siblings(module: &Module) -> Vec<String> {
    let Ok(out) = transpile(&module.name, &module.source, language(module)) else {
        return Vec::new();
    };
    specifiers(&out)
        .filter_map(|s| s.strip_prefix("./"))
        .map(str::to_owned)
        .collect()
}

/// The modules of a group as they were compiled before, when it is still the same.
fn taken_over(
    members: &[Arc<Prepared>],
    previous: Option<&Modules>,
) -> Option<Vec<(String, Arc<JsModule>)>> {
    let previous = &previous?.0;
    let mut kept = Vec::with_capacity(members.len());
    for one in members {
        let before = previous.prepared.get(&one.module.name)?;
        if !Arc::ptr_eq(before, one) {
            return None;
        }
        let module = previous.modules.get(&one.module.name)?;
        kept.push((one.module.name.clone(), module.clone()));
    }
    // One that left the group left its code in it.
    let group = &kept.first()?.1.0.group;
    (group.size() == members.len()).then_some(kept)
}

/// What a slot's modules export, by place.
pub(super) fn exports(slot: &Slot) -> Vec<HookSet> {
    slot.exports()
        .into_iter()
        .map(|hooks| {
            (0..HOOKS.len())
                .filter(|at| hooks[*at])
                .fold(HookSet::NONE, |set, at| set | Hook::set(at))
        })
        .collect()
}
