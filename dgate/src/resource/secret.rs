//! A secret: a text that plugins, services and modules use and nobody gets to see.

use super::{default_namespace, is_default, wrong_field};
use crate::config::{Diagnostic, Node};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest secret, in bytes.
pub const MAX_SECRET: usize = 64 * 1024;

/// A text that modules get from `dgate/secrets`, and configs of plugins by `${secret:NAME}`. It is encrypted where
/// it is stored, and no answer, export, difference or log ever holds it.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// Its namespace. Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub namespace: String,
    /// Its name.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub name: String,
    /// The text, 1 byte to 64KiB. Never given out; left out of a change, what is stored stays.
    #[serde(default, skip_serializing)]
    #[schemars(extend("writeOnly" = true))]
    pub data: Option<String>,
    /// Free words for lists and modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
}

impl Secret {
    pub(super) fn check(&self, node: &Node, prefix: &str) -> Vec<Diagnostic> {
        let detail = match self.data.as_ref().map(String::len) {
            Some(0) => "is empty: leave it out to keep what is stored".to_owned(),
            Some(size) if size > MAX_SECRET => {
                format!("has {size} bytes, more than {MAX_SECRET}")
            }
            _ => return Vec::new(),
        };
        vec![wrong_field(node, prefix, "data", detail)]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("data", &self.data.as_ref().map(|_| "…"))
            .field("tags", &self.tags)
            .finish()
    }
}
