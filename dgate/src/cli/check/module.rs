//! `dgate check x.ts`: one module file alone. What it imports as `./name` is looked for beside it.

use super::Warnings;
use crate::config::{ConfigError, Diagnostic, Problem, Span};
use crate::gateway::StartError;
use crate::js::{Engine, Fault, LoadError, Source, family};
use std::path::Path;

pub(super) fn check(file: &Path) -> Result<Warnings, StartError> {
    let found = family(file).map_err(|error| match error {
        LoadError::Read { path, source } => ConfigError::Read { path, source },
        LoadError::Invalid(faults) => {
            let problems = faults.iter().map(|fault| Problem {
                diagnostic: at(fault, fault.detail.clone()),
                variable: None,
                file: None,
            });
            ConfigError::of(Some(file), problems.collect())
        }
    })?;
    let sources: Vec<_> = found
        .iter()
        .map(|one| Source {
            module: &one.module,
            revision: 0,
        })
        .collect();
    let path = |fault: &Fault| {
        let found = found.iter().find(|one| one.module.name == fault.module);
        found.map(|one| one.path.clone())
    };
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
