//! Operations on JSON documents, by pointer (RFC 6901).
//!
//! Only the objects and arrays on the way to a field are opened. Everything else is copied byte for byte, so that
//! numbers keep their digits and fields their order, whatever the document holds.

use super::{Operations, entry_error};
use crate::plugin::FieldError;
use indexmap::IndexMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The steps of a pointer, unescaped.
type Steps = Vec<String>;

/// Operations on a JSON document, checked and ready.
#[derive(Clone, Debug, Default)]
pub struct JsonOperations {
    remove: Vec<Steps>,
    rename: Vec<(Steps, Steps)>,
    replace: Vec<(Steps, Box<RawValue>)>,
    add: Vec<(Steps, Box<RawValue>)>,
    append: Vec<(Steps, Box<RawValue>)>,
}

fn steps_of(pointer: &str) -> Result<Steps, String> {
    let wrong =
        || format!("`{pointer}` is no JSON pointer: write `/field` or `/field/0/inner` (RFC 6901)");
    let path = pointer.strip_prefix('/').ok_or_else(wrong)?;
    let unescaped = path.split('/').map(|step| {
        let escapes_end = step
            .split('~')
            .skip(1)
            .all(|part| part.starts_with(['0', '1']));
        escapes_end.then(|| step.replace("~1", "/").replace("~0", "~"))
    });
    unescaped.collect::<Option<_>>().ok_or_else(wrong)
}

impl JsonOperations {
    /// Checks what configuration asks for.
    ///
    /// # Errors
    /// At `/operation/json/entry`: what is no pointer to a field.
    pub fn new(operations: Operations<'_, Value>) -> Result<Self, FieldError> {
        let mut ready = Self::default();
        for (at, pointer) in operations.remove.iter().enumerate() {
            let wrong = |e: String| entry_error("remove", "json", &at.to_string(), e);
            ready.remove.push(steps_of(pointer).map_err(wrong)?);
        }
        for (from, to) in operations.rename {
            let wrong = |e: String| entry_error("rename", "json", from, e);
            let pair = steps_of(from).and_then(|from| Ok((from, steps_of(to)?)));
            ready.rename.push(pair.map_err(wrong)?);
        }
        let into = [&mut ready.replace, &mut ready.add, &mut ready.append];
        for ((operation, values), into) in operations.values().into_iter().zip(into) {
            for (pointer, value) in values {
                let wrong = |e: String| entry_error(operation, "json", pointer, e);
                let steps = steps_of(pointer).map_err(wrong)?;
                let value = serde_json::value::to_raw_value(value);
                into.push((steps, value.map_err(|e| wrong(e.to_string()))?));
            }
        }
        Ok(ready)
    }

    /// Whether there is nothing to do, so that no body needs to be read.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.rename.is_empty()
            && self.replace.is_empty()
            && self.add.is_empty()
            && self.append.is_empty()
    }

    /// Does them all: remove, rename, replace, add, append. In each, those of a map in the order of their pointers.
    ///
    /// # Errors
    /// The document is no JSON.
    pub fn apply(&self, document: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let mut root = Node::Raw(serde_json::from_slice(document)?);
        for steps in &self.remove {
            root.take(steps);
        }
        for (from, to) in &self.rename {
            if let Some(node) = root.take(from) {
                root.put(to, node);
            }
        }
        for (steps, value) in &self.replace {
            if let Some(node) = root.find(steps) {
                *node = Node::Raw(value.clone());
            }
        }
        for (steps, value) in &self.add {
            if root.find(steps).is_none() {
                root.put(steps, Node::Raw(value.clone()));
            }
        }
        for (steps, value) in &self.append {
            let value = Node::Raw(value.clone());
            match root.find(steps) {
                Some(node) => node.append(value),
                None => root.put(steps, Node::Array(vec![value])),
            }
        }
        serde_json::to_vec(&root)
    }
}

