//! [`SledStore`]: the [`Store`] on disk, by sled 0.34, one process for each directory.
//!
//! ```text
//! <storage.path>/        mode 0700
//!   lock                 held by the one process that has it open
//!   state/               sled's files, and `synced`: how many batches have been acknowledged
//!   state.damaged-<time> what did not open, moved aside; then DAMAGED says so and keeps the next start from being empty
//! ```
//!
//! What sled 0.34 needs from us is said where it is given: a real `fdatasync` ([`Inner::flush`]), a checksum and small
//! pages ([`record`]), a count that notices a lost tail ([`open`]), and a disk that never fills up under it ([`space`]).

mod commit;
mod open;
mod record;
mod space;
#[cfg(test)]
mod tests;

use super::{Batch, Store, StoreError, Visit};
use ::sled as engine;
use commit::{Commit, Failure};
use open::Inner;
use parking_lot::{Mutex, RwLock};
use record::{CHUNK, Chunked, Record};
use space::Space;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A store in a directory. Everything that [`sync`](Store::sync) has acknowledged survives `kill -9` and power loss;
/// damage is noticed and refused.
pub struct SledStore {
    path: PathBuf,
    /// Writers take it for themselves, so that readers see batches whole. `None` once it is closed.
    inner: RwLock<Option<Arc<Inner>>>,
    /// Held by the one who writes.
    writing: Mutex<()>,
    commit: Commit,
    space: Space,
}

impl SledStore {
    /// Opens the store in a directory, which is made (mode 0700) if need be, and checks all that is in it. Waits up
    /// to `lock_timeout` for another process to end, as in a restart that overlaps.
    ///
    /// # Errors
    /// [`StoreError::Locked`] after that time, [`StoreError::Damaged`] if anything in it is not what was written
    /// (then it is moved aside, and every later start is refused until somebody decides),
    /// [`StoreError::Version`] for another release's format.
    pub fn open(path: &Path, lock_timeout: Duration) -> Result<Self, StoreError> {
        Self::open_with(path, lock_timeout, Space::of_the_disk())
    }

    fn open_with(path: &Path, lock_timeout: Duration, space: Space) -> Result<Self, StoreError> {
        let (inner, sequence) = open::open(path, lock_timeout, &space)?;
        Ok(Self {
            path: path.into(),
            inner: RwLock::new(Some(Arc::new(inner))),
            writing: Mutex::new(()),
            commit: Commit::starting_at(sequence),
            space,
        })
    }

    fn error(&self, error: engine::Error) -> StoreError {
        open::error(&self.path, error, &self.space)
    }

