//! A domain: which hosts belong to a namespace.

use super::{default_namespace, is_default};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Host names whose requests go to a namespace. A host that no domain takes goes to namespace `default`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// The namespace that gets the requests. Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub namespace: String,
    /// Its name.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub name: String,
    /// `api.example.com`, `*.example.com`, `api.*`, `*shop*`, `*`, or `/regex/`. Case and port do not matter.
    #[schemars(length(min = 1))]
    pub patterns: Vec<String>,
    /// The highest wins; then exact before wildcard before regex, then the longest pattern. Default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// Free words for lists and modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
}
