//! A gateway of a test: made at the first request, with stores in memory that know its collections and secrets.

use super::{Owner, Plan, Serve, World};
use crate::config::{Node, validate};
use crate::js::outside::{Outside, Said};
use crate::js::{
    Document, Engine, MemorySecrets, MemoryState, Page, Query, SecretStore, StateStore, StoreError,
};
use async_trait::async_trait;
use dgate_core::units;
use dgate_core::{BoxFuture, Request, Response};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use url::Url;

/// See the top of this file.
pub(super) struct Gateway {
    pub(super) owner: Owner,
    namespace: String,
    options: Value,
    state: Arc<Collections>,
    heard: Arc<Heard>,
    built: OnceLock<Result<Serve, String>>,
}

impl Gateway {
    pub(super) fn new(world: &Arc<World>, owner: Owner, options: Value) -> Self {
        let namespace = options["namespace"].as_str().unwrap_or("default");
        Self {
            owner,
            namespace: namespace.to_owned(),
            state: Arc::new(Collections::new(&options["collections"])),
            heard: Arc::new(Heard::new(Arc::downgrade(world), world.log.clone())),
            built: OnceLock::new(),
            options,
        }
    }

    /// The gateway itself. Compiling its modules takes milliseconds, on this thread.
    pub(super) fn serve(&self, world: &World) -> Result<Serve, String> {
        let make = || {
            let secrets = MemorySecrets::default();
            for (name, value) in self.options["secrets"].as_object().into_iter().flatten() {
                secrets.set(&self.namespace, name, value.as_str().unwrap_or_default());
            }
            let engine = Engine::within(
                self.heard.clone(),
                Some(self.state.clone()),
                Some(Arc::new(secrets)),
            );
            (world.make)(Plan {
                options: self.options.clone(),
                folder: world.folder.clone(),
                engine,
            })
        };
        self.built.get_or_init(make).clone()
    }

    pub(super) fn logs(&self) -> Vec<Said> {
        self.heard.own.lock().clone()
    }

