//! Back to the resources of an earlier revision, as a new one.

use super::{Applied, ChangeSet, Control, Op, Options, Rejection};
use crate::resource::{Key, Kind, Spec, State};
use std::collections::BTreeMap;

/// How often a write that comes in between is met by looking again.
const TRIES: usize = 8;

impl Control {
    /// Commits a revision whose resources are those of revision `to`; none if they are so already. Secrets and
    /// documents stay as they are.
    ///
    /// Compiling takes time in proportion to what changes: call it off the workers.
    ///
    /// # Errors
    /// [`Rejection::NoRevision`] when it is not kept, [`Rejection::Revision`] when other writers are faster time and
    /// again, and whatever [`Self::apply`] says.
    pub fn rollback(&self, to: u64, author: &str, message: &str) -> Result<Applied, Rejection> {
        let mut tries = 1;
        loop {
            let current = self.committed();
            let options = Options {
                expected_revision: Some(current.revision()),
                ..Options::default()
            };
            let change = ChangeSet {
                ops: self.way_back(&current, to)?,
                author: author.to_owned(),
                message: message.to_owned(),
            };
            match self.apply(change, &options) {
                Err(Rejection::Revision { .. }) if tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    /// The operations that make the resources those of revision `to`.
    fn way_back(&self, current: &State, to: u64) -> Result<Vec<Op>, Rejection> {
        if self.ledger().revision(to)?.is_none() {
            return Err(Rejection::NoRevision(to));
        }
        // From the newest to the oldest, so that the last one noted of a key is how it was at `to`.
        let mut then: BTreeMap<Key, Option<Spec>> = BTreeMap::new();
        for changed in self.ledger().changes(to + 1, current.revision())? {
            if changed.change.key.kind != Kind::Secret {
                then.insert(changed.change.key, changed.before);
            }
        }
        let mut puts = Vec::new();
        let mut deletes = Vec::new();
        for (key, then) in then {
            match (then, current.get(&key)) {
                (Some(then), now) if now.is_none_or(|now| now.spec != then) => {
                    puts.push(Op::Restore(Box::new(then)));
                }
                (None, Some(_)) => deletes.push(Op::Delete(key)),
                _ => {}
            }
        }
        // What refers goes before what it refers to: kinds are in that order, and a namespace is the first of all.
        puts.extend(deletes.into_iter().rev());
        Ok(puts)
    }
}
