//! Files of bundles, merged into one changeset: lists of a kind are joined, and an error of the Admin API is led back
//! to the place in the file that it is about.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::backup::{self, Passphrase};
use super::failure::Failure;
use crate::config::{
    self, ConfigError, Diagnostic, Environment, Files, Format, Node, Span, Value, join, steps,
};
use crate::resource::{Kind, read_bundle};
use crate::store::seal::is_backup;

/// What `stdin` is called in messages; relative names of files in it are taken from the working directory.
const STDIN: &str = "stdin";

/// Some files as one bundle.
#[derive(Debug)]
pub(super) struct Merged {
    parts: Vec<Part>,
    /// The bundle, as it is sent.
    pub(super) json: Json,
    /// Where each item came from: the part, and its pointer there. By the pointer in [`Self::json`].
    origins: HashMap<String, (usize, String)>,
}

#[derive(Debug)]
struct Part {
    name: String,
    bundle: Node,
    files: Files,
    /// It was a backup.
    restored: bool,
}

/// The file that a path stands for: `-` is stdin.
pub(super) fn source(path: &Path) -> PathBuf {
    if path == Path::new("-") {
        PathBuf::from(STDIN)
    } else {
        path.to_owned()
    }
}

/// What a file is called in messages.
pub(super) fn name(path: &Path) -> String {
    source(path).display().to_string()
}

/// Reads a file, or stdin for `-`.
pub(super) fn read(path: &Path) -> Result<Node, ConfigError> {
    match stdin_of(path)? {
        Some(text) => parsed(path, &text),
        None => read_file(path),
    }
}

/// Reads a file that is not stdin.
fn read_file(path: &Path) -> Result<Node, ConfigError> {
    if let Some("ts" | "js" | "mts" | "mjs") = path.extension().and_then(|e| e.to_str()) {
        let detail = "a module is no YAML: `dgate put module NAME source=@FILE` takes its source, and a bundle names it in \
             `source_file`";
        let found = Diagnostic::new("", Span::NONE, detail);
        return Err(ConfigError::invalid(Some(path), vec![found]));
    }
    config::read(path)
}

/// All of stdin, if that is what a path stands for.
fn stdin_of(path: &Path) -> Result<Option<String>, ConfigError> {
    if path != Path::new("-") {
        return Ok(None);
    }
    let text = io::read_to_string(io::stdin()).map_err(|error| ConfigError::Read {
        path: source(path),
        source: error,
    })?;
    Ok(Some(text))
}

fn parsed(path: &Path, text: &str) -> Result<Node, ConfigError> {
    // JSON is YAML.
    config::parse(text, Format::Yaml)
        .map_err(|errors| ConfigError::invalid(Some(&source(path)), errors))
}

/// Files that cannot be read (1) or that are wrong (78), as a failure of `what`.
pub(super) fn unread(what: &str, errors: &[ConfigError]) -> Failure {
    if let [ConfigError::Read { .. }] = errors {
        return Failure::new(what, &errors[0], "-f names a file, or `-` for stdin");
    }
    let lines = errors
        .iter()
        .flat_map(|e| e.to_string().lines().map(str::to_owned).collect::<Vec<_>>());
    Failure::invalid(what, lines.collect())
}

