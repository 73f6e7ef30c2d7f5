//! The plugins a gateway knows, by name: floor 3. Registration is visible code; nothing registers itself.

use crate::body::BoxError;
use crate::hook::HookSet;
use crate::plugin::{Plugged, Plugin, Setup};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Plugins by name.
///
/// ```
/// # use dgate_core::{BoxError, Exchange, Flow, Plugin, Registry, Request, Setup, plugin};
/// # #[derive(serde::Deserialize, schemars::JsonSchema)] struct NoConfig {}
/// # struct Noop;
/// # #[plugin] impl Plugin for Noop {
/// #     const NAME: &'static str = "noop"; type Config = NoConfig;
/// #     fn new(_: NoConfig, _: &Setup) -> Result<Self, BoxError> { Ok(Self) }
/// #     async fn request_modifier(&self, _: &Exchange, req: Request) -> Flow<Request> { Ok(req) }
/// # }
/// let mut registry = Registry::default();
/// registry.add::<Noop>();
/// let entry = registry.get("noop").unwrap();
/// assert!(entry.plug(serde_json::json!({}), &Setup::default()).is_ok());
/// ```
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<Entry>>);

/// One plugin as a registry knows it.
pub struct Entry {
    name: &'static str,
    hooks: HookSet,
    consumers: bool,
    schema: Value,
    make: fn(Value, &Setup) -> Result<Plugged, BoxError>,
}

impl Registry {
    /// Adds a plugin under its name; a later one of the same name replaces it.
    pub fn add<P: Plugin>(&mut self) -> &mut Self {
        let schema = schemars::schema_for!(P::Config).to_value();
        let make = |config, setup: &Setup| {
            Ok(Plugged::new(P::new(
                serde_json::from_value(config)?,
                setup,
            )?))
        };
        self.0.insert(
            P::NAME,
            Arc::new(Entry {
                name: P::NAME,
                hooks: P::HOOKS,
                consumers: P::CONSUMERS,
                schema,
                make,
            }),
        );
        self
    }

    /// One by name.
    pub fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        self.0.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().copied()
    }
}

impl Entry {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }
    /// The hooks it has.
    pub fn hooks(&self) -> HookSet {
        self.hooks
    }
    /// Whether it looks for consumers.
    pub fn consumers(&self) -> bool {
        self.consumers
    }
    /// The JSON Schema of its configuration.
    pub fn schema(&self) -> &Value {
        &self.schema
    }
    /// Makes it ready for one place.
    pub fn plug(&self, config: Value, setup: &Setup) -> Result<Plugged, BoxError> {
        (self.make)(config, setup)
    }
}
