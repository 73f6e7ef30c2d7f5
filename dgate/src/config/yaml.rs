//! YAML text to a [`Node`] tree: one document, the core schema of YAML 1.2, with anchors, aliases
//! and merge keys (`<<`). What aliases may expand to is bounded.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::diagnostic::{Diagnostic, Span, join};
use super::tree::{Key, MAX_DEPTH, Node, Value, duplicate, too_deep};

/// What all aliases of a document together may copy, in bytes of text plus [`NODE_WEIGHT`] a node:
/// more than any bundle repeats, and nothing a machine would feel.
const MAX_ALIASED: usize = 16 * 1024 * 1024;

/// What a node counts towards [`MAX_ALIASED`], besides its text.
const NODE_WEIGHT: usize = 64;

/// Reads a YAML text; see [`super::parse`].
pub(crate) fn parse(text: &str) -> Result<Node, Vec<Diagnostic>> {
    let mut build = Build::default();
    let mut documents = 0;
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let (event, range) = match next {
            Ok(next) => next,
            Err(error) => {
                let at = error.marker();
                let span = Span::new(at.line().max(1), at.col() + 1);
                build.errors.push(Diagnostic::new(
                    "",
                    span,
                    format!("invalid YAML: {}", error.info()),
                ));
                return Err(build.errors);
            }
        };
        let span = Span::new(range.start.line().max(1), range.start.col() + 1);
        let result = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    Err(Diagnostic::new(
                        "",
                        span,
                        "more than one YAML document, only one is read",
                    ))
                } else {
                    Ok(())
                }
            }
            Event::Alias(id) => build.alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                build.scalar(text, style, anchor, tag.as_deref(), span)
            }
            Event::SequenceStart(anchor, _) => build.open(Value::List(Vec::new()), anchor, span),
            Event::MappingStart(anchor, _) => build.open(Value::Map(Vec::new()), anchor, span),
            Event::SequenceEnd | Event::MappingEnd => build.close(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        };
        if let Err(fatal) = result {
            build.errors.push(fatal);
            return Err(build.errors);
        }
    }
    if build.errors.is_empty() {
        Ok(build.root.unwrap_or(Node {
            span: Span::new(1, 1),
            value: Value::Null,
        }))
    } else {
        Err(build.errors)
    }
}

/// The tree so far. Errors that leave the events in step are collected, others end the parse.
#[derive(Default)]
struct Build {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    aliased: usize,
    errors: Vec<Diagnostic>,
}

/// A list or map that has begun.
struct Open {
    node: Node,
    anchor: usize,
    /// Levels below this one.
    depth: usize,
    /// A map's key that waits for its value.
    key: Option<Key>,
    /// Whether that key is the merge key.
    merge: bool,
    /// Values of merge keys, to be added when the map ends.
    merged: Vec<Node>,
    /// Where each key of a map was first given.
    seen: HashMap<String, Span>,
}

struct Anchored {
    node: Node,
    depth: usize,
    weight: usize,
}

