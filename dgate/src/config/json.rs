//! JSON text to a [`Node`] tree. serde_json checks the syntax first, which leaves the walk that
//! finds the places nothing to refuse but duplicate keys and depth.
//!
//! Not read as YAML, although YAML 1.2 calls itself a superset: its parser refuses surrogate pairs
//! and keys of more than 1024 characters.

use super::diagnostic::{Diagnostic, Lines, Span, join};
use super::tree::{Key, MAX_DEPTH, Node, Value, duplicate, too_deep};

/// Reads a JSON text; see [`super::parse`].
pub(crate) fn parse(text: &str) -> Result<Node, Vec<Diagnostic>> {
    let lines = Lines::new(text);
    // Into a value and not `IgnoredAny`, which takes escapes and numbers that no value can hold.
    if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
        return Err(vec![syntax(&error, &lines)]);
    }
    let mut walk = Walk {
        text,
        at: 0,
        lines,
        errors: Vec::new(),
    };
    match walk.value("", 1) {
        Ok(node) if walk.errors.is_empty() => Ok(node),
        Ok(_) => Err(walk.errors),
        Err(fatal) => {
            walk.errors.push(*fatal);
            Err(walk.errors)
        }
    }
}

/// The first error of syntax.
fn syntax(error: &serde_json::Error, lines: &Lines<'_>) -> Diagnostic {
    let span = lines.span(lines.offset(error.line(), error.column().max(1)));
    // Without the "at line 1 column 2" that serde_json appends.
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or(&text);
    Diagnostic::new("", span, format!("invalid JSON: {text}"))
}

/// A walk over text that is known to be JSON.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    lines: Lines<'a>,
    errors: Vec<Diagnostic>,
}

impl Walk<'_> {
    /// The next byte that is no white space, not consumed. The text is JSON, so that there is one
    /// wherever a token must come.
    fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or_default()
    }

    fn span(&mut self) -> Span {
        self.peek();
        self.lines.span(self.at)
    }

    /// Consumes the next byte if it is `byte`.
    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == byte;
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, pointer: &str, depth: usize) -> Result<Node, Box<Diagnostic>> {
        let span = self.span();
        if depth > MAX_DEPTH {
            return Err(Box::new(too_deep(span)));
        }
        let value = match self.peek() {
            b'{' => self.map(pointer, depth)?,
            b'[' => self.list(pointer, depth)?,
            b'"' => Value::String(self.string()?),
            _ => self.word(pointer, span)?,
        };
        Ok(Node { span, value })
    }

    fn map(&mut self, pointer: &str, depth: usize) -> Result<Value, Box<Diagnostic>> {
        self.take(b'{');
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        while !self.take(b'}') {
            let span = self.span();
            let key = Key {
                text: self.string()?,
                span,
            };
            self.take(b':');
            let node = self.value(&join(pointer, &key.text), depth + 1)?;
            self.take(b',');
            match seen.get(&key.text) {
                Some(first) => self.errors.push(duplicate(pointer, &key, *first)),
                None => {
                    seen.insert(key.text.clone(), span);
                    entries.push((key, node));
                }
            }
        }
        Ok(Value::Map(entries))
    }

    fn list(&mut self, pointer: &str, depth: usize) -> Result<Value, Box<Diagnostic>> {
        self.take(b'[');
        let mut items = Vec::new();
        while !self.take(b']') {
            items.push(self.value(&join(pointer, &items.len().to_string()), depth + 1)?);
            self.take(b',');
        }
        Ok(Value::List(items))
    }

    fn string(&mut self) -> Result<String, Box<Diagnostic>> {
        self.peek();
        let start = self.at;
        let mut escaped = true; // the opening quote is none that closes
        for byte in &self.text.as_bytes()[start..] {
            self.at += 1;
            match byte {
                b'"' if !escaped => break,
                b'\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        self.token(start)
    }

    fn word(&mut self, pointer: &str, span: Span) -> Result<Value, Box<Diagnostic>> {
        let start = self.at;
        let rest = &self.text[start..];
        let end = rest.find(|c: char| c.is_ascii_whitespace() || ",]}".contains(c));
        self.at += end.unwrap_or(rest.len());
        Ok(match &self.text[start..self.at] {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => {
                let number = Value::from_number(&self.token::<serde_json::Number>(start)?);
                number.written(text).unwrap_or_else(|detail| {
                    self.errors.push(Diagnostic::new(pointer, span, detail));
                    Value::Null
                })
            }
        })
    }

    fn token<T: serde::de::DeserializeOwned>(&self, start: usize) -> Result<T, Box<Diagnostic>> {
        serde_json::from_str(&self.text[start..self.at]).map_err(|error| {
            Box::new(Diagnostic::new(
                "",
                self.lines.span(start),
                error.to_string(),
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_json_has() {
        let text = r#" { "a" : [ 1, -2.5e3, 18446744073709551615, true, null, "\ud83d\ude00\"\\" ],
            "b": {}, "é": "x", "c": [] } "#;
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text).unwrap().to_json(), value);
        assert_eq!(parse("7").unwrap().to_json(), json!(7));
        assert_eq!(parse("-0").unwrap().to_json(), json!(-0.0));
        assert_eq!(parse("1e30").unwrap().to_json(), json!(1e30));
        assert_eq!(parse(r#""""#).unwrap().to_json(), json!(""));
    }

    #[test]
    fn knows_the_places() {
        let tree = parse("{\n  \"é\": {\"b\":\t[1,\n 22]}\n}").unwrap();
        for (pointer, span) in [
            ("", Span::new(1, 1)),
            ("/é", Span::new(2, 8)),
            ("/é/b", Span::new(2, 14)),
            ("/é/b/1", Span::new(3, 2)),
        ] {
            assert_eq!(tree.at(pointer).unwrap().span, span, "{pointer}");
        }
        assert_eq!(tree.entry("é").unwrap().0.span, Span::new(2, 3));
    }

    #[test]
    fn errors_have_places() {
        let deep = "[".repeat(65) + &"]".repeat(65);
        for (text, place, part) in [
            ("{\n  \"a\": 1,\n  }", (3, 3), "trailing comma"),
            ("{\"a\": tru}", (1, 10), "expected ident"),
            ("", (1, 1), "EOF"),
            ("{} x", (1, 4), "trailing characters"),
            (
                "{\"a\": 1,\n \"b\": 1, \"a\": 2}",
                (2, 10),
                "duplicate key `a`, first given at 1:2",
            ),
            ("[1e999]", (1, 6), "out of range"),
            ("[1,\n 18446744073709551616]", (2, 2), "beyond 64 bits"),
            ("-9223372036854775809", (1, 1), "beyond 64 bits"),
            ("[\n \"\\ud800\"]", (2, 9), "hex escape"),
            (deep.as_str(), (1, 65), "nested deeper than 64"),
        ] {
            let errors = parse(text).expect_err(text);
            assert_eq!(
                errors[0].span,
                Some(Span::new(place.0, place.1)),
                "{text} {errors:?}"
            );
            assert!(errors[0].detail.contains(part), "{text} {errors:?}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        let long = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(parse(&long).is_err());
    }
}
