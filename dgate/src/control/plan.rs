//! What a changeset comes to: its operations, checked against the state and one another.

use super::change::{Change, ChangeSet, NAMED, Op, Options};
use super::ledger::LedgerError;
use super::rejection::{Rejection, names};
use crate::config::Diagnostic;
use crate::resource::{Document, Key, Kind, Spec, State};
use crate::snapshot::Warning;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

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
