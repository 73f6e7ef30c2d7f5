//! What modules import and export, checked over a namespace: the engine would say it only when one is linked.

use super::{Fault, Prepared};
use crate::js::lib;
use crate::js::module::HOOKS;
use crate::js::slot::sibling;
use dgate_typescript::{DefaultExport, ExportFrom, Import, ImportKind, Imported, Transpiled};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub(super) fn specifiers(out: &Transpiled) -> impl Iterator<Item = &str> {
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
pub(super) fn check_imports(one: &Prepared, all: &All, faults: &mut Vec<Fault>) {
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
pub(super) fn groups(all: &All) -> Vec<Vec<String>> {
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

/// Exports that look like hooks and are none.
pub(super) fn misspelt(one: &Prepared, warnings: &mut Vec<Fault>) {
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
