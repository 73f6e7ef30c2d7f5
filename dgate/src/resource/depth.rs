//! How deep the free data of a resource nests: documents, metadata, schemas and plugin configurations. What is
//! taken here can be read again from every export and backup.

use super::{Document, Spec};
use crate::config::{MAX_DATA_DEPTH, PluginUse};
use serde_json::Value as Json;

impl Document {
    /// What is wrong with `data` if it nests too deep.
    pub(crate) fn too_deep(&self) -> Option<String> {
        deep(&self.data).then(|| too_deep("data"))
    }
}

impl Spec {
    /// The pointer of what nests deeper than [`MAX_DATA_DEPTH`], and what is wrong with it. Documents say so
    /// themselves, wherever they come from.
    pub(crate) fn too_deep(&self) -> Option<(String, String)> {
        let in_plugins = |plugins: &[PluginUse]| {
            let at = plugins.iter().position(|usage| deep(&usage.config))?;
            Some(format!("/plugins/{at}/config"))
        };
        let pointer = match self {
            Self::Consumer(consumer) => {
                let mut values = consumer.metadata.values();
                // The map around them is a level, too.
                let found = values.any(|value| nests_deeper(value, MAX_DATA_DEPTH - 1));
                found.then(|| "/metadata".to_owned())
            }
            Self::Collection(collection) => {
                let found = collection.schema.as_ref().is_some_and(deep);
                found.then(|| "/schema".to_owned())
            }
            Self::Namespace(namespace) => in_plugins(&namespace.plugins),
            Self::Service(service) => in_plugins(&service.plugins),
            Self::Route(route) => in_plugins(&route.plugins),
            Self::Secret(_) | Self::Domain(_) | Self::Module(_) | Self::Document(_) => None,
        };
        pointer.map(|pointer| {
            let detail = too_deep(pointer.trim_start_matches('/'));
            (pointer, detail)
        })
    }
}

/// What is wrong with data that nests too deep.
fn too_deep(what: &str) -> String {
    format!("{what} nests deeper than {MAX_DATA_DEPTH} levels")
}

fn deep(json: &Json) -> bool {
    nests_deeper(json, MAX_DATA_DEPTH)
}

/// Whether a value has more levels, itself included. Looks no deeper than that.
fn nests_deeper(json: &Json, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return true;
    };
    match json {
        Json::Array(items) => items.iter().any(|item| nests_deeper(item, below)),
        Json::Object(fields) => fields.values().any(|value| nests_deeper(value, below)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn levels_are_counted_with_the_innermost_value() {
        for (value, levels) in [
            (json!(1), 1),
            (json!([]), 1),
            (json!([[], 1]), 2),
            (json!({"a": 1, "b": {"c": [null]}}), 4),
        ] {
            assert!(!nests_deeper(&value, levels), "{value}");
            assert!(nests_deeper(&value, levels - 1), "{value}");
        }
    }
}
