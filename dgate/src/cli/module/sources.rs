//! A module with the files beside it that it imports, as resources of a bundle.

use super::show::Texts;
use crate::config::Files;
use crate::js::{LoadError, family};
use crate::resource::{Language, Module};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules by name, each with its file.
#[derive(Default)]
pub(in crate::cli) struct Sources(BTreeMap<String, (PathBuf, Module)>);

impl Sources {
    /// Adds a file and what it imports; gives its name.
    pub(super) fn add(&mut self, file: &Path) -> Result<String, LoadError> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let family = family(file)?;
        let first = family.first().map(|m| m.name.clone()).unwrap_or_default();
        for module in family {
            let path = match module.name == first {
                true => file.to_owned(),
                false => beside(folder, &module),
            };
            self.0.insert(module.name.clone(), (path, module));
        }
        Ok(first)
    }

    /// The files by the name that stack traces have for them.
    pub(super) fn texts(&self) -> Texts {
        let each = self.0.values().map(|(path, _)| path.clone());
        Texts::new(each)
    }

    /// The list `modules` of a bundle, where each has these fields too, and the files of its texts.
    pub(super) fn modules(&self, more: impl Fn(&str) -> Value) -> (Vec<Value>, Files) {
        let mut files = Files::new();
        let mut list = Vec::with_capacity(self.0.len());
        for (at, (name, (path, module))) in self.0.iter().enumerate() {
            files.insert(format!("/modules/{at}/source"), path.clone());
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

/// Where a module was found that another one imports.
fn beside(folder: &Path, module: &Module) -> PathBuf {
    let extension = match module.language {
        Language::JavaScript => "js",
        _ => "ts",
    };
    folder.join(format!("{}.{extension}", module.name))
}
