//! JSON values as YAML text, for people and for files: what `export` and `dgate get -o yaml` give out. Floor 5, next
//! to the reader that takes it back.
//!
//! ```
//! use dgate::config::{Format, parse, to_yaml};
//!
//! let value = serde_json::json!({"name": "a", "reply": "yes", "source": "one\ntwo\n"});
//! let text = to_yaml(&value);
//! assert_eq!(text, "name: a\nreply: \"yes\"\nsource: |\n  one\n  two\n");
//! assert_eq!(parse(&text, Format::Yaml).expect("its own YAML").to_json(), value);
//! ```

use serde::{Serialize, Serializer};
use serde_json::Value;

/// The fields that name a thing: they come first in a map, as people write them. All others are in the order of the
/// alphabet.
const NAMES: [&str; 4] = ["namespace", "collection", "name", "id"];

/// Writes a value as one YAML document, which [`super::parse`] reads as the same value.
///
/// Texts of several lines are block scalars. Whatever a reader of YAML 1.1 or 1.2 could take for something other than
/// text (`yes`, `1e3`, `~`) stands in quotes. Nesting deeper than [`super::MAX_DEPTH`] is written and not read again.
pub fn to_yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        compact_list_indent: false,
        // Texts of one line stay on it, as `grep` and `diff` want it.
        folded_wrap_chars: usize::MAX,
    };
    let text = serde_saphyr::to_string_with_options(&Ordered(value), options);
    let mut text = text.expect("a JSON value has string keys and no custom types");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A value whose maps begin with what names them.
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            Value::Object(map) => {
                let first = NAMES.iter().filter_map(|name| map.get_key_value(*name));
                let rest = map.iter().filter(|(key, _)| !NAMES.contains(&key.as_str()));
                serializer.collect_map(first.chain(rest).map(|(key, value)| (key, Ordered(value))))
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Format, parse};
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn survives(value: &Value) {
        let text = to_yaml(value);
        match parse(&text, Format::Yaml) {
            Ok(node) => assert_eq!(&node.to_json(), value, "{text:?}"),
            Err(errors) => panic!("{value}: {text:?}: {errors:?}"),
        }
    }

    /// A text in every place where one can stand.
    fn places(text: &str) -> Value {
        json!({
            "value": text, text: "key", "list": [text, [text, {"in": text}]],
            "map": {"a": {text: {text: text}}, "b": [{"c": text, "d": 1}]},
        })
    }

    #[test]
    fn what_looks_like_something_else_stays_text() {
        for text in [
            "",
            " ",
            "~",
            "null",
            "NULL",
            "yes",
            "no",
            "on",
            "off",
            "y",
            "N",
            "true",
            "False",
            "1",
            "-1",
            "+1",
            "1e3",
            "1E3",
            "0x1f",
            "0o17",
            "017",
            "1_000",
            ".5",
            "1.",
            ".inf",
            "-.INF",
            ".nan",
            "12:30:45",
            "2001-12-14",
            "<<",
            "=",
            "-",
            "--",
            "---",
            "...",
            "--- a",
            "- a",
            "? a",
            "?",
            ": a",
            ":",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "a#b",
            "&a",
            "*a",
            "!a",
            "!!str a",
            "|",
            ">",
            "|-",
            "%a",
            "%YAML 1.2",
            "@a",
            "`a",
            "{a}",
            "{",
            "[a",
            "]",
            ",",
            "a, b",
            "'a'",
            "\"a\"",
            "it's",
            "\\",
            "a\\nb",
            " a",
            "a ",
            "\ta",
            "a\t",
            "a\tb",
            "é",
            "日本",
            "😀",
            "\u{feff}a",
            "a\u{feff}",
            "\u{0}",
            "\u{7}",
            "\u{1b}[0m",
            "\u{7f}",
            "\u{85}",
            "\u{a0}",
            "\u{2028}",
            "\u{2029}",
            "\u{fffe}",
            "\u{fffd}",
            "a\u{85}b",
            "/users/{id}",
            "http://127.0.0.1:9",
            "*.example.com",
            "/^a.*$/",
            "10s",
            "64KiB",
            "$2b$12$abc",
            "${VAR}",
            "{{ x }}",
        ] {
            survives(&json!(text));
            survives(&places(text));
        }
    }

    #[test]
    fn texts_of_several_lines_survive() {
        for text in [
            "\n",
            "\n\n",
            "\n\n\n",
            "a\n",
            "a\nb",
            "a\nb\n",
            "a\nb\n\n",
            "\na",
            "\n\na\n",
            " a\nb",
            "  a\n b\n",
            "a\n b\n",
            "\ta\nb\n",
            "a\n\tb",
            "a \nb ",
            "a\n\nb",
            "a\n \nb",
            " \na",
            "\n a\n",
            "a\r\nb\r\n",
            "a\rb",
            "a\n\r",
            "\r",
            "a\n---\nb\n",
            "a\n...\nb",
            "a\n# b\n",
            "a: b\n- c\n",
            "a\u{85}b\nc",
            "a\u{2028}b\nc",
            "a\n\u{feff}b",
            "a\n ",
            "a\n  ",
            "a\n\n ",
            "\n ",
            " \n",
            " \n ",
            "a\n\t",
            "\t\n",
            "a\u{0}\nb",
            "😀\n日本\n",
            "a\n\u{a0}\n",
            "export function f() {\n  return `a\n\n  ${b}`;\n}\n",
            "-----BEGIN X-----\nabc\n-----END X-----\n",
        ] {
            survives(&json!(text));
            survives(&places(text));
        }
        survives(&json!("word ".repeat(100)));
        survives(&json!(format!("{}\nb", "word ".repeat(100))));
    }

    #[test]
    fn other_values_survive() {
        survives(&json!([
            null,
            true,
            false,
            0,
            -1,
            i64::MIN,
            u64::MAX,
            1.5,
            -0.1,
            1e300,
            1e-300,
            123456.789e3
        ]));
        survives(&json!({"a": {}, "b": [], "c": [[], {}, [[]], [{}]], "d": {"e": {"f": []}}}));
        for scalar in [json!(null), json!(7), json!(true), json!({}), json!([])] {
            survives(&scalar);
        }
    }

    #[test]
    fn what_names_a_thing_comes_first() {
        let value = json!({"groups": [{"b": 1, "name": "c"}], "name": "x", "namespace": "z"});
        let wanted = "namespace: z\nname: x\ngroups:\n  - name: c\n    b: 1\n";
        assert_eq!(to_yaml(&value), wanted);
    }

    #[test]
    fn texts_at_random_survive() {
        let pieces = [
            "a", "b c", " ", "  ", "\n", "\n\n", "\t", "\r", ":", ": ", " #", "#", "-", "- ", "'",
            "\"", "\\", "|", ">", "{", "}", "[", "]", ",", "&", "*", "!", "%", "@", "`", "?", "~",
            "0", "1", "e", ".", "é", "\u{85}", "\u{2028}", "\u{feff}", "\u{0}", "---", "...",
            "null", "true", "<<", "=",
        ];
        // A generator of its own keeps the failures of this test the same in each run.
        let mut seed = 7_u64;
        let mut next = |below: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let text: String = (0..1 + next(7))
                .map(|_| pieces[next(pieces.len())])
                .collect();
            survives(&json!({"a": text, "b": [text, {"c": text}], text.clone(): {"d": [[text]]}}));
        }
    }
}
