//! The floors of `docs/architecture.md`, enforced on the sources: an arrow (a path to another
//! module) points to its own floor or below, layers do not know each other, core knows nothing of
//! what surrounds it, and every file says what it is.
//!
//! Paths are read from the text, without comments, strings and what is `#[cfg(test)]`; names that a
//! `use` hands on are followed to where they come from, so a re-export is no way around a floor.

mod paths;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use paths::{blanked, is_word, paths_in, use_tree, without_tests, words};

/// Lowest first. Modules of one floor may know each other, except the files of `layer`.
const CORE: &[&[&str]] = &[
    &[
        "batch", "body", "consumer", "error", "exchange", "key", "metrics", "target", "units",
    ],
    &["authenticate", "pipeline", "reply"],
    &["layer"],
    &["hook", "plugin", "registry", "transform"],
    &["upstream"],
];

/// All of it above all of core.
const GATEWAY: &[&[&str]] = &[
    &["resource", "config"],
    &["js"],
    &["snapshot"],
    &["store", "control"],
    &["cluster", "server", "admin", "gateway", "plugins"],
    &["cli"],
    &["main"],
];

/// What `dgate-core` must not depend on, by the start of the name.
const HEAVY: &[&str] = &["rquickjs", "swc", "sled", "openraft", "clap"];

#[test]
fn core_points_down_the_floors() {
    assert_none(Tree::read("dgate/core/src", "dgate_core", CORE, 0).violations());
}

#[test]
fn the_gateway_points_down_the_floors() {
    assert_none(Tree::read("dgate/src", "dgate", GATEWAY, CORE.len()).violations());
}

#[test]
fn core_depends_on_nothing_heavy() {
    let manifest = text_of(&root().join("dgate/core/Cargo.toml"));
    assert_none(heavy_in(&manifest));
}

#[test]
fn every_file_says_what_it_is() {
    let mut silent = Vec::new();
    for folder in ["dgate", "dgate-macros", "plugins", "examples", "tests"] {
        for path in sources(&root().join(folder)) {
            if !text_of(&path).starts_with("//!") {
                silent.push(format!(
                    "{} does not start with `//!`",
                    inside(&path, &root())
                ));
            }
        }
    }
    assert_none(silent);
}

/// The modules of one crate and what is wrong with their arrows.
struct Tree {
    /// Where the sources lie, for the messages.
    folder: String,
    /// The name under which the crate's own paths may also start.
    name: &'static str,
    floors: HashMap<&'static str, usize>,
    /// By module path; the root is the empty one.
    modules: BTreeMap<Vec<String>, Module>,
}

struct Module {
    file: String,
    code: String,
    /// What a `use` brings into it, by its name here.
    names: HashMap<String, Vec<String>>,
    /// Whether it hands on a whole other crate, so that names may come from there.
    opens_another_crate: bool,
}

