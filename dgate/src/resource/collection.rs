//! A collection: a named set of documents of a namespace, and what they look like.

use super::{default_namespace, is_default, wrong_field};
use crate::config::{Diagnostic, Node};
use dgate_core::units::Duration;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The times of documents are kept to the millisecond.
const MIN_TTL: std::time::Duration = std::time::Duration::from_millis(1);

/// A set of documents, which modules reach as `collection(name)` of `dgate/state`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// Its namespace. Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub namespace: String,
    /// Its name.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub name: String,
    /// A JSON Schema that the `data` of every document must fit when it is written; drafts 4 to 2020-12 by its
    /// `$schema`, 2020-12 without. It can refer to parts of itself only. What is stored already is not looked at
    /// when the schema changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// Whose modules may read it. Default `private`.
    #[serde(default)]
    pub visibility: Visibility,
    /// How long a document lives after its last write, unless the write says otherwise: `1ms` or more. Left out: for
    /// ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Free words for lists and modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
}

/// Whose modules may read a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Those of its namespace, which may write it too.
    #[default]
    Private,
    /// Those of every namespace.
    Public,
}

impl Collection {
    /// What its schema checks; `None` without a schema. Takes as long as the schema is large: keep it.
    ///
    /// # Errors
    /// What is wrong with the schema, as text.
    pub fn validator(&self) -> Result<Option<Validator>, String> {
        let Some(schema) = &self.schema else {
            return Ok(None);
        };
        jsonschema::options()
            // Linear in the text, whatever the pattern: look-around and back references are errors.
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .map(Some)
            .map_err(|error| {
                let what = match error.kind() {
                    // The library's text tells how to build it so that it fetches from other places.
                    ValidationErrorKind::Referencing(_) => {
                        "a `$ref` leads to nothing in it, and it can refer to parts of itself only"
                            .to_owned()
                    }
                    _ => error.to_string(),
                };
                match error.instance_path().as_str() {
                    "" => what,
                    path => format!("{path}: {what}"),
                }
            })
    }

    pub(super) fn check(&self, node: &Node, prefix: &str) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        if let Err(error) = self.validator() {
            let detail = format!("is no JSON Schema that can be used: {error}");
            found.push(wrong_field(node, prefix, "schema", detail));
        }
        if self.ttl.is_some_and(|ttl| ttl.get() < MIN_TTL) {
            let detail = "is 1ms or more: leave it out for no end";
            found.push(wrong_field(node, prefix, "ttl", detail));
        }
        found
    }
}
