//! What was committed: who wished it, why, and what each resource was before and after.

use super::record::Record;
use super::{Ledger, LedgerError, PAGE_BYTES, layout, to_bytes};
use crate::control::Change;
use crate::resource::{Key, Kind, Spec, State, rfc3339};
use crate::store::Batch;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use time::OffsetDateTime;

/// How many revisions above the limit a commit takes away: one comes, so with two a lowered limit is reached.
const AT_ONCE: u64 = 16;

/// One commit of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Revision {
    /// Its number.
    pub id: u64,
    /// When it was committed.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Who wished it: a name of the Admin API's `auth`, `config file`, or what a program says.
    pub author: String,
    /// Why; often empty.
    pub message: String,
    /// [`State::hash`] of what it made.
    pub state_hash: String,
    /// How many resources changed.
    pub change_count: usize,
    /// What changed, in the order of the changeset.
    pub changes: Vec<Change>,
}

/// One change, with what it replaced.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Changed {
    /// What was done to which resource.
    pub change: Change,
    /// The resource as the revision before had it.
    pub before: Option<Spec>,
    /// The resource as this revision has it.
    pub after: Option<Spec>,
}

/// A change as it is stored.
#[derive(Serialize, Deserialize)]
struct ChangeRecord {
    #[serde(flatten)]
    change: Change,
    before: Option<Record>,
    after: Option<Record>,
}

impl Revision {
    /// As lists show it.
    pub fn to_json(&self) -> Json {
        let mut json = json!(self);
        json["created_at"] = rfc3339(self.created_at).into();
        json
    }

    /// With the declared fields of each resource before and after; sensitive ones are never among them.
    pub fn with_changes(&self, changes: &[Changed]) -> Json {
        let mut whole = self.to_json();
        let shown = |changed: &Changed| {
            let spec = |spec: &Option<Spec>| spec.as_ref().map(Spec::to_json);
            let mut json = changed.change.to_json();
            json["before"] = spec(&changed.before).into();
            json["after"] = spec(&changed.after).into();
            json
        };
        whole["changes"] = changes.iter().map(shown).collect();
        whole
    }
}

impl Ledger {
    /// The revisions before `before`, newest first, at most `limit`, and whether there are more.
    ///
    /// # Errors
    /// What the store does not give.
    pub fn revisions(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Revision>, bool), LedgerError> {
        let end = before.map_or_else(layout::revisions_end, layout::revision);
        // What is committed and not durable yet is nobody's to see.
        let durable = self.published().revision();
        let (mut found, mut held, mut more) = (Vec::new(), 0, false);
        let mut failed = None;
        self.store
            .scan_back(&layout::revision(0), Some(&end), &mut |_, bytes| {
                match serde_json::from_slice::<Revision>(bytes) {
                    Ok(revision) if revision.id > durable => true,
                    Ok(_) if found.len() == limit || held > PAGE_BYTES => {
                        more = true;
                        false
                    }
                    Ok(revision) => {
                        held += bytes.len();
                        found.push(revision);
                        true
                    }
                    Err(error) => {
                        failed = Some(super::Unreadable::new("revision", error));
                        false
                    }
                }
            })?;
        failed.map_or(Ok((found, more)), |e| Err(e.into()))
    }

    /// One revision, if it is kept.
    ///
    /// # Errors
    /// What the store does not give.
    pub fn revision(&self, id: u64) -> Result<Option<Revision>, LedgerError> {
        let (after, _) = self.revisions(id.checked_add(1), 1)?;
        Ok(after.into_iter().find(|revision| revision.id == id))
    }

