//! The one validator: a [`Node`] against a JSON Schema as schemars 1 writes it (draft 2020-12).
//!
//! It collects every error, each with pointer and place, and names what would be right. Config
//! files, bundles, bodies of the Admin API and plugin configs all go through here before serde,
//! which would stop at the first error and know no places.
//!
//! ```
//! use dgate::config::{Format, parse, validate};
//!
//! let schema = serde_json::json!({
//!     "type": "object",
//!     "properties": { "listen": { "type": "string" } },
//!     "additionalProperties": false,
//! });
//! let tree = parse("listne: 127.0.0.1:80\n", Format::Yaml).expect("valid YAML");
//! let errors = validate(&tree, &schema);
//! assert_eq!(errors[0].render("dgate.yaml"),
//!     "dgate.yaml:1:1: unknown field `listne`, did you mean `listen`?");
//! ```
//!
//! Keywords: `type`, `const`, `enum`, `format` (integer widths and DGate's own), `pattern`, lengths,
//! ranges, `items`, `prefixItems`, `uniqueItems`, `properties`, `patternProperties`,
//! `additionalProperties`, `unevaluatedProperties`, `propertyNames`, `required`, `allOf`, `anyOf`,
//! `oneOf`, `not`, `if`, local `$ref`. Of our own: `x-expect`, what a value is in words, and
//! `writeOnly`, which keeps values out of messages. Others say nothing.
//!
//! Stricter than the drafts in one thing: `5.0` is no integer, since serde does not take it for
//! one. Laxer in one: `oneOf` may match twice, since serde takes the first.

use std::any::TypeId;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::diagnostic::{Diagnostic, Span, join};
use super::tree::{Key, Node, Value};

mod choice;
mod keywords;
mod words;

use keywords::{count, equals, has_type, matches, number, string};
pub(crate) use words::{TIME_FORMAT, nearest, parse_time};
use words::{describe, literals, name_list, unknown_value};

/// Checks `node` against `schema`; pointers are relative to `node`. No error means valid.
pub fn validate(node: &Node, schema: &Json) -> Vec<Diagnostic> {
    validate_at(node, schema, "")
}

/// [`validate`] for a value that is part of something larger: `prefix` is the pointer to it.
pub fn validate_at(node: &Node, schema: &Json, prefix: &str) -> Vec<Diagnostic> {
    validate_hiding(node, schema, prefix, NOTHING)
}

/// [`validate_at`] for a value that holds confidential texts: errors about those at the pointers `hidden` are told
/// without them.
pub(crate) fn validate_hiding(
    node: &Node,
    schema: &Json,
    prefix: &str,
    hidden: &BTreeSet<String>,
) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    let check = Check {
        root: schema,
        hidden,
    };
    check.node(node, schema, At::start(prefix), &mut errors);
    errors
}

/// Checks `node` against the schema of `T` and turns it into one.
///
/// # Errors
/// All that [`validate`] finds. What only serde finds is one error at the root.
pub fn typed<T: DeserializeOwned + JsonSchema + 'static>(
    node: &Node,
) -> Result<T, Vec<Diagnostic>> {
    typed_at(node, "")
}

/// [`typed`] for a value that is part of something larger: `prefix` is the pointer to it.
///
/// # Errors
/// As for [`typed`].
pub fn typed_at<T: DeserializeOwned + JsonSchema + 'static>(
    node: &Node,
    prefix: &str,
) -> Result<T, Vec<Diagnostic>> {
    let errors = validate_at(node, &schema_of::<T>(), prefix);
    if !errors.is_empty() {
        return Err(errors);
    }
    serde_json::from_value(node.to_json())
        .map_err(|error| vec![Diagnostic::new(prefix, node.span, error.to_string())])
}

