//! `dgate check x.ts`: one module file alone. What it imports as `./name` is looked for beside it.

use super::Warnings;
use crate::config::{ConfigError, Diagnostic, Problem, Span, read_source};
use crate::gateway::StartError;
use crate::js::{Engine, Fault, Source};
use crate::resource::{Language, Module};
use regex::Regex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The extensions of modules, in the order in which they are looked for.
const EXTENSIONS: [&str; 4] = ["ts", "js", "mts", "mjs"];

/// A module with the file it is in.
type Found = BTreeMap<String, (PathBuf, Module)>;

pub(super) fn check(file: &Path) -> Result<Warnings, StartError> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut found = Found::new();
    collect(file, &name, &mut found).map_err(|source| ConfigError::Read {
        path: file.to_owned(),
        source,
    })?;
    let sources: Vec<_> = found
        .values()
        .map(|(_, module)| Source {
            module,
            revision: 0,
        })
        .collect();
    let path = |fault: &Fault| found.get(&fault.module).map(|(path, _)| path.clone());
    match Engine::new().compile("default", &sources, None) {
        Ok(compiled) => {
            let line = |fault: &Fault| {
                let path = path(fault).unwrap_or_else(|| file.to_owned());
                let diagnostic = at(fault, format!("warning: {}", fault.detail));
                diagnostic.render(&path.display().to_string())
            };
            Ok(compiled.warnings().iter().map(line).collect())
        }
        Err(faults) => {
            let problem = |fault: &Fault| Problem {
                diagnostic: at(fault, fault.detail.clone()),
                variable: None,
                file: path(fault),
            };
            let problems = faults.iter().map(problem).collect();
            Err(ConfigError::of(Some(file), problems).into())
        }
    }
}

fn at(fault: &Fault, detail: String) -> Diagnostic {
    let span = fault.position.map_or(Span::NONE, |(line, column)| {
        Span::new(line as usize, column as usize)
    });
    Diagnostic::new("", span, detail)
}

/// Reads a module and those that it may import. What a comment or a text names does no harm: it is checked too.
fn collect(file: &Path, name: &str, found: &mut Found) -> std::io::Result<()> {
    let source = read_source(file)?;
    let language = match file.extension().and_then(|e| e.to_str()) {
        Some("js" | "mjs") => Language::JavaScript,
        _ => Language::TypeScript,
    };
    let imports = Regex::new(r#"\b(?:from|import)\s*\(?\s*["']\./([^"'\n]+)["']"#)
        .expect("the regex is valid");
    let targets: Vec<String> = imports
        .captures_iter(&source)
        .map(|import| import[1].to_owned())
        .collect();
    let module = Module::new("default", name, language, source);
    found.insert(name.to_owned(), (file.to_owned(), module));
    let folder = file.parent().unwrap_or(Path::new(""));
    for target in targets {
        let beside = EXTENSIONS
            .iter()
            .map(|extension| folder.join(format!("{target}.{extension}")))
            .chain([folder.join(&target)])
            .find(|path| path.is_file());
        // One that is not there is what the engine says of the import.
        if let Some(path) = beside
            && !found.contains_key(&target)
        {
            collect(&path, &target, found).map_err(|error| {
                std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
        }
    }
    Ok(())
}