impl Build {
    fn open(&mut self, value: Value, anchor: usize, span: Span) -> Result<(), Diagnostic> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(span));
        }
        self.no_key_due(span)?;
        self.open.push(Open {
            node: Node { span, value },
            anchor,
            depth: 0,
            key: None,
            merge: false,
            merged: Vec::new(),
            seen: HashMap::new(),
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let Some(mut done) = self.open.pop() else {
            return Ok(());
        };
        for source in std::mem::take(&mut done.merged) {
            self.merge(&mut done, source);
        }
        self.add(done.node, done.anchor, done.depth + 1)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Diagnostic> {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(Diagnostic::new(
                "",
                span,
                "an alias inside the value that it stands for",
            ));
        };
        self.aliased += anchored.weight;
        if self.aliased > MAX_ALIASED {
            let detail = format!("aliases expand to more than {} MiB", MAX_ALIASED >> 20);
            return Err(Diagnostic::new("", span, detail));
        }
        if self.open.len() + anchored.depth > MAX_DEPTH {
            return Err(too_deep(span));
        }
        let (node, depth) = (anchored.node.clone(), anchored.depth);
        if self.key_due() {
            return match node.value {
                Value::String(text) => self.key(text, span, false),
                _ => Err(Diagnostic::new(self.pointer(), span, "a key must be text")),
            };
        }
        self.add(node, 0, depth)
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<(), Diagnostic> {
        let plain = style == ScalarStyle::Plain;
        if self.key_due() {
            let merge = plain && tag.is_none() && text == "<<";
            if anchor != 0 {
                let node = Node {
                    span,
                    value: Value::String(text.clone().into_owned()),
                };
                self.remember(&node, anchor, 0);
            }
            return self.key(text.into_owned(), span, merge);
        }
        let value = match resolve(&text, plain, tag) {
            Ok(value) => value,
            Err(detail) => {
                self.errors
                    .push(Diagnostic::new(self.pointer(), span, detail));
                Value::Null
            }
        };
        self.add(Node { span, value }, anchor, 0)
    }

    /// Puts a finished value, `depth` levels deep, where it belongs.
    fn add(&mut self, node: Node, anchor: usize, depth: usize) -> Result<(), Diagnostic> {
        self.no_key_due(node.span)?;
        self.remember(&node, anchor, depth);
        let Some(above) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        above.depth = above.depth.max(depth);
        match (&mut above.node.value, above.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(_), Some(_)) if std::mem::take(&mut above.merge) => above.merged.push(node),
            (Value::Map(entries), Some(key)) => match above.seen.get(&key.text) {
                Some(first) => {
                    let first = *first;
                    let error = duplicate(&self.pointer(), &key, first);
                    self.errors.push(error);
                }
                None => {
                    above.seen.insert(key.text.clone(), key.span);
                    entries.push((key, node));
                }
            },
            _ => {}
        }
        Ok(())
    }

    fn key(&mut self, text: String, span: Span, merge: bool) -> Result<(), Diagnostic> {
        if let Some(above) = self.open.last_mut() {
            above.key = Some(Key { text, span });
            above.merge = merge;
        }
        Ok(())
    }

    fn key_due(&self) -> bool {
        let above = self.open.last();
        above.is_some_and(|o| o.key.is_none() && matches!(o.node.value, Value::Map(_)))
    }

    /// Refuses a list or map in the place of a key.
    fn no_key_due(&self, span: Span) -> Result<(), Diagnostic> {
        if self.key_due() {
            return Err(Diagnostic::new(self.pointer(), span, "a key must be text"));
        }
        Ok(())
    }

    fn remember(&mut self, node: &Node, anchor: usize, depth: usize) {
        if anchor != 0 {
            let anchored = Anchored {
                node: node.clone(),
                depth,
                weight: weight(node),
            };
            self.anchors.insert(anchor, anchored);
        }
    }

    /// Adds the entries of a merge key's value that the map does not have. The map's own win, and
    /// in a list of maps the earlier.
    fn merge(&mut self, into: &mut Open, source: Node) {
        let sources = match source.value {
            Value::List(items) => items,
            _ => vec![source],
        };
        let Value::Map(entries) = &mut into.node.value else {
            return;
        };
        for source in sources {
            let Value::Map(more) = source.value else {
                let detail = "a merge key `<<` takes a map or a list of maps";
                self.errors.push(Diagnostic::new("", source.span, detail));
                continue;
            };
            for (key, node) in more {
                if !into.seen.contains_key(&key.text) {
                    into.seen.insert(key.text.clone(), key.span);
                    entries.push((key, node));
                }
            }
        }
    }

    /// The pointer of what is being read.
    fn pointer(&self) -> String {
        self.open.iter().fold(String::new(), |pointer, open| {
            match (&open.node.value, &open.key) {
                (Value::List(items), _) => join(&pointer, &items.len().to_string()),
                (_, Some(key)) => join(&pointer, &key.text),
                _ => pointer,
            }
        })
    }
}

fn weight(node: &Node) -> usize {
    NODE_WEIGHT
        + match &node.value {
            Value::String(text) => text.len(),
            Value::List(items) => items.iter().map(weight).sum(),
            Value::Map(entries) => entries.iter().map(|(k, n)| k.text.len() + weight(n)).sum(),
            _ => 0,
        }
}

