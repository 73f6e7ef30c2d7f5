//! ChangeSets: what is wished, how it is checked against the state, and why it may be refused.

use super::ledger::{Declaration, LedgerError, StoredDocument};
use crate::config::{Diagnostic, Span, told};
use crate::resource::{Bundle, Document, Key, Kind, Spec, State};
use crate::snapshot::{Globals, Problem, ProblemKind, Warning};
use crate::store::StoreError;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time::OffsetDateTime;

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

/// Why a changeset was refused. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Invalid input, with everything that is wrong.
    #[error("{}", lines(.0))]
    Invalid(Vec<Diagnostic>),
    /// Paths or domains that exclude each other.
    #[error("{}", lines(.0))]
    Conflict(Vec<Diagnostic>),
    /// The state is at another revision than expected.
    #[error("the current revision is {current}, expected {expected}")]
    Revision {
        /// The one in force.
        current: u64,
        /// The one wished.
        expected: u64,
    },
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("{0}")]
    Precondition(String),
    /// The revision to go back to is not kept, or never was.
    #[error("revision {0} is not kept here")]
    NoRevision(u64),
    /// There is nothing to delete.
    #[error("{0} does not exist")]
    NotFound(Key),
    /// Others refer to what would be deleted.
    #[error("{key} is still used by {}", names(.by))]
    Referenced {
        /// What would be deleted.
        key: Key,
        /// Who refers to it.
        by: Vec<Key>,
    },
    /// The storage does not take it, or does not give what it holds.
    #[error("{0}")]
    Storage(StoreError),
    /// What is stored can't be read.
    #[error("{0}")]
    Unreadable(LedgerError),
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        Self::Storage(error)
    }
}

impl From<LedgerError> for Rejection {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Storage(error),
            other => Self::Unreadable(other),
        }
    }
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    told(diagnostics)
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn names(keys: &[Key]) -> String {
    // Of documents no more than one too many are looked for.
    let documents = keys.iter().all(|key| key.kind == Kind::Document);
    let named = keys.iter().take(NAMED).map(ToString::to_string);
    let named = named.collect::<Vec<_>>().join(", ");
    match keys.len().saturating_sub(NAMED) {
        0 => named,
        _ if documents => format!("{named} and more"),
        more => format!("{named} and {more} more"),
    }
}

impl Rejection {
    /// What is wrong, one by one.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        match self {
            Self::Invalid(found) | Self::Conflict(found) => found,
            other => vec![Diagnostic::new("", Span::NONE, other.to_string())],
        }
    }

    /// What compiling found; `locate` knows the pointer of a resource within the input.
    pub(super) fn from_problems(
        problems: Vec<Problem>,
        locate: &dyn Fn(&Key) -> Option<String>,
    ) -> Self {
        let conflict = problems.iter().all(|p| p.kind == ProblemKind::Conflict);
        let diagnostics = problems
            .into_iter()
            .map(|p| {
                // What is not in the input has no place there.
                let pointer = locate(&p.key)
                    .or_else(|| locate(p.other.as_ref()?))
                    .map(|prefix| prefix + &p.pointer)
                    .unwrap_or_default();
                Diagnostic {
                    pointer,
                    span: None,
                    detail: format!("{}: {}", p.key, p.detail),
                    within: p.within,
                }
            })
            .collect();
        if conflict {
            Self::Conflict(diagnostics)
        } else {
            Self::Invalid(diagnostics)
        }
    }
}

/// What a changeset comes to.
pub(super) struct Planned {
    /// The state after it; `None` when no configuration resource changes.
    pub(super) next: Option<State>,
    /// Where in the input each resource stands.
    pub(super) located: BTreeMap<Key, String>,
    /// What changes in the configuration.
    pub(super) changes: Vec<Change>,
    /// Documents are looked at when it is committed.
    pub(super) documents: Vec<DocumentOp>,
    /// What goes, and must be empty or takes along what is in it.
    pub(super) emptied: Vec<Emptied>,
    /// What pruning leaves, since it holds what pruning never takes.
    pub(super) warnings: Vec<Warning>,
}

/// An operation on a document.
pub(super) enum DocumentOp {
    Put {
        document: Box<Document>,
        pointer: String,
        /// Even if it is just so already.
        always: bool,
    },
    Delete(Key),
}

/// A namespace or collection that goes.
pub(super) struct Emptied {
    pub(super) key: Key,
    /// With all documents in it.
    pub(super) cascade: bool,
}

/// Says whether a collection holds a document.
pub(super) type Holds<'a> = &'a dyn Fn(&Key) -> Result<bool, LedgerError>;