/// A part of a document, opened where someone looked into it. Of names that stand twice in an object the last counts,
/// as for most readers, and the others are gone: removing a field must not leave another of its name.
enum Node {
    Raw(Box<RawValue>),
    Object(IndexMap<String, Node>),
    Array(Vec<Node>),
}

impl Node {
    /// Opens an object or array.
    fn open(&mut self) {
        let Self::Raw(raw) = self else { return };
        // What is raw was parsed once, so it is valid; anything else stays as it is.
        let opened = match raw.get().as_bytes().first() {
            Some(b'{') => serde_json::from_str::<IndexMap<String, Box<RawValue>>>(raw.get())
                .map(|map| map.into_iter().map(|(k, v)| (k, Self::Raw(v))).collect())
                .map(Self::Object)
                .ok(),
            Some(b'[') => serde_json::from_str::<Vec<Box<RawValue>>>(raw.get())
                .map(|list| Self::Array(list.into_iter().map(Self::Raw).collect()))
                .ok(),
            _ => None,
        };
        if let Some(opened) = opened {
            *self = opened;
        }
    }

    fn find(&mut self, steps: &[String]) -> Option<&mut Self> {
        let mut node = self;
        for step in steps {
            node.open();
            node = match node {
                Self::Object(fields) => fields.get_mut(step)?,
                Self::Array(items) => items.get_mut(index(step)?)?,
                Self::Raw(_) => return None,
            };
        }
        Some(node)
    }

    fn take(&mut self, steps: &[String]) -> Option<Self> {
        let (last, way) = steps.split_last()?;
        let parent = self.find(way)?;
        parent.open();
        match parent {
            Self::Object(fields) => fields.shift_remove(last),
            Self::Array(items) => {
                let at = index(last).filter(|at| *at < items.len())?;
                Some(items.remove(at))
            }
            Self::Raw(_) => None,
        }
    }

    /// Puts a value at a place, with the objects on the way to it. Where something else stands on the way, nothing
    /// is done.
    fn put(&mut self, steps: &[String], value: Self) {
        self.open();
        let Some((step, rest)) = steps.split_first() else {
            *self = value;
            return;
        };
        match self {
            Self::Object(fields) => fields
                .entry(step.clone())
                .or_insert_with(|| Self::Object(IndexMap::new()))
                .put(rest, value),
            Self::Array(items) => {
                let end = items.len();
                match index(step) {
                    Some(at) if at < end => items[at].put(rest, value),
                    at if rest.is_empty() && (step == "-" || at == Some(end)) => items.push(value),
                    _ => {}
                }
            }
            Self::Raw(_) => {}
        }
    }

    /// Makes an array of what is none.
    fn append(&mut self, value: Self) {
        self.open();
        if let Self::Array(items) = self {
            items.push(value);
            return;
        }
        let old = std::mem::replace(self, Self::Array(Vec::new()));
        *self = Self::Array(vec![old, value]);
    }
}

