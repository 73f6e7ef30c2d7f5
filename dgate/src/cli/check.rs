//! `dgate check`: configuration files, bundles and modules, offline.

use super::INVALID;
use crate::admin::Admin;
use crate::config::{self, Environment, Node};
use crate::gateway::{DGate, Declared, StartError, apply_bundle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[cfg(feature = "js")]
mod module;

/// Arguments of `dgate check`.
#[derive(clap::Args)]
pub(super) struct Check {
    /// Configuration files, bundles, and modules (.ts, .js)
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        let mut sound = true;
        for file in &self.files {
            match check(file) {
                Ok(warnings) => {
                    for warning in warnings {
                        eprintln!("{warning}");
                    }
                    eprintln!("{}: ok", file.display());
                }
                Err(error) => {
                    eprintln!("{error}");
                    sound = false;
                }
            }
        }
        if sound {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(INVALID)
        }
    }
}

/// What looks wrong and is not, one line each.
type Warnings = Vec<String>;

fn check(file: &Path) -> Result<Warnings, StartError> {
    if let Some("ts" | "js" | "mts" | "mjs") = file.extension().and_then(|e| e.to_str()) {
        return check_module(file);
    }
    let tree = config::read(file)?;
    let environment = Environment::of_process();
    let gateway = if config::looks_like_bundle(&tree) {
        check_bundle(file, tree, &environment)?
    } else {
        let mut loaded = config::check(file, tree, &environment)?;
        if let crate::config::Limit::Of(address) = loaded.config.admin.listen {
            let config = loaded.config.admin.clone();
            Admin::configured(address, config, &loaded.base_dir, Some(file)).check()?;
        }
        // Compiles everything as `serve` would, and opens nothing, the storage neither.
        loaded.config.storage = None;
        DGate::builder().loaded(loaded).build_now()?
    };
    let snapshot = gateway.control().snapshot().load();
    let warnings = snapshot.warnings();
    Ok(warnings
        .map(|w| format!("{}: warning: {}: {}", file.display(), w.key, w.detail))
        .collect())
}

fn check_bundle(file: &Path, tree: Node, environment: &Environment) -> Result<DGate, StartError> {
    let (tree, files) = config::bundle(file, tree, environment)?;
    let gateway = DGate::builder().build_now()?;
    let declared = Declared {
        bundle: &tree,
        files: &files,
        source: Some(file),
        prefix: "",
    };
    apply_bundle(gateway.control(), &declared)?;
    Ok(gateway)
}

#[cfg(feature = "js")]
fn check_module(file: &Path) -> Result<Warnings, StartError> {
    module::check(file)
}

#[cfg(not(feature = "js"))]
fn check_module(file: &Path) -> Result<Warnings, StartError> {
    let why = "this build has no module runtime: build with feature `js`";
    Err(StartError::Io {
        what: file.display().to_string(),
        source: std::io::Error::new(std::io::ErrorKind::Unsupported, why),
    })
}
