//! What was committed, newest last: who wished it, why, and what each resource was before and after.
//!
//! Resources are shared with the states that held them; what a revision replaced lives as long as its record.

use super::Change;
use crate::resource::{State, Stored};
use serde_json::{Value as Json, json};
use std::collections::VecDeque;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Revisions kept; beyond it the oldest goes.
const KEPT: usize = 1000;

/// One commit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Revision {
    /// Its number.
    pub id: u64,
    /// When it was committed.
    pub created_at: OffsetDateTime,
    /// Who wished it: `admin`, `config file`, or what a program says.
    pub author: String,
    /// Why; often empty.
    pub message: String,
    /// What changed, in the order of the changeset.
    pub changes: Vec<Changed>,
}

/// One change, with what it replaced.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Changed {
    /// What was done to which resource.
    pub change: Change,
    /// The resource as the revision before had it.
    pub before: Option<Arc<Stored>>,
    /// The resource as this revision has it.
    pub after: Option<Arc<Stored>>,
}

impl Revision {
    /// Without the resources themselves, as lists show it.
    pub fn summary(&self) -> Json {
        self.json(|changed| changed.change.to_json())
    }

    /// With the declared fields of each resource before and after; sensitive ones are never among them.
    pub fn to_json(&self) -> Json {
        self.json(|changed| {
            let spec = |stored: &Option<Arc<Stored>>| stored.as_ref().map(|s| s.spec.to_json());
            let mut json = changed.change.to_json();
            json["before"] = spec(&changed.before).into();
            json["after"] = spec(&changed.after).into();
            json
        })
    }

    fn json(&self, change: impl Fn(&Changed) -> Json) -> Json {
        json!({
            "id": self.id,
            "created_at": self.created_at.format(&Rfc3339).unwrap_or_default(),
            "author": self.author,
            "message": self.message,
            "change_count": self.changes.len(),
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
        })
    }
}

/// The last revisions.
#[derive(Default)]
pub(super) struct History(VecDeque<Arc<Revision>>);

impl History {
    pub(super) fn note(&mut self, revision: Revision) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Arc::new(revision));
    }

    pub(super) fn newest_first(&self) -> Vec<Arc<Revision>> {
        self.0.iter().rev().cloned().collect()
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<Revision>> {
        let at = self.0.binary_search_by_key(&id, |r| r.id).ok()?;
        self.0.get(at).cloned()
    }
}

/// The changes between two states.
pub(super) fn changed(changes: &[Change], before: &State, after: &State) -> Vec<Changed> {
    let with = |change: &Change| Changed {
        change: change.clone(),
        before: before.get(&change.key).cloned(),
        after: after.get(&change.key).cloned(),
    };
    changes.iter().map(with).collect()
}
