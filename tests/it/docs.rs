//! The parts of `docs/` that are written by the code: field references from the schemas, and the
//! codes of errors. They stand between `<!-- generated: NAME -->` and `<!-- end -->`; this test
//! compares them, and writes them when `UPDATE_DOCS=1` is set.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use dgate::config::{Config, schema_of};
use dgate::resource::Kind;
use dgate::{DGate, ErrorKind};
use serde_json::{Map, Value};

#[test]
fn the_field_reference_is_that_of_the_schemas() {
    let mut parts = vec![("config", table(&schema_of::<Config>()))];
    for kind in Kind::ALL {
        parts.push((kind.singular(), table(&kind.schema())));
    }
    check("configuration.md", &parts);
}

#[tokio::test]
async fn every_plugin_of_the_binary_has_its_page() {
    let gateway = DGate::builder().build().await.unwrap();
    let registry = gateway.control().registry();
    let mut index = "| plugin | what it does |\n| --- | --- |\n".to_owned();
    for plugin in registry.names().filter_map(|name| registry.get(name)) {
        let (name, schema) = (plugin.name(), plugin.schema());
        let summary = schema["description"].as_str().unwrap().replace('\n', " ");
        writeln!(index, "| [`{name}`](plugins/{name}.md) | {summary} |").unwrap();
        let hooks: Vec<_> = plugin.hooks().names().map(|h| format!("`{h}`")).collect();
        let hooks = match hooks.as_slice() {
            [] => "A layer of its own, without hooks.".to_owned(),
            hooks => format!("Hooks: {}.", hooks.join(", ")),
        };
        let page = format!("{summary}\n\n{}\n\n{hooks}", table(schema));
        let readme = format!("../plugins/dgate-plugin-{name}/README.md");
        check(&readme, &[("plugin", page.clone())]);
        check(&format!("plugins/{name}.md"), &[("plugin", page)]);
        let listed = fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
        assert!(
            listed.contains(&format!("(plugins/{name}.md)")),
            "docs/SUMMARY.md does not list plugins/{name}.md"
        );
    }
    check("plugins.md", &[("plugins", index.trim_end().to_owned())]);
}

#[test]
fn the_list_of_error_codes_is_that_of_the_code() {
    let mut text = "| status | code | source | says |\n| --- | --- | --- | --- |\n".to_owned();
    for kind in ErrorKind::ALL {
        let (status, code, source) = (kind.status(), kind.code(), kind.origin().as_str());
        writeln!(
            text,
            "| {} | `{code}` | {source} | {} |",
            status.as_u16(),
            kind.title()
        )
        .unwrap();
    }
    check("operations.md", &[("errors", text.trim_end().to_owned())]);
}

/// Compares the generated parts of a page, or writes them.
fn check(page: &str, parts: &[(&str, String)]) {
    let path = docs().join(page);
    let is = fs::read_to_string(&path).unwrap_or_else(|error| panic!("docs/{page}: {error}"));
    let mut should = is.clone();
    for (name, text) in parts {
        let begin = format!("<!-- generated: {name} -->\n");
        let from = should
            .find(&begin)
            .unwrap_or_else(|| panic!("{page} has no {begin}"));
        let from = from + begin.len();
        let until = from + should[from..].find("<!-- end -->").unwrap();
        should.replace_range(from..until, &format!("\n{text}\n\n"));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, should).unwrap();
        return;
    }
    assert!(
        is == should,
        "docs/{page} is not what the code says: UPDATE_DOCS=1 cargo test -p dgate-tests docs"
    );
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// The fields of an object, those of the objects in it too, one a row.
fn table(schema: &Value) -> String {
    let mut rows = "| field | type | default | |\n| --- | --- | --- | --- |\n".to_owned();
    fields(schema, schema, "", &mut rows);
    rows.trim_end().to_owned()
}

fn fields(root: &Value, object: &Value, prefix: &str, rows: &mut String) {
    let required = |name: &str| {
        let names = object["required"].as_array();
        names.is_some_and(|names| names.iter().any(|n| n == name))
    };
    for (name, field) in properties(object) {
        let resolved = inner(root, field);
        let default = default(field, resolved, required(name));
        let words = field["description"]
            .as_str()
            .or(resolved["description"].as_str());
        let words = words.unwrap_or("").replace('\n', " ").replace('|', "\\|");
        let words = if field.get("default").is_some() {
            without_default(&words)
        } else {
            words
        };
        let path = format!("{prefix}{name}");
        writeln!(
            rows,
            "| `{path}` | {} | {default} | {words} |",
            type_of(root, field)
        )
        .unwrap();
        let item = inner(root, &resolved["items"]);
        if !is_plugin(item) {
            fields(root, resolved, &format!("{path}."), rows);
            for alternative in choices(item).chain([item]) {
                fields(root, inner(root, alternative), &format!("{path}[]."), rows);
            }
        }
    }
}

