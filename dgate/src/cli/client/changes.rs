//! Changes as people read them: `+` for what is new, `-` for what goes, `~` for what becomes another.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::output::{Paint, harmless};
use crate::config::to_yaml;

/// Lines around a change that show where it is.
const CONTEXT: usize = 2;

/// One line for each change.
pub(super) fn list(changes: &Value, paint: Paint) -> String {
    let changes = changes.as_array().into_iter().flatten();
    changes.map(|change| headline(change, paint)).collect()
}

/// The same, each with the lines of its fields that differ.
pub(super) fn detailed(changes: &Value, paint: Paint) -> String {
    let mut text = String::new();
    for change in changes.as_array().into_iter().flatten() {
        text += &headline(change, paint);
        // Of what goes, the name says all that a reader needs.
        if change["op"] != "delete" {
            text += &lines(&change["before"], &change["after"], paint);
        }
    }
    text
}

fn sign(change: &Value) -> char {
    match change["op"].as_str() {
        Some("create") => '+',
        Some("delete") => '-',
        _ => '~',
    }
}

fn headline(change: &Value, paint: Paint) -> String {
    let sign = sign(change);
    let text = |name: &str| harmless(change[name].as_str().unwrap_or("?"));
    let line = format!("{sign} {} {}", text("kind"), text("key"));
    format!("{}\n", paint.change(sign, &line))
}

/// The lines that differ, of two values as YAML.
fn lines(before: &Value, after: &Value, paint: Paint) -> String {
    let yaml = |value: &Value| {
        if value.is_null() {
            String::new()
        } else {
            to_yaml(value)
        }
    };
    let (before, after) = (yaml(before), yaml(after));
    let diff = TextDiff::from_lines(&before, &after);
    let mut text = String::new();
    for (at, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if at > 0 {
            text += "    …\n";
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Insert => '+',
                ChangeTag::Delete => '-',
                ChangeTag::Equal => ' ',
            };
            let value = harmless(change.value().trim_end_matches('\n'));
            let line = format!("    {sign} {value}");
            let line = line.trim_end();
            text += &if sign == ' ' {
                line.to_owned()
            } else {
                paint.change(sign, line)
            };
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_diff_shows_what_is_new_what_goes_and_what_differs() {
        let changes = json!([
            {"op": "create", "kind": "service", "key": "a/new", "before": null, "after": {"name": "new"}},
            {"op": "update", "kind": "module", "key": "a/m",
             "before": {"source": "one\ntwo\nthree\nfour\nfive\n", "type": "typescript"},
             "after": {"source": "one\ntwo\nthree\nfour\nsix\n", "type": "javascript"}},
            {"op": "delete", "kind": "route", "key": "a/old", "before": {"name": "old"}},
        ]);
        assert_eq!(
            list(&changes, Paint::NONE),
            "+ service a/new\n~ module a/m\n- route a/old\n"
        );
        let wanted = "\
+ service a/new
    + name: new
~ module a/m
        three
        four
    -   five
    - type: typescript
    +   six
    + type: javascript
- route a/old
";
        assert_eq!(detailed(&changes, Paint::NONE), wanted);
    }

    #[test]
    fn without_fields_there_is_only_the_headline() {
        let changes = json!([{"op": "update", "kind": "gizmo", "key": "a/b"}]);
        assert_eq!(detailed(&changes, Paint::NONE), "~ gizmo a/b\n");
    }
}
