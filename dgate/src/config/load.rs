//! From the command line's and the environment's wishes to a [`Config`]: which file, its text,
//! variables, overrides, validation.
//!
//! ```no_run
//! use std::path::Path;
//! use dgate::config::{Environment, load};
//!
//! match load(None, &Environment::of_process(), Path::new("")) {
//!     Ok(loaded) => println!("serving on {:?}", loaded.config.proxy.listen),
//!     // Every error on its line, as `file:line:col: message`.
//!     Err(error) => eprintln!("{error}"),
//! }
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::Config;
use super::diagnostic::{Diagnostic, Lines, MAX_TOLD, Span, join, more};
use super::environment::Environment;
use super::files::{self, Files};
use super::tree::{Format, Node, Value, parse};
use super::validate::{below, fits, nearest, schema_of};

/// The names looked for in the working directory, in this order.
const NAMES: [&str; 4] = ["dgate.yaml", "dgate.yml", "dgate.json", "dgate.toml"];

/// Where packages put the file.
const SYSTEM: &str = "/etc/dgate/dgate.yaml";

/// The top-level keys of a bundle.
const BUNDLE_KEYS: [&str; 9] = [
    "namespaces",
    "domains",
    "services",
    "routes",
    "modules",
    "collections",
    "documents",
    "secrets",
    "consumers",
];

/// The top-level keys of a configuration file.
const CONFIG_KEYS: [&str; 8] = [
    "version",
    "node",
    "log",
    "storage",
    "proxy",
    "admin",
    "cluster",
    "resources",
];

/// A configuration, and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The bundle under `resources` with its places in the file, for errors about it.
    pub resources: Option<Node>,
    /// The files that texts of that bundle came from.
    pub files: Files,
    /// The file, if there is one.
    pub source: Option<PathBuf>,
    /// What relative paths in the file are relative to: its directory, or else the working
    /// directory.
    pub base_dir: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What the file or the environment says is wrong. One line a problem.
    #[error("{}", Report { file: file.as_deref(), problems })]
    Invalid {
        /// The file, if there is one.
        file: Option<PathBuf>,
        /// Everything that is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, and where.
    pub diagnostic: Diagnostic,
    /// The environment variable that said it, if it was not the file.
    pub variable: Option<String>,
    /// The file that it is in, if that is another one: of a module's source.
    pub file: Option<PathBuf>,
}

impl ConfigError {
    /// Errors about a file, as diagnostics alone have them; also for bundles.
    pub fn invalid(file: Option<&Path>, diagnostics: Vec<Diagnostic>) -> Self {
        let problems = diagnostics.into_iter().map(|diagnostic| Problem {
            diagnostic,
            variable: None,
            file: None,
        });
        Self::of(file, problems.collect())
    }

    /// Errors whose places are looked up in the file by their pointers: for what is found long after it was read.
    pub(crate) fn placed(file: Option<&Path>, found: Vec<Diagnostic>) -> Self {
        let tree = file.and_then(|file| read(file).ok());
        let placed = |d: Diagnostic| match &tree {
            Some(tree) => tree.diagnose(&d.pointer, d.detail),
            None => d,
        };
        Self::invalid(file, found.into_iter().map(placed).collect())
    }

    /// Errors about a file and those beside it.
    pub(crate) fn of(file: Option<&Path>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| {
            let place = |p: &Problem| p.diagnostic.span;
            a.file.cmp(&b.file).then(place(a).cmp(&place(b)))
        });
        Self::Invalid {
            file: file.map(Path::to_owned),
            problems,
        }
    }
}

struct Report<'a> {
    file: Option<&'a Path>,
    problems: &'a [Problem],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().take(MAX_TOLD).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            let diagnostic = problem.diagnostic.short();
            let file = problem.file.as_deref().or(self.file);
            match (&problem.variable, file) {
                (Some(name), _) => write!(f, "environment {name}: {}", diagnostic.detail)?,
                (None, Some(file)) => {
                    f.write_str(&diagnostic.render(&file.display().to_string()))?;
                }
                (None, None) => write!(f, "{diagnostic}")?,
            }
        }
        more(self.problems.len()).map_or(Ok(()), |more| write!(f, "\n{more}"))
    }
}

/// Finds and reads the configuration: `explicit` (`--config`), the file that `DGATE_CONFIG` names,
/// `dgate.{yaml,yml,json,toml}` in the directory `cwd`, `/etc/dgate/dgate.yaml`; without any,
/// [`Config::default_for_no_file`]. Variables of the environment override keys.
///
/// An empty `cwd` is the working directory, and keeps names in messages short.
///
/// # Errors
/// A file that was asked for and cannot be read, or everything that is wrong with what it says.
pub fn load(explicit: Option<&Path>, env: &Environment, cwd: &Path) -> Result<Loaded, ConfigError> {
    if let Some(path) = find(explicit, env, cwd) {
        return load_file(&path, env);
    }
    let tree = Node::from_json(&serde_json::json!({ "version": 1, "storage": {} }));
    finish(tree, None, not_empty(cwd), env, true)
}

