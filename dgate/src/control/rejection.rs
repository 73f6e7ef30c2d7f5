//! Why a changeset is refused.

use super::change::NAMED;
use super::ledger::LedgerError;
use crate::config::{Diagnostic, Span, told};
use crate::resource::{Key, Kind};
use crate::snapshot::{Problem, ProblemKind};
use crate::store::StoreError;

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

pub(super) fn names(keys: &[Key]) -> String {
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
