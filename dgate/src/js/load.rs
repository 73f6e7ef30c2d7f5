//! Modules of a program: from a file, without resources.

use super::compile::siblings;
use super::{Engine, Fault, JsModule, Source};
use crate::config::read_source;
use crate::resource::{Language, Module};
use std::collections::BTreeSet;
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
        let modules: Vec<_> = family(path)?.into_iter().map(|one| one.module).collect();
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

/// The extensions of modules, in the order in which they are looked for.
const EXTENSIONS: [&str; 4] = ["ts", "js", "mts", "mjs"];

/// The file in a folder that `./name`, `./name.ts` or `./name.js` means.
pub(crate) fn beside(folder: &Path, specifier: &str) -> Option<PathBuf> {
    let name = specifier.strip_prefix("./").unwrap_or(specifier);
    let stem = name
        .strip_suffix(".ts")
        .or_else(|| name.strip_suffix(".js"))
        .unwrap_or(name);
    let files = EXTENSIONS.map(|extension| folder.join(format!("{stem}.{extension}")));
    files.into_iter().find(|file| file.is_file())
}

/// A module with its file.
pub(crate) struct InFile {
    pub(crate) path: PathBuf,
    pub(crate) module: Module,
}

/// A module, and after it the files beside it that it imports, directly or not. Each is named by its file.
pub(crate) fn family(path: &Path) -> Result<Vec<InFile>, LoadError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut known = BTreeSet::new();
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !known.insert(name.to_string()) {
            continue;
        }
        let text = read_source(&path).map_err(|source| LoadError::Read {
            path: path.clone(),
            source,
        })?;
        let language = match path.extension().and_then(|e| e.to_str()) {
            Some("js" | "mjs") => Language::JavaScript,
            _ => Language::TypeScript,
        };
        let module = Module::new("default", &*name, language, text);
        // One that is not there is what the engine says of the import.
        waiting.extend(siblings(&module).iter().filter_map(|s| beside(folder, s)));
        found.push(InFile { path, module });
    }
    Ok(found)
}
