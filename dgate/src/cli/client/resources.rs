//! `dgate list`, `get`, `put` and `delete`: resources one by one.

use std::path::{Path, PathBuf};

use clap::ValueHint;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::columns;
use super::failure::Failure;
use super::http::Api;
use super::target::{KindParser, Target, encoded, kind_path};
use super::{Client, bundle, fields};
use crate::cli::client::output::Form;
use crate::config::{self, Diagnostic, Environment, Node};
use crate::resource::Kind;

/// The most that one page of a list holds.
const PAGE: usize = 1000;

/// Arguments of `dgate list`.
#[derive(clap::Args)]
pub(in crate::cli) struct List {
    /// The kind, in singular, plural or short: ns dom svc rt mod col doc sec con
    #[arg(value_name = "KIND", value_parser = KindParser, hide_possible_values = true)]
    kind: Kind,
    /// Only those of this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only the documents of this collection, in namespace `default` unless --namespace names another
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Only those with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// So many at most
    #[arg(short = 'n', long, value_name = "COUNT")]
    limit: Option<usize>,
    #[command(flatten)]
    client: Client,
}

impl List {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.collection.is_some() && self.kind != Kind::Document {
            let cause = format!("{} are in no collection", self.kind.plural());
            let hint = "`dgate list documents --collection NAME`";
            return Err(Failure::usage("--collection", cause, hint));
        }
        let api = self.client.connection.open()?;
        let mut query = Vec::new();
        let of_default = self.collection.as_ref().map(|_| "default".to_owned());
        let namespace = self.namespace.clone().or(of_default);
        for (name, value) in [
            ("namespace", &namespace),
            ("collection", &self.collection),
            ("tag", &self.tag),
        ] {
            query.extend(value.as_ref().map(|v| format!("{name}={}", encoded(v))));
        }
        let what = format!("list {}", self.kind);
        let items = pages(&api, &kind_path(self.kind), &query, self.limit, &what)?;
        let none = items.is_empty() && self.client.output.form == Form::Table;
        if none && !self.client.output.quiet {
            super::output::note(&format!("there are no {}", self.kind.plural()));
        }
        let people = |_: &Value| columns::table(self.kind, &items);
        Ok(self.client.output.show(&items.clone().into(), people)?)
    }
}

/// Follows the cursors of a list to its end, or until there are `limit` items.
pub(super) fn pages(
    api: &Api,
    path: &str,
    query: &[String],
    limit: Option<usize>,
    what: &str,
) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let left = limit.map_or(PAGE, |l| l.saturating_sub(items.len()).min(PAGE));
        if left == 0 {
            return Ok(items);
        }
        let mut query = query.to_vec();
        query.push(format!("limit={left}"));
        query.extend(cursor.as_ref().map(|c| format!("cursor={}", encoded(c))));
        let answer = api.get(&format!("{path}?{}", query.join("&")))?;
        let mut page =
            answer.or_fail(what, "`dgate healthcheck` says whether the gateway is well")?;
        if let Some(more) = page["items"].as_array_mut() {
            items.append(more);
        }
        let next = match &page["next"] {
            Value::Null => None,
            Value::String(next) => Some(next.clone()),
            other => Some(other.to_string()),
        };
        // A cursor that stands still would go on for ever.
        if next.is_none() || next == cursor {
            items.truncate(limit.unwrap_or(usize::MAX));
            return Ok(items);
        }
        cursor = next;
    }
}

/// What names one resource.
#[derive(clap::Args)]
struct One {
    /// The kind, in singular, plural or short: ns dom svc rt mod col doc sec con
    #[arg(value_name = "KIND", value_parser = KindParser, hide_possible_values = true)]
    kind: Kind,
    /// namespace/name, or a name in namespace `default`; of documents [namespace/]collection/id
    #[arg(id = "resource", value_name = "KEY")]
    key: String,
}

impl One {
    fn target(&self) -> Result<Target, Failure> {
        Target::parse(self.kind, &self.key)
    }
}

fn shows_what_there_is(kind: Kind) -> String {
    format!("`dgate list {kind}` shows what there is")
}

/// Arguments of `dgate get`.
#[derive(clap::Args)]
pub(in crate::cli) struct Get {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    client: Client,
}

impl Get {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let target = self.one.target()?;
        let answer = self.client.connection.open()?.get(&target.path())?;
        let what = format!("get {target}");
        let value = answer.or_fail(&what, &shows_what_there_is(target.kind))?;
        Ok(self.client.output.show(&value, config::to_yaml)?)
    }
}

/// Arguments of `dgate put`.
#[derive(clap::Args)]
pub(in crate::cli) struct Put {
    #[command(flatten)]
    one: One,
    /// name=text, name:=json, name=@file or name:=@file; `timeouts.request=5s` sets a field of a field
    #[arg(value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// A file with the fields (YAML, JSON or TOML by its extension, `-` for stdin); those above win over it
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    #[command(flatten)]
    client: Client,
}

