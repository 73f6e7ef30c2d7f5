//! A folder as a configuration: its `dgate.yaml`, or else its modules, each with a route if it can answer.

use crate::config::{
    self, Config, ConfigError, Diagnostic, Environment, Files, Loaded, Node, Problem, Span,
    read_source,
};
use crate::gateway::StartError;
use crate::js::{Engine, Source};
use crate::resource::{Language, Module};
use dgate_core::hook::HookSet;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The configuration of a folder, if there is one of these in it.
const CONFIG: [&str; 4] = ["dgate.yaml", "dgate.yml", "dgate.json", "dgate.toml"];

/// Reads a folder.
pub(super) fn load(dir: &Path) -> Result<Loaded, StartError> {
    let mut files = CONFIG.iter().map(|name| dir.join(name));
    match files.find(|path| path.is_file()) {
        Some(file) => Ok(config::load_file(&file, &Environment::of_process())?),
        None => modules(dir),
    }
}

/// The modules of a folder that has no configuration.
fn modules(dir: &Path) -> Result<Loaded, StartError> {
    let found = find(dir)?;
    let mut files = Files::new();
    let (mut list, mut routes) = (Vec::new(), Vec::new());
    let answering = answering(&found);
    for (at, (name, (path, module))) in found.iter().enumerate() {
        files.insert(format!("/modules/{at}/source"), path.clone());
        let kind = match module.language {
            Language::JavaScript => "javascript",
            _ => "typescript",
        };
        list.push(json!({"name": name, "type": kind, "source": module.source}));
        if answering.contains(name) {
            routes.push(json!({"name": name, "paths": [format!("/{name}/**")], "modules": [name]}));
        }
    }
    let bundle = json!({
        "namespaces": [{"name": "default"}],
        "modules": list,
        "routes": routes,
    });
    Ok(Loaded {
        config: Config::default(),
        resources: Some(Node::from_json(&bundle)),
        files,
        source: None,
        base_dir: dir.to_owned(),
    })
}

type Found = BTreeMap<String, (PathBuf, Module)>;

/// Each `*.ts` and `*.js`, other than tests and types.
fn find(dir: &Path) -> Result<Found, StartError> {
    let io = || StartError::io(dir.display().to_string());
    let mut found = Found::new();
    let mut problems = Vec::new();
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io())? {
        let path = entry.map_err(io())?.path();
        // As people write it.
        entries.push(path.strip_prefix("./").map(Path::to_owned).unwrap_or(path));
    }
    entries.sort();
    for path in entries {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let (name, language) = match (file.strip_suffix(".ts"), file.strip_suffix(".js")) {
            (Some(name), _) => (name, Language::TypeScript),
            (_, Some(name)) => (name, Language::JavaScript),
            _ => continue,
        };
        let other = name.ends_with(".test") || name.ends_with(".d") || name.starts_with('.');
        if other || !path.is_file() {
            continue;
        }
        let source = match read_source(&path) {
            Ok(source) => source,
            // Editors replace a file by another: it is there again at the next look.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StartError::io(path.display().to_string())(error)),
        };
        let module = Module::new("default", name, language, source);
        if let Some((first, _)) = found.get(name) {
            let first = first.file_name().unwrap_or_default().to_string_lossy();
            let detail = format!("{first} is a module of the same name: rename one of them");
            problems.push(Problem {
                diagnostic: Diagnostic::new("", Span::NONE, detail),
                variable: None,
                file: Some(path),
            });
            continue;
        }
        found.insert(name.to_owned(), (path, module));
    }
    match problems.is_empty() {
        true => Ok(found),
        false => Err(ConfigError::of(None, problems).into()),
    }
}

/// The modules that have a `requestHandler`; none when they do not compile, which is told when they are applied.
fn answering(found: &Found) -> Vec<String> {
    let sources: Vec<_> = found
        .values()
        .map(|(_, module)| Source {
            module,
            revision: 0,
        })
        .collect();
    let Ok(compiled) = Engine::new().compile("default", &sources, None) else {
        return Vec::new();
    };
    let answers = |name: &&String| {
        let module = compiled.get(name);
        module.is_some_and(|m| m.exports().contains(HookSet::REQUEST_HANDLER))
    };
    found.keys().filter(answers).cloned().collect()
}