    /// The changes of the revisions from `first` to `last`, both included, newest revision first, and within one in
    /// the order of its changeset.
    ///
    /// # Errors
    /// What the store does not give.
    pub fn changes(&self, first: u64, last: u64) -> Result<Vec<Changed>, LedgerError> {
        let end = last
            .checked_add(1)
            .map_or_else(layout::changes_end, |next| layout::change(next, 0));
        let mut found: Vec<(u64, Changed)> = Vec::new();
        let mut failed = None;
        let mut visit = |key: &[u8], bytes: &[u8]| {
            let id = number(key);
            match self.changed(bytes) {
                Ok(changed) => found.push((id, changed)),
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        };
        self.store
            .scan(&layout::change(first, 0), Some(&end), &mut visit)?;
        if let Some(error) = failed {
            return Err(error);
        }
        // Stable, so the order within a revision stays.
        found.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        Ok(found.into_iter().map(|(_, changed)| changed).collect())
    }

    fn changed(&self, bytes: &[u8]) -> Result<Changed, LedgerError> {
        let record: ChangeRecord = serde_json::from_slice(bytes)
            .map_err(|e| super::Unreadable::new("change of a revision", e))?;
        let key = record.change.key.clone();
        let spec = |record: Option<Record>| {
            record
                .map(|record| self.codec.spec(&key, &record))
                .transpose()
        };
        Ok(Changed {
            before: spec(record.before)?,
            after: spec(record.after)?,
            change: record.change,
        })
    }

    /// Writes a revision with its changes, and takes away those that are beyond the limit. Gives the oldest that is
    /// kept.
    pub(super) fn note(
        &self,
        batch: &mut Batch,
        revision: &Revision,
        before: &State,
        after: &State,
        oldest: u64,
    ) -> Result<u64, LedgerError> {
        batch.put(layout::revision(revision.id), to_bytes(revision));
        for (at, change) in (0..).zip(&revision.changes) {
            let record = |state: &State| state.get(&change.key).map(|s| self.codec.record(s));
            let record = ChangeRecord {
                change: change.clone(),
                before: record(before),
                after: record(after),
            };
            batch.put(layout::change(revision.id, at), to_bytes(&record));
        }
        let kept_from = (revision.id + 1).saturating_sub(self.history);
        let oldest = oldest.max(1);
        let until = kept_from.min(oldest + AT_ONCE);
        for id in oldest..until {
            batch.delete(layout::revision(id));
            let end = layout::change(id + 1, 0);
            self.store
                .scan(&layout::change(id, 0), Some(&end), &mut |key, _| {
                    batch.delete(key);
                    true
                })?;
        }
        Ok(until.max(oldest))
    }

    /// Seals the kept changes anew.
    pub(super) fn reseal_changes(&self, batch: &mut Batch) -> Result<(), LedgerError> {
        let prefix = layout::change(0, 0);
        let mut failed = None;
        let mut visit = |at: &[u8], bytes: &[u8]| {
            let Ok(mut record) = serde_json::from_slice::<ChangeRecord>(bytes) else {
                return true;
            };
            let key = record.change.key.clone();
            let mut any = false;
            for side in [&mut record.before, &mut record.after] {
                if let Some(old) = side {
                    match self.codec.resealed(&key, old) {
                        Ok(Some(anew)) => {
                            *side = Some(anew);
                            any = true;
                        }
                        Ok(None) => {}
                        Err(error) => failed = Some(error),
                    }
                }
            }
            if any {
                batch.put(at, to_bytes(&record));
            }
            failed.is_none()
        };
        self.store
            .scan(&prefix, Some(&layout::changes_end()), &mut visit)?;
        failed.map_or(Ok(()), |e| Err(e.into()))
    }
}

fn number(key: &[u8]) -> u64 {
    let digits = key.len().checked_sub(12).and_then(|at| key.get(at..at + 8));
    digits
        .and_then(|d| d.try_into().ok())
        .map_or(0, u64::from_be_bytes)
}

impl Serialize for Change {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Shown {
            op: String,
            kind: String,
            key: String,
        }
        let Shown { op, kind, key } = Shown::deserialize(deserializer)?;
        let wrong = |what| serde::de::Error::custom(format!("no such {what}"));
        let op = ["create", "update", "delete"]
            .into_iter()
            .find(|known| *known == op)
            .ok_or_else(|| wrong("operation"))?;
        let kind = Kind::parse(&kind).ok_or_else(|| wrong("kind"))?;
        let key = match (kind, key.split_once('/')) {
            (Kind::Namespace, _) => Key::namespace(&key),
            (_, Some((namespace, name))) => Key::new(kind, namespace, name),
            _ => return Err(wrong("key")),
        };
        Ok(Self { op, key })
    }
}
