//! The state machine of the control plane: a numbered changeset goes in, and what it makes of the state comes out,
//! the same wherever it is applied. In the store one batch holds all that a changeset writes, its number included,
//! so that after a crash there is all of it or nothing.
//!
//! The configuration is in memory as a whole ([`State`]); documents and the history are read from the store.

mod commit;
mod documents;
mod layout;
mod record;
mod revisions;

pub(crate) use documents::{DocumentPage, DocumentQuery, MAX_DATA, StoredDocument};
pub(crate) use record::Declaration;
pub use record::{Codec, Unreadable};
pub use revisions::{Changed, Revision};

use super::change::{ChangeSet, Options};
use super::plan::plan;
use super::{Applied, Rejection};
use crate::resource::{DigestKey, Key, State, Stored};
use crate::store::{Batch, MemoryStore, Store, StoreError};
use arc_swap::ArcSwap;
pub(super) use commit::Entry;
use jsonschema::Validator;
use layout::{META, RESOURCES};
use parking_lot::Mutex;
use record::{FORMAT, Meta, Record};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use time::OffsetDateTime;

/// A page of resources, documents or revisions ends when it holds this many bytes, whatever its limit: about what a
/// body may have.
pub(crate) const PAGE_BYTES: usize = 8 << 20;

/// Revisions kept unless the configuration says otherwise.
const HISTORY: u64 = 1000;

/// The state of the control plane, and the store that keeps it.
pub struct Ledger {
    store: Arc<dyn Store>,
    codec: Codec,
    /// How many revisions are kept.
    history: u64,
    inner: Mutex<Inner>,
    /// The state that is committed; it may be ahead of what is durable. Changes under the lock.
    committed: ArcSwap<State>,
    /// The state that is durable, and served.
    published: ArcSwap<State>,
}

struct Inner {
    meta: Meta,
    /// Validators of collections, made when the first document comes.
    validators: HashMap<Key, (Arc<Stored>, Option<Arc<Validator>>)>,
}

/// Why a stored state can't be taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The store does not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not as this release writes it, or sealed with a key that is not here.
    #[error(
        "{0}; nothing was changed: give back what is missing, or start with another storage.path and restore a backup"
    )]
    Unreadable(#[from] Unreadable),
    /// Written in another format.
    #[error(
        "the stored state has format {found}, and this release reads format {FORMAT}: start the release that wrote it, `dgate export`, and apply the export with this one on an empty storage.path"
    )]
    Format {
        /// The one found.
        found: u32,
    },
    /// The operating system has no randomness.
    #[error("no random numbers: {0}")]
    Random(String),
}

/// Called with each key and value; an error ends the scan.
type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), LedgerError>;

