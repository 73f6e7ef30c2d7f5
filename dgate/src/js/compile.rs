//! From the sources of a namespace to groups of bytecode.
//!
//! Every source is transpiled; its imports are checked against what the others export, since the engine would
//! say that only when a module is linked; modules that import each other become a group; a group whose sources
//! did not change is taken over with its slots.

use super::group::Group;
use super::lib;
use super::module::{HOOKS, Hook, Inner, JsModule, Limits, Meta, Permissions};
use super::raw::{self, Bytecode};
use super::services::Services;
use super::slot::{Code, Failure, Slot, Thrown, sibling};
use super::store::{SecretStore, StateStore};
use super::trace::{self, Maps};
use crate::resource::{Isolation, Language, Module};
use dgate_core::hook::HookSet;
use dgate_core::metrics::{Subject, tally};
use dgate_typescript::{
    DefaultExport, ExportFrom, Import, ImportKind, Imported, Transpiled, transpile,
};
use parking_lot::Mutex;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{CaughtError, Context, Ctx, Runtime};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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

fn specifiers(out: &Transpiled) -> impl Iterator<Item = &str> {
    let dynamic = out
        .dynamic_imports
        .iter()
        .filter_map(|d| d.specifier.as_deref());
    out.imports
        .iter()
        .map(|i| i.specifier.as_str())
        .chain(dynamic)
}

type All = BTreeMap<String, Arc<Prepared>>;

/// The module of the namespace that a specifier means.
fn found<'a>(specifier: &str, all: &'a All) -> Option<&'a Arc<Prepared>> {
    let exists = |key: &str| key.strip_prefix("./").is_some_and(|n| all.contains_key(n));
    let key = sibling(specifier, exists)?;
    all.get(key.strip_prefix("./")?)
}

/// Imports of what is not there.
fn check_imports(one: &Prepared, all: &All, faults: &mut Vec<Fault>) {
    for import in &one.out.imports {
        let specifier = import.specifier.as_str();
        let exported: Option<BTreeSet<String>> = if lib::is_public(specifier)
            || one.test && specifier == lib::TEST
        {
            Some(
                lib::exports(specifier)
                    .iter()
                    .map(|n| (*n).to_owned())
                    .collect(),
            )
        } else {
            found(specifier, all).map(|target| exported_names(target, all, &mut BTreeSet::new()))
        };
        let Some(exported) = exported else {
            faults.push(Fault {
                module: one.module.name.clone(),
                position: Some((import.position.line, import.position.column)),
                detail: not_found(specifier, all),
            });
            continue;
        };
        missing_names(one, import, &exported, faults);
    }
}

fn missing_names(
    one: &Prepared,
    import: &Import,
    exported: &BTreeSet<String>,
    faults: &mut Vec<Fault>,
) {
    for name in &import.names {
        let Imported::Name(wanted) = &name.imported else {
            continue;
        };
        if !exported.contains(wanted) {
            let names: Vec<_> = exported.iter().map(String::as_str).collect();
            let names = match names.is_empty() {
                true => "nothing".to_owned(),
                false => names.join(", "),
            };
            faults.push(Fault {
                module: one.module.name.clone(),
                position: Some((name.position.line, name.position.column)),
                detail: format!(
                    "`{}` does not export `{wanted}`: it exports {names}",
                    import.specifier
                ),
            });
        }
    }
}

fn not_found(specifier: &str, all: &All) -> String {
    match specifier.strip_prefix("./") {
        Some(name) => {
            let near = all
                .keys()
                .map(|known| (strsim::jaro_winkler(known, name), known))
                .filter(|(score, _)| *score > 0.85)
                .max_by(|(a, _), (b, _)| a.total_cmp(b));
            let near = near.map_or(String::new(), |(_, known)| {
                format!(": did you mean `./{known}`?")
            });
            format!("there is no module `{name}` in this namespace{near}")
        }
        None if specifier == lib::TEST => {
            "`dgate/test` is for tests: files *.test.ts that `dgate module test` runs".to_owned()
        }
        None => format!(
            "`{specifier}` cannot be imported: there are `./name` for modules of the namespace, and dgate, dgate/cache, dgate/crypto, dgate/secrets, dgate/state"
        ),
    }
}

/// What a module exports, with what `export *` adds.
fn exported_names(one: &Prepared, all: &All, seen: &mut BTreeSet<String>) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = one.out.exports.iter().map(|e| e.name.clone()).collect();
    if !seen.insert(one.module.name.clone()) {
        return names;
    }
    for import in &one.out.imports {
        if import.kind == ImportKind::Star
            && let Some(target) = found(&import.specifier, all)
        {
            let more = exported_names(target, all, seen);
            names.extend(more.into_iter().filter(|n| n != "default"));
        }
    }
    names
}

/// Modules that are connected by imports, static or dynamic.
fn groups(all: &All) -> Vec<Vec<String>> {
    let mut of: HashMap<&str, &str> = all.keys().map(|n| (n.as_str(), n.as_str())).collect();
    fn root<'a>(of: &HashMap<&'a str, &'a str>, mut name: &'a str) -> &'a str {
        while let Some(up) = of.get(name)
            && *up != name
        {
            name = up;
        }
        name
    }
    for (name, one) in all {
        for target in specifiers(&one.out).filter_map(|s| found(s, all)) {
            let (a, b) = (root(&of, name), root(&of, target.module.name.as_str()));
            of.insert(a, b);
        }
    }
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in all.keys() {
        groups
            .entry(root(&of, name))
            .or_default()
            .push(name.clone());
    }
    groups.into_values().collect()
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

