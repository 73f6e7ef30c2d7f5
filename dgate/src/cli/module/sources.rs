//! A module with the files beside it that it imports, as resources of a bundle.

use super::show::Texts;
use crate::config::Files;
use crate::js::{InFile, LoadError, beside, family, siblings};
use crate::resource::{Language, Module};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules by name, each with its file; one whose source was given has none.
#[derive(Default)]
pub(super) struct Sources(BTreeMap<String, (Option<PathBuf>, Module)>);

impl Sources {
    /// Adds a file and what it imports; gives its name, which is the file's if none is given.
    pub(super) fn add(&mut self, file: &Path, name: Option<String>) -> Result<String, LoadError> {
        let mut first = None;
        for InFile { path, mut module } in family(file)? {
            if first.is_none() {
                module.name = name.clone().unwrap_or(module.name);
                first = Some(module.name.clone());
            }
            self.0.insert(module.name.clone(), (Some(path), module));
        }
        Ok(first.unwrap_or_default())
    }

    /// Adds a source that is in no file; what it imports is looked for in `folder`.
    pub(super) fn add_text(
        &mut self,
        folder: &Path,
        name: &str,
        language: Language,
        text: String,
    ) -> Result<(), String> {
        let module = Module::new("default", name, language, text);
        for file in siblings(&module).iter().filter_map(|s| beside(folder, s)) {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            if !self.0.contains_key(&*stem) {
                self.add(&file, None).map_err(|e| e.to_string())?;
            }
        }
        self.0.insert(name.to_owned(), (None, module));
        Ok(())
    }

    /// The files by the name that stack traces have for them.
    pub(super) fn texts(&self) -> Texts {
        let each = self.0.values().filter_map(|(path, _)| path.clone());
        Texts::new(each)
    }

    /// The list `modules` of a bundle, where each has these fields too, and the files of its texts.
    pub(super) fn modules(&self, more: impl Fn(&str) -> Value) -> (Vec<Value>, Files) {
        let mut files = Files::new();
        let mut list = Vec::with_capacity(self.0.len());
        for (at, (name, (path, module))) in self.0.iter().enumerate() {
            if let Some(path) = path {
                files.insert(format!("/modules/{at}/source"), path.clone());
            }
            let kind = match module.language {
                Language::JavaScript => "javascript",
                _ => "typescript",
            };
            let mut one = json!({"name": name, "type": kind, "source": module.source});
            if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more(name)) {
                one.extend(more);
            }
            list.push(one);
        }
        (list, files)
    }
}