impl Ledger {
    /// An empty one that ends with the process.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn in_memory() -> Result<Self, LedgerError> {
        Self::open(Arc::new(MemoryStore::new()), Codec::default(), HISTORY)
    }

    /// Whether a store holds the state of a ledger.
    ///
    /// # Errors
    /// What the store does not give.
    #[cfg(feature = "sled")]
    pub(crate) fn is_kept_in(store: &dyn Store) -> Result<bool, StoreError> {
        Ok(store.get(META)?.is_some())
    }

    /// Takes up what a store holds; an empty one begins at revision 0. `history` revisions are kept, at least one.
    ///
    /// # Errors
    /// What can't be read. Nothing is changed then.
    pub fn open(store: Arc<dyn Store>, codec: Codec, history: u64) -> Result<Self, LedgerError> {
        let meta = match store.get(META)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Unreadable::new("list of counters", e))?,
            None => {
                let mut key = [0; 32];
                getrandom::fill(&mut key).map_err(|e| LedgerError::Random(e.to_string()))?;
                let text: String = key.iter().map(|b| format!("{b:02x}")).collect();
                Meta {
                    format: FORMAT,
                    digest_key: codec.seal("meta/digest_key", &text),
                    ..Meta::default()
                }
            }
        };
        if meta.format != FORMAT {
            return Err(LedgerError::Format { found: meta.format });
        }
        let ledger = Self {
            store,
            codec,
            history: history.max(1),
            inner: Mutex::new(Inner {
                meta,
                validators: HashMap::new(),
            }),
            committed: ArcSwap::default(),
            published: ArcSwap::default(),
        };
        ledger.reseal()?;
        let state = Arc::new(ledger.load()?);
        ledger.published.store(state.clone());
        ledger.committed.store(state);
        Ok(ledger)
    }

    fn load(&self) -> Result<State, LedgerError> {
        let meta = self.inner.lock().meta.clone();
        let mut state = State::new(self.digest_key(&meta)?);
        self.scan(RESOURCES.as_bytes(), &mut |key, bytes| {
            let key = layout::resource_key(key)
                .ok_or_else(|| Unreadable::new("resource", "a key of another form"))?;
            let record: Record =
                serde_json::from_slice(bytes).map_err(|e| Unreadable::new(&key, e))?;
            let spec = self.codec.spec(&key, &record)?;
            state.insert(spec, record.revision, record.created_at, record.updated_at);
            Ok(())
        })?;
        state.set_revision(meta.revision);
        Ok(state)
    }

    fn digest_key(&self, meta: &Meta) -> Result<DigestKey, Unreadable> {
        let text = self.codec.open("meta/digest_key", &meta.digest_key)?;
        let mut key = DigestKey::default();
        for (at, byte) in key.0.iter_mut().enumerate() {
            *byte = text
                .get(2 * at..2 * at + 2)
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .ok_or_else(|| Unreadable::new("digest key", "not 64 hex digits"))?;
        }
        Ok(key)
    }

    /// Seals anew what an older key has sealed, so that the older key can be taken away.
    fn reseal(&self) -> Result<(), LedgerError> {
        let mut batch = Batch::new();
        self.scan(RESOURCES.as_bytes(), &mut |at, bytes| {
            if let Some(key) = layout::resource_key(at)
                && let Ok(record) = serde_json::from_slice::<Record>(bytes)
                && let Some(anew) = self.codec.resealed(&key, &record)?
            {
                batch.put(at, to_bytes(&anew));
            }
            Ok(())
        })?;
        self.reseal_changes(&mut batch)?;
        let mut inner = self.inner.lock();
        if self.codec.is_old(&inner.meta.digest_key) {
            let text = self.codec.open("meta/digest_key", &inner.meta.digest_key)?;
            inner.meta.digest_key = self.codec.seal("meta/digest_key", &text);
            batch.put(META, to_bytes(&inner.meta));
        }
        if !batch.is_empty() {
            let records = batch.len();
            self.store.write(batch)?;
            self.store.sync()?;
            tracing::info!(
                records,
                "sealed with the new key; the old one is not needed any more"
            );
        }
        Ok(())
    }

    /// The state that is durable.
    pub fn published(&self) -> Arc<State> {
        self.published.load_full()
    }

    pub(super) fn publish(&self, state: Arc<State>) {
        self.published.store(state);
    }

    /// The state as of the last commit, durable or not: what the next change goes on from.
    pub(super) fn committed(&self) -> Arc<State> {
        self.committed.load_full()
    }

    /// What the configuration file declared last.
    pub(crate) fn declared(&self) -> Option<Declaration> {
        self.inner.lock().meta.declared.clone()
    }

    /// The number of the last changeset.
    pub fn last_applied(&self) -> u64 {
        self.inner.lock().meta.applied
    }

    /// Applies changeset number `index`, which was written at `at`: a pure function of the state, so that every
    /// copy of the ledger that is given the same changesets holds the same. A changeset that was applied already
    /// does nothing, and one that is refused counts as applied. It is durable after [`Self::sync`]. Calls come one at
    /// a time and in order.
    ///
    /// State hashes agree between copies that have the same digest key, or no sensitive fields: the key is made
    /// where a ledger begins, and a copy has to begin with a copy of its store.
    ///
    /// # Errors
    /// A [`Rejection`], the same everywhere but for what the store refuses; then nothing has changed.
    pub fn apply(
        &self,
        index: u64,
        at: OffsetDateTime,
        change: ChangeSet,
        options: &Options,
    ) -> Result<Applied, Rejection> {
        if index <= self.last_applied() {
            let state = self.committed();
            return Ok(Applied {
                revision: state.revision(),
                state,
                ..Applied::default()
            });
        }
        let entry = Entry::of(&change, at, Some(index));
        match self.change(&entry, change, options, |_, _| Ok(())) {
            Ok((applied, _)) => {
                self.publish(self.committed());
                Ok(applied)
            }
            Err(failed @ (Rejection::Storage(_) | Rejection::Unreadable(_))) => Err(failed),
            // A changeset that is refused has had its turn, too.
            Err(refused) => {
                self.pass(index)?;
                Err(refused)
            }
        }
    }

    /// The way of every changeset: planned on what is committed, looked at by `compile` if it makes another state or
    /// comes with global settings, and committed. Changes of the configuration come one at a time.
    pub(super) fn change<T>(
        &self,
        entry: &Entry,
        change: ChangeSet,
        options: &Options,
        compile: impl FnOnce(&State, &BTreeMap<Key, String>) -> Result<T, Rejection>,
    ) -> Result<(Applied, Option<T>), Rejection> {
        let holds = |collection: &Key| self.holds_documents(collection, entry.at);
        let current = self.committed();
        let planned = plan(&current, change, options, entry.at, &holds)?;
        let next = planned.next.as_ref();
        let compiled = match next.or_else(|| options.globals.is_some().then_some(&*current)) {
            Some(next) => Some(compile(next, &planned.located)?),
            None => None,
        };
        Ok((self.commit(planned, entry, options)?, compiled))
    }

    /// Commits a changeset of documents only, and returns when it is durable.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub(super) fn write_documents(
        &self,
        change: ChangeSet,
        options: &Options,
    ) -> Result<Applied, Rejection> {
        let entry = Entry::of(&change, super::now(), None);
        let (applied, _) = self.change(&entry, change, options, |_, _| Ok(()))?;
        if !options.dry_run {
            self.sync()?;
        }
        Ok(applied)
    }

    /// Returns when all that was committed before is durable. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`Rejection::Storage`]: what was not acknowledged may be lost, and nothing more is taken.
    pub fn sync(&self) -> Result<(), Rejection> {
        Ok(self.store.sync()?)
    }

    /// Gives the storage up for the next process.
    ///
    /// # Errors
    /// As for [`Self::sync`].
    pub fn close(&self) -> Result<(), StoreError> {
        self.store.close()
    }

    /// Visits all keys with a prefix.
    fn scan(&self, prefix: &[u8], visit: Visit<'_>) -> Result<(), LedgerError> {
        let end = layout::end_of(prefix);
        let mut failed = None;
        self.store.scan(prefix, Some(&end), &mut |key, value| {
            visit(key, value).map_err(|e| failed = Some(e)).is_ok()
        })?;
        failed.map_or(Ok(()), Err)
    }
}

fn to_bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers, lists and maps with string keys")
}