/// Works out what becomes of the configuration. Pure: the same in every copy of the ledger.
pub(super) fn plan(
    current: &State,
    change: ChangeSet,
    options: &Options,
    now: OffsetDateTime,
    holds: Holds<'_>,
) -> Result<Planned, Rejection> {
    if let Some(expected) = options.expected_revision
        && expected != current.revision()
    {
        return Err(Rejection::Revision {
            current: current.revision(),
            expected,
        });
    }
    let mut plan = Plan {
        current,
        options,
        next: current.clone(),
        planned: Planned {
            next: None,
            located: BTreeMap::new(),
            changes: Vec::new(),
            documents: Vec::new(),
            emptied: Vec::new(),
            warnings: Vec::new(),
        },
        wrong: Vec::new(),
    };
    let mut pruned = BTreeSet::new();
    for op in change.ops {
        match op {
            Op::Put(spec, pointer) => match *spec {
                Spec::Document(document) => {
                    pruned.insert(document.namespace.clone());
                    plan.document(document, pointer, false);
                }
                mut spec => {
                    let key = spec.key();
                    if let Some(known) = plan.next.get(&key) {
                        spec.keep_sensitive(&known.spec);
                    }
                    pruned.insert(key.namespace);
                    plan.put(spec, pointer, now)?;
                }
            },
            Op::Restore(spec) => plan.put(*spec, String::new(), now)?,
            Op::Write(document) => plan.document(document, String::new(), true),
            Op::Delete(key) if key.kind == Kind::Document => {
                plan.planned.documents.push(DocumentOp::Delete(key));
            }
            Op::Delete(key) => {
                precondition(current, &key, options)?;
                if current.get(&key).is_none() {
                    return Err(Rejection::NotFound(key));
                }
                plan.delete(key)?;
            }
        }
    }
    if options.prune {
        plan.prune(&pruned, holds)?;
    }
    if !plan.wrong.is_empty() {
        return Err(Rejection::Invalid(plan.wrong));
    }
    let Plan {
        mut next,
        mut planned,
        ..
    } = plan;
    if !planned.changes.is_empty() {
        next.seal();
        planned.next = Some(next);
    }
    Ok(planned)
}

struct Plan<'a> {
    current: &'a State,
    options: &'a Options,
    next: State,
    planned: Planned,
    /// Sensitive fields that are neither given nor stored, and data that nests too deep.
    wrong: Vec<Diagnostic>,
}

impl Plan<'_> {
    fn document(&mut self, document: Box<Document>, pointer: String, always: bool) {
        self.planned.documents.push(DocumentOp::Put {
            document,
            pointer,
            always,
        });
    }

    fn put(&mut self, spec: Spec, pointer: String, now: OffsetDateTime) -> Result<(), Rejection> {
        let key = spec.key();
        let lacks = spec
            .lacks_sensitive()
            .map(|(at, what)| (at.to_owned(), what.to_owned()));
        for (field, detail) in lacks.into_iter().chain(spec.too_deep()) {
            self.wrong.push(Diagnostic {
                pointer: format!("{pointer}{field}"),
                span: None,
                detail: format!("{key}: {detail}"),
                within: None,
            });
        }
        precondition(self.current, &key, self.options)?;
        self.planned.located.insert(key.clone(), pointer);
        let known = self.current.get(&key).is_some();
        if self.next.put(spec, now) {
            self.planned.changes.push(Change {
                op: if known { "update" } else { "create" },
                key,
            });
        }
        Ok(())
    }

    /// Deletes what nothing refers to, or a namespace with all it holds.
    fn delete(&mut self, key: Key) -> Result<(), Rejection> {
        let by = referrers(&self.next, &key);
        let cascade =
            self.options.cascade && matches!(key.kind, Kind::Namespace | Kind::Collection);
        if !by.is_empty() && !cascade {
            return Err(Rejection::Referenced { key, by });
        }
        self.empty(&key, cascade);
        for key in by.into_iter().chain([key]) {
            self.gone(key);
        }
        Ok(())
    }

    fn empty(&mut self, key: &Key, cascade: bool) {
        if matches!(key.kind, Kind::Namespace | Kind::Collection) {
            self.planned.emptied.push(Emptied {
                key: key.clone(),
                cascade,
            });
        }
    }

    fn gone(&mut self, key: Key) {
        self.next.delete(&key);
        self.planned.changes.push(Change { op: "delete", key });
    }

    /// Deletes what the changeset does not name: in the namespaces that it touches, and with `prune_namespaces`.
    /// Secrets and documents stay, and with a warning so does what holds some.
    fn prune(&mut self, touched: &BTreeSet<String>, holds: Holds<'_>) -> Result<(), Rejection> {
        let (options, located) = (self.options, &self.planned.located);
        // A namespace that is only pruned stays itself; one that the last bundle named and this one does not goes.
        let goes = |key: &Key| match key.kind {
            Kind::Namespace => options.prune_namespaces.contains(&key.name),
            Kind::Secret => false,
            _ => {
                touched.contains(&key.namespace)
                    || options.prune_namespaces.contains(&key.namespace)
            }
        };
        let extra = self
            .current
            .all()
            .map(|(key, _)| key)
            .filter(|key| goes(key) && !located.contains_key(*key));
        let (namespaces, within): (Vec<_>, Vec<_>) =
            extra.cloned().partition(|key| key.kind == Kind::Namespace);
        for key in within {
            if key.kind == Kind::Collection && (self.puts_into(&key) || holds(&key)?) {
                self.kept(key, "documents");
                continue;
            }
            self.empty(&key, false);
            self.gone(key);
        }
        for key in namespaces {
            match referrers(&self.next, &key).as_slice() {
                [] => {
                    self.empty(&key, false);
                    self.gone(key);
                }
                held => self.kept(key, &names(&held[..held.len().min(NAMED)])),
            }
        }
        Ok(())
    }

    /// Whether the changeset puts a document into a collection.
    fn puts_into(&self, collection: &Key) -> bool {
        self.planned.documents.iter().any(|op| match op {
            DocumentOp::Put { document, .. } => {
                (&document.namespace, &document.collection)
                    == (&collection.namespace, &collection.name)
            }
            DocumentOp::Delete(_) => false,
        })
    }

    fn kept(&mut self, key: Key, holds: &str) {
        let detail =
            format!("not pruned, since it holds {holds}: delete those first, or declare it");
        self.planned.warnings.push(Warning { key, detail });
    }
}

