//! `dgate apply` and `dgate diff`: files as one changeset, and what it would change.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::ValueHint;
use http::Method;
use serde_json::{Value, json};

use super::Client;
use super::backup::Passphrase;
use super::bundle::Merged;
use super::changes;
use super::failure::Failure;
use super::http::Api;
use super::output::{Form, Paint, note};
use super::resources::warn;
use super::target::{Target, encoded};
use crate::config::Node;
use crate::resource::{Kind, READ_ONLY, Spec};

/// After how long a person is told that it goes on.
const PATIENCE: Duration = Duration::from_secs(1);

const HINT: &str = "nothing was changed; `dgate diff -f FILE` shows what a file would change";

/// The files.
#[derive(clap::Args)]
struct Source {
    /// Bundles, configuration files with `resources`, or backups; `-` for stdin. Several make one changeset
    #[arg(short = 'f', long = "file", required = true, num_args = 1.., value_name = "FILE", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Delete what the namespaces of the files hold and the files do not name; never documents and secrets
    #[arg(long)]
    prune: bool,
    /// Take documents that do not fit the schema of their collection, as an export may hold; of a backup they are
    /// always taken
    #[arg(long)]
    bypass_document_validation: bool,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Source {
    /// Sends the files; gives the answer and what was sent.
    fn send(
        &self,
        client: &Client,
        what: &str,
        query: &[String],
    ) -> Result<(Api, Merged, Value), Failure> {
        let merged = Merged::read(&self.files, &self.passphrase, what)?;
        let mut query = query.to_vec();
        if self.prune {
            query.push("prune=true".to_owned());
        }
        if self.bypass_document_validation || merged.is_restore() {
            query.push("bypass_document_validation=true".to_owned());
        }
        let path = format!("/api/v1/apply?{}", query.join("&"));
        let api = client.connection.open()?;
        let answer = while_waiting(
            &format!("{what}: {} resources to {}", merged.len(), api.base()),
            || api.call(Method::POST, &path, Some(&merged.json)),
        )?;
        let answer = answer
            .json()
            .map_err(|problem| problem.of(what, HINT, |e| merged.place(e)))?;
        warn(&answer);
        Ok((api, merged, answer))
    }
}

/// Does something, and says on a terminal that it goes on.
fn while_waiting<T: Send>(what: &str, work: impl FnOnce() -> T + Send) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    std::thread::scope(|scope| {
        let (done, waiting) = channel::<()>();
        scope.spawn(move || {
            let begun = Instant::now();
            let mut told = false;
            while waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                told = true;
                eprint!("\rdgate: {what}, {} s", begun.elapsed().as_secs());
                let _ = std::io::stderr().flush();
            }
            if told {
                // Back to the start of an empty line.
                eprint!("\r\x1b[K");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Arguments of `dgate apply`.
#[derive(clap::Args)]
pub(in crate::cli) struct Apply {
    #[command(flatten)]
    source: Source,
    /// Check everything and show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for the revision
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    client: Client,
}

impl Apply {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut query = Vec::new();
        if self.dry_run {
            query.push("dry_run=true".to_owned());
        }
        query.extend(
            self.message
                .as_ref()
                .map(|m| format!("message={}", encoded(m))),
        );
        let (_, _, answer) = self.source.send(&self.client, "apply", &query)?;
        let paint = Paint::for_stdout();
        let people = |answer: &Value| {
            let revision = &answer["revision"];
            let list = changes::list(&answer["changes"], paint);
            match (list.is_empty(), self.dry_run) {
                (true, _) => format!("nothing to change, revision {revision}\n"),
                (_, true) => format!(
                    "{list}nothing was changed: this is a dry run, at revision {revision}\n"
                ),
                (_, false) => format!("{list}revision {revision}\n"),
            }
        };
        if self.dry_run {
            return Ok(self.client.output.show(&answer, people)?);
        }
        Ok(self.client.output.done(&answer, people)?)
    }
}

/// Arguments of `dgate diff`.
#[derive(clap::Args)]
pub(in crate::cli) struct Diff {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    client: Client,
}

impl Diff {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let dry_run = ["dry_run=true".to_owned()];
        let (api, merged, mut answer) = self.source.send(&self.client, "diff", &dry_run)?;
        for change in answer["changes"].as_array_mut().into_iter().flatten() {
            complete(change, &api, &merged)?;
        }
        let paint = Paint::for_stdout();
        let none = answer["changes"].as_array().is_none_or(Vec::is_empty);
        if none && self.client.output.form == Form::Table && !self.client.output.quiet {
            note("nothing would change");
        }
        Ok(self.client.output.show(&answer, |answer| {
            changes::detailed(&answer["changes"], paint)
        })?)
    }
}

/// Adds what a resource is before and after a change, where the answer does not say so itself.
fn complete(change: &mut Value, api: &Api, merged: &Merged) -> Result<(), Failure> {
    let text = |name: &str| change[name].as_str().unwrap_or_default();
    let (op, key) = (text("op"), text("key").to_owned());
    // A kind that this version does not know is shown without its fields.
    let Some(kind) = Kind::parse(text("kind")) else {
        return Ok(());
    };
    let (is_new, is_gone) = (op == "create", op == "delete");
    if change.get("before").is_none() && !is_new {
        let target = Target::parse(kind, &key)?;
        let mut before = api.get(&target.path())?.json().unwrap_or_default();
        if let Some(fields) = before.as_object_mut() {
            fields.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
        }
        change["before"] = before;
    }
    if change.get("after").is_none() && !is_gone {
        change["after"] = declared(&merged.json, kind, &key);
    }
    Ok(())
}

/// What a bundle declares under a key, in the form in which the gateway gives it out: without defaults, and without
/// sensitive fields.
fn declared(bundle: &Value, kind: Kind, key: &str) -> Value {
    let items = bundle[kind.plural()].as_array();
    let specs = items
        .into_iter()
        .flatten()
        .filter_map(|item| Spec::read(kind, &Node::from_json(item), "").ok());
    let found = specs.into_iter().find(|spec| spec.key().path() == key);
    found.map_or(json!(null), |spec| spec.to_json())
}
