//! [`MemoryStore`]: a [`Store`] that forgets everything at exit, for gateways without `storage` and for tests.

use super::{Batch, Store, StoreError, Visit};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A sorted map behind a lock. `sync` has nothing to do.
#[derive(Debug)]
pub struct MemoryStore {
    /// `None` once it is closed.
    map: RwLock<Option<Map>>,
}

impl MemoryStore {
    /// Empty.
    pub fn new() -> Self {
        Self {
            map: RwLock::new(Some(Map::new())),
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
