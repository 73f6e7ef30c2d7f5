//! A document: a JSON value in a collection. Documents are kept in the store, not in a [`State`](super::State).

use super::{default_namespace, wrong_field};
use crate::config::{Diagnostic, Node};
use crate::config::{TIME_FORMAT, parse_time};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;
use time::OffsetDateTime;

/// The longest id, in bytes.
pub const MAX_ID: usize = 256;

/// A JSON value under an id, which modules read and write through `dgate/state`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The namespace of its collection. Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub namespace: String,
    /// Its collection.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub collection: String,
    /// Any text of 1 to 256 bytes without control characters.
    #[schemars(length(min = 1, max = 256))]
    pub id: String,
    /// Any JSON that fits the schema of its collection.
    pub data: Json,
    /// When it goes by itself. Left out of a write, the `ttl` of its collection counts from then on.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::serde::rfc3339::option::serialize",
        deserialize_with = "utc"
    )]
    #[schemars(with = "Option<String>", extend("format" = TIME_FORMAT))]
    pub expires_at: Option<OffsetDateTime>,
}

impl Document {
    /// A document that lives as long as its collection says.
    pub fn new(
        namespace: impl Into<String>,
        collection: impl Into<String>,
        id: impl Into<String>,
        data: Json,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            collection: collection.into(),
            id: id.into(),
            data,
            expires_at: None,
        }
    }

    pub(super) fn check(&self, node: &Node, prefix: &str) -> Vec<Diagnostic> {
        id_problem(&self.id)
            .map(|detail| wrong_field(node, prefix, "id", detail))
            .into_iter()
            .collect()
    }
}

fn utc<'de, D: Deserializer<'de>>(input: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = Option::<String>::deserialize(input)?;
    text.map(|text| parse_time(&text).map_err(serde::de::Error::custom))
        .transpose()
}

/// What is wrong with an id.
pub(crate) fn id_problem(id: &str) -> Option<String> {
    if !(1..=MAX_ID).contains(&id.len()) {
        let length = id.len();
        return Some(format!("is 1 to {MAX_ID} bytes long, found {length}"));
    }
    id.contains(char::is_control)
        .then(|| "holds a control character".to_owned())
}
