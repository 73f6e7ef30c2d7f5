//! [`MemoryStore`]: a [`Store`] that forgets everything at exit, for gateways without `storage` and for tests.

use super::{Batch, Store, StoreError, Visit};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// The most bytes of keys and values unless the caller says otherwise: what modules write must not take all memory.
const LIMIT: usize = 1 << 30;

/// A sorted map behind a lock. `sync` has nothing to do.
#[derive(Debug)]
pub struct MemoryStore {
    /// `None` once it is closed.
    map: RwLock<Option<Map>>,
    limit: usize,
    /// Bytes of keys and values; written under the lock.
    bytes: AtomicUsize,
}

impl MemoryStore {
    /// Empty, for up to 1 GiB.
    pub fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    /// Empty, for up to this many bytes of keys and values.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            map: RwLock::new(Some(Map::new())),
            limit,
            bytes: AtomicUsize::new(0),
        }
    }

    fn read<T>(&self, with: impl FnOnce(&Map) -> T) -> Result<T, StoreError> {
        self.map.read().as_ref().map(with).ok_or(StoreError::Closed)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|map| map.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        self.read(|map| {
            let _ = range(map, from, to).all(|(key, value)| visit(key, value));
        })
    }

    fn scan_back(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.read(|map| {
            let _ = range(map, from, to)
                .rev()
                .all(|(key, value)| visit(key, value));
        })
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check()?;
        let mut map = self.map.write();
        let map = map.as_mut().ok_or(StoreError::Closed)?;
        let (used, mut bytes) = (self.bytes.load(Relaxed), self.bytes.load(Relaxed));
        for (key, value) in batch.iter() {
            let weight = |value: usize| key.len() + value;
            bytes += value.map_or(0, |value| weight(value.len()));
            bytes -= map.get(key).map_or(0, |old| weight(old.len()));
        }
        // What makes room is taken also when there is too little.
        if bytes > self.limit && bytes > used {
            return Err(StoreError::Full {
                path: "memory".into(),
                free: self.limit.saturating_sub(used) as u64,
                needed: (bytes - used) as u64,
            });
        }
        self.bytes.store(bytes, Relaxed);
        for (key, value) in batch.writes {
            match value {
                Some(value) => drop(map.insert(key, value)),
                None => drop(map.remove(&key)),
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.read(|_| ())
    }

    fn close(&self) -> Result<(), StoreError> {
        self.map.write().take();
        Ok(())
    }
}

/// A range whose end lies before its start is empty here, where `BTreeMap::range` panics.
fn range<'a>(
    map: &'a Map,
    from: &[u8],
    to: Option<&[u8]>,
) -> impl DoubleEndedIterator<Item = (&'a Vec<u8>, &'a Vec<u8>)> {
    let to = to.map_or(Bound::Unbounded, |to| Bound::Excluded(to.max(from)));
    map.range::<[u8], _>((Bound::Included(from), to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_one_refuses_what_grows_it_and_takes_what_makes_room() {
        let store = MemoryStore::with_limit(20);
        let write = |key: &str, value: Option<&str>| {
            let mut batch = Batch::new();
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            };
            store.write(batch)
        };
        write("a", Some("0123456789")).unwrap();
        let full = write("b", Some("0123456789")).unwrap_err();
        assert!(
            matches!(
                full,
                StoreError::Full {
                    free: 9,
                    needed: 11,
                    ..
                }
            ),
            "{full}"
        );
        assert_eq!(store.get(b"b").unwrap(), None);
        write("a", Some("0")).unwrap();
        write("b", Some("0123456789")).unwrap();
        write("b", None).unwrap();
        write("c", Some("0123456789")).unwrap();
    }
}