/// The file that [`load`] would read. Those that were asked for by name need not exist.
pub fn find(explicit: Option<&Path>, env: &Environment, cwd: &Path) -> Option<PathBuf> {
    let asked = explicit.or_else(|| {
        env.get("DGATE_CONFIG")
            .filter(|path| !path.is_empty())
            .map(Path::new)
    });
    if let Some(path) = asked {
        return Some(cwd.join(path));
    }
    let candidates = NAMES
        .iter()
        .map(|name| cwd.join(name))
        .chain([PathBuf::from(SYSTEM)]);
    // One that is there but cannot be looked at is an error to tell, not a file to pass over.
    candidates
        .into_iter()
        .find(|path| path.try_exists().unwrap_or(true))
}

/// Reads one configuration file, with overrides by the environment.
///
/// # Errors
/// As for [`load`].
pub fn load_file(path: &Path, env: &Environment) -> Result<Loaded, ConfigError> {
    finish(read(path)?, Some(path), base_dir(path), env, true)
}

/// Checks what [`read`] got from a file, without overrides: the file must be right by itself.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(path: &Path, tree: Node, env: &Environment) -> Result<Loaded, ConfigError> {
    finish(tree, Some(path), base_dir(path), env, false)
}

/// Makes what [`read`] got from a bundle complete: variables, and the texts of files that it names.
///
/// # Errors
/// Variables that are not set, and files that cannot be read.
pub fn bundle(
    path: &Path,
    mut tree: Node,
    env: &Environment,
) -> Result<(Node, Files), ConfigError> {
    let mut errors = env.substitute(&mut tree);
    let (files, found) = files::inline(&mut tree, &base_dir(path));
    add_new(&mut errors, found);
    if errors.is_empty() {
        Ok((tree, files))
    } else {
        Err(ConfigError::invalid(Some(path), errors))
    }
}

/// Adds the errors of places that have none yet.
fn add_new(errors: &mut Vec<Diagnostic>, found: Vec<Diagnostic>) {
    for error in found {
        if errors.iter().all(|known| known.pointer != error.pointer) {
            errors.push(error);
        }
    }
}

/// Reads a file into a tree, by the format that its extension names, otherwise as YAML.
///
/// # Errors
/// It cannot be read, or is not of its format.
pub fn read(path: &Path) -> Result<Node, ConfigError> {
    let bytes = std::fs::read(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let span = Lines::new(&valid).span(valid.len());
        ConfigError::invalid(
            Some(path),
            vec![Diagnostic::new("", span, "the text is not UTF-8")],
        )
    })?;
    parse(text, Format::from_path(path).unwrap_or(Format::Yaml))
        .map_err(|errors| ConfigError::invalid(Some(path), errors))
}

/// Whether a tree is a bundle of resources and not a configuration file.
pub fn looks_like_bundle(tree: &Node) -> bool {
    let count = |keys: &[&str]| keys.iter().filter(|key| tree.get(key).is_some()).count();
    match (count(&BUNDLE_KEYS), count(&CONFIG_KEYS)) {
        (0, 0) => is_misspelt_bundle(tree),
        (bundle, config) => bundle > config,
    }
}

/// Whether a tree of which no key is known was meant as a bundle.
fn is_misspelt_bundle(tree: &Node) -> bool {
    let Value::Map(entries) = &tree.value else {
        return false;
    };
    entries.iter().any(|(key, _)| {
        let meant = nearest(&key.text, BUNDLE_KEYS.into_iter().chain(CONFIG_KEYS));
        meant.is_some_and(|meant| BUNDLE_KEYS.contains(&meant))
    })
}

fn base_dir(path: &Path) -> PathBuf {
    not_empty(path.parent().unwrap_or(Path::new("")))
}

fn not_empty(dir: &Path) -> PathBuf {
    if dir.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        dir.to_owned()
    }
}

