//! Fields on the command line, as httpie has them: `name=text`, `name:=json`, `name=@file` for the text of a file,
//! `name:=@file` for the JSON in one. A dot in the name goes a level down: `timeouts.request=5s`.

use std::path::Path;

use serde_json::{Map, Value};

use super::failure::Failure;

const HINT: &str =
    "fields are name=text, name:=json, name=@file or name:=@file; `\\.` is a dot in a name";

/// Sets the fields in `body`, later ones over earlier ones.
pub(super) fn set(body: &mut Value, fields: &[String]) -> Result<(), Failure> {
    for field in fields {
        let (name, value) = read(field)?;
        if !put(body, &name, value) {
            let what = format!("field `{}`", shown(field));
            let cause = "what it is a field of has a value already that holds none";
            return Err(Failure::usage(what, cause, HINT));
        }
    }
    Ok(())
}

fn read(field: &str) -> Result<(Vec<String>, Value), Failure> {
    let wrong =
        |cause: String| Failure::usage(format_args!("field `{}`", shown(field)), cause, HINT);
    let Some((name, text)) = field.split_once('=') else {
        return Err(wrong("there is no `=` in it".to_owned()));
    };
    let (name, json) = match name.strip_suffix(':') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let path = steps(name);
    if path.iter().any(String::is_empty) {
        return Err(wrong("the name is empty".to_owned()));
    }
    let file = text.strip_prefix('@');
    let text = match file {
        None => text.to_owned(),
        Some(file) => read_text(file).map_err(|e| {
            Failure::new(
                format_args!("field `{name}`"),
                format_args!("{file}: {e}"),
                "after `@` is the name of a file with text; `:=\"@text\"` is a text that begins so",
            )
        })?,
    };
    if !json {
        return Ok((path, Value::String(text)));
    }
    let value = serde_json::from_str(&text).map_err(|e| match file {
        Some(file) => wrong(format!(
            "{file}: not JSON: {e}; `{name}=@{file}` takes its text"
        )),
        None => wrong(format!("not JSON: {e}")),
    })?;
    Ok((path, value))
}

/// The name alone, so that no message repeats a secret.
fn shown(field: &str) -> &str {
    let name = field.split_once('=').map_or(field, |(name, _)| name);
    name.strip_suffix(':').unwrap_or(name)
}

/// The field that takes a text, if this one names a file as only files of configuration may.
pub(super) fn of_file(field: &str) -> Option<&str> {
    shown(field).strip_suffix("_file")
}

fn read_text(file: &str) -> std::io::Result<String> {
    if file == "-" {
        return std::io::read_to_string(std::io::stdin());
    }
    std::fs::read_to_string(Path::new(file))
}

/// The steps of a name between its dots.
fn steps(name: &str) -> Vec<String> {
    let mut steps = vec![String::new()];
    let mut rest = name.chars();
    while let Some(c) = rest.next() {
        match c {
            '.' => steps.push(String::new()),
            c => {
                let c = if c == '\\' {
                    rest.next().unwrap_or(c)
                } else {
                    c
                };
                if let Some(last) = steps.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    steps
}

/// Sets one value; false when another one is in the way, which no message repeats, since it may be a secret.
fn put(at: &mut Value, path: &[String], value: Value) -> bool {
    let Some((step, rest)) = path.split_first() else {
        *at = value;
        return true;
    };
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    let Value::Object(fields) = at else {
        return false;
    };
    put(
        fields.entry(step.clone()).or_insert(Value::Null),
        rest,
        value,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(fields: &[&str]) -> Result<Value, Failure> {
        let mut body = json!({});
        let fields: Vec<_> = fields.iter().map(|f| (*f).to_owned()).collect();
        set(&mut body, &fields).map(|()| body)
    }

    #[test]
    fn fields_are_text_unless_they_say_json() {
        let body = made(&["a=1", "b:=1", "c:=[\"x\"]", "d=x=:=y", "e=", "f:=null"]).unwrap();
        let wanted = json!({"a": "1", "b": 1, "c": ["x"], "d": "x=:=y", "e": "", "f": null});
        assert_eq!(body, wanted);
    }

    #[test]
    fn dots_go_down_and_later_fields_win() {
        let body = made(&["t.a=5s", "t.b.c:=1", "x\\.y.z=1", "t.a=6s"]).unwrap();
        assert_eq!(
            body,
            json!({"t": {"a": "6s", "b": {"c": 1}}, "x.y": {"z": "1"}})
        );
    }

    #[test]
    fn files_give_text_or_json() {
        let dir = std::env::temp_dir().join(format!("dgate-fields-{}", std::process::id()));
        std::fs::write(&dir, "[1, 2]\n").unwrap();
        let file = dir.display();
        let body = made(&[&format!("a=@{file}"), &format!("b:=@{file}")]).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(body, json!({"a": "[1, 2]\n", "b": [1, 2]}));
    }

    #[test]
    fn what_is_no_field_is_wrong_usage() {
        for fields in [
            &["a"][..],
            &["=x"],
            &[":=1"],
            &["a..b=1"],
            &["a:=x"],
            &["a=1", "a.b=2"],
        ] {
            assert!(made(fields).is_err(), "{fields:?}");
        }
        assert!(made(&["a=@/nowhere/at/all"]).is_err());
    }
}
