//! What modules reach of the control plane: documents for `dgate/state`, secrets for `dgate/secrets`.

use super::ledger::{DocumentQuery, Ledger, LedgerError, MAX_DATA, StoredDocument};
use super::{Applied, ChangeSet, Options, Rejection};
use crate::js::{self, Page, Query, SecretStore, StateStore, StoreError};
use crate::resource::{self, Key, Kind, Spec, Visibility};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Documents and secrets of a ledger.
#[derive(Clone)]
pub(crate) struct Reached(pub(crate) Arc<Ledger>);

impl Reached {
    fn collection(&self, namespace: &str, name: &str) -> Option<Arc<resource::Stored>> {
        let key = Key::new(Kind::Collection, namespace, name);
        self.0.published().get(&key).cloned()
    }

    fn known(&self, namespace: &str, name: &str) -> Result<(), StoreError> {
        let absent = || {
            let message = format!(
                "collection `{name}` does not exist in namespace `{namespace}`: declare it"
            );
            StoreError::new("not_found", message)
        };
        self.collection(namespace, name)
            .map(drop)
            .ok_or_else(absent)
    }

    /// Writes off the worker: it takes as long as the disk.
    async fn write(&self, change: ChangeSet, options: Options) -> Result<Applied, StoreError> {
        let ledger = self.0.clone();
        let write = move || ledger.write_documents(change, &options);
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(applied)) => Ok(applied),
            Ok(Err(rejection)) => Err(refused(rejection)),
            Err(_) => Err(StoreError::new("unavailable", "the write failed")),
        }
    }
}

#[async_trait]
impl StateStore for Reached {
    async fn get(
        &self,
        namespace: &str,
        collection: &str,
        id: &str,
    ) -> Result<Option<js::Document>, StoreError> {
        self.known(namespace, collection)?;
        let key = Key::document(namespace, collection, id);
        Ok(self.0.document(&key).map_err(unread)?.map(shown))
    }

    async fn put(
        &self,
        namespace: &str,
        collection: &str,
        id: &str,
        data: String,
        if_version: Option<u64>,
        ttl: Option<Duration>,
    ) -> Result<js::Document, StoreError> {
        self.known(namespace, collection)?;
        if data.len() > MAX_DATA {
            let message = format!("data has {} bytes, more than {MAX_DATA}", data.len());
            return Err(StoreError::new("too_large", message));
        }
        if let Some(detail) = resource::id_problem(id) {
            return Err(StoreError::new("invalid", format!("the id {detail}")));
        }
        let json = serde_json::from_str(&data)
            .map_err(|e| StoreError::new("invalid", format!("data is no JSON: {e}")))?;
        let mut document = resource::Document::new(namespace, collection, id, json);
        document.expires_at = ttl.and_then(|ttl| {
            let ttl = time::Duration::try_from(ttl).ok()?;
            OffsetDateTime::now_utc().checked_add(ttl)
        });
        let options = Options {
            if_match: if_version.filter(|version| *version > 0),
            if_none_match: if_version == Some(0),
            ..Options::default()
        };
        let change = ChangeSet::put(Spec::Document(Box::new(document)));
        let applied = self.write(change, options).await?;
        Ok(js::Document {
            id: id.to_owned(),
            data,
            version: applied.document.map_or(1, |written| written.version),
        })
    }

    async fn delete(&self, namespace: &str, collection: &str, id: &str) -> Result<(), StoreError> {
        self.known(namespace, collection)?;
        let key = Key::document(namespace, collection, id);
        match self.write(ChangeSet::delete(key), Options::default()).await {
            Err(error) if error.code != "not_found" => Err(error),
            _ => Ok(()),
        }
    }

    async fn list(
        &self,
        namespace: &str,
        collection: &str,
        query: Query,
    ) -> Result<Page, StoreError> {
        self.known(namespace, collection)?;
        let after = query
            .cursor
            .map(|last| Key::document(namespace, collection, &last));
        let (ledger, limit, prefix) = (self.0.clone(), query.limit, query.prefix);
        let (namespace, collection) = (namespace.to_owned(), collection.to_owned());
        // Off the worker: it takes as long as the page is large.
        let read = move || {
            ledger.documents(&DocumentQuery {
                namespace: Some(&namespace),
                collection: Some(&collection),
                prefix: &prefix,
                after,
                limit,
            })
        };
        let page = match tokio::task::spawn_blocking(read).await {
            Ok(page) => page.map_err(unread)?,
            Err(_) => return Err(StoreError::new("unavailable", "the read failed")),
        };
        Ok(Page {
            items: page.items.into_iter().map(shown).collect(),
            next: page.next.map(|key| key.place().1.to_owned()),
        })
    }

    async fn is_public(&self, namespace: &str, collection: &str) -> bool {
        let stored = self.collection(namespace, collection);
        stored.is_some_and(|stored| {
            matches!(&stored.spec, Spec::Collection(c) if c.visibility == Visibility::Public)
        })
    }
}

#[async_trait]
impl SecretStore for Reached {
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<String>, StoreError> {
        let state = self.0.published();
        let stored = state.get(&Key::new(Kind::Secret, namespace, name));
        Ok(stored.and_then(|stored| match &stored.spec {
            Spec::Secret(secret) => secret.data.clone(),
            _ => None,
        }))
    }
}

fn shown(stored: StoredDocument) -> js::Document {
    js::Document {
        id: stored.key.place().1.to_owned(),
        data: stored.data,
        version: stored.version,
    }
}

fn unread(error: LedgerError) -> StoreError {
    StoreError::new("unavailable", error.to_string())
}

fn refused(rejection: Rejection) -> StoreError {
    let code = match &rejection {
        Rejection::Precondition(_) => "conflict",
        Rejection::NotFound(_) => "not_found",
        Rejection::Invalid(_) => "invalid",
        _ => "unavailable",
    };
    StoreError::new(code, rejection.to_string())
}