impl Tree {
    fn read(
        folder: &str,
        name: &'static str,
        floors: &'static [&'static [&'static str]],
        lowest: usize,
    ) -> Self {
        let top = root().join(folder);
        let files = sources(&top).into_iter().map(|path| {
            let text = text_of(&path);
            (inside(&path, &top), text)
        });
        let tree = Self::new(folder, name, floors, lowest, files);
        assert!(tree.modules.contains_key(&[][..]), "no lib.rs in {folder}");
        tree
    }

    fn new(
        folder: &str,
        name: &'static str,
        floors: &'static [&'static [&'static str]],
        lowest: usize,
        files: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let numbered = floors.iter().enumerate();
        let floors = numbered.flat_map(|(i, floor)| floor.iter().map(move |m| (*m, lowest + i)));
        let modules = files.into_iter().map(|(file, text)| {
            let mut path: Vec<String> = file.split('/').map(str::to_owned).collect();
            let last = path.pop().expect("split gives at least one part");
            match last.trim_end_matches(".rs") {
                "mod" | "lib" => {}
                stem => path.push(stem.to_owned()),
            }
            (path, Module::new(file, without_tests(blanked(&text))))
        });
        Self {
            folder: folder.to_owned(),
            name,
            floors: floors.collect(),
            modules: modules.collect(),
        }
    }

    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (from, module) in &self.modules {
            // lib.rs declares and hands on: it stands above every floor.
            let Some(first) = from.first() else { continue };
            // `#[cfg(test)] mod tests;`, in a file of its own.
            if from.iter().any(|name| name == "tests") {
                continue;
            }
            let Some(own) = self.floors.get(&first[..]) else {
                let at = format!("{}/{}", self.folder, module.file);
                found.push(format!(
                    "{at}: `{first}` has no floor; give it one in floors.rs"
                ));
                continue;
            };
            for (path, line) in paths_in(&module.code) {
                if let Some(why) = self.violation(from, *own, &path) {
                    found.push(format!("{}/{}:{line}: {why}", self.folder, module.file));
                }
            }
        }
        found
    }

    fn violation(&self, from: &[String], own: usize, path: &[String]) -> Option<String> {
        let shown = path.join("::");
        if path[0] == "dgate" && self.name != "dgate" {
            return Some(format!("`{shown}`: core does not know what surrounds it"));
        }
        let target = match self.resolve(&self.absolute(from, path)?, 0) {
            Found::In(target) => target,
            Found::Elsewhere => return None,
            Found::Nowhere => {
                return Some(format!(
                    "`{shown}` names the root; name the module it comes from"
                ));
            }
        };
        let first = target.first()?;
        let Some(floor) = self.floors.get(&first[..]) else {
            return Some(format!("`{shown}` leads to `{first}`, which has no floor"));
        };
        if *floor > own {
            return Some(format!("floor {own} points up to floor {floor}: `{shown}`"));
        }
        let layer = |path: &[String]| path.get(1).filter(|_| path[0] == "layer").cloned();
        match (layer(from), layer(&target)) {
            (Some(a), Some(b)) if a != b => {
                Some(format!("layer `{a}` knows layer `{b}`: `{shown}`"))
            }
            _ => None,
        }
    }

    /// The path from the root, or `None` if it leaves the crate. Modules written inside a file
    /// count as the file.
    fn absolute(&self, from: &[String], path: &[String]) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|s| *s == "super").count();
        let (base, rest) = match &path[0][..] {
            "crate" => (&from[..0], &path[1..]),
            "self" => (from, &path[1..]),
            "super" => (&from[..from.len().saturating_sub(supers)], &path[supers..]),
            name if name == self.name => (&from[..0], &path[1..]),
            _ => return None,
        };
        Some(base.iter().chain(rest).cloned().collect())
    }

    fn resolve(&self, path: &[String], depth: usize) -> Found {
        let mut at = 0;
        while at < path.len() && self.modules.contains_key(&path[..=at]) {
            at += 1;
        }
        let here = path[..at].to_vec();
        let Some(module) = self.modules.get(&here) else {
            return Found::Nowhere;
        };
        if let Some(handed_on) = path.get(at).and_then(|name| module.names.get(name))
            && depth < 8
        {
            let child = [&here[..], &handed_on[..1]].concat();
            let inside = if self.modules.contains_key(&child) {
                [&here[..], &handed_on[..]].concat()
            } else {
                match self.absolute(&here, handed_on) {
                    Some(path) => path,
                    None => return Found::Elsewhere,
                }
            };
            return self.resolve(&[&inside[..], &path[at + 1..]].concat(), depth + 1);
        }
        match here.is_empty() {
            false => Found::In(here),
            true if module.opens_another_crate && at < path.len() => Found::Elsewhere,
            true => Found::Nowhere,
        }
    }
}

enum Found {
    In(Vec<String>),
    Elsewhere,
    Nowhere,
}

impl Module {
    fn new(file: String, code: String) -> Self {
        let mut names = HashMap::new();
        let mut opens_another_crate = false;
        for at in words(&code, "use") {
            let start = at + "use".len();
            for (path, alias) in use_tree(&code[start..]) {
                let own = ["crate", "self", "super"].contains(&&path[0][..]);
                match path.last() {
                    Some(last) if last == "*" => opens_another_crate |= !own && path.len() == 2,
                    Some(last) => drop(names.insert(alias.unwrap_or(last.clone()), path)),
                    None => {}
                }
            }
        }
        Self {
            file,
            code,
            names,
            opens_another_crate,
        }
    }
}

