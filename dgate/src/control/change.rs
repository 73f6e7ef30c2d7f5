//! ChangeSets: what is wished, how it is checked against the state, and why it may be refused.

use crate::config::{Diagnostic, Span};
use crate::resource::{Bundle, Key, Kind, Spec, State};
use crate::snapshot::{Problem, ProblemKind, Warning};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

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
    /// Creates or replaces; the text is the JSON pointer that errors about it start with.
    Put(Box<Spec>, String),
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
        Self {
            ops: vec![Op::Put(Box::new(spec), String::new())],
            ..Self::default()
        }
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
    /// Deletes a namespace with all it holds.
    pub cascade: bool,
    /// The revision that the whole state must have.
    pub expected_revision: Option<u64>,
    /// The revision that the one resource must have (`If-Match`).
    pub if_match: Option<u64>,
    /// The one resource must exist, at whatever revision (`If-Match: *`).
    pub if_exists: bool,
    /// The one resource must not exist (`If-None-Match: *`).
    pub if_none_match: bool,
}

/// What a changeset did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The revision now in force.
    pub revision: u64,
    /// What changed.
    pub changes: Vec<Change>,
    /// What looks wrong in the modules of the changeset.
    pub warnings: Vec<Warning>,
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
        const NAMED: usize = 10;
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
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn names(keys: &[Key]) -> String {
    keys.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
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

type Planned = (State, BTreeMap<Key, String>);

/// The state after a changeset, what changes, and where in the input each resource stands. `None`: nothing changes.
pub(super) fn plan(
    current: &State,
    change: ChangeSet,
    options: &Options,
    now: OffsetDateTime,
) -> Result<(Option<Planned>, Applied), Rejection> {
    if let Some(expected) = options.expected_revision
        && expected != current.revision()
    {
        return Err(Rejection::Revision {
            current: current.revision(),
            expected,
        });
    }
    let mut next = current.clone();
    let mut located = BTreeMap::new();
    let mut changes = Vec::new();
    let mut pruned = BTreeSet::new();
    for op in change.ops {
        match op {
            Op::Put(mut spec, pointer) => {
                let key = spec.key();
                if let Some(known) = next.get(&key) {
                    spec.keep_sensitive(&known.spec);
                }
                precondition(current, &key, options)?;
                pruned.insert(key.namespace.clone());
                located.insert(key.clone(), pointer);
                let known = current.get(&key).is_some();
                if next.put(*spec, now) {
                    changes.push(Change {
                        op: if known { "update" } else { "create" },
                        key,
                    });
                }
            }
            Op::Delete(key) => {
                precondition(current, &key, options)?;
                if current.get(&key).is_none() {
                    return Err(Rejection::NotFound(key));
                }
                delete(&mut next, key, options.cascade, &mut changes)?;
            }
        }
    }
    if options.prune {
        // A namespace that is only pruned stays itself; one that the last bundle named and this one does not goes.
        let goes = |key: &Key| match key.kind {
            Kind::Namespace => options.prune_namespaces.contains(&key.name),
            _ => {
                pruned.contains(&key.namespace) || options.prune_namespaces.contains(&key.namespace)
            }
        };
        let extra = current
            .all()
            .map(|(key, _)| key)
            .filter(|key| goes(key) && !located.contains_key(*key));
        for key in extra.cloned().collect::<Vec<_>>() {
            next.delete(&key);
            changes.push(Change { op: "delete", key });
        }
    }
    if changes.is_empty() {
        return Ok((
            None,
            Applied {
                revision: current.revision(),
                changes,
                warnings: Vec::new(),
            },
        ));
    }
    Ok((
        Some((next, located)),
        Applied {
            revision: current.revision() + 1,
            changes,
            warnings: Vec::new(),
        },
    ))
}

fn precondition(current: &State, key: &Key, options: &Options) -> Result<(), Rejection> {
    let revision = current.get(key).map(|s| s.revision);
    if options.if_none_match && revision.is_some() {
        return Err(Rejection::Precondition(format!("{key} exists already")));
    }
    match (options.if_match, revision) {
        (Some(wanted), Some(found)) if wanted == found => Ok(()),
        (Some(wanted), Some(found)) => Err(Rejection::Precondition(format!(
            "{key} is at revision {found}, not {wanted}"
        ))),
        (Some(_), None) => Err(Rejection::Precondition(format!("{key} does not exist"))),
        (None, None) if options.if_exists => {
            Err(Rejection::Precondition(format!("{key} does not exist")))
        }
        (None, _) => Ok(()),
    }
}

/// Deletes what nothing refers to, or a namespace with all it holds.
fn delete(
    next: &mut State,
    key: Key,
    cascade: bool,
    changes: &mut Vec<Change>,
) -> Result<(), Rejection> {
    let by: Vec<Key> = match key.kind {
        Kind::Namespace => next.all().map(|(k, _)| k).filter(|k| k.namespace == key.namespace && k.kind != Kind::Namespace).cloned().collect(),
        Kind::Service => next
            .of_kind(Kind::Route)
            .filter(|(k, stored)| k.namespace == key.namespace && matches!(&stored.spec, Spec::Route(r) if r.service.as_deref() == Some(&key.name)))
            .map(|(k, _)| k.clone())
            .collect(),
        Kind::Module => next
            .of_kind(Kind::Route)
            .filter(|(k, stored)| k.namespace == key.namespace && matches!(&stored.spec, Spec::Route(r) if r.modules.contains(&key.name)))
            .map(|(k, _)| k.clone())
            .collect(),
        Kind::Domain | Kind::Route => Vec::new(),
    };
    let cascade = cascade && key.kind == Kind::Namespace;
    if !by.is_empty() && !cascade {
        return Err(Rejection::Referenced { key, by });
    }
    for key in by.into_iter().chain([key]) {
        next.delete(&key);
        changes.push(Change { op: "delete", key });
    }
    Ok(())
}
