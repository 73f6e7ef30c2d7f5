//! A route: paths, conditions, and what happens to their requests.

use super::{default_namespace, is_default};
use crate::config::PluginUse;
use dgate_core::units::Size;
use dgate_core::upstream::TimeoutsConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Paths of a namespace and what answers them.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its namespace. Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub namespace: String,
    /// Its name.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub name: String,
    /// `/users/{id}`, `/{month}-{year}`, `/files/{*path}`, `/*` (one segment), `/api/**` (the prefix and all below).
    #[schemars(length(min = 1))]
    pub paths: Vec<String>,
    /// Methods that are taken. Default: all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub methods: Vec<String>,
    /// Headers that must be there: an exact value or `/regex/`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub headers: BTreeMap<String, String>,
    /// Query parameters that must be there: an exact value or `/regex/`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub query: BTreeMap<String, String>,
    /// A higher one wins over all precedence of paths. Default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// The service of the same namespace that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Modules of the same namespace, outermost first: they wrap each other like layers, inside the plugins.
    #[serde(default, skip_serializing_if = "is_default")]
    pub modules: Vec<String>,
    /// Plugins of this route, after those of namespace and service.
    #[serde(default, skip_serializing_if = "is_default")]
    pub plugins: Vec<PluginUse>,
    /// Takes the literal prefix, before the first parameter or wildcard, off the path that the upstream gets.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strip_path: bool,
    /// Sends the client's `Host`; overrides the service's field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preserve_host: Option<bool>,
    /// Time limits over those of the service.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: TimeoutsConfig,
    /// Largest request body. Default: `proxy.limits.max_body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Size>,
    /// Free words for lists and modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
}
