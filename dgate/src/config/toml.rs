//! TOML text to a [`Node`] tree, with the places that toml_edit keeps.

use std::ops::Range;

use toml_edit::{Document, Item, TableLike};

use super::diagnostic::{Diagnostic, Lines, Span, join};
use super::tree::{Key, MAX_DEPTH, Node, Value, too_deep};

/// Reads a TOML text; see [`super::parse`]. Dates become strings.
pub(crate) fn parse(text: &str) -> Result<Node, Vec<Diagnostic>> {
    let lines = Lines::new(text);
    let document = Document::parse(text).map_err(|error| {
        let span = lines.span(error.span().map_or(0, |range| range.start));
        let detail = format!(
            "invalid TOML: {}",
            error.message().trim().replace('\n', ", ")
        );
        vec![Diagnostic::new("", span, detail)]
    })?;
    let mut walk = Walk {
        lines,
        errors: Vec::new(),
    };
    let root = Span::new(1, 1);
    match walk.table(document.as_table(), root, "", 1) {
        Some(node) if walk.errors.is_empty() => Ok(node),
        _ => Err(walk.errors),
    }
}

struct Walk<'a> {
    lines: Lines<'a>,
    errors: Vec<Diagnostic>,
}

impl Walk<'_> {
    /// The place of a range, or of the thing above where a table has none of its own, such as `a`
    /// in `a.b = 1`.
    fn span(&self, range: Option<Range<usize>>, above: Span) -> Span {
        range.map_or(above, |range| self.lines.span(range.start))
    }

    /// `None`: nested too deep, and said so.
    fn table(
        &mut self,
        table: &dyn TableLike,
        span: Span,
        pointer: &str,
        depth: usize,
    ) -> Option<Node> {
        if depth > MAX_DEPTH {
            self.errors.push(too_deep(span));
            return None;
        }
        let mut entries = Vec::with_capacity(table.len());
        for (name, item) in table.iter() {
            let range = table.key(name).and_then(toml_edit::Key::span);
            let key = Key {
                text: name.to_owned(),
                span: self.span(range, span),
            };
            let node = self.item(item, key.span, &join(pointer, name), depth + 1)?;
            entries.push((key, node));
        }
        Some(Node {
            span,
            value: Value::Map(entries),
        })
    }

    fn item(&mut self, item: &Item, above: Span, pointer: &str, depth: usize) -> Option<Node> {
        let span = self.span(item.span(), above);
        match item {
            Item::None => Some(Node {
                span,
                value: Value::Null,
            }),
            Item::Value(value) => self.value(value, above, pointer, depth),
            Item::Table(table) => self.table(table, span, pointer, depth),
            Item::ArrayOfTables(tables) => {
                let mut items = Vec::with_capacity(tables.len());
                for (i, table) in tables.iter().enumerate() {
                    let at = self.span(table.span(), span);
                    items.push(self.table(table, at, &join(pointer, &i.to_string()), depth + 1)?);
                }
                Some(Node {
                    span,
                    value: Value::List(items),
                })
            }
        }
    }

    fn value(
        &mut self,
        value: &toml_edit::Value,
        above: Span,
        pointer: &str,
        depth: usize,
    ) -> Option<Node> {
        use toml_edit::Value as Toml;
        let span = self.span(value.span(), above);
        if depth > MAX_DEPTH {
            self.errors.push(too_deep(span));
            return None;
        }
        let value = match value {
            Toml::String(text) => Value::String(text.value().clone()),
            Toml::Integer(n) => Value::Int(*n.value()),
            Toml::Float(n) if n.value().is_finite() => Value::Float(*n.value()),
            Toml::Float(_) => {
                self.errors
                    .push(Diagnostic::new(pointer, span, "a number must be finite"));
                Value::Null
            }
            Toml::Boolean(b) => Value::Bool(*b.value()),
            Toml::Datetime(date) => Value::String(date.value().to_string()),
            Toml::Array(array) => {
                let mut items = Vec::with_capacity(array.len());
                for (i, item) in array.iter().enumerate() {
                    items.push(self.value(
                        item,
                        span,
                        &join(pointer, &i.to_string()),
                        depth + 1,
                    )?);
                }
                Value::List(items)
            }
            Toml::InlineTable(table) => return self.table(table, span, pointer, depth),
        };
        Some(Node { span, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "version = 1\n\n[proxy]\nlisten = [\"a\", 'b']\nlimits.max = 1.5\n\n\
        [proxy.tls]\nlisten = true\n[[plugins]]\nname = \"x\"\n[[plugins]]\nconfig = { a = 1979-05-27, \"é\" = 2 }\n";

    #[test]
    fn reads_what_toml_has() {
        assert_eq!(
            parse(TEXT).unwrap().to_json(),
            json!({
                "version": 1,
                "proxy": { "listen": ["a", "b"], "limits": { "max": 1.5 }, "tls": { "listen": true } },
                "plugins": [{ "name": "x" }, { "config": { "a": "1979-05-27", "é": 2 } }],
            })
        );
        assert_eq!(parse("").unwrap().to_json(), json!({}));
    }

    #[test]
    fn knows_the_places() {
        let tree = parse(TEXT).unwrap();
        for (pointer, value, key) in [
            ("/version", (1, 11), (1, 1)),
            ("/proxy", (3, 1), (3, 2)),
            ("/proxy/listen", (4, 10), (4, 1)),
            ("/proxy/limits", (5, 1), (5, 1)),
            ("/proxy/limits/max", (5, 14), (5, 8)),
            ("/proxy/tls", (7, 1), (7, 8)),
            ("/plugins", (9, 1), (9, 3)),
            ("/plugins/1/config", (12, 10), (12, 1)),
            ("/plugins/1/config/é", (12, 34), (12, 28)),
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
        assert_eq!(tree.at("/proxy/listen/1").unwrap().span, Span::new(4, 16));
        assert_eq!(tree.at("/plugins/1").unwrap().span, Span::new(11, 1));
    }

    #[test]
    fn errors_have_places() {
        for (text, place, part) in [
            ("a = 1\nb = \n", (2, 5), "invalid TOML"),
            ("a = 1\na = 2\n", (2, 1), "duplicate key"),
            ("a = nan\n", (1, 5), "finite"),
        ] {
            let errors = parse(text).expect_err(text);
            assert_eq!(
                errors[0].span,
                Some(Span::new(place.0, place.1)),
                "{text} {errors:?}"
            );
            assert!(errors[0].detail.contains(part), "{text} {errors:?}");
        }
        assert!(parse(&format!("a = {}{}", "[".repeat(70), "]".repeat(70))).is_err());
        assert!(parse(&format!("a = {}", "[".repeat(100_000))).is_err());
        assert!(parse(&format!("{} = 1", vec!["a"; 10_000].join("."))).is_err());
    }
}