fn finish(
    mut tree: Node,
    source: Option<&Path>,
    base_dir: PathBuf,
    env: &Environment,
    overridable: bool,
) -> Result<Loaded, ConfigError> {
    let unset = env.substitute(&mut tree);
    if tree.value == Value::Null {
        tree.value = Value::Map(Vec::new());
    }
    if let Value::Map(sections) = &mut tree.value {
        // `proxy:` with nothing below it but comments means the same as no `proxy`.
        sections.retain(|(_, section)| section.value != Value::Null);
    }
    let overrides = if overridable && matches!(tree.value, Value::Map(_)) {
        apply_overrides(&mut tree, env)
    } else {
        Vec::new()
    };

    let (mut files, mut unread) = (Files::new(), Vec::new());
    if let Value::Map(sections) = &mut tree.value
        && let Some((_, bundle)) = sections.iter_mut().find(|(key, _)| key.text == "resources")
    {
        (files, unread) = files::inline(bundle, &base_dir);
        for error in &mut unread {
            error.pointer = format!("/resources{}", error.pointer);
        }
    }

    let result = Config::from_node(&tree);
    // A variable that is not set is no longer a problem where an override came in its place, and
    // what is wrong with the text `${VAR}` itself is no problem of its own.
    let mut unset: Vec<_> = unset
        .into_iter()
        .filter(|error| {
            !overrides
                .iter()
                .any(|(above, _)| is_below(&error.pointer, above))
        })
        .collect();
    add_new(&mut unset, unread);
    match result {
        Ok(config) if unset.is_empty() => Ok(Loaded {
            config,
            resources: tree
                .get("resources")
                .filter(|n| n.value != Value::Null)
                .cloned(),
            files,
            source: source.map(Path::to_owned),
            base_dir,
        }),
        result => {
            let mut errors = result.err().unwrap_or_default();
            // What is wrong with the resources comes at the same time, as far as each shows it by itself.
            if let Some(resources) = tree.get("resources").filter(|n| n.value != Value::Null)
                && let Err(found) = crate::resource::read_bundle(resources)
            {
                let within = |d: Diagnostic| Diagnostic {
                    pointer: format!("/resources{}", d.pointer),
                    ..d
                };
                errors.extend(
                    found
                        .into_iter()
                        .map(within)
                        .filter(|d| d.pointer != "/resources"),
                );
            }
            errors.retain(|error| !unset.iter().any(|unset| unset.pointer == error.pointer));
            errors.extend(unset);
            errors.sort_by_key(|error| error.span);
            let problems = errors
                .into_iter()
                .map(|diagnostic| {
                    let variable = variable_of(&diagnostic, &overrides).map(str::to_owned);
                    Problem {
                        diagnostic,
                        variable,
                        file: None,
                    }
                })
                .collect();
            Err(ConfigError::Invalid {
                file: source.map(Path::to_owned),
                problems,
            })
        }
    }
}

/// Whether `pointer` is `above` or something below it.
fn is_below(pointer: &str, above: &str) -> bool {
    pointer
        .strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The variable that a problem came from: one that set the value or what holds it, or one that
/// made the map that lacks something.
fn variable_of<'a>(problem: &Diagnostic, overrides: &'a [(String, String)]) -> Option<&'a str> {
    let set = overrides
        .iter()
        .rev()
        .find(|(above, _)| is_below(&problem.pointer, above));
    let made = || {
        let holder = problem
            .pointer
            .rsplit_once('/')
            .map_or("", |(holder, _)| holder);
        let beside = |pointer: &str| {
            is_below(pointer, &problem.pointer) || (is_below(pointer, holder) && !holder.is_empty())
        };
        overrides
            .iter()
            .find(|(pointer, _)| problem.span.is_none() && beside(pointer))
    };
    set.or_else(made).map(|(_, name)| name.as_str())
}

/// Sets what variables override. Returns the pointer that each has set, with its name.
fn apply_overrides(tree: &mut Node, env: &Environment) -> Vec<(String, String)> {
    let schema = schema_of::<Config>();
    let mut applied = Vec::new();
    for (name, path, text) in env.overrides() {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        tree.set(&path, interpret(text, &path, &schema));
        applied.push((
            path.iter().fold(String::new(), |p, step| join(&p, step)),
            name.to_owned(),
        ));
    }
    applied
}

/// What a variable's text means for the key at `path`: JSON, a plain string, or a list of strings
/// between commas, whichever is first to be valid there.
fn interpret(text: &str, path: &[&str], schema: &Json) -> Node {
    let json = serde_json::from_str::<Json>(text)
        .ok()
        .map(|json| Node::from_json(&json));
    let string = Node {
        span: Span::NONE,
        value: Value::String(text.to_owned()),
    };
    if let Some(part) = below(schema, path) {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        let list = items
            .map(|item| Node::new(Value::String(item.to_owned())))
            .collect();
        let readings = json
            .clone()
            .into_iter()
            .chain([string.clone(), Node::new(Value::List(list))]);
        if let Some(valid) = readings
            .into_iter()
            .find(|reading| fits(reading, part, schema))
        {
            return valid;
        }
    }
    json.unwrap_or(string)
}

#[cfg(test)]
mod tests;