impl Merged {
    /// Reads bundles, the `resources` of whole configuration files, and backups, and merges them.
    pub(super) fn read(
        paths: &[PathBuf],
        passphrase: &Passphrase,
        what: &str,
    ) -> Result<Self, Failure> {
        let environment = Environment::of_process();
        let (mut parts, mut errors) = (Vec::new(), Vec::new());
        for path in paths {
            // `-` is read once: a backup and a bundle may both come that way.
            let stdin = stdin_of(path).map_err(|error| unread(what, &[error]))?;
            let sealed = match &stdin {
                Some(text) => is_backup(text.as_bytes()).then(|| text.clone()),
                None => backup::sealed(path),
            };
            if let Some(sealed) = sealed {
                let bundle = backup::open(path, &sealed, passphrase, what)?;
                parts.push(Part::restored(path, &bundle));
                continue;
            }
            let tree = match stdin {
                Some(text) => parsed(path, &text),
                None => read_file(path),
            };
            match tree.and_then(|tree| Part::new(path, tree, &environment)) {
                Ok(part) => parts.push(part),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(unread(what, &errors));
        }
        Self::of(parts).map_err(|errors| unread(what, &errors))
    }

    fn of(parts: Vec<Part>) -> Result<Self, Vec<ConfigError>> {
        let (mut lists, mut origins, mut errors) = (Map::new(), HashMap::new(), Vec::new());
        for (at, part) in parts.iter().enumerate() {
            let Value::Map(entries) = &part.bundle.value else {
                continue;
            };
            let mut wrong = false;
            for (key, node) in entries {
                let below = join("", &key.text);
                let list = lists
                    .entry(key.text.clone())
                    .or_insert_with(|| Json::Array(Vec::new()));
                let (Value::List(items), Json::Array(list)) = (&node.value, list) else {
                    wrong |= node.value != Value::Null;
                    continue;
                };
                for (index, item) in items.iter().enumerate() {
                    let merged = join(&below, &list.len().to_string());
                    origins.insert(merged, (at, join(&below, &index.to_string())));
                    list.push(item.to_json());
                }
            }
            // It cannot be sent: what else is wrong with it is told here.
            if let Some(found) = wrong.then(|| read_bundle(&part.bundle).err()).flatten() {
                errors.push(ConfigError::invalid(Some(Path::new(&part.name)), found));
            }
        }
        if errors.is_empty() {
            Ok(Self {
                parts,
                json: Json::Object(lists),
                origins,
            })
        } else {
            Err(errors)
        }
    }

    /// How many resources there are.
    pub(super) fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether a backup is in it.
    pub(super) fn is_restore(&self) -> bool {
        self.parts.iter().any(|part| part.restored)
    }

    /// An error of the Admin API as a line: `file:line:col: detail`, as far as the place is known.
    pub(super) fn place(&self, error: &Diagnostic) -> String {
        let detail = self.with_places(&error.detail);
        match self.find(&error.pointer) {
            Some((part, pointer)) => part.line(&pointer, &detail),
            None => Diagnostic {
                detail,
                ..error.clone()
            }
            .to_string(),
        }
    }

    /// The part and the pointer there, for a pointer into the merged bundle.
    fn find(&self, pointer: &str) -> Option<(&Part, String)> {
        let mut steps = steps(pointer);
        let list = join("", &steps.next()?);
        let Some(index) = steps.next() else {
            let part = self.parts.iter().find(|p| p.bundle.at(&list).is_some())?;
            return Some((part, list));
        };
        let item = join(&list, &index);
        let (part, found) = self.origins.get(&item)?;
        let rest = pointer.get(item.len()..).unwrap_or_default();
        Some((self.parts.get(*part)?, format!("{found}{rest}")))
    }

    /// Pointers that a message names (`first at /services/0`) as places.
    fn with_places(&self, detail: &str) -> String {
        let place = |word: &str| {
            let (part, pointer) = self.origins.get(word)?;
            let part = self.parts.get(*part)?;
            let span = part.bundle.at(pointer)?.span.known()?;
            Some(format!("{}:{span}", part.name))
        };
        let words = detail
            .split(' ')
            .map(|word| place(word).unwrap_or_else(|| word.to_owned()));
        words.collect::<Vec<_>>().join(" ")
    }
}

impl Part {
    fn new(path: &Path, tree: Node, environment: &Environment) -> Result<Self, ConfigError> {
        let wrong = |detail: &str| {
            let error = Diagnostic::new("", tree.span, detail);
            Err(ConfigError::invalid(Some(&source(path)), vec![error]))
        };
        let bundle = match &tree.value {
            Value::Null => Node::new(Value::Map(Vec::new())),
            Value::Map(_) if config::looks_like_bundle(&tree) => tree,
            // A whole configuration: what else is in it is the gateway's own.
            Value::Map(entries) if tree.get("resources").is_some() || is_config(entries) => {
                match tree.get("resources") {
                    Some(bundle) if bundle.value != Value::Null => bundle.clone(),
                    _ => return wrong("this configuration declares no `resources`"),
                }
            }
            Value::Map(_) => tree,
            _ => return wrong("a bundle is a map from kinds in the plural to lists"),
        };
        let (bundle, files) = config::bundle(&source(path), bundle, environment)?;
        Ok(Self {
            name: name(path),
            bundle,
            files,
            restored: false,
        })
    }

    /// What was in a backup is as the gateway gave it out: no variables, and no files.
    fn restored(path: &Path, bundle: &Json) -> Self {
        Self {
            name: name(path),
            bundle: Node::from_json(bundle),
            files: Files::new(),
            restored: true,
        }
    }

    /// A place within a text of the bundle, as a place in the file.
    fn place_in(&self, pointer: &str, at: Span) -> Option<Span> {
        let node = self.bundle.at(pointer)?;
        // Read once more, and only for an error: stdin cannot be.
        let text = std::fs::read_to_string(&self.name).ok()?;
        config::place_in(&text, node.span, node.as_str()?, at)
    }

