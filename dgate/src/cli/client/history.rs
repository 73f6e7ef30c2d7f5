//! `dgate revisions`, `rollback` and `export`: what was, going back to it, and taking all of it along.

use std::path::PathBuf;

use clap::ValueHint;
use http::Method;
use serde_json::{Value, json};

use super::Client;
use super::backup::{self, Passphrase};
use super::changes;
use super::failure::Failure;
use super::output::{Form, Paint};
use super::resources::pages;
use super::table::{Table, plain, time};
use super::target::encoded;
use crate::config::Diagnostic;

const HINT: &str = "`dgate revisions` shows which are kept";

/// Arguments of `dgate revisions`.
#[derive(clap::Args)]
pub(in crate::cli) struct Revisions {
    /// The number of one, to see what it changed
    #[arg(value_name = "ID")]
    id: Option<u64>,
    /// So many at most, newest first
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        default_value_t = 20,
        conflicts_with = "id"
    )]
    limit: usize,
    #[command(flatten)]
    client: Client,
}

impl Revisions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let api = self.client.connection.open()?;
        let output = &self.client.output;
        if let Some(id) = self.id {
            let answer = api.get(&format!("/api/v1/revision/{id}"))?;
            let revision = answer.or_fail(&format!("revision {id}"), HINT)?;
            return Ok(output.show(&revision, one)?);
        }
        let items = pages(&api, "/api/v1/revision", &[], Some(self.limit), "revisions")?;
        Ok(output.show(&items.into(), table)?)
    }
}

fn table(items: &Value) -> String {
    let mut table = Table::new(vec!["id", "created", "author", "changes", "message"]);
    for item in items.as_array().into_iter().flatten() {
        let count = match (&item["change_count"], item["changes"].as_array()) {
            (Value::Null, Some(changes)) => changes.len().to_string(),
            (count, _) => plain(count),
        };
        table.row(vec![
            plain(&item["id"]),
            time(&item["created_at"]),
            plain(&item["author"]),
            count,
            plain(&item["message"]),
        ]);
    }
    if table.is_empty() {
        return String::new();
    }
    table.text()
}

fn one(revision: &Value) -> String {
    let paint = Paint::for_stdout();
    let mut text = paint.bold(&format!("revision {}", revision["id"])) + "\n";
    for (label, value) in [
        ("created", time(&revision["created_at"])),
        ("author", plain(&revision["author"])),
        ("message", plain(&revision["message"])),
    ] {
        if !value.is_empty() {
            text += &format!("{label}: {}\n", super::output::harmless(&value));
        }
    }
    text + "\n" + &changes::detailed(&revision["changes"], paint)
}

/// Arguments of `dgate rollback`.
#[derive(clap::Args)]
pub(in crate::cli) struct Rollback {
    /// The revision whose state is to hold again
    #[arg(value_name = "ID")]
    id: u64,
    /// Why, for the new revision
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    client: Client,
}

impl Rollback {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut body = json!({"to": self.id});
        if let Some(message) = &self.message {
            body["message"] = message.as_str().into();
        }
        let api = self.client.connection.open()?;
        let answer = api.call(Method::POST, "/api/v1/rollback", Some(&body))?;
        let what = format!("rollback to revision {}", self.id);
        let answer = answer.json().map_err(|problem| {
            let held = problem.is_referenced();
            let failure = problem.of(what, HINT, Diagnostic::to_string);
            match held {
                true => failure.hinting(
                    "a rollback leaves documents and secrets alone: delete these first, then roll back",
                ),
                false => failure,
            }
        })?;
        let people = |answer: &Value| {
            let list = changes::list(&answer["changes"], Paint::for_stdout());
            let revision = &answer["revision"];
            match list.is_empty() {
                true => format!("nothing to change, revision {revision}\n"),
                false => format!("{list}revision {revision}, as {} was\n", self.id),
            }
        };
        Ok(self.client.output.done(&answer, people)?)
    }
}

/// Arguments of `dgate export`.
#[derive(clap::Args)]
pub(in crate::cli) struct Export {
    /// Only this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Write all of it, sensitive fields too, into an encrypted backup; `-` for stdout
    #[arg(long, value_name = "FILE", conflicts_with_all = ["namespace", "form"], value_hint = ValueHint::FilePath)]
    with_secrets: Option<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    #[command(flatten)]
    client: Client,
}

impl Export {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if let Some(path) = &self.with_secrets {
            let api = self.client.connection.open()?;
            return backup::save(&api, path, &self.passphrase, self.client.output.quiet);
        }
        let query = self
            .namespace
            .as_ref()
            .map(|n| format!("?namespace={}", encoded(n)));
        let path = format!("/api/v1/export{}", query.unwrap_or_default());
        let answer = self.client.connection.open()?.get(&path)?;
        let hint = match self.namespace {
            Some(_) => "`dgate list ns` shows what there is",
            None => "`dgate healthcheck` says whether the gateway is well",
        };
        let mut bundle = answer.or_fail("export", hint)?;
        // What the gateway holds is to come back as it is: `apply` puts variables in.
        crate::config::escape_variables(&mut bundle);
        let text = match self.client.output.form {
            Form::Json => format!("{bundle:#}\n"),
            // A bundle has no form as a table: people keep it in a file.
            Form::Table | Form::Yaml => crate::config::to_yaml(&bundle),
        };
        Ok(super::output::print(&text)?)
    }
}
