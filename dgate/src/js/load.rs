//! Modules of a program: from a file, without resources.

use super::{Engine, Fault, JsModule, Source};
use crate::resource::{Language, Module};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a module cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no module.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Fault>),
}

impl JsModule {
    /// Loads a module from a file, `.ts` or `.js`, with the files beside it that it imports. Limits and
    /// permissions are the defaults; [`JsModule::compile`] takes others.
    ///
    /// # Errors
    /// A file that cannot be read, and everything that is wrong with the sources.
    pub async fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref().to_owned();
        let loading = tokio::task::spawn_blocking(move || Self::load_now(&path));
        loading.await.unwrap_or_else(|error| {
            Err(LoadError::Read {
                path: PathBuf::new(),
                source: std::io::Error::other(error),
            })
        })
    }

    fn load_now(path: &Path) -> Result<Self, LoadError> {
        let modules = family(path)?;
        let name = modules.first().map(|m| m.name.clone()).unwrap_or_default();
        Self::compile(&name, &modules)
    }

    /// Compiles one of several modules that may import each other.
    ///
    /// # Errors
    /// Everything that is wrong with the sources.
    pub fn compile(name: &str, modules: &[Module]) -> Result<Self, LoadError> {
        let sources: Vec<_> = modules
            .iter()
            .map(|module| Source {
                module,
                revision: 0,
            })
            .collect();
        let compiled = Engine::new()
            .compile("default", &sources, None)
            .map_err(LoadError::Invalid)?;
        match compiled.get(name) {
            Some(module) => Ok(Arc::unwrap_or_clone(module)),
            None => Err(LoadError::Invalid(vec![Fault {
                module: name.to_owned(),
                position: None,
                detail: "there is no such module".to_owned(),
            }])),
        }
    }
}

/// A module and the files beside it that it imports, directly or not.
pub(crate) fn family(path: &Path) -> Result<Vec<Module>, LoadError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut modules = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let name = path
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default();
        if known.contains_key(&name) {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|source| LoadError::Read {
            path: path.clone(),
            source,
        })?;
        let language = match path.extension().is_some_and(|e| e == "js" || e == "mjs") {
            true => Language::JavaScript,
            false => Language::TypeScript,
        };
        let module = Module::new("default", &name, language, text);
        for wanted in super::compile::siblings(&module) {
            let stem = wanted
                .strip_suffix(".ts")
                .or_else(|| wanted.strip_suffix(".js"))
                .unwrap_or(&wanted);
            let files = [
                folder.join(format!("{stem}.ts")),
                folder.join(format!("{stem}.js")),
            ];
            waiting.extend(files.into_iter().find(|f| f.is_file()));
        }
        known.insert(name, modules.len());
        modules.push(module);
    }
    Ok(modules)
}
