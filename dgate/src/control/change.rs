//! ChangeSets: what is wished, and what became of it.

use super::ledger::{Declaration, StoredDocument};
use crate::resource::{Bundle, Document, Key, Kind, Spec, State};
use crate::snapshot::{Globals, Warning};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// How many resources are named in a line for people, and documents that are in the way of a delete.
pub(super) const NAMED: usize = 10;

/// An ordered list of operations that commits as a whole.
#[derive(Clone, Debug, Default)]
pub struct ChangeSet {
    /// The operations.
    pub ops: Vec<Op>,
    /// Who wishes it.
    pub author: String,
    /// Why.
    pub message: String,
}

/// One operation.
#[derive(Clone, Debug)]
pub enum Op {
    /// Makes it so: creates or replaces what is not so already. The text is the JSON pointer that errors about it
    /// start with.
    Put(Box<Spec>, String),
    /// Makes a resource what it was, its sensitive fields included.
    Restore(Box<Spec>),
    /// Writes a document; its version counts this even if its data stays.
    Write(Box<Document>),
    /// Deletes.
    Delete(Key),
}

impl ChangeSet {
    /// Puts all resources of a bundle.
    pub fn bundle(bundle: Bundle) -> Self {
        Self {
            ops: bundle
                .into_iter()
                .map(|(spec, pointer)| Op::Put(Box::new(spec), pointer))
                .collect(),
            ..Self::default()
        }
    }

    /// Puts one resource; pointers of errors start at its root.
    pub fn put(spec: Spec) -> Self {
        let op = match spec {
            Spec::Document(document) => Op::Write(document),
            spec => Op::Put(Box::new(spec), String::new()),
        };
        Self {
            ops: vec![op],
            ..Self::default()
        }
    }

    /// What it deletes, if that is all it does.
    pub(super) fn deletes(&self) -> Option<Key> {
        match self.ops.as_slice() {
            [Op::Delete(key)] => Some(key.clone()),
            _ => None,
        }
    }

    /// Whether it leaves the configuration alone.
    pub(super) fn only_documents(&self) -> bool {
        self.ops.iter().all(|op| match op {
            Op::Put(spec, _) => matches!(**spec, Spec::Document(_)),
            Op::Write(_) => true,
            Op::Restore(_) => false,
            Op::Delete(key) => key.kind == Kind::Document,
        })
    }

    /// Deletes one resource.
    pub fn delete(key: Key) -> Self {
        Self {
            ops: vec![Op::Delete(key)],
            ..Self::default()
        }
    }
}

/// Conditions and modes of a change.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Validates and says what would change.
    pub dry_run: bool,
    /// Also deletes what the namespaces of the changeset hold and it does not name.
    pub prune: bool,
    /// With `prune`: namespaces that go with all they hold unless the changeset names them.
    pub prune_namespaces: Vec<String>,
    /// Deletes a namespace or a collection with all it holds.
    pub cascade: bool,
    /// The revision that the whole state must have.
    pub expected_revision: Option<u64>,
    /// The revision that the one resource must have, or the version of the one document (`If-Match`).
    pub if_match: Option<u64>,
    /// The one resource must exist, at whatever revision (`If-Match: *`).
    pub if_exists: bool,
    /// The one resource must not exist (`If-None-Match: *`).
    pub if_none_match: bool,
    /// Takes documents that do not fit the schema of their collection, as a restore has to: their collections may
    /// have got another schema after they were written.
    pub bypass_document_validation: bool,
    /// Global settings that count together with it.
    pub(crate) globals: Option<Globals>,
    /// What the configuration file declares with it.
    pub(crate) declared: Option<Declaration>,
}

/// What a changeset did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The revision now in force.
    pub revision: u64,
    /// What changed.
    pub changes: Vec<Change>,
    /// What looks wrong in the modules and certificates of the changeset, and what pruning left.
    pub warnings: Vec<Warning>,
    /// The state that it left, durable as soon as it is.
    pub(crate) state: Arc<State>,
    /// The document that was written last.
    pub(crate) document: Option<StoredDocument>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `create`, `update` or `delete`.
    pub op: &'static str,
    /// Which resource.
    pub key: Key,
}

impl Change {
    pub(super) fn to_json(&self) -> Json {
        json!({"op": self.op, "kind": self.key.kind.singular(), "key": self.key.path()})
    }
}

impl Applied {
    /// What was deleted, for the log: the first ten, and how many more.
    pub(super) fn deleted(&self) -> Option<String> {
        let gone: Vec<_> = self
            .changes
            .iter()
            .filter(|c| c.op == "delete")
            .map(|c| c.key.to_string())
            .collect();
        let named = gone
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        match gone.len() {
            0 => None,
            n if n > NAMED => Some(format!("{named} and {} more", n - NAMED)),
            _ => Some(named),
        }
    }

    /// The answer of `apply`.
    pub fn to_json(&self) -> Json {
        let changes: Vec<_> = self.changes.iter().map(Change::to_json).collect();
        let mut answer = json!({"revision": self.revision, "changes": changes});
        self.add_warnings(&mut answer);
        answer
    }

    /// Adds `warnings` to an answer, if there are some.
    pub fn add_warnings(&self, answer: &mut Json) {
        let warnings = self.warnings.iter().map(
            |w| json!({"kind": w.key.kind.singular(), "key": w.key.path(), "detail": w.detail}),
        );
        if !self.warnings.is_empty() {
            answer["warnings"] = warnings.collect();
        }
    }
}
