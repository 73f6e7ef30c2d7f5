//! Errors of modules as people read them: the place in the file, the lines there, a caret.

use crate::config::ConfigError;
use crate::gateway::StartError;
use crate::js::Fault;
use dgate_typescript::frame;
use regex::Regex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A place in a stack trace: `at run (orders.ts:7:25)`, or at the end of a line.
static PLACE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)([^\s()/]+\.(?:ts|js|mts|mjs)):(\d+):(\d+)\)?$").expect("the regex is valid")
});

/// Files by the name that stack traces have for them.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Texts(HashMap<String, PathBuf>);

impl Texts {
    pub(in crate::cli) fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let name = |path: PathBuf| Some((path.file_name()?.to_str()?.to_owned(), path));
        Self(files.into_iter().filter_map(name).collect())
    }

    /// The first place of a stack trace that is in one of the files: its path and place, and the lines there.
    pub(in crate::cli) fn place(&self, trace: &str) -> Option<(String, String)> {
        PLACE.captures_iter(trace).find_map(|found| {
            let path = self.0.get(&found[1])?;
            let (line, column) = (found[2].parse().ok()?, found[3].parse().ok()?);
            let lines = lines(path, line, column)?;
            Some((format!("{}:{line}:{column}", path.display()), lines))
        })
    }
}

fn lines(path: &Path, line: u32, column: u32) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    // What was saved since then may be shorter.
    ((line as usize) <= text.split('\n').count()).then(|| frame(&text, line, column))
}

/// What is wrong with a module, with the lines it is about.
pub(in crate::cli) fn fault(file: &Path, fault: &Fault) -> String {
    let Some((line, column)) = fault.position else {
        return format!("{}: {}", file.display(), fault.detail);
    };
    let text = format!("{}:{line}:{column}: {}", file.display(), fault.detail);
    match lines(file, line, column) {
        Some(lines) => format!("{text}\n{lines}"),
        None => text,
    }
}

/// An error of configuration or modules, each with the lines it is about.
pub(in crate::cli) fn report(error: &StartError) -> String {
    let StartError::Config(ConfigError::Invalid { file, problems }) = error else {
        return error.to_string();
    };
    let mut text = Vec::new();
    for problem in problems {
        let whole = ConfigError::Invalid {
            file: file.clone(),
            problems: vec![problem.clone()],
        };
        text.push(whole.to_string());
        if let Some(path) = &problem.file
            && let Some(span) = problem.diagnostic.span
            && let (Ok(line), Ok(column)) = (span.line.try_into(), span.col.try_into())
        {
            text.extend(lines(path, line, column));
        }
    }
    text.join("\n")
}