fn precondition(current: &State, key: &Key, options: &Options) -> Result<(), Rejection> {
    precondition_on(key, current.get(key).map(|s| s.revision), options)
}

/// Whether what the change relies on holds; `found` is the revision of the resource, or the version of the document.
pub(super) fn precondition_on(
    key: &Key,
    found: Option<u64>,
    options: &Options,
) -> Result<(), Rejection> {
    if options.if_none_match && found.is_some() {
        return Err(Rejection::Precondition(format!("{key} exists already")));
    }
    let what = match key.kind {
        Kind::Document => "version",
        _ => "revision",
    };
    match (options.if_match, found) {
        (Some(wanted), Some(found)) if wanted == found => Ok(()),
        (Some(wanted), Some(found)) => Err(Rejection::Precondition(format!(
            "{key} is at {what} {found}, not {wanted}"
        ))),
        (Some(_), None) => Err(Rejection::Precondition(format!("{key} does not exist"))),
        (None, None) if options.if_exists => {
            Err(Rejection::Precondition(format!("{key} does not exist")))
        }
        (None, _) => Ok(()),
    }
}

/// Who refers to a resource, and so keeps it from being deleted. Documents are not among them.
fn referrers(state: &State, key: &Key) -> Vec<Key> {
    let routes = |refers: &dyn Fn(&crate::resource::Route) -> bool| {
        state
            .of_kind(Kind::Route)
            .filter(|(k, stored)| {
                k.namespace == key.namespace
                    && matches!(&stored.spec, Spec::Route(route) if refers(route))
            })
            .map(|(k, _)| k.clone())
            .collect()
    };
    match key.kind {
        Kind::Namespace => state
            .all()
            .map(|(k, _)| k)
            .filter(|k| k.namespace == key.namespace && k.kind != Kind::Namespace)
            .cloned()
            .collect(),
        Kind::Service => routes(&|route| route.service.as_deref() == Some(&key.name)),
        Kind::Module => routes(&|route| route.modules.contains(&key.name)),
        Kind::Secret => {
            let named = format!("${{secret:{}}}", key.name);
            state
                .all()
                .filter(|(k, stored)| {
                    k.namespace == key.namespace && names_secret(&stored.spec, &named)
                })
                .map(|(k, _)| k.clone())
                .collect()
        }
        Kind::Collection | Kind::Consumer | Kind::Domain | Kind::Route | Kind::Document => {
            Vec::new()
        }
    }
}

/// Whether a secret is named where it would be put in.
fn names_secret(spec: &Spec, named: &str) -> bool {
    let (plugins, key) = match spec {
        Spec::Namespace(namespace) => (&namespace.plugins, None),
        Spec::Route(route) => (&route.plugins, None),
        Spec::Service(service) => {
            let tls = service.tls.as_ref();
            (
                &service.plugins,
                tls.and_then(|tls| tls.client_key.as_ref()),
            )
        }
        _ => return false,
    };
    let mut configs = plugins.iter().map(|usage| usage.config.to_string());
    configs.any(|config| config.contains(named)) || key.is_some_and(|key| key.contains(named))
}