/// Exports that look like hooks and are none.
fn misspelt(one: &Prepared, warnings: &mut Vec<Fault>) {
    let mut check = |name: &str, position: dgate_typescript::Position| {
        if HOOKS.iter().any(|names| names.contains(&name)) {
            return;
        }
        let near = HOOKS
            .iter()
            .flat_map(|names| names.iter())
            .map(|hook| {
                let score = strsim::normalized_damerau_levenshtein(
                    &hook.to_lowercase(),
                    &name.to_lowercase().replace('_', ""),
                );
                (score, *hook)
            })
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((score, hook)) = near
            && score > 0.75
        {
            warnings.push(Fault {
                module: one.module.name.clone(),
                position: Some((position.line, position.column)),
                detail: format!("the export `{name}` is no hook: did you mean `{hook}`?"),
            });
        }
    };
    for export in &one.out.exports {
        if matches!(export.from, ExportFrom::Local) {
            check(&export.name, export.position);
        }
    }
    if let Some(DefaultExport::Object { properties, .. }) = &one.out.default_export {
        for property in properties {
            check(&property.name, property.position);
        }
    }
}

/// Compiles the members in a scratch runtime.
fn bytecode(
    members: &[Arc<Prepared>],
    maps: &Maps,
) -> Result<BTreeMap<String, Bytecode>, Vec<Fault>> {
    let broken = |detail: String| {
        vec![Fault {
            module: members
                .first()
                .map(|m| m.module.name.clone())
                .unwrap_or_default(),
            position: None,
            detail,
        }]
    };
    let runtime = Runtime::new().map_err(|e| broken(e.to_string()))?;
    runtime.set_max_stack_size(1024 * 1024);
    let done = Arc::new(Mutex::new(BTreeMap::new()));
    let sources: BTreeMap<String, Arc<Prepared>> = members
        .iter()
        .map(|m| (key(&m.module.name), m.clone()))
        .collect();
    let sources = Arc::new(sources);
    runtime.set_loader(
        Siblings(sources.clone()),
        Scratch {
            sources: sources.clone(),
            done: done.clone(),
        },
    );
    let context = Context::full(&runtime).map_err(|e| broken(e.to_string()))?;
    context.with(|ctx| {
        for name in sources.keys() {
            if done.lock().contains_key(name) {
                continue;
            }
            let all = format!("import {name:?};");
            if let Err(error) = rquickjs::Module::declare(ctx.clone(), "dgate:all", all) {
                let thrown = match CaughtError::from_error(&ctx, error) {
                    CaughtError::Error(error) => Thrown {
                        message: error.to_string(),
                        ..Thrown::default()
                    },
                    caught => super::slot::thrown(&ctx, caught),
                };
                return Err(vec![placed(members, maps, &thrown)]);
            }
        }
        Ok(())
    })?;
    drop(context);
    Ok(std::mem::take(&mut *done.lock()))
}

struct Siblings(Arc<BTreeMap<String, Arc<Prepared>>>);

struct Scratch {
    sources: Arc<BTreeMap<String, Arc<Prepared>>>,
    done: Arc<Mutex<BTreeMap<String, Bytecode>>>,
}

impl Resolver for Siblings {
    fn resolve<'js>(
        &mut self,
        _: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        if lib::exists(name) {
            return Ok(name.to_owned());
        }
        sibling(name, |n| self.0.contains_key(n))
            .ok_or_else(|| rquickjs::Error::new_resolving(base, name))
    }
}

impl Loader for Scratch {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<rquickjs::Module<'js, Declared>> {
        if let Some(ours) = lib::code(name) {
            return raw::load(ctx, ours);
        }
        let Some(one) = self.sources.get(name) else {
            return Err(rquickjs::Error::new_loading(name));
        };
        let (module, code) = raw::compile(ctx, name, &one.out.code)?;
        self.done.lock().insert(name.to_owned(), code);
        Ok(module)
    }
}

/// A failure of the engine as a fault of the module where it happened.
fn placed(members: &[Arc<Prepared>], maps: &Maps, thrown: &Thrown) -> Fault {
    let stack = maps.stack(&thrown.stack);
    let text = match thrown.name.as_str() {
        "" => thrown.message.clone(),
        name => format!("{name}: {}", thrown.message),
    };
    let place = maps.first_place(&thrown.stack);
    let (module, position) = match place {
        Some((module, line, column)) => (Some(module), Some((line, column))),
        None => (None, None),
    };
    let module = module
        .or_else(|| members.first().map(|m| m.module.name.clone()))
        .unwrap_or_default();
    let detail = match stack.lines().count() {
        0 | 1 => text,
        _ => format!("{text}\n{stack}"),
    };
    Fault {
        module,
        position,
        detail,
    }
}

fn loading_failed(members: &[Arc<Prepared>], maps: &Maps, failure: &Failure) -> Fault {
    let plain = |detail: String| Fault {
        module: members
            .first()
            .map(|m| m.module.name.clone())
            .unwrap_or_default(),
        position: None,
        detail,
    };
    match failure {
        Failure::Thrown(thrown) => placed(members, maps, thrown),
        Failure::Limit(limit) => plain(format!(
            "the module reached the limit `{}` while it was loaded",
            limit.as_str()
        )),
        Failure::Broken(what) => plain(format!("the module could not be loaded: {what}")),
    }
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
