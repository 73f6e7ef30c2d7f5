//! `anyOf` and `oneOf`: which branch was meant, so that its errors can be told instead of "matches
//! none of them".

use serde_json::{Map, Value as Json};

use super::super::diagnostic::{Diagnostic, join};
use super::super::tree::{Key, Node, Value};
use super::keywords::{equals, has_type};
use super::words::{literals, mismatch, nearest, unknown_value};
use super::{At, Check, MAX_REFS, unknown_field};

/// A branch and what is wrong with the value by it.
struct Branch<'s> {
    /// The branch, where it leads if it is a mere reference.
    schema: &'s Json,
    errors: Vec<Diagnostic>,
}

impl<'s> Branch<'s> {
    fn object(&self, keyword: &str) -> Option<&'s Map<String, Json>> {
        self.schema.get(keyword)?.as_object()
    }

    /// The values that the field `name` may have, if they are fixed: then it is a tag.
    fn tag(&self, name: &str) -> Option<Vec<&'s Json>> {
        literals(self.object("properties")?.get(name)?.as_object()?)
    }

    /// The one field, if this branch is `{ field: … }` and nothing else.
    fn sole_field(&self) -> Option<&'s str> {
        let properties = self
            .object("properties")
            .filter(|properties| properties.len() == 1)?;
        let required = self.schema.get("required")?.as_array()?;
        let name = properties.keys().next()?;
        (required.len() == 1 && required[0] == name.as_str()).then_some(name.as_str())
    }
}

impl<'s> Check<'s> {
    /// Checks a value that must fit one of `branches`, and adds the errors of the one that was
    /// most likely meant.
    pub(super) fn choice(
        &self,
        node: &Node,
        branches: &'s [Json],
        at: At<'_>,
        errors: &mut Vec<Diagnostic>,
    ) {
        let mut all = Vec::with_capacity(branches.len());
        for schema in branches {
            let mut errors = Vec::new();
            self.node(node, schema, at, &mut errors);
            if errors.is_empty() {
                return;
            }
            all.push(Branch {
                schema: self.target(schema),
                errors,
            });
        }
        let (fitting, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|branch| self.fits_type(node, branch.schema, 0));
        if fitting.is_empty() {
            let any = serde_json::json!({ "anyOf": branches });
            let detail = mismatch(self, node, &any, at.secret);
            errors.push(at.error(node.span, detail));
            return;
        }
        match &node.value {
            Value::Map(entries) if fitting.len() > 1 => {
                self.map_choice(node, entries, fitting, at, errors);
            }
            Value::String(text) => {
                self.text_choice(node, text, fitting, &others, at, errors);
            }
            _ => errors.extend(fewest_errors(fitting)),
        }
    }

