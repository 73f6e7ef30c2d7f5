//! `dgate check`: configuration files, bundles and modules, offline.

use super::INVALID;
use super::client::sealed;
use super::serve::default_certificate;
use crate::admin::Admin;
use crate::config::{self, Environment, Key, Node, Span, Value};
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
    if sealed(file).is_some() {
        let why =
            "an encrypted backup: `dgate diff -f FILE` opens it and says what it would change";
        return Err(StartError::Io {
            what: file.display().to_string(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidInput, why),
        });
    }
    let tree = config::read(file)?;
    let environment = Environment::of_process();
    let mut found = Warnings::new();
    let gateway = if config::looks_like_bundle(&tree) {
        check_bundle(file, tree, &environment, &mut found)?
    } else {
        let mut loaded = config::check(file, tree, &environment)?;
        if let crate::config::Limit::Of(address) = loaded.config.admin.listen {
            let config = loaded.config.admin.clone();
            Admin::configured(address, config, &loaded.base_dir, Some(file)).check()?;
        }
        default_certificate(&loaded.config, &loaded.base_dir, Some(file))?;
        // Compiles everything as `serve` would, and opens nothing, the storage neither.
        loaded.config.storage = None;
        DGate::builder().loaded(loaded).build_now()?
    };
    let snapshot = gateway.control().snapshot().load();
    let warnings = snapshot.warnings();
    found.extend(warnings.map(|w| format!("{}: warning: {}: {}", file.display(), w.key, w.detail)));
    Ok(found)
}

fn check_bundle(
    file: &Path,
    tree: Node,
    environment: &Environment,
    warnings: &mut Warnings,
) -> Result<DGate, StartError> {
    let (mut tree, files) = config::bundle(file, tree, environment)?;
    for (pointer, detail) in without_sensitive(&mut tree) {
        let place = tree
            .diagnose(&pointer, detail)
            .render(&file.display().to_string());
        warnings.push(place);
    }
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

/// Exports have no sensitive fields, and `apply` keeps those that are stored: nothing that only the gateway knows is
/// an error here. What cannot do without is made harmless, and named.
fn without_sensitive(bundle: &mut Node) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for (kind, within, public, field, detail) in [
        (
            "secrets",
            None,
            None,
            "data",
            "warning: without `data`: it must be stored already",
        ),
        (
            "domains",
            None,
            Some("cert"),
            "key",
            "warning: `cert` without `key` is not checked: the key must be stored already",
        ),
        (
            "services",
            Some("tls"),
            Some("client_cert"),
            "client_key",
            "warning: `client_cert` without `client_key` is not checked: the key must be stored already",
        ),
    ] {
        let Some(Value::List(items)) = value_of(bundle, kind) else {
            continue;
        };
        for (at, item) in items.iter_mut().enumerate() {
            let fields = match within {
                Some(within) => value_of(item, within),
                None => Some(&mut item.value),
            };
            let Some(Value::Map(fields)) = fields else {
                continue;
            };
            let has = |name: &str| fields.iter().any(|(key, _)| key.text == name);
            if has(field) || public.is_some_and(|public| !has(public)) {
                continue;
            }
            match public {
                Some(public) => fields.retain(|(key, _)| key.text != public),
                None => fields.push((
                    Key {
                        text: field.to_owned(),
                        span: Span::NONE,
                    },
                    // As long as any key, since nobody knows what it stands for.
                    Node::new(Value::String("0".repeat(64))),
                )),
            }
            found.push((format!("/{kind}/{at}"), detail));
        }
    }
    found
}

fn value_of<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Value> {
    let Value::Map(entries) = &mut node.value else {
        return None;
    };
    let found = entries.iter_mut().find(|(key, _)| key.text == name)?;
    Some(&mut found.1.value)
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