    /// Waits for hooks and what they gave to `waitUntil`.
    pub(super) async fn settled(self: Arc<Self>) {
        while self.heard.active.load(Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// One call of a collection, as `{call, collection, …}`; gives JSON.
    pub(super) async fn document(&self, asked: Value) -> Result<Value, StoreError> {
        let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        let (namespace, collection, id) = (&self.namespace, text("collection"), text("id"));
        let shown = |d: Document| {
            let data: Value = serde_json::from_str(&d.data).unwrap_or_default();
            serde_json::json!({"id": d.id, "data": data, "version": d.version})
        };
        match &*text("call") {
            "get" => {
                let found = self.state.get(namespace, &collection, &id).await?;
                Ok(found.map_or(Value::Null, shown))
            }
            "put" => {
                let ttl = match asked["ttl"].as_str().map(str::parse::<units::Duration>) {
                    Some(Err(error)) => {
                        return Err(StoreError::new("invalid", format!("ttl: {error}")));
                    }
                    ttl => ttl.and_then(Result::ok).map(Into::into),
                };
                let (data, version) = (asked["data"].to_string(), asked["if_version"].as_u64());
                let put = self
                    .state
                    .put(namespace, &collection, &id, data, version, ttl);
                put.await.map(shown)
            }
            "delete" => {
                self.state.delete(namespace, &collection, &id).await?;
                Ok(Value::Null)
            }
            _ => {
                let limit = asked["limit"].as_u64().unwrap_or(100).clamp(1, 1000);
                let query = Query {
                    prefix: text("prefix"),
                    limit: usize::try_from(limit).unwrap_or(100),
                    cursor: asked["cursor"].as_str().map(str::to_owned),
                };
                let page = self.state.list(namespace, &collection, query).await?;
                let items: Vec<_> = page.items.into_iter().map(shown).collect();
                Ok(serde_json::json!({"items": items, "next": page.next}))
            }
        }
    }
}

/// What the modules of a gateway find outside: mocks in place of the network, and somebody who listens.
pub(super) struct Heard {
    world: Weak<World>,
    own: Mutex<Vec<Said>>,
    /// That of the test that runs.
    log: Arc<Mutex<Vec<Said>>>,
    active: AtomicUsize,
}

impl Heard {
    pub(super) fn new(world: Weak<World>, log: Arc<Mutex<Vec<Said>>>) -> Self {
        Self {
            world,
            own: Mutex::default(),
            log,
            active: AtomicUsize::new(0),
        }
    }
}

impl Outside for Heard {
    fn is_network(&self) -> bool {
        true
    }

    fn fetch(&self, url: &Url, request: Request) -> BoxFuture<Result<Response, String>> {
        let (world, url) = (self.world.clone(), url.to_string());
        Box::pin(async move {
            match world.upgrade() {
                Some(world) => super::play::serve(&world, 0, url, request).await,
                None => Err("the test has ended".to_owned()),
            }
        })
    }

    fn said(&self, said: Said) {
        self.own.lock().push(said.clone());
        self.log.lock().push(said);
    }

    fn began(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    fn ended(&self) {
        self.active.fetch_sub(1, Relaxed);
    }
}

/// Documents in memory, in the collections that the test named.
struct Collections {
    known: HashMap<String, Declared>,
    documents: MemoryState,
}

#[derive(Default)]
struct Declared {
    schema: Option<Value>,
    ttl: Option<Duration>,
}

impl Collections {
    fn new(options: &Value) -> Self {
        let one = |item: &Value| {
            if let Some(name) = item.as_str() {
                return Some((name.to_owned(), Declared::default()));
            }
            let ttl = item["ttl"]
                .as_str()
                .and_then(|t| t.parse::<units::Duration>().ok());
            let declared = Declared {
                schema: item.get("schema").cloned(),
                ttl: ttl.map(Into::into),
            };
            Some((item["name"].as_str()?.to_owned(), declared))
        };
        let items = options.as_array().into_iter().flatten();
        Self {
            known: items.filter_map(one).collect(),
            documents: MemoryState::default(),
        }
    }

    fn find(&self, collection: &str) -> Result<&Declared, StoreError> {
        self.known.get(collection).ok_or_else(|| {
            let message = format!(
                "there is no collection `{collection}`: name it in `collections` of the gateway"
            );
            StoreError::new("not_found", message)
        })
    }
}

#[async_trait]
impl StateStore for Collections {
    async fn get(
        &self,
        namespace: &str,
        collection: &str,
        id: &str,
    ) -> Result<Option<Document>, StoreError> {
        self.find(collection)?;
        self.documents.get(namespace, collection, id).await
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
        let declared = self.find(collection)?;
        if let Some(schema) = &declared.schema {
            let value: Value = serde_json::from_str(&data)
                .map_err(|e| StoreError::new("invalid", e.to_string()))?;
            let found = validate(&Node::from_json(&value), schema);
            if !found.is_empty() {
                let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
                return Err(StoreError::new("invalid", lines.join("\n")));
            }
        }
        let ttl = ttl.or(declared.ttl);
        self.documents
            .put(namespace, collection, id, data, if_version, ttl)
            .await
    }

    async fn delete(&self, namespace: &str, collection: &str, id: &str) -> Result<(), StoreError> {
        self.find(collection)?;
        self.documents.delete(namespace, collection, id).await
    }

    async fn list(
        &self,
        namespace: &str,
        collection: &str,
        query: Query,
    ) -> Result<Page, StoreError> {
        self.find(collection)?;
        self.documents.list(namespace, collection, query).await
    }

    async fn is_public(&self, _: &str, _: &str) -> bool {
        false
    }
}

/// What a test finds that asks for state itself: there is no gateway behind it.
pub(super) struct Nothing;

fn nothing<T>() -> Result<T, StoreError> {
    let message = "a test has no state and no secrets of its own: only modules of a gateway have";
    Err(StoreError::new("not_found", message))
}

#[async_trait]
impl StateStore for Nothing {
    async fn get(&self, _: &str, _: &str, _: &str) -> Result<Option<Document>, StoreError> {
        nothing()
    }

    async fn put(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: String,
        _: Option<u64>,
        _: Option<Duration>,
    ) -> Result<Document, StoreError> {
        nothing()
    }

    async fn delete(&self, _: &str, _: &str, _: &str) -> Result<(), StoreError> {
        nothing()
    }

    async fn list(&self, _: &str, _: &str, _: Query) -> Result<Page, StoreError> {
        nothing()
    }

    async fn is_public(&self, _: &str, _: &str) -> bool {
        false
    }
}

#[async_trait]
impl SecretStore for Nothing {
    async fn get(&self, _: &str, _: &str) -> Result<Option<String>, StoreError> {
        nothing()
    }
}