/// A scalar's value by its tag, or else by the core schema if it is plain (YAML 1.2.2, 10.3.2).
fn resolve(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Value, String> {
    let wanted = match tag {
        None if plain => return core(text),
        None => "str",
        Some(tag) if tag.is_yaml_core_schema() => tag.suffix.as_str(),
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => "str",
        Some(tag) => return Err(format!("unknown tag `{}{}`", tag.handle, tag.suffix)),
    };
    let value = if wanted == "str" {
        Value::String(text.to_owned())
    } else {
        core(text)?
    };
    match (wanted, value) {
        ("str", value @ Value::String(_))
        | ("null", value @ Value::Null)
        | ("bool", value @ Value::Bool(_))
        | ("int", value @ (Value::Int(_) | Value::UInt(_)))
        | ("float", value @ (Value::Float(_) | Value::Int(_) | Value::UInt(_))) => Ok(value),
        _ => Err(format!("`{text}` is no value of the tag `!!{wanted}`")),
    }
}

/// A plain scalar's value by the core schema.
fn core(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match number(text) {
            Some(Value::Float(n)) if !n.is_finite() => return Err("a number must be finite".into()),
            Some(number) => number.written(text)?,
            None => Value::String(text.to_owned()),
        },
    })
}

fn number(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Value::Float(f64::NAN));
    }
    let radix = |digits: &str, radix| {
        // Rust's parser would also take a sign here.
        let first = digits.chars().next()?.is_digit(radix);
        let n = first.then(|| u64::from_str_radix(digits, radix).ok())??;
        Some(i64::try_from(n).map_or(Value::UInt(n), Value::Int))
    };
    if let Some(octal) = text.strip_prefix("0o") {
        return radix(octal, 8);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return radix(hex, 16);
    }
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !unsigned.is_empty() && digits(unsigned) {
        if let Ok(n) = text.parse::<i64>() {
            return Some(Value::Int(n));
        }
        if let Ok(n) = text.parse::<u64>() {
            return Some(Value::UInt(n));
        }
    }
    // [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    let float = digits(whole) && digits(decimals) && exponent;
    if !float || (whole.is_empty() && decimals.is_empty()) {
        return None;
    }
    text.parse().ok().map(Value::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn read(text: &str) -> Json {
        parse(text)
            .unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
            .to_json()
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        for (text, value) in [
            ("null", json!(null)),
            ("~", json!(null)),
            ("", json!(null)),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("yes", json!("yes")),
            ("off", json!("off")),
            ("12", json!(12)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("007", json!(7)),
            ("0o17", json!(15)),
            ("0xff", json!(255)),
            ("0x+f", json!("0x+f")),
            ("0xg", json!("0xg")),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1.", json!(1.0)),
            ("-1e3", json!(-1000.0)),
            ("1e", json!("1e")),
            (".", json!(".")),
            ("1_000", json!("1_000")),
            ("'12'", json!("12")),
            ("\"a\\tb\"", json!("a\tb")),
            ("!!str 12", json!("12")),
            ("! 12", json!("12")),
            ("!!int 12", json!(12)),
            ("!!float 12", json!(12)),
            ("10s", json!("10s")),
            ("127.0.0.1:80", json!("127.0.0.1:80")),
            ("inf", json!("inf")),
            ("nan", json!("nan")),
            ("|\n  a\n  b\n", json!("a\nb\n")),
        ] {
            assert_eq!(read(&format!("x: {text}"))["x"], value, "{text}");
        }
        assert_eq!(read(""), json!(null));
        assert_eq!(read("# only a comment\n"), json!(null));
        assert_eq!(read("---\na: 1\n...\n"), json!({"a": 1}));
        assert_eq!(read("1: a\ntrue: b\n"), json!({"1": "a", "true": "b"}));
    }

    #[test]
    fn knows_the_places() {
        let tree = parse("version: 1\nproxy:\n  listen: [a, é, \"b\"]\n  tls:\n    x: |\n      text\nlog: { level: info }\nlist:\n- a: 1\n-\n  - 2\n").unwrap();
        for (pointer, value, key) in [
            ("/version", (1, 10), (1, 1)),
            ("/proxy", (3, 3), (2, 1)),
            ("/proxy/listen", (3, 11), (3, 3)),
            ("/proxy/tls/x", (6, 7), (5, 5)), // where a block's text begins, not its `|`,
            ("/log", (7, 6), (7, 1)),
            ("/log/level", (7, 15), (7, 8)),
            ("/list", (9, 3), (8, 1)),
            ("/list/0/a", (9, 6), (9, 3)),
        ] {
            assert_eq!(
                tree.at(pointer).unwrap().span,
                Span::new(value.0, value.1),
                "{pointer}"
            );
            let (above, name) = pointer.rsplit_once('/').unwrap();
            let (found, _) = tree.at(above).unwrap().entry(name).unwrap();
            assert_eq!(found.span, Span::new(key.0, key.1), "key of {pointer}");
        }
        assert_eq!(tree.at("/proxy/listen/2").unwrap().span, Span::new(3, 18));
        assert_eq!(tree.at("/list/0").unwrap().span, Span::new(9, 3));
        assert_eq!(tree.at("/list/1/0").unwrap().span, Span::new(11, 5));
    }

    #[test]
    fn aliases_and_merge_keys() {
        for (text, value) in [
            ("a: &x [1]\nb: *x\n", json!({"a": [1], "b": [1]})),
            ("a: &x s\nb: { *x : 1 }\n", json!({"a": "s", "b": {"s": 1}})),
            ("&k a: 1\nb: *k\n", json!({"a": 1, "b": "a"})),
            (
                "a: &x { p: 1, q: 2 }\nb: { <<: *x, q: 3 }\n",
                json!({"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
            ),
            (
                "b:\n  q: 3\n  <<: [{ q: 4, r: 5 }, { r: 6, s: 7 }]\n",
                json!({"b": {"q": 3, "r": 5, "s": 7}}),
            ),
            ("b: { '<<': 1 }\n", json!({"b": {"<<": 1}})),
            ("a: &x 1\nb: &x 2\nc: *x\n", json!({"a": 1, "b": 2, "c": 2})),
            ("a: &x\nb: *x\n", json!({"a": null, "b": null})),
        ] {
            assert_eq!(read(text), value, "{text}");
        }
    }

    #[test]
    fn errors_have_places() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        for (text, place, part) in [
            (
                "a: 1\nb: 2\na: 3\n",
                (3, 1),
                "duplicate key `a`, first given at 1:1",
            ),
            ("a: { b: 1, b: 2 }\n", (1, 12), "duplicate key `b`"),
            ("a: 1\n---\nb: 2\n", (2, 1), "more than one YAML document"),
            ("a: .nan\n", (1, 4), "finite"),
            ("a: 1e999\n", (1, 4), "finite"),
            ("a: !env X\n", (1, 4), "unknown tag `!env`"),
            ("a: !!int x\n", (1, 4), "no value of the tag `!!int`"),
            ("a: &x [*x]\n", (1, 8), "an alias inside"),
            ("a: *nope\n", (1, 4), "unknown anchor"),
            ("? [1]\n: 2\n", (1, 3), "a key must be text"),
            ("a: { <<: 1 }\n", (1, 10), "a map or a list of maps"),
            (deep.as_str(), (1, 65), "nested deeper than 64"),
            ("a: \"x\n", (1, 4), "invalid YAML"),
        ] {
            let errors = parse(text).expect_err(text);
            assert!(errors[0].detail.contains(part), "{text} {errors:?}");
            if !text.starts_with("a: !") && part != "invalid YAML" {
                assert_eq!(
                    errors[0].span,
                    Some(Span::new(place.0, place.1)),
                    "{text} {errors:?}"
                );
            }
        }
        let errors = parse("a: 1\na: 2\nb: { c: .inf }\nb: 1\n").unwrap_err();
        let pointers: Vec<_> = errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a", "/b/c", "/b"]);
    }

    #[test]
    fn hostile_texts_end_quickly() {
        let mut lol = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            let alias = format!("*a{}", i - 1);
            lol += &format!("a{i}: &a{i} [{}]\n", vec![alias; 10].join(","));
        }
        let errors = parse(&lol).unwrap_err();
        assert!(
            errors[0]
                .detail
                .contains("aliases expand to more than 16 MiB"),
            "{errors:?}"
        );

        let text = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(1 << 20),
            vec!["*a"; 100].join(",")
        );
        assert!(parse(&text).is_err());

        // Nesting through aliases counts too.
        let mut nested = "a0: &a0 [x]\n".to_owned();
        for i in 1..40 {
            nested += &format!("a{i}: &a{i} [[*a{}]]\n", i - 1);
        }
        assert!(
            parse(&nested).unwrap_err()[0]
                .detail
                .contains("nested deeper")
        );

        assert!(parse(&"[".repeat(200_000)).is_err());
        assert!(parse(&"- ".repeat(200_000)).is_err());
        assert!(parse(&"{a: ".repeat(200_000)).is_err());
        let many = (0..20_000)
            .map(|i| format!("k{i}: 1\n"))
            .collect::<String>();
        assert!(parse(&many).is_ok());
    }
}
