//! What a changeset writes, as one batch: resources, documents, its revision, and the counters.

use super::documents::Writes;
use super::{Ledger, Revision, layout, to_bytes};
use crate::control::plan::Planned;
use crate::control::{Applied, ChangeSet, Options, Rejection};
use crate::resource::State;
use crate::store::Batch;
use std::sync::Arc;
use time::OffsetDateTime;

/// What is noted about a changeset.
pub(in crate::control) struct Entry {
    pub(in crate::control) at: OffsetDateTime,
    pub(in crate::control) author: String,
    pub(in crate::control) message: String,
    /// Its number; the next one when the ledger is its own and only copy.
    pub(in crate::control) index: Option<u64>,
}

impl Entry {
    pub(in crate::control) fn of(
        change: &ChangeSet,
        at: OffsetDateTime,
        index: Option<u64>,
    ) -> Self {
        Self {
            at,
            author: change.author.clone(),
            message: change.message.clone(),
            index,
        }
    }
}

impl Ledger {
    /// Commits what was planned on [`Self::committed`]; a dry run only looks whether it could. Changes of the
    /// configuration come one at a time; documents may come at any time.
    pub(in crate::control) fn commit(
        &self,
        planned: Planned,
        entry: &Entry,
        options: &Options,
    ) -> Result<Applied, Rejection> {
        let mut inner = self.inner.lock();
        let Planned {
            next,
            changes,
            documents,
            emptied,
            warnings,
            ..
        } = planned;
        let before = self.committed();
        let index = entry.index.unwrap_or(inner.meta.applied + 1);
        let after = next.map_or_else(|| before.clone(), Arc::new);
        let writes = Writes::new(self, &mut inner.validators, &after, entry.at, index);
        let writes = writes.all(documents, &emptied, options)?;
        let configured = changes.len();
        let mut applied = Applied {
            revision: after.revision(),
            changes,
            state: after.clone(),
            document: writes.document(),
            warnings,
        };
        applied.changes.extend(writes.changes());
        let declared = options.declared.clone().filter(|new| {
            let known = inner.meta.declared.as_ref();
            known != Some(new)
        });
        let nothing = applied.changes.is_empty() && declared.is_none();
        if options.dry_run || (nothing && entry.index.is_none()) {
            return Ok(Applied {
                revision: before.revision(),
                state: before,
                ..applied
            });
        }
        let mut batch = Batch::new();
        let mut meta = inner.meta.clone();
        meta.applied = index;
        if declared.is_some() {
            meta.declared = declared;
        }
        if configured > 0 {
            let changes = applied.changes[..configured].to_vec();
            self.write_resources(&mut batch, &changes, &after);
            let revision = Revision {
                id: after.revision(),
                created_at: entry.at,
                author: entry.author.clone(),
                message: entry.message.clone(),
                state_hash: after.hash(),
                change_count: changes.len(),
                changes,
            };
            meta.revision = revision.id;
            meta.oldest = self.note(&mut batch, &revision, &before, &after, meta.oldest)?;
        }
        writes.write(&mut batch);
        self.sweep(&mut batch, &writes, entry.at)?;
        batch.put(layout::META, to_bytes(&meta));
        self.store.write(batch)?;
        // Validators of collections that are gone or have changed are of no use.
        inner.validators.retain(|key, (made_of, _)| {
            after.get(key).is_some_and(|now| Arc::ptr_eq(now, made_of))
        });
        self.committed.store(after);
        inner.meta = meta;
        Ok(applied)
    }

    /// Notes that a changeset had its turn and changed nothing.
    pub(super) fn pass(&self, index: u64) -> Result<(), Rejection> {
        let mut inner = self.inner.lock();
        let mut meta = inner.meta.clone();
        meta.applied = index;
        let mut batch = Batch::new();
        batch.put(layout::META, to_bytes(&meta));
        self.store.write(batch)?;
        inner.meta = meta;
        Ok(())
    }

    fn write_resources(
        &self,
        batch: &mut Batch,
        changes: &[crate::control::Change],
        after: &State,
    ) {
        for change in changes {
            match after.get(&change.key) {
                Some(stored) => batch.put(
                    layout::resource(&change.key),
                    to_bytes(&self.codec.record(stored)),
                ),
                None => batch.delete(layout::resource(&change.key)),
            };
        }
    }
}
