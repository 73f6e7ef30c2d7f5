//! A namespace: references never leave it.

use super::is_default;
use crate::config::PluginUse;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A namespace holds domains, services and routes that know only each other.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// Its name: lower-case letters, digits, `.`, `_` and `-`.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub name: String,
    /// Free words for lists and modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    /// Plugins on every route of the namespace, before those of services and routes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub plugins: Vec<PluginUse>,
}
