//! `dgate check`: configuration files and bundles, offline.

use super::INVALID;
use crate::config::{self, ConfigError, Environment, Node};
use crate::gateway::{DGate, StartError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `dgate check`.
#[derive(clap::Args)]
pub(super) struct Check {
    /// Configuration files and bundles
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        let mut sound = true;
        for file in &self.files {
            match check(file) {
                Ok(()) => eprintln!("{}: ok", file.display()),
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

fn check(file: &Path) -> Result<(), StartError> {
    if let Some("ts" | "js" | "mts" | "mjs") = file.extension().and_then(|e| e.to_str()) {
        let source = std::io::Error::new(
            std::io::ErrorKind::Unsupported,
            "modules are not supported by this version",
        );
        return Err(StartError::Io {
            what: file.display().to_string(),
            source,
        });
    }
    let tree = config::read(file)?;
    let environment = Environment::of_process();
    if config::looks_like_bundle(&tree) {
        return check_bundle(file, tree, &environment);
    }
    let loaded = config::check(file, tree, &environment)?;
    // Compiles everything as `serve` would, and opens nothing.
    DGate::builder().loaded(loaded).build_now().map(drop)
}

fn check_bundle(file: &Path, mut tree: Node, environment: &Environment) -> Result<(), StartError> {
    let errors = environment.substitute(&mut tree);
    if !errors.is_empty() {
        return Err(ConfigError::invalid(Some(file), errors).into());
    }
    let gateway = DGate::builder().build_now()?;
    crate::gateway::apply_bundle(gateway.control(), &tree, None, Some(file), "")
}