/// The schema of `T`, made once per type.
pub fn schema_of<T: JsonSchema + 'static>() -> Arc<Json> {
    static SCHEMAS: OnceLock<Mutex<HashMap<TypeId, Arc<Json>>>> = OnceLock::new();
    let schemas = SCHEMAS.get_or_init(Mutex::default);
    let known = |id| {
        schemas
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    };
    if let Some(schema) = known(&TypeId::of::<T>()) {
        return schema;
    }
    // Made outside the lock: a `JsonSchema` is code of others.
    let schema = Arc::new(schemars::schema_for!(T).to_value());
    let mut schemas = schemas.lock().unwrap_or_else(PoisonError::into_inner);
    schemas.entry(TypeId::of::<T>()).or_insert(schema).clone()
}

/// Whether `node` is valid by `schema`, a part of `root`.
pub(crate) fn fits(node: &Node, schema: &Json, root: &Json) -> bool {
    let mut errors = Vec::new();
    Check::new(root).node(node, schema, At::start(""), &mut errors);
    errors.is_empty()
}

/// The part of `root` that describes what is at `path`, if it says anything about it.
pub(crate) fn below<'s>(root: &'s Json, path: &[&str]) -> Option<&'s Json> {
    let check = Check::new(root);
    path.iter()
        .try_fold(root, |schema, step| check.field(schema, step, 0))
}

/// How many `$ref`s may lead to one another without a value between them.
const MAX_REFS: usize = 32;

/// For values that hold nothing confidential but what their schema says is.
const NOTHING: &BTreeSet<String> = &BTreeSet::new();

/// A schema whose `$ref`s are looked up in `root`.
#[derive(Clone, Copy)]
struct Check<'s> {
    root: &'s Json,
    /// Pointers of confidential values.
    hidden: &'s BTreeSet<String>,
}

/// Where the walk is, and what holds there.
#[derive(Clone, Copy)]
struct At<'p> {
    /// The pointer to the value.
    pointer: &'p str,
    /// The value is confidential: it must not be in a message.
    secret: bool,
    /// `$ref`s followed since the last value.
    refs: usize,
}

impl<'p> At<'p> {
    fn start(pointer: &'p str) -> Self {
        Self {
            pointer,
            secret: false,
            refs: 0,
        }
    }

    /// At a value below this one.
    fn below(self, pointer: &str) -> At<'_> {
        At {
            pointer,
            secret: self.secret,
            refs: 0,
        }
    }

    fn error(self, span: Span, detail: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.pointer, span, detail)
    }
}

impl<'s> Check<'s> {
    fn new(root: &'s Json) -> Self {
        Self {
            root,
            hidden: NOTHING,
        }
    }

    /// Whether the value at `pointer`, below one where `at` holds, must not be in a message.
    fn hides(&self, at: At<'_>, pointer: &str) -> bool {
        at.secret || self.hidden.contains(pointer)
    }

