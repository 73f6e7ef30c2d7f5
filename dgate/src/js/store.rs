//! Where `dgate/state` and `dgate/secrets` read and write: traits, and the ones in memory that a gateway
//! without storage has.

use async_trait::async_trait;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The most bytes of documents that the store in memory holds.
const CAPACITY: usize = 256 * 1024 * 1024;

/// One document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its id in its collection.
    pub id: String,
    /// JSON.
    pub data: String,
    /// Counts its writes from 1.
    pub version: u64,
}

/// A page of documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In the order of their ids.
    pub items: Vec<Document>,
    /// Where the next page begins; absent at the end.
    pub next: Option<String>,
}

/// Which documents `list` gives.
#[derive(Clone, Debug)]
pub struct Query {
    /// What their ids begin with.
    pub prefix: String,
    /// How many at most.
    pub limit: usize,
    /// The `next` of the page before.
    pub cursor: Option<String>,
}

/// Why a store refuses.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// `conflict`, `invalid`, `not_found`, `forbidden`, `too_large` or `unavailable`: the property `code` of the
    /// error in JavaScript.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl StoreError {
    /// An error.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// Documents, by namespace, collection and id. Who may reach which is decided before.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// One document.
    async fn get(
        &self,
        namespace: &str,
        collection: &str,
        id: &str,
    ) -> Result<Option<Document>, StoreError>;
    /// Writes one. `if_version`: only over that version, 0 meaning none.
    async fn put(
        &self,
        namespace: &str,
        collection: &str,
        id: &str,
        data: String,
        if_version: Option<u64>,
        ttl: Option<Duration>,
    ) -> Result<Document, StoreError>;
    /// Deletes one, if it is there.
    async fn delete(&self, namespace: &str, collection: &str, id: &str) -> Result<(), StoreError>;
    /// A page of them.
    async fn list(
        &self,
        namespace: &str,
        collection: &str,
        query: Query,
    ) -> Result<Page, StoreError>;
    /// Whether modules of other namespaces may read a collection.
    async fn is_public(&self, namespace: &str, collection: &str) -> bool;
}

/// Secrets, by namespace and name.
#[async_trait]
pub trait SecretStore: Send + Sync + 'static {
    /// The value of one.
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<String>, StoreError>;
}

type Place = (String, String, String);

struct Entry {
    data: String,
    version: u64,
    expires: Option<Instant>,
}

impl Entry {
    fn lives(&self) -> bool {
        self.expires.is_none_or(|at| at > Instant::now())
    }
}

/// Documents in memory: gone when the process ends.
#[derive(Default)]
pub struct MemoryState {
    documents: RwLock<BTreeMap<Place, Entry>>,
    bytes: AtomicUsize,
}

fn place(namespace: &str, collection: &str, id: &str) -> Place {
    (namespace.to_owned(), collection.to_owned(), id.to_owned())
}

#[async_trait]
impl StateStore for MemoryState {
    async fn get(
        &self,
        namespace: &str,
        collection: &str,
        id: &str,
    ) -> Result<Option<Document>, StoreError> {
        let documents = self.documents.read();
        let found = documents.get(&place(namespace, collection, id));
        Ok(found.filter(|e| e.lives()).map(|entry| Document {
            id: id.to_owned(),
            data: entry.data.clone(),
            version: entry.version,
        }))
    }

    async fn put(
        &self,
        namespace: &str,
        collection: &str,
        id: &str,
        data: String,
        if_version: Option<u64>,
        ttl: Option<Duration>,
    ) -> Result<Document, StoreError> {
        let mut documents = self.documents.write();
        let place = place(namespace, collection, id);
        let known = documents.get(&place).filter(|e| e.lives());
        let version = known.map_or(0, |e| e.version);
        if let Some(wanted) = if_version
            && wanted != version
        {
            let message = format!("{collection}/{id} is at version {version}, not {wanted}");
            return Err(StoreError::new("conflict", message));
        }
        let before = documents.get(&place).map_or(0, |e| e.data.len());
        let bytes = self.bytes.load(Relaxed) + data.len() - before.min(data.len());
        if data.len() > before && bytes > CAPACITY {
            return Err(StoreError::new(
                "unavailable",
                "the store in memory is full",
            ));
        }
        self.bytes.fetch_add(data.len(), Relaxed);
        self.bytes.fetch_sub(before, Relaxed);
        let entry = Entry {
            data: data.clone(),
            version: version + 1,
            expires: ttl.and_then(|ttl| Instant::now().checked_add(ttl)),
        };
        documents.insert(place, entry);
        Ok(Document {
            id: id.to_owned(),
            data,
            version: version + 1,
        })
    }

    async fn delete(&self, namespace: &str, collection: &str, id: &str) -> Result<(), StoreError> {
        if let Some(entry) = self
            .documents
            .write()
            .remove(&place(namespace, collection, id))
        {
            self.bytes.fetch_sub(entry.data.len(), Relaxed);
        }
        Ok(())
    }

    async fn list(
        &self,
        namespace: &str,
        collection: &str,
        query: Query,
    ) -> Result<Page, StoreError> {
        let documents = self.documents.read();
        let first = query.cursor.as_deref().unwrap_or(&query.prefix);
        let mut matching = documents
            .range(place(namespace, collection, first)..)
            .take_while(|((n, c, id), _)| {
                n == namespace && c == collection && id.starts_with(&query.prefix)
            })
            .filter(|(_, entry)| entry.lives());
        let items: Vec<Document> = matching
            .by_ref()
            .take(query.limit)
            .map(|((_, _, id), entry)| Document {
                id: id.clone(),
                data: entry.data.clone(),
                version: entry.version,
            })
            .collect();
        Ok(Page {
            next: matching.next().map(|((_, _, id), _)| id.clone()),
            items,
        })
    }

    async fn is_public(&self, _: &str, _: &str) -> bool {
        false
    }
}

/// Secrets in memory.
#[derive(Default)]
pub struct MemorySecrets(RwLock<HashMap<(String, String), String>>);

impl MemorySecrets {
    /// Sets one.
    pub fn set(&self, namespace: &str, name: &str, value: impl Into<String>) {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.write().insert(key, value.into());
    }
}

#[async_trait]
impl SecretStore for MemorySecrets {
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<String>, StoreError> {
        let key = (namespace.to_owned(), name.to_owned());
        Ok(self.0.read().get(&key).cloned())
    }
}