    fn walk(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
        next: impl Fn(&mut engine::Iter) -> Option<engine::Result<(engine::IVec, engine::IVec)>>,
    ) -> Result<(), StoreError> {
        let inner = self.inner.read();
        let inner = inner.as_ref().ok_or(StoreError::Closed)?;
        let from = record::entry(from);
        let to = to.map_or(record::END.to_vec(), record::entry);
        // sled does not care for ranges that end before they start.
        if from >= to {
            return Ok(());
        }
        let mut entries = inner.db.range(from..to);
        while let Some(entry) = next(&mut entries) {
            let (stored, value) = entry.map_err(|error| self.error(error))?;
            let Some(key) = record::key_of(&stored) else {
                continue;
            };
            let go_on = match record::decode(&stored, &value) {
                Some(Record::Inline(value)) => visit(key, value),
                Some(Record::Chunked(at)) => visit(key, &self.join(inner, &stored, at)?),
                None => return Err(self.damaged(&stored)),
            };
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    fn join(&self, inner: &Inner, stored: &[u8], at: Chunked) -> Result<Vec<u8>, StoreError> {
        let mut whole = Vec::new();
        let joined = inner.join(at, |chunk| whole.extend_from_slice(chunk));
        match joined.map_err(|error| self.error(error))? {
            true => Ok(whole),
            false => Err(self.damaged(stored)),
        }
    }

    fn damaged(&self, stored: &[u8]) -> StoreError {
        open::damaged(&self.path, open::mismatch(stored))
    }

    /// The operations of sled for a batch.
    fn operations(
        &self,
        inner: &Inner,
        batch: &Batch,
        sequence: u64,
    ) -> Result<engine::Batch, StoreError> {
        let mut operations = engine::Batch::default();
        for (place, (key, value)) in (0..).zip(batch.iter()) {
            let stored = record::entry(key);
            let old = inner.db.get(&stored).map_err(|error| self.error(error))?;
            if let Some(old) = &old {
                match record::decode(&stored, old) {
                    Some(Record::Inline(_)) => {}
                    Some(Record::Chunked(at)) => {
                        at.keys().for_each(|chunk| operations.remove(chunk));
                    }
                    None => return Err(self.damaged(&stored)),
                }
            }
            match value {
                None if old.is_none() => {}
                None => operations.remove(stored),
                Some(value) if value.len() <= CHUNK => {
                    let value = record::inline(&stored, value);
                    operations.insert(stored, value);
                }
                Some(value) => {
                    let at = Chunked {
                        batch: sequence,
                        place,
                        // A value has a limit far below what 32 bits count.
                        count: value.len().div_ceil(CHUNK) as u32,
                    };
                    for (chunk_key, chunk) in at.keys().zip(value.chunks(CHUNK)) {
                        let chunk = record::inline(&chunk_key, chunk);
                        operations.insert(chunk_key, chunk);
                    }
                    let pointer = record::chunked(&stored, at);
                    operations.insert(stored, pointer);
                }
            }
        }
        let count = record::inline(record::SEQUENCE_KEY, &sequence.to_le_bytes());
        operations.insert(record::SEQUENCE_KEY, count);
        Ok(operations)
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let inner = self.inner.read();
        let inner = inner.as_ref().ok_or(StoreError::Closed)?;
        let stored = record::entry(key);
        let found = inner.db.get(&stored).map_err(|error| self.error(error))?;
        let Some(value) = found else {
            return Ok(None);
        };
        match record::decode(&stored, &value) {
            Some(Record::Inline(value)) => Ok(Some(value.to_vec())),
            Some(Record::Chunked(at)) => self.join(inner, &stored, at).map(Some),
            None => Err(self.damaged(&stored)),
        }
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        self.walk(from, to, visit, Iterator::next)
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.walk(from, to, visit, DoubleEndedIterator::next_back)
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check()?;
        // Other writers wait from here, readers only while the batch goes in.
        let _turn = self.writing.lock();
        let inner = self.inner.read().clone().ok_or(StoreError::Closed)?;
        if let Some(reason) = self.commit.failed() {
            let path = self.path.clone();
            return Err(StoreError::Failed { path, reason });
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.space.check(&self.path, batch.bytes())?;
        let sequence = self.commit.written() + 1;
        let operations = self.operations(&inner, &batch, sequence)?;
        let open = self.inner.write();
        let inner = open.as_ref().ok_or(StoreError::Closed)?;
        let applied = guarded(|| inner.db.apply_batch(operations));
        applied.map_err(|error| {
            // It may be there in part, and nothing of it may ever become durable: what was acknowledged before is
            // on disk, so the way back to it is to open the store again.
            let error = self.error(error);
            self.commit.fail(error.to_string());
            error
        })?;
        self.commit.set_written(sequence);
        inner.reserve();
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let inner = self.inner.read().clone().ok_or(StoreError::Closed)?;
        let flush = |covers| {
            let flushed = guarded(|| inner.flush(covers));
            flushed.map_err(|error| self.error(error))
        };
        self.commit.sync(flush).map_err(|failure| match failure {
            Failure::Now(error) => error,
            Failure::Before(reason) => StoreError::Failed {
                path: self.path.clone(),
                reason,
            },
        })
    }

    fn close(&self) -> Result<(), StoreError> {
        let synced = self.sync();
        // The lock goes with the last one that still flushes.
        if self.inner.write().take().is_none() {
            return Ok(());
        }
        synced
    }
}

/// sled panics where others return an error; here that is one more way to fail.
fn guarded<T>(call: impl FnOnce() -> engine::Result<T>) -> engine::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = (panic.downcast_ref::<String>().map(String::as_str))
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let text = text.unwrap_or("it panicked");
        Err(engine::Error::ReportableBug(text.to_owned()))
    })
}
