//! A bundle: resources by kind, kinds in plural, as files and `apply` hold them.

use super::{Kind, Spec, check};
use crate::config::{Diagnostic, Node, Value, join, validate_at};
use serde_json::{Map, Value as Json, json};

/// Resources of a bundle, each with the JSON pointer to it.
pub type Bundle = Vec<(Spec, String)>;

/// Reads a bundle; all errors at once, with pointers from the bundle's root.
///
/// # Errors
/// Unknown kinds, lists that are none, everything that the schemas of the items find, and two items with one key.
pub fn read_bundle(node: &Node) -> Result<Bundle, Vec<Diagnostic>> {
    // The outline: known kinds, each a list. Items are read below, by their own schemas.
    let lists: Map<String, Json> = Kind::ALL
        .iter()
        .map(|k| (k.plural().to_owned(), json!({"type": ["array", "null"]})))
        .collect();
    let outline = json!({"type": "object", "properties": lists, "additionalProperties": false});
    let mut errors = validate_at(node, &outline, "");
    let mut bundle = Bundle::new();
    let mut sound = Vec::new();
    let mut seen = std::collections::HashMap::new();
    for kind in Kind::ALL {
        let Some(Value::List(items)) = node.get(kind.plural()).map(|n| &n.value) else {
            continue;
        };
        for (at, item) in items.iter().enumerate() {
            let pointer = join(&join("", kind.plural()), &at.to_string());
            match Spec::read(kind, item, &pointer) {
                Ok(spec) => {
                    if let Some(first) = seen.insert(spec.key(), pointer.clone()) {
                        errors.push(node.diagnose(
                            &pointer,
                            format!("{} is in the bundle twice, first at {first}", spec.key()),
                        ));
                    }
                    sound.push((kind, item, pointer.clone()));
                    bundle.push((spec, pointer));
                }
                Err(found) => errors.extend(found),
            }
        }
    }
    if errors.is_empty() {
        return Ok(bundle);
    }
    // Nothing will be compiled, so what that would find in the others is found here.
    for (kind, item, pointer) in sound {
        errors.extend(check::texts(kind, item, &pointer));
    }
    Err(errors)
}

/// Writes resources as a bundle.
pub fn write_bundle<'a>(specs: impl Iterator<Item = &'a Spec>) -> Json {
    let mut bundle = Map::new();
    for spec in specs {
        let list = bundle
            .entry(spec.key().kind.plural())
            .or_insert_with(|| json!([]));
        if let Json::Array(items) = list {
            items.push(spec.to_json());
        }
    }
    Json::Object(bundle)
}

/// The JSON Schema of a bundle.
pub fn schema() -> Json {
    let lists: Map<String, Json> = Kind::ALL
        .iter()
        .map(|k| {
            (
                k.plural().to_owned(),
                json!({"type": "array", "items": *k.schema()}),
            )
        })
        .collect();
    json!({"type": "object", "properties": lists, "additionalProperties": false})
}