/// The description without a sentence on the default, which has a column of its own.
fn without_default(words: &str) -> String {
    let sentences = words.split_inclusive(". ");
    let kept: String = sentences.filter(|s| !s.starts_with("Default")).collect();
    kept.trim_end().to_owned()
}

fn properties(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object["properties"]
        .as_object()
        .into_iter()
        .flat_map(Map::iter)
}

fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
    let all = ["anyOf", "oneOf"]
        .into_iter()
        .filter_map(|key| schema[key].as_array());
    all.flatten()
}

/// The entries of `plugins` have a page of their own.
fn is_plugin(item: &Value) -> bool {
    item["description"] == "A plugin by name, with its configuration."
}

/// What a reference, or a choice between something and nothing, stands for.
fn inner<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return inner(
            root,
            root.pointer(reference.trim_start_matches('#')).unwrap(),
        );
    }
    let mut some = choices(schema).filter(|choice| !is_nothing(choice));
    match (some.next(), some.next()) {
        (Some(only), None) if choices(schema).count() > 1 => inner(root, only),
        _ => schema,
    }
}

fn is_nothing(schema: &Value) -> bool {
    schema["type"] == "null" || schema["const"] == "none"
}

fn type_of(root: &Value, schema: &Value) -> String {
    let shape = inner(root, schema);
    let or_none = if choices(schema).any(|c| c["const"] == "none") {
        " or `none`"
    } else {
        ""
    };
    let name = match shape["format"].as_str() {
        Some("dgate-duration") => "duration".to_owned(),
        Some("dgate-size") => "size".to_owned(),
        Some("dgate-listen") => "address".to_owned(),
        Some("dgate-network") => "network".to_owned(),
        _ => word(root, shape),
    };
    name + or_none
}

fn word(root: &Value, shape: &Value) -> String {
    if let Some(constant) = shape.get("const") {
        return literal(constant);
    }
    if let Some(words) = shape["enum"].as_array() {
        return words.iter().map(literal).collect::<Vec<_>>().join(", ");
    }
    let mut several: Vec<_> = choices(shape).map(|choice| type_of(root, choice)).collect();
    if !several.is_empty() {
        several.dedup();
        if let [list, one] = several.as_slice()
            && *list == format!("list of {one}")
        {
            return format!("{one} or list");
        }
        let literals = several.iter().all(|text| text.starts_with('`'));
        return several.join(if literals { ", " } else { " or " });
    }
    let kinds = shape["type"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![shape["type"].clone()]);
    let kind = kinds
        .iter()
        .filter_map(Value::as_str)
        .find(|kind| *kind != "null");
    match kind {
        Some("string") => "text".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("array") if is_plugin(inner(root, &shape["items"])) => {
            "list of [plugins](plugins.md)".to_owned()
        }
        Some("array") => format!("list of {}", type_of(root, &shape["items"])),
        Some("object") if shape["additionalProperties"].is_object() => "map".to_owned(),
        Some("object") => match properties(shape).find(|(_, field)| field.get("const").is_some()) {
            Some((name, field)) => format!("`{{{name}: {}}}`", field["const"].as_str().unwrap()),
            None => "object".to_owned(),
        },
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn default(field: &Value, shape: &Value, required: bool) -> String {
    if required {
        return "required".to_owned();
    }
    match field.get("default") {
        Some(Value::Null) => return String::new(),
        // Said field by field, below.
        Some(Value::Object(fields)) if !fields.is_empty() => return String::new(),
        Some(Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(literal).collect();
            return if items.is_empty() {
                "`[]`".to_owned()
            } else {
                items.join(", ")
            };
        }
        Some(value) => return literal(value),
        None => {}
    }
    // Fields that are left out when written have their type's own default.
    match shape["type"].as_str() {
        Some("boolean") => "`false`".to_owned(),
        Some("array") => "`[]`".to_owned(),
        Some("integer") => "`0`".to_owned(),
        Some("object") if shape["additionalProperties"].is_object() => "`{}`".to_owned(),
        _ => String::new(),
    }
}