fn heavy_in(manifest: &str) -> Vec<String> {
    let names = manifest.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("[dependencies.");
        let name = line.split(|c: char| !is_word(c) && c != '-').next()?;
        let heavy = name == "dgate" || HEAVY.iter().any(|heavy| name.starts_with(heavy));
        heavy.then(|| format!("dgate-core must not depend on {name}"))
    });
    names.collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn inside(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[track_caller]
fn assert_none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

// The check itself, on trees made for it: one that never fires would look the same as a clean tree.

fn violations_in(files: &[(&str, &str)]) -> Vec<String> {
    let lib = (
        "lib.rs",
        "pub use body::Body; pub use hook::Hooks as Points;",
    );
    let mod_rs = (
        "layer/mod.rs",
        "pub mod retry; pub use retry::RetryLayer; pub struct Key;",
    );
    let all = [
        "body.rs",
        "error.rs",
        "hook/mod.rs",
        "layer/retry.rs",
        "layer/timeout.rs",
    ];
    let empty = all.iter().map(|file| (*file, ""));
    let by_file: BTreeMap<_, _> = empty
        .chain([lib, mod_rs])
        .chain(files.iter().copied())
        .collect();
    let owned = by_file
        .into_iter()
        .map(|(file, text)| (file.to_owned(), text.to_owned()));
    Tree::new("src", "dgate_core", CORE, 0, owned).violations()
}

#[test]
fn the_check_sees_an_arrow_up() {
    for (file, text) in [
        ("error.rs", "use crate::layer::Key;"),
        (
            "error.rs",
            "use crate::{body::{self, Body}, hook::{Hooks, Set}};",
        ),
        ("error.rs", "fn f() -> crate::hook::Hooks { todo!() }"),
        ("error.rs", "use dgate_core::hook;"),
        ("error.rs", "use crate::Points;"),
        ("error.rs", "use super::hook::Hooks;"),
        (
            "error.rs",
            "const A: &str = \"\\\"\"; const B: char = '\"'; use crate::hook::Hooks;",
        ),
        ("layer/retry.rs", "use super::super::hook::Hooks;"),
        ("layer/retry.rs", "fn f<'a>(_: &'a crate::hook::Hooks) {}"),
        ("layer/retry.rs", "use crate::layer::timeout::Timeout;"),
        ("layer/retry.rs", "use super::timeout;"),
        ("layer/timeout.rs", "use super::{Key, RetryLayer};"),
        ("layer/timeout.rs", "use crate::layer::RetryLayer;"),
        ("error.rs", "use dgate::config;"),
        ("error.rs", "use crate::Unknown;"),
        ("helpers.rs", "//! No floor."),
    ] {
        let found = violations_in(&[(file, text)]);
        assert!(!found.is_empty(), "{file}: {text}");
    }
}

#[test]
fn the_check_lets_pass_what_points_down() {
    for (file, text) in [
        (
            "error.rs",
            "use crate::body::Body; use crate::Body as B; use self::inner::X; mod inner {}",
        ),
        (
            "error.rs",
            "//! [`crate::hook::Hooks`]\n/* crate::hook */ const S: &str = r#\"crate::\"hook\"#;",
        ),
        (
            "error.rs",
            "#[cfg(test)]\nmod tests { use super::*; use crate::hook::Hooks; fn f() {} }",
        ),
        (
            "error.rs",
            "#[cfg(test)] use crate::hook::Hooks; pub(crate) struct E;",
        ),
        (
            "layer/retry.rs",
            "use super::Key; use crate::layer::retry; use crate::error::Error;",
        ),
        ("layer/retry/replay.rs", "use super::RetryLayer;"),
        (
            "hook/mod.rs",
            "use crate::layer::{RetryLayer, timeout}; use crate::body;",
        ),
        ("error/tests.rs", "use super::super::hook::Hooks;"),
        ("hook/from_fn.rs", "use super::Hooks; impl Hooks for () {}"),
    ] {
        assert_eq!(violations_in(&[(file, text)]), [""; 0], "{file}: {text}");
    }
}

#[test]
fn the_check_says_where() {
    let found = violations_in(&[(
        "error.rs",
        "//! An error.\n\n/* a\n */ use crate::hook::Hooks;\n",
    )]);
    assert_eq!(
        found,
        ["src/error.rs:4: floor 0 points up to floor 3: `crate::hook::Hooks`"]
    );
}

#[test]
fn the_check_sees_a_heavy_dependency() {
    let manifest =
        "[dependencies]\nbytes.workspace = true\nclap = \"4\"\nswc_core.workspace = true\n";
    assert_eq!(heavy_in(manifest).len(), 2);
    assert_eq!(
        heavy_in("name = \"dgate-core\"\ndgate-macros.workspace = true"),
        [""; 0]
    );
}
