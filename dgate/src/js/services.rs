//! What the modules of a gateway share outside their engines: the client behind `fetch`, the caches, the stores
//! behind `dgate/state` and `dgate/secrets`.

use super::lib::cache::Cache;
use super::outside::Outside;
use super::store::{MemorySecrets, MemoryState, SecretStore, StateStore};
use super::threads::Threads;
use dgate_core::Upstream;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// See the top of this file.
pub(crate) struct Services {
    pub(crate) client: Upstream,
    caches: Mutex<HashMap<String, Cache>>,
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) secrets: Arc<dyn SecretStore>,
    pub(super) threads: Threads,
    /// Absent in a gateway that serves.
    pub(crate) outside: Option<Arc<dyn Outside>>,
}

impl Services {
    pub(crate) fn new(
        state: Option<Arc<dyn StateStore>>,
        secrets: Option<Arc<dyn SecretStore>>,
        outside: Option<Arc<dyn Outside>>,
    ) -> Arc<Self> {
        // No retries: what fails, and whether it may be sent again, is the module's business.
        let client = Upstream::builder().build();
        Arc::new(Self {
            client: client
                .expect("a client without endpoints and TLS settings has nothing to refuse"),
            caches: Mutex::default(),
            state: state.unwrap_or_else(|| Arc::new(MemoryState::default())),
            secrets: secrets.unwrap_or_else(|| Arc::new(MemorySecrets::default())),
            threads: Threads::default(),
            outside,
        })
    }

    /// The cache of a namespace.
    pub(crate) fn cache(&self, namespace: &str) -> Cache {
        let mut caches = self.caches.lock();
        match caches.get(namespace) {
            Some(known) => known.clone(),
            None => {
                let made = Cache::new();
                caches.insert(namespace.to_owned(), made.clone());
                made
            }
        }
    }
}