impl Put {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let target = self.one.target()?;
        let what = format!("put {target}");
        let file = match &self.file {
            Some(path) => Some((bundle::name(path), read_one(path, target.kind, &what)?)),
            None => None,
        };
        let mut body = file
            .as_ref()
            .map_or_else(|| json!({}), |(_, node)| node.to_json());
        if body.is_null() {
            body = json!({});
        }
        fields::set(&mut body, &self.fields)?;
        let api = self.client.connection.open()?;
        // Documents count their writes; of the others the revision tells whether this one changed anything.
        let before = match target.kind {
            Kind::Document => Value::Null,
            _ => api.get(&target.path())?.json().unwrap_or_default(),
        };
        let answer = api.call(Method::PUT, &target.path(), Some(&body))?;
        let created = answer.status == StatusCode::CREATED;
        let value = answer.json().map_err(|problem| {
            let hint = match problem.expects_another_type() {
                true => {
                    "`name=value` is text: numbers, lists and so on are `name:=json`".to_owned()
                }
                false => match self.fields.iter().find_map(|field| fields::of_file(field)) {
                    Some(name) => format!("the text of a file is `{name}=@FILE` here"),
                    None if problem.names_namespace() && target.kind != Kind::Namespace => {
                        "nothing was changed; `dgate put namespace NAME` makes a namespace"
                            .to_owned()
                    }
                    None => "nothing was changed".to_owned(),
                },
            };
            problem.of(&what, hint, |error| match &file {
                Some((name, node)) if node.at(&error.pointer).is_some() => {
                    node.diagnose(&error.pointer, &*error.detail).render(name)
                }
                _ => format!("  {error}"),
            })
        })?;
        warn(&value);
        let same =
            !created && before["revision"].is_u64() && before["revision"] == value["revision"];
        let done = match (created, same) {
            (true, _) => "created",
            (_, true) => "nothing to change:",
            _ => "updated",
        };
        // Documents are no part of revisions.
        let number = match target.kind {
            Kind::Document => "version",
            _ => "revision",
        };
        let people = |value: &Value| match value[number].as_u64() {
            Some(counted) => format!("{done} {target}, {number} {counted}\n"),
            None => format!("{done} {target}\n"),
        };
        Ok(self.client.output.done(&value, people)?)
    }
}

/// Says what looks wrong with what was put and is not.
pub(super) fn warn(answer: &Value) {
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        let text = |name: &str| warning[name].as_str().unwrap_or_default();
        let line = format!(
            "warning: {} {}: {}",
            text("kind"),
            text("key"),
            text("detail")
        );
        super::output::note(&line);
    }
}

/// Reads a file with the fields of one resource: variables and `…_file` work as in a bundle.
fn read_one(path: &Path, kind: Kind, what: &str) -> Result<Node, Failure> {
    let failed = |error: config::ConfigError| bundle::unread(what, &[error]);
    let resource = bundle::read(path).map_err(failed)?;
    let names_files = match &resource.value {
        config::Value::Map(entries) => entries.iter().any(|(key, _)| key.text.ends_with("_file")),
        _ => false,
    };
    let mut tree = Node::new(config::Value::Map(vec![(
        config::Key {
            text: kind.plural().to_owned(),
            span: config::Span::NONE,
        },
        Node::new(config::Value::List(vec![resource])),
    )]));
    let environment = Environment::of_process();
    let source = bundle::source(path);
    if names_files {
        tree = config::bundle(&source, tree, &environment)
            .map_err(failed)?
            .0;
    } else {
        let errors: Vec<Diagnostic> = environment.substitute(&mut tree);
        if !errors.is_empty() {
            return Err(failed(config::ConfigError::invalid(Some(&source), errors)));
        }
    }
    let only = tree.at(&format!("/{}/0", kind.plural()));
    Ok(only.cloned().unwrap_or(Node::new(config::Value::Null)))
}

/// Arguments of `dgate delete`.
#[derive(clap::Args)]
pub(in crate::cli) struct Delete {
    #[command(flatten)]
    one: One,
    /// Delete a namespace with all that it holds, or a collection with its documents
    #[arg(long)]
    cascade: bool,
    #[command(flatten)]
    client: Client,
}

impl Delete {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let target = self.one.target()?;
        let query = if self.cascade { "?cascade=true" } else { "" };
        let path = format!("{}{query}", target.path());
        let answer = self
            .client
            .connection
            .open()?
            .call(Method::DELETE, &path, None)?;
        answer.or_fail(
            &format!("delete {target}"),
            &shows_what_there_is(target.kind),
        )?;
        let gone = json!({"op": "delete", "kind": target.kind.singular(), "key": target.key()});
        Ok(self
            .client
            .output
            .done(&gone, |_| format!("deleted {target}\n"))?)
    }
}