    fn line(&self, pointer: &str, detail: &str) -> String {
        if let Some((at, what)) = within(detail) {
            if let Some(file) = self.files.get(pointer) {
                return format!("{}:{at}: {what}", file.display());
            }
            if let Some(span) = self.place_in(pointer, at) {
                return format!("{}:{span}: {what}", self.name);
            }
        }
        let found = self.bundle.diagnose(pointer, detail);
        // What is not known is best shown by its name.
        let key = pointer.rsplit_once('/').and_then(|(above, _)| {
            let last = steps(pointer).last()?;
            self.bundle.at(above)?.entry(&last)?.0.span.known()
        });
        let span = match key {
            Some(key) if detail.starts_with("unknown ") => Some(key),
            _ => found.span,
        };
        Diagnostic { span, ..found }.render(&self.name)
    }
}

/// A place that a message begins with, after the name of the module whose source it is in: `module `a/b`: 2:9: what`.
fn within(detail: &str) -> Option<(Span, &str)> {
    let rest = match detail.strip_prefix("module `") {
        Some(named) => named.split_once("`: ")?.1,
        None => detail,
    };
    let (line, rest) = rest.split_once(':')?;
    let (col, what) = rest.split_once(": ")?;
    Some((Span::new(line.parse().ok()?, col.parse().ok()?), what))
}

/// Whether a map has keys that only a configuration has, and none that only a bundle has.
fn is_config(entries: &[(config::Key, Node)]) -> bool {
    let has = |known: fn(&str) -> bool| entries.iter().any(|(key, _)| known(&key.text));
    has(|key| matches!(key, "version" | "proxy" | "admin"))
        && !has(|key| Kind::ALL.iter().any(|kind| kind.plural() == key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn part(name: &str, text: &str) -> Part {
        let tree = config::parse(text, Format::Yaml).unwrap();
        Part::new(Path::new(name), tree, &Environment::of_process()).unwrap()
    }

    fn merged() -> Merged {
        let a = "services:\n  - name: a\n    urls: []\n";
        let b = "version: 1\nresources:\n  services:\n    - name: b\n      urls: [x]\n      nmae: 1\n  routes: []\n";
        Merged::of(vec![part("a.yaml", a), part("b.yaml", b)]).unwrap()
    }

    #[test]
    fn lists_of_a_kind_are_joined() {
        let wanted = json!({
            "services": [{"name": "a", "urls": []}, {"name": "b", "urls": ["x"], "nmae": 1}], "routes": [],
        });
        assert_eq!(merged().json, wanted);
        assert_eq!(merged().len(), 2);
    }

    #[test]
    fn errors_are_led_back_to_their_files() {
        let merged = merged();
        for (pointer, detail, line) in [
            ("/services/0/urls", "too few", "a.yaml:3:11: too few"),
            ("/services/1/urls/0", "no URL", "b.yaml:5:14: no URL"),
            (
                "/services/1/nmae",
                "unknown field `nmae`",
                "b.yaml:6:7: unknown field `nmae`",
            ),
            ("/services/1/tls/x", "wrong", "b.yaml:4:7: wrong"),
            (
                "/services/1",
                "twice, first at /services/0",
                "b.yaml:4:7: twice, first at a.yaml:2:5",
            ),
            ("/routes", "wrong", "b.yaml:7:11: wrong"),
            ("/nowhere", "wrong", "wrong (at /nowhere)"),
            ("", "wrong", "wrong"),
        ] {
            let error = Diagnostic::new(pointer, Span::NONE, detail);
            assert_eq!(merged.place(&error), line);
        }
    }

    #[test]
    fn places_in_sources_are_read_from_messages() {
        let at = Span::new(2, 9);
        assert_eq!(within("module `a/b`: 2:9: no: x"), Some((at, "no: x")));
        assert_eq!(within("2:9: no"), Some((at, "no")));
        for detail in ["module `a/b`: no", "no", "a:b: no", "x `2:9: no`"] {
            assert_eq!(within(detail), None, "{detail}");
        }
    }

    #[test]
    fn what_is_no_list_and_what_declares_nothing_is_refused() {
        assert!(Merged::of(vec![part("a.yaml", "services: {}")]).is_err());
        let environment = Environment::of_process();
        for text in ["version: 1\nproxy: {}\n", "- a\n", "text\n"] {
            let tree = config::parse(text, Format::Yaml).unwrap();
            assert!(
                Part::new(Path::new("x"), tree, &environment).is_err(),
                "{text}"
            );
        }
    }
}