    fn map_choice(
        &self,
        node: &Node,
        entries: &[(Key, Node)],
        mut fitting: Vec<Branch<'s>>,
        at: At<'_>,
        errors: &mut Vec<Diagnostic>,
    ) {
        // `{ type: basic, … }`: a field that every branch fixes.
        let names = fitting[0]
            .object("properties")
            .into_iter()
            .flat_map(Map::keys);
        let tag = names
            .into_iter()
            .find(|name| fitting.iter().all(|b| b.tag(name).is_some()));
        if let Some(tag) = tag {
            let values = |branch: &Branch<'s>| branch.tag(tag).unwrap_or_default();
            let allowed: Vec<&Json> = fitting.iter().flat_map(values).collect();
            let Some(value) = node.get(tag) else {
                let expected: Vec<String> = allowed
                    .iter()
                    .filter_map(|v| v.as_str())
                    .map(|v| format!("`{v}`"))
                    .collect();
                let detail = format!("missing field `{tag}`, one of {}", expected.join(", "));
                errors.push(Diagnostic::new(join(at.pointer, tag), node.span, detail));
                return;
            };
            let meant = |branch: &Branch<'s>| values(branch).iter().any(|v| equals(value, v));
            if !fitting.iter().any(meant) {
                let pointer = join(at.pointer, tag);
                let detail = unknown_value(value, &allowed, self.hides(at, &pointer));
                errors.push(Diagnostic::new(pointer, value.span, detail));
                return;
            }
            fitting.retain(meant);
            errors.extend(fewest_errors(fitting));
            return;
        }
        // `{ basic: … }`: the field says which.
        let fields: Option<Vec<&str>> = fitting.iter().map(Branch::sole_field).collect();
        if let Some(fields) = fields {
            let listed = fields
                .iter()
                .map(|f| format!("`{f}`"))
                .collect::<Vec<_>>()
                .join(", ");
            let unknown = entries
                .iter()
                .filter(|(key, _)| !fields.contains(&key.text.as_str()));
            let before = errors.len();
            errors.extend(unknown.map(|(key, _)| unknown_field(key, fields.clone(), at.pointer)));
            let given: Vec<_> = entries
                .iter()
                .filter(|(key, _)| fields.contains(&key.text.as_str()))
                .collect();
            if entries.is_empty() {
                let detail = format!("needs one of the fields {listed}");
                errors.push(at.error(node.span, detail));
            }
            for (key, _) in given.iter().skip(1) {
                let detail = format!("only one of the fields {listed} may be given");
                errors.push(Diagnostic::new(
                    join(at.pointer, &key.text),
                    key.span,
                    detail,
                ));
            }
            if errors.len() == before {
                fitting.retain(|b| {
                    given
                        .iter()
                        .any(|(key, _)| b.sole_field() == Some(&key.text))
                });
                errors.extend(fewest_errors(fitting));
            }
            return;
        }
        // Otherwise the branch most of whose fields are there.
        let present = |branch: &Branch<'s>| {
            let known = branch.object("properties");
            entries
                .iter()
                .filter(|(key, _)| known.is_some_and(|k| k.contains_key(&key.text)))
                .count()
        };
        let most = fitting.iter().map(present).max().unwrap_or_default();
        fitting.retain(|branch| present(branch) == most);
        errors.extend(fewest_errors(fitting));
    }

    fn text_choice(
        &self,
        node: &Node,
        text: &str,
        fitting: Vec<Branch<'s>>,
        others: &[Branch<'s>],
        at: At<'_>,
        errors: &mut Vec<Diagnostic>,
    ) {
        let mut words = Vec::new();
        let (free, _): (Vec<_>, Vec<_>) = fitting
            .into_iter()
            .partition(|b| !self.words(b.schema, 0, &mut words));
        let near = nearest(text, words.iter().filter_map(|word| word.as_str()));
        if !words.is_empty() && (near.is_some() || free.is_empty()) {
            let only_null = others
                .iter()
                .all(|b| b.schema.get("type") == Some(&"null".into()));
            let detail = if near.is_some() || only_null {
                unknown_value(node, &words, at.secret)
            } else {
                let schemas: Vec<&Json> = others.iter().map(|b| b.schema).collect();
                let any = serde_json::json!({ "anyOf": schemas });
                let all = serde_json::json!({ "anyOf": [any, { "enum": words }] });
                mismatch(self, node, &all, at.secret)
            };
            errors.push(at.error(node.span, detail));
            return;
        }
        let listed: Vec<String> = words
            .iter()
            .filter_map(|w| w.as_str())
            .map(|w| format!("`{w}`"))
            .collect();
        errors.extend(fewest_errors(free).into_iter().map(|mut error| {
            if !listed.is_empty() && error.pointer == at.pointer {
                error.detail += &format!(", or {}", listed.join(", "));
            }
            error
        }));
    }

    /// Whether a branch takes values of the node's type at all.
    fn fits_type(&self, node: &Node, schema: &'s Json, depth: usize) -> bool {
        let rules = match schema {
            Json::Object(rules) if depth < MAX_REFS => rules,
            other => return *other != Json::Bool(false),
        };
        if let Some(types) = rules.get("type") {
            return has_type(node, types);
        }
        if let Some(literals) = literals(rules) {
            return literals.iter().any(|literal| same_type(node, literal));
        }
        let target = rules
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|r| self.resolve(r));
        if let Some(target) = target {
            return self.fits_type(node, target, depth + 1);
        }
        let branches = rules
            .get("anyOf")
            .or_else(|| rules.get("oneOf"))
            .and_then(Json::as_array);
        branches.is_none_or(|all| {
            all.iter()
                .any(|branch| self.fits_type(node, branch, depth + 1))
        })
    }

    /// Adds the words that a branch consists of. False if it takes other texts too.
    fn words(&self, schema: &'s Json, depth: usize, words: &mut Vec<&'s Json>) -> bool {
        let Some(rules) = schema.as_object().filter(|_| depth < MAX_REFS) else {
            return false;
        };
        if let Some(literals) = literals(rules) {
            words.extend(literals);
            return true;
        }
        let composed = ["$ref", "anyOf", "oneOf"]
            .iter()
            .any(|keyword| rules.contains_key(*keyword));
        composed
            && self.parts(rules).fold(true, |all, part| {
                let takes_text = match part.get("type") {
                    Some(Json::Array(types)) => types.iter().any(|name| name == "string"),
                    Some(name) => name == "string",
                    None => true,
                };
                (!takes_text || self.words(part, depth + 1, words)) && all
            })
    }
}

fn same_type(node: &Node, literal: &Json) -> bool {
    std::mem::discriminant(&node.to_json()) == std::mem::discriminant(literal)
}

fn fewest_errors(branches: Vec<Branch<'_>>) -> Vec<Diagnostic> {
    branches
        .into_iter()
        .map(|b| b.errors)
        .min_by_key(Vec::len)
        .unwrap_or_default()
}