/// A step as the index of an array: digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    let digits = !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit());
    (digits && (step == "0" || !step.starts_with('0')))
        .then(|| step.parse().ok())
        .flatten()
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Raw(raw) => raw.serialize(serializer),
            Self::Object(fields) => serializer.collect_map(fields),
            Self::Array(items) => serializer.collect_seq(items),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// Operations written as in configuration.
    fn operations(config: Value) -> Result<JsonOperations, FieldError> {
        let map = |name: &str| -> BTreeMap<String, Value> {
            serde_json::from_value(config.get(name).cloned().unwrap_or(json!({}))).unwrap()
        };
        let remove: Vec<String> =
            serde_json::from_value(config.get("remove").cloned().unwrap_or(json!([]))).unwrap();
        let rename = map("rename").into_iter();
        let rename = rename
            .map(|(k, v)| (k, v.as_str().unwrap().to_owned()))
            .collect();
        JsonOperations::new(Operations {
            remove: &remove,
            rename: &rename,
            replace: &map("replace"),
            add: &map("add"),
            append: &map("append"),
        })
    }

    fn applied(config: Value, document: &str) -> String {
        let done = operations(config).unwrap().apply(document.as_bytes());
        String::from_utf8(done.unwrap()).unwrap()
    }

    #[test]
    fn each_operation_does_what_it_says() {
        for (config, before, after) in [
            (json!({"remove": ["/a"]}), r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
            (
                json!({"remove": ["/a/b"]}),
                r#"{"a":{"b":1,"c":2}}"#,
                r#"{"a":{"c":2}}"#,
            ),
            (json!({"remove": ["/0"]}), "[1,2]", "[2]"),
            (
                json!({"remove": ["/a~1b", "/c~0d"]}),
                r#"{"a/b":1,"c~d":2}"#,
                "{}",
            ),
            (
                json!({"remove": ["/a/b", "/x/y", "/2"]}),
                r#"{"a":"text"}"#,
                r#"{"a":"text"}"#,
            ),
            (
                json!({"rename": {"/a": "/b/c"}}),
                r#"{"a":1}"#,
                r#"{"b":{"c":1}}"#,
            ),
            (
                json!({"rename": {"/a": "/b"}}),
                r#"{"a":1,"b":2}"#,
                r#"{"b":1}"#,
            ),
            (
                json!({"replace": {"/a": {"new": true}, "/b": 1}}),
                r#"{"a":1}"#,
                r#"{"a":{"new":true}}"#,
            ),
            (
                json!({"add": {"/a": 1, "/b/c": 2}}),
                r#"{"a":0}"#,
                r#"{"a":0,"b":{"c":2}}"#,
            ),
            (
                json!({"add": {"/a/-": 1, "/a/7": 1}}),
                r#"{"a":[0]}"#,
                r#"{"a":[0,1]}"#,
            ),
            (
                json!({"append": {"/a": 1, "/b": 2, "/c": 3}}),
                r#"{"a":[0],"b":0}"#,
                r#"{"a":[0,1],"b":[0,2],"c":[3]}"#,
            ),
        ] {
            assert_eq!(applied(config.clone(), before), after, "{config}");
        }
    }

    #[test]
    fn they_are_done_in_their_order() {
        let config = json!({
            "remove": ["/a"], "rename": {"/b": "/a"}, "replace": {"/a": 2}, "add": {"/a": 3}, "append": {"/a": 4}
        });
        assert_eq!(applied(config, r#"{"a":0,"b":1}"#), r#"{"a":[2,4]}"#);
    }

    #[test]
    fn what_is_not_asked_for_stays_as_it_is() {
        let rest = r#""z": 12345678901234567890123.10, "é":"\u00e9",  "a" : [1.0 , 2e5]"#;
        let document = format!("{{\"gone\":0,{rest}}}");
        assert_eq!(
            applied(json!({"remove": ["/gone"]}), &document),
            r#"{"z":12345678901234567890123.10,"é":"\u00e9","a":[1.0 , 2e5]}"#
        );
    }

    #[test]
    fn a_name_that_stands_twice_is_removed_twice() {
        let twice = r#"{"a":{"secret":1},"b":1,"a":{"secret":2,"c":3}}"#;
        assert_eq!(
            applied(json!({"remove": ["/a/secret"]}), twice),
            r#"{"a":{"c":3},"b":1}"#
        );
    }

    #[test]
    fn what_is_wrong_is_said_at_its_entry() {
        let pointer = |config| operations(config).unwrap_err().pointer().to_owned();
        assert_eq!(pointer(json!({"remove": ["/a", "b"]})), "/remove/json/1");
        assert_eq!(pointer(json!({"rename": {"/a": ""}})), "/rename/json/~1a");
        assert_eq!(pointer(json!({"add": {"/a~2": 1}})), "/add/json/~1a~02");
        let nothing = operations(json!({})).unwrap();
        assert!(nothing.is_empty() && nothing.apply(b"{\"a\":").is_err());
    }
}