    /// The schema that a `$ref` names: `#` and a JSON pointer, perhaps percent-encoded.
    fn resolve(&self, reference: &str) -> Option<&'s Json> {
        let pointer = reference.strip_prefix('#')?;
        if !pointer.contains('%') {
            return self.root.pointer(pointer);
        }
        let mut parts = pointer.split('%');
        let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
        self.root.pointer(&String::from_utf8(bytes).ok()?)
    }

    /// Follows a schema that is a mere reference.
    fn target(&self, schema: &'s Json) -> &'s Json {
        let mut schema = schema;
        for _ in 0..MAX_REFS {
            match schema
                .get("$ref")
                .and_then(Json::as_str)
                .and_then(|r| self.resolve(r))
            {
                Some(next) => schema = next,
                None => break,
            }
        }
        schema
    }

    fn node(&self, node: &Node, schema: &'s Json, at: At<'_>, errors: &mut Vec<Diagnostic>) {
        let rules = match schema {
            Json::Object(rules) => rules,
            Json::Bool(false) => {
                errors.push(at.error(node.span, "nothing may be given here"));
                return;
            }
            _ => return,
        };
        let secret =
            self.hides(at, at.pointer) || rules.get("writeOnly") == Some(&Json::Bool(true));
        let at = At { secret, ..at };

        if let Some(types) = rules.get("type")
            && !has_type(node, types)
        {
            let detail = words::mismatch(self, node, schema, secret);
            errors.push(at.error(node.span, detail));
            return;
        }
        if let Some(reference) = rules.get("$ref").and_then(Json::as_str) {
            match self.resolve(reference) {
                Some(target) if at.refs < MAX_REFS => {
                    let at = At {
                        refs: at.refs + 1,
                        ..at
                    };
                    self.node(node, target, at, errors);
                }
                _ => {
                    let detail = format!("the schema's reference `{reference}` leads nowhere");
                    errors.push(at.error(node.span, detail));
                }
            }
        }
        if let Some(allowed) = literals(rules)
            && !allowed.iter().any(|literal| equals(node, literal))
        {
            let detail = unknown_value(node, &allowed, secret);
            errors.push(at.error(node.span, detail));
        }

        match &node.value {
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => {
                number(node, rules, at, errors);
            }
            Value::String(text) => string(node, text, rules, at, errors),
            Value::List(items) => self.list(node, items, rules, at, errors),
            Value::Map(entries) => self.map(node, entries, rules, at, errors),
            Value::Null | Value::Bool(_) => {}
        }

        if let Some(Json::Array(all)) = rules.get("allOf") {
            for schema in all {
                self.node(node, schema, at, errors);
            }
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(Json::Array(branches)) = rules.get(keyword) {
                self.choice(node, branches, at, errors);
            }
        }
        let holds = |schema| {
            let mut errors = Vec::new();
            self.node(node, schema, at, &mut errors);
            errors.is_empty()
        };
        if rules.get("not").is_some_and(holds) {
            let detail = match rules.get("x-expect").and_then(Json::as_str) {
                Some(expected) => format!("expected {expected}, found {}", describe(node, secret)),
                None => format!("{} is not allowed here", describe(node, secret)),
            };
            errors.push(at.error(node.span, detail));
        }
        if let Some(condition) = rules.get("if") {
            let then = if holds(condition) { "then" } else { "else" };
            if let Some(schema) = rules.get(then) {
                self.node(node, schema, at, errors);
            }
        }
    }

    fn list(
        &self,
        node: &Node,
        items: &[Node],
        rules: &'s Map<String, Json>,
        at: At<'_>,
        errors: &mut Vec<Diagnostic>,
    ) {
        let prefix = rules
            .get("prefixItems")
            .and_then(Json::as_array)
            .map_or(&[][..], Vec::as_slice);
        for (i, item) in items.iter().enumerate() {
            if let Some(schema) = prefix.get(i).or_else(|| rules.get("items")) {
                self.node(
                    item,
                    schema,
                    at.below(&join(at.pointer, &i.to_string())),
                    errors,
                );
            }
        }
        count(node, items.len(), "item", "Items", rules, at, errors);
        if rules.get("uniqueItems") == Some(&Json::Bool(true)) {
            let mut seen = HashSet::new();
            for (i, item) in items.iter().enumerate() {
                if !seen.insert(item.to_json().to_string()) {
                    let pointer = join(at.pointer, &i.to_string());
                    let found = describe(item, self.hides(at, &pointer));
                    let detail = format!("{found} is given twice");
                    errors.push(Diagnostic::new(pointer, item.span, detail));
                }
            }
        }
    }

    fn map(
        &self,
        node: &Node,
        entries: &[(Key, Node)],
        rules: &'s Map<String, Json>,
        at: At<'_>,
        errors: &mut Vec<Diagnostic>,
    ) {
        let object = |keyword| rules.get(keyword).and_then(Json::as_object);
        let properties = object("properties");
        for (key, value) in entries {
            let pointer = join(at.pointer, &key.text);
            let inner = at.below(&pointer);
            let mut known = false;
            if let Some(schema) = properties.and_then(|p| p.get(&key.text)) {
                known = true;
                self.node(value, schema, inner, errors);
            }
            for (pattern, schema) in object("patternProperties").into_iter().flatten() {
                if matches(pattern, &key.text) {
                    known = true;
                    self.node(value, schema, inner, errors);
                }
            }
            if let Some(names) = rules.get("propertyNames") {
                let name = Node {
                    span: key.span,
                    value: Value::String(key.text.clone()),
                };
                self.node(&name, names, inner, errors);
            }
            if known {
                continue;
            }
            match (
                rules.get("additionalProperties"),
                rules.get("unevaluatedProperties"),
            ) {
                (Some(Json::Bool(false)), _) => {
                    let names = properties
                        .into_iter()
                        .flat_map(Map::keys)
                        .map(String::as_str);
                    errors.push(unknown_field(key, names.collect(), at.pointer));
                }
                (Some(schema), _) => self.node(value, schema, inner, errors),
                (None, Some(Json::Bool(false))) => {
                    let mut names = BTreeSet::new();
                    self.names(rules, 0, &mut names);
                    if !names.contains(key.text.as_str()) {
                        errors.push(unknown_field(key, names.into_iter().collect(), at.pointer));
                    }
                }
                _ => {}
            }
        }
        for name in rules
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
        {
            if let Some(name) = name.as_str().filter(|name| node.get(name).is_none()) {
                let detail = format!("missing field `{name}`");
                errors.push(Diagnostic::new(join(at.pointer, name), node.span, detail));
            }
        }
        count(
            node,
            entries.len(),
            "entry",
            "Properties",
            rules,
            at,
            errors,
        );
    }

    /// All fields that a schema of a map or one that it is made of names.
    fn names(&self, rules: &'s Map<String, Json>, depth: usize, names: &mut BTreeSet<&'s str>) {
        let properties = rules.get("properties").and_then(Json::as_object);
        names.extend(
            properties
                .into_iter()
                .flat_map(Map::keys)
                .map(String::as_str),
        );
        for part in self.parts(rules).filter(|_| depth < MAX_REFS) {
            if let Json::Object(rules) = part {
                self.names(rules, depth + 1, names);
            }
        }
    }

    /// The schemas that apply to the same value as this one.
    fn parts(&self, rules: &'s Map<String, Json>) -> impl Iterator<Item = &'s Json> + use<'s> {
        let target = rules
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|r| self.resolve(r));
        let lists = ["allOf", "anyOf", "oneOf"].map(|keyword| rules.get(keyword));
        let listed = lists
            .into_iter()
            .flatten()
            .filter_map(Json::as_array)
            .flatten();
        target.into_iter().chain(listed)
    }

    /// The schema of one field of what `schema` describes.
    fn field(&self, schema: &'s Json, name: &str, depth: usize) -> Option<&'s Json> {
        let rules = schema.as_object().filter(|_| depth < MAX_REFS)?;
        let own = rules
            .get("properties")
            .and_then(|properties| properties.get(name));
        own.or_else(|| {
            self.parts(rules)
                .find_map(|part| self.field(part, name, depth + 1))
        })
        .or_else(|| {
            rules
                .get("additionalProperties")
                .filter(|schema| schema.is_object())
        })
    }
}

/// The error for a field that is not known.
fn unknown_field(key: &Key, known: Vec<&str>, pointer: &str) -> Diagnostic {
    let name = &key.text;
    let detail = match words::nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown field `{name}`, did you mean `{near}`?"),
        None if known.is_empty() => format!("unknown field `{name}`, no field is known here"),
        None => format!("unknown field `{name}`, known are {}", name_list(&known)),
    };
    Diagnostic::new(join(pointer, name), key.span, detail)
}

#[cfg(test)]
mod tests;
