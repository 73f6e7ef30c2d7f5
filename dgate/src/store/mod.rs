//! Where the control plane keeps bytes: floor 8. A [`Store`] is an ordered map from bytes to bytes with atomic
//! batches and an explicit [`sync`](Store::sync); what the bytes mean is the business of whoever calls it. In memory
//! it is a [`MemoryStore`], on disk a `SledStore`; `Sealer` encrypts the sensitive fields before they get here.
//!
//! ```
//! use dgate::store::{Batch, MemoryStore, Store};
//!
//! let store = MemoryStore::new();
//! let mut batch = Batch::new();
//! batch.put("route/default/a", "{}");
//! batch.put("revision", "1");
//! store.write(batch)?;
//! store.sync()?;
//! assert_eq!(store.get(b"revision")?, Some(b"1".to_vec()));
//! # Ok::<(), dgate::store::StoreError>(())
//! ```

mod memory;
#[cfg(feature = "seal")]
pub mod seal;
#[cfg(feature = "sled")]
mod sled;

pub use memory::MemoryStore;
#[cfg(feature = "seal")]
pub use seal::{SealError, Sealer};
#[cfg(feature = "sled")]
pub use sled::SledStore;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest key, in bytes. Resource keys are far below; it bounds what a page of an index weighs.
pub const MAX_KEY: usize = 768;

/// The longest value, in bytes: the largest body of the Admin API, and what an envelope around it takes.
pub const MAX_VALUE: usize = 16 << 20;

/// Called by a scan with each key and value; `false` ends the scan.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// An ordered map from bytes to bytes. Keys are compared as bytes, so numbers in keys are big-endian.
///
/// All calls block: `get` and `write` for microseconds unless a page must come from disk, `sync` for as long as the
/// disk takes. From async code `sync` belongs on `tokio::task::spawn_blocking`.
pub trait Store: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if what is stored does not match its checksum; it is never given out.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits all keys from `from` (included) to `to` (excluded; `None` is the end) in ascending order, as they were
    /// at one moment: writers wait until the scan is over. `visit` must not call the store.
    ///
    /// # Errors
    /// As [`get`](Store::get).
    fn scan(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError>;

    /// The same range as [`scan`](Store::scan), in descending order.
    ///
    /// # Errors
    /// As [`get`](Store::get).
    fn scan_back(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>)
    -> Result<(), StoreError>;

    /// Applies a batch as a whole: readers see all of it or nothing, and so does whoever opens the store after a
    /// crash. It is visible at once and durable after the next [`sync`](Store::sync).
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::ReadOnly`] before anything has changed, [`StoreError::Failed`] after a
    /// sync that failed, [`StoreError::TooLarge`] for a key above [`MAX_KEY`] or a value above [`MAX_VALUE`].
    fn write(&self, batch: Batch) -> Result<(), StoreError>;

    /// Returns when everything written before the call is durable: it survives `kill -9` and power loss. Concurrent
    /// callers share one flush, so eight writers cost little more than one.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Io`]: then nothing since the last good sync may be acknowledged, and
    /// the store takes no more writes until it is opened again. A later sync that goes well proves nothing, since
    /// the kernel drops the pages that it could not write.
    fn sync(&self) -> Result<(), StoreError>;

    /// Syncs, and gives the storage up for the next process. Every later call is [`StoreError::Closed`]; a second
    /// close does nothing.
    ///
    /// # Errors
    /// As [`sync`](Store::sync); the storage is given up all the same.
    fn close(&self) -> Result<(), StoreError>;
}

/// Writes that belong together. A later operation on a key replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Batch {
    /// Nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.set(key.into(), Some(value.into()))
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.set(key.into(), None)
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> &mut Self {
        let weight = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        self.bytes += key.len() + weight(&value);
        let length = key.len();
        if let Some(old) = self.writes.insert(key, value) {
            self.bytes -= length + weight(&old);
        }
        self
    }

    /// How many keys it touches.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether it touches none.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The operations in the order of their keys; `None` deletes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let writes = self.writes.iter();
        writes.map(|(key, value)| (&key[..], value.as_deref()))
    }

    fn check(&self) -> Result<(), StoreError> {
        for (key, value) in self.iter() {
            let value = value.map_or(0, <[u8]>::len);
            for (what, size, limit) in [("key", key.len(), MAX_KEY), ("value", value, MAX_VALUE)] {
                if size > limit {
                    return Err(StoreError::TooLarge { what, size, limit });
                }
            }
        }
        Ok(())
    }
}

/// Why the store did not do what it was asked for. The message says what to do where there is something to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Too little room. Nothing has changed; reads go on, and writes as soon as there is room.
    #[error("no room in {path}: {free} bytes are free and this needs {needed}; free some space")]
    Full {
        /// The storage directory.
        path: PathBuf,
        /// What is free there for this user, in bytes.
        free: u64,
        /// What must be free for the write, with the margin that the store keeps for itself.
        needed: u64,
    },
    /// The file system or its permissions allow no writes.
    #[error("{path} is read-only for this user: make it writable, or set another storage.path")]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
    },
    /// The operating system refused something else.
    #[error("storage {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A sync failed before, so what follows could not be kept either.
    #[error(
        "storage {path} takes no writes until the gateway is started again: an earlier sync failed: {reason}"
    )]
    Failed {
        /// The storage directory.
        path: PathBuf,
        /// What failed then.
        reason: String,
    },
    /// What is stored is not what was written.
    #[error("storage {path} is damaged: {reason}{}", what_next(path, moved_to.as_deref()))]
    Damaged {
        /// What is damaged.
        path: PathBuf,
        /// Where it has been moved, if it has.
        moved_to: Option<PathBuf>,
        /// How that shows.
        reason: String,
    },
    /// Another process has the directory open.
    #[error(
        "storage {path} is in use by {}, and still was after {waited:?}: stop it, or set another storage.path",
        holder.as_deref().unwrap_or("another process")
    )]
    Locked {
        /// The storage directory.
        path: PathBuf,
        /// The process that holds it, as it wrote itself down.
        holder: Option<String>,
        /// How long this one waited.
        waited: Duration,
    },
    /// Another release wrote it, and this one can't read that.
    #[error(
        "storage {path} has format {found}, and this release reads format {known}: start the release that wrote \
         it, `dgate export`, and apply the export with this one on an empty storage.path"
    )]
    Version {
        /// The storage directory.
        path: PathBuf,
        /// The format there.
        found: String,
        /// The one format that this release reads.
        known: u32,
    },
    /// A key or a value above its limit.
    #[error("a {what} of {size} bytes is too large to be stored: the limit is {limit}")]
    TooLarge {
        /// `key` or `value`.
        what: &'static str,
        /// Its bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// It has been closed.
    #[error("the storage has been closed")]
    Closed,
}

fn what_next(path: &Path, moved_to: Option<&Path>) -> String {
    match moved_to {
        Some(moved_to) => format!(
            "; it has been moved to {}. To go on, delete {} and start empty, then restore with `dgate apply -f` from \
             a backup (`dgate export --with-secrets`)",
            moved_to.display(),
            path.join("DAMAGED").display()
        ),
        None => "; restart the gateway to have all of it checked, and restore from a backup".into(),
    }
}
