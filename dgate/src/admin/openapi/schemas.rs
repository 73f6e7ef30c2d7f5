//! The components: the JSON Schemas of the kinds, and what calls answer with besides resources.

use super::{component, names, reference};
use crate::resource::{Kind, READ_ONLY};
use serde_json::{Map, Value, json};

/// The components: kinds with what their schemas refer to, and what the calls answer with.
pub(super) fn schemas() -> Value {
    let mut all = Map::new();
    let mut lists = Map::new();
    for kind in Kind::ALL {
        let name = component(kind);
        let mut schema = hoisted(&kind.schema(), &name, &mut all);
        let mut item = json!({"allOf": [reference(&name)]});
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            // A path has them already; an item of a bundle has not.
            let (named, other) = std::mem::take(required).into_iter().partition(|field| {
                field
                    .as_str()
                    .is_some_and(|f| names(kind).contains(&format!("{{{f}}}")))
            });
            *required = other;
            let named: Vec<Value> = named;
            item["required"] = named.into();
        }
        let read_only = READ_ONLY.iter().chain(
            // Counts the writes of a document.
            (kind.singular() == "document").then_some(&"version"),
        );
        for field in read_only {
            let shape = match *field {
                "revision" | "version" => json!({"type": "integer", "readOnly": true}),
                "warnings" => {
                    json!({"type": "array", "items": {"type": "object"}, "readOnly": true})
                }
                _ => json!({"type": "string", "format": "date-time", "readOnly": true}),
            };
            let properties = &mut schema["properties"];
            if properties.get(*field).is_none() {
                properties[*field] = shape;
            }
        }
        lists.insert(
            kind.plural().to_owned(),
            json!({"type": "array", "items": item}),
        );
        all.insert(name, schema);
    }
    let bundle = json!({"type": "object", "properties": lists, "additionalProperties": false});
    all.insert("Bundle".to_owned(), bundle);
    let Value::Object(answers) = answers() else {
        unreachable!("an object is written below")
    };
    all.extend(answers);
    all.into()
}

/// What calls answer with besides resources.
fn answers() -> Value {
    let number = || json!({"type": "integer"});
    let text = || json!({"type": "string"});
    let change = json!({
        "type": "object",
        "required": ["op", "kind", "key"],
        "properties": {
            "op": {"type": "string", "enum": ["create", "update", "delete"]},
            "kind": text(),
            "key": text(),
            "before": {"type": ["object", "null"]},
            "after": {"type": ["object", "null"]},
        },
    });
    let counted = |keys: &[&str]| {
        let mut properties = Map::new();
        properties.extend(keys.iter().map(|key| ((*key).to_owned(), text())));
        let counters = json!({
            "requests": number(),
            "errors": number(),
            "statuses": {"type": "object", "additionalProperties": number()},
            "latency": reference("Latency"),
        });
        properties.extend(counters.as_object().cloned().unwrap_or_default());
        json!({"type": "array", "items": {"type": "object", "required": keys, "properties": properties}})
    };
    let quantile = || json!({"type": ["number", "null"]});
    json!({
        "Applied": {
            "type": "object",
            "required": ["revision", "changes"],
            "properties": {
                "revision": number(),
                "changes": {"type": "array", "items": change},
                "warnings": {"type": "array", "items": {"type": "object"}},
            },
        },
        "Revision": {
            "type": "object",
            "required": ["id", "created_at", "author", "message", "changes"],
            "properties": {
                "id": number(),
                "created_at": {"type": "string", "format": "date-time"},
                "author": text(),
                "message": text(),
                "change_count": number(),
                "changes": {"type": "array", "items": change},
            },
        },
        "Rollback": {
            "type": "object",
            "required": ["to"],
            "additionalProperties": false,
            "properties": {"to": {"type": "integer", "minimum": 0}, "message": text()},
        },
        "Plugin": {
            "type": "object",
            "required": ["name", "hooks", "schema"],
            "properties": {
                "name": text(),
                "hooks": {"type": "array", "items": text()},
                "schema": {"type": "object"},
            },
        },
        "Ready": {
            "type": "object",
            "required": ["ready", "checks"],
            "properties": {
                "ready": {"type": "boolean"},
                "revision": number(),
                "checks": {"type": "object", "additionalProperties": text()},
            },
        },
        "Latency": {
            "type": "object",
            "description": "Quantiles since start; null where nothing was measured.",
            "required": ["p50", "p90", "p99", "unit"],
            "properties": {"p50": quantile(), "p90": quantile(), "p99": quantile(), "unit": {"const": "seconds"}},
        },
        "Stats": {
            "type": "object",
            "required": ["since", "namespaces", "routes", "services", "endpoints", "modules"],
            "properties": {
                "since": {"type": "string", "format": "date-time"},
                "namespaces": counted(&["name"]),
                "routes": counted(&["namespace", "name"]),
                "services": counted(&["namespace", "name"]),
                "endpoints": counted(&["namespace", "service", "url"]),
                "modules": counted(&["namespace", "name"]),
            },
        },
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "code", "request_id"],
            "properties": {
                "type": {"type": "string", "format": "uri"},
                "title": text(),
                "status": number(),
                "detail": text(),
                "code": text(),
                "request_id": text(),
                "errors": {"type": "array", "items": {
                    "type": "object",
                    "required": ["pointer", "detail"],
                    "properties": {"pointer": text(), "detail": text()},
                }},
                "referrers": {"type": "array", "items": {"type": "object"}},
                "current_revision": number(),
            },
        },
    })
}

/// A schema whose `$defs` have become components; two of one name that differ bear that of their kind, too.
fn hoisted(schema: &Value, kind: &str, all: &mut Map<String, Value>) -> Value {
    let mut schema = schema.clone();
    let taken = schema.as_object_mut().map(|object| {
        object.remove("$schema");
        object.remove("$defs")
    });
    let Some(Some(Value::Object(defs))) = taken else {
        return schema;
    };
    // Names that would be taken for something else.
    let others: Vec<String> = Kind::ALL.iter().map(|k| component(*k)).collect();
    let renamed: Map<String, Value> = defs
        .iter()
        .filter(|(name, def)| {
            let mut same = (*def).clone();
            redirect(&mut same, &Map::new());
            others.contains(name) || all.get(*name).is_some_and(|known| *known != same)
        })
        .map(|(name, _)| (name.clone(), format!("{kind}{name}").into()))
        .collect();
    for (name, mut def) in defs {
        redirect(&mut def, &renamed);
        let name = renamed.get(&name).and_then(Value::as_str).unwrap_or(&name);
        all.insert(name.to_owned(), def);
    }
    redirect(&mut schema, &renamed);
    schema
}

/// Makes references to `$defs` those to components.
fn redirect(schema: &mut Value, renamed: &Map<String, Value>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref")
                && let Some(name) = target.strip_prefix("#/$defs/")
            {
                let name = renamed.get(name).and_then(Value::as_str).unwrap_or(name);
                *target = format!("#/components/schemas/{name}");
            }
            object.values_mut().for_each(|v| redirect(v, renamed));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| redirect(v, renamed)),
        _ => {}
    }
}
