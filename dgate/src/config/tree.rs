//! The value tree: what YAML, JSON and TOML texts become before anything is checked. Every value
//! and every key knows its place in the text.
//!
//! ```
//! use dgate::config::{Format, Span, parse};
//!
//! let tree = parse("proxy:\n  listen: 127.0.0.1:80\n", Format::Yaml).expect("valid YAML");
//! let listen = tree.at("/proxy/listen").expect("is there");
//! assert_eq!(listen.span, Span::new(2, 11));
//! ```

use std::path::Path;

use super::diagnostic::{Diagnostic, Span, shortened, steps};

/// How deep lists and maps may nest: recursion over a tree needs no other bound.
pub const MAX_DEPTH: usize = 64;

/// How deep free data within a resource may nest: so much less that it can be read again from a bundle in a
/// configuration file, whatever that has around it (six levels at most).
pub const MAX_DATA_DEPTH: usize = MAX_DEPTH - 8;

/// A value and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value starts in its text.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// What a [`Node`] holds: JSON's types, with integers apart from other numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    /// Any other number, always finite.
    Float(f64),
    /// Text.
    String(String),
    /// A sequence.
    List(Vec<Node>),
    /// Entries in the order of the text, each key once.
    Map(Vec<(Key, Node)>),
}

/// The key of a map's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it starts.
    pub span: Span,
}

impl Node {
    /// A node that has no place in a text.
    pub const fn new(value: Value) -> Self {
        Self {
            span: Span::NONE,
            value,
        }
    }

    /// The entry `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The entry `key` with its key, if this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        entries
            .iter()
            .find(|(k, _)| k.text == key)
            .map(|(k, node)| (k, node))
    }

    /// The node at a JSON pointer (RFC 6901) below this one; the empty pointer is this one.
    pub fn at(&self, pointer: &str) -> Option<&Node> {
        steps(pointer).try_fold(self, |node, step| match &node.value {
            Value::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => node.get(&step),
        })
    }

    /// An error at `pointer`, with the place of what is there or of the nearest thing above it.
    pub fn diagnose(&self, pointer: &str, detail: impl Into<String>) -> Diagnostic {
        let mut above = pointer;
        let span = loop {
            match (self.at(above), above.rsplit_once('/')) {
                (Some(node), _) => break node.span,
                (None, Some((shorter, _))) => above = shorter,
                (None, None) => break self.span,
            }
        };
        Diagnostic::new(pointer, span, detail)
    }

    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Sets the value at `path`, making maps of what is missing or in the way.
    pub(crate) fn set(&mut self, path: &[&str], node: Node) {
        let Some((step, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Map(_)) {
            *self = Node::new(Value::Map(Vec::new()));
        }
        let Value::Map(entries) = &mut self.value else {
            return;
        };
        match entries.iter_mut().find(|(key, _)| key.text == *step) {
            Some((_, below)) => below.set(rest, node),
            None => {
                let mut below = Node::new(Value::Null);
                below.set(rest, node);
                entries.push((
                    Key {
                        text: (*step).to_owned(),
                        span: Span::NONE,
                    },
                    below,
                ));
            }
        }
    }

    /// The same as plain JSON.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(n) => Json::from(*n),
            Value::UInt(n) => Json::from(*n),
            Value::Float(n) => Json::from(*n),
            Value::String(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(k, n)| (k.text.clone(), n.to_json()))
                    .collect(),
            ),
        }
    }

    /// A tree without places, for values that did not come from a text.
    pub fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        Self::new(match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(number) => Value::from_number(number),
            Json::String(text) => Value::String(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::from_json).collect()),
            Json::Object(entries) => {
                let key = |text: &String| Key {
                    text: text.clone(),
                    span: Span::NONE,
                };
                Value::Map(
                    entries
                        .iter()
                        .map(|(k, v)| (key(k), Self::from_json(v)))
                        .collect(),
                )
            }
        })
    }
}

impl Value {
    /// A number as it stands in a text. An integer that 64 bits do not hold would become another one without a word.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn written(self, text: &str) -> Result<Self, String> {
        match self {
            // JSON has a zero below zero, which is no integer either.
            Self::Float(n) if n != 0.0 && !text.contains(['.', 'e', 'E']) => Err(format!(
                "the integer `{}` is beyond 64 bits: write it as text, in quotes",
                shortened(text)
            )),
            number => Ok(number),
        }
    }

    /// A number of JSON; integers stay integers as far as 64 bits go.
    pub(crate) fn from_number(number: &serde_json::Number) -> Self {
        if let Some(n) = number.as_i64() {
            Self::Int(n)
        } else if let Some(n) = number.as_u64() {
            Self::UInt(n)
        } else {
            Self::Float(number.as_f64().unwrap_or_default())
        }
    }
}

/// The formats that files come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, core schema.
    Yaml,
    /// JSON (RFC 8259).
    Json,
    /// TOML 1.1.
    Toml,
}

impl Format {
    /// The format that a file's extension names: `yaml`, `yml`, `json` or `toml`.
    pub fn from_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// Reads a text into a tree.
///
/// # Errors
/// Every error that can be told from here: the first one of syntax, or all duplicate keys and
/// values that JSON does not have. An empty YAML text is null.
pub fn parse(text: &str, format: Format) -> Result<Node, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Yaml => super::yaml::parse(text),
        Format::Json => super::json::parse(text),
        Format::Toml => super::toml::parse(text),
    }
}

/// The error for a second entry of one key.
pub(crate) fn duplicate(pointer: &str, key: &Key, first: Span) -> Diagnostic {
    let detail = format!("duplicate key `{}`, first given at {first}", key.text);
    Diagnostic::new(
        super::diagnostic::join(pointer, &key.text),
        key.span,
        detail,
    )
}

/// The error for a document that nests deeper than [`MAX_DEPTH`].
pub(crate) fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::new("", span, format!("nested deeper than {MAX_DEPTH} levels"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_survives_the_way_there_and_back() {
        let value = json!({"a": [1, -2, u64::MAX, 1.5, "x", null, true], "b/c": {"~": {}}});
        assert_eq!(Node::from_json(&value).to_json(), value);
    }

    #[test]
    fn nodes_are_found_by_pointer() {
        let tree = Node::from_json(&json!({"a": [{"b/c": 1}], "": 2}));
        for (pointer, found) in [
            ("/a/0/b~1c", Some(json!(1))),
            ("/", Some(json!(2))),
            ("/a/1", None),
            ("/a/x", None),
            ("/a/0/b~1c/d", None),
        ] {
            assert_eq!(tree.at(pointer).map(Node::to_json), found, "{pointer}");
        }
    }

    #[test]
    fn diagnoses_what_is_absent_at_what_is_above() {
        let tree = parse("a:\n  b: 1\n", Format::Yaml).expect("valid");
        assert_eq!(tree.diagnose("/a/b", "").span, Some(Span::new(2, 6)));
        assert_eq!(tree.diagnose("/a/c/d", "").span, Some(Span::new(2, 3)));
        assert_eq!(tree.diagnose("/x", "").span, Some(Span::new(1, 1)));
    }

    #[test]
    fn formats_go_by_extension() {
        for (path, format) in [
            ("dgate.yaml", Some(Format::Yaml)),
            ("a/b.YML", Some(Format::Yaml)),
            ("x.json", Some(Format::Json)),
            ("x.toml", Some(Format::Toml)),
            ("x.ts", None),
            ("yaml", None),
        ] {
            assert_eq!(Format::from_path(Path::new(path)), format, "{path}");
        }
    }
}
