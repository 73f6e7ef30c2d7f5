//! The use of a plugin: an entry of `plugins` in the configuration file and in resources.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A plugin by name, with its configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PluginUse {
    /// The plugin's name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its configuration, checked by the plugin's own schema. Empty if left out.
    #[serde(default = "empty")]
    #[schemars(schema_with = "map")]
    pub config: serde_json::Value,
}

impl PluginUse {
    /// The use of a plugin with this configuration.
    pub fn new(name: impl Into<String>, config: serde_json::Value) -> Self {
        Self {
            name: name.into(),
            config,
        }
    }
}

fn empty() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

fn map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}
