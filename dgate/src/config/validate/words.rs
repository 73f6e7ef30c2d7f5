//! What the validator's messages are made of: values, types and near misses in words.

use std::str::FromStr;

use dgate_core::units::{
    DURATION_FORMAT, Duration, SIZE_FORMAT, STATUS_FORMAT, Size, Statuses, UnitError,
};
use serde_json::{Map, Value as Json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::super::address::{LISTEN_FORMAT, ListenAddr, NETWORK_FORMAT, parse_network};
use super::super::tree::{Node, Value};
use super::Check;

/// How many names a message lists.
const MAX_NAMES: usize = 12;

/// How many characters of a value a message shows.
const MAX_SHOWN: usize = 60;

/// What is wrong with a text by a `format` that is DGate's own; other formats say nothing.
pub(super) fn format_error(format: &str, text: &str) -> Option<String> {
    match format {
        DURATION_FORMAT => Duration::from_str(text)
            .err()
            .map(|error| error.to_string()),
        SIZE_FORMAT => Size::from_str(text).err().map(|error| error.to_string()),
        STATUS_FORMAT => Statuses::from_str(text)
            .err()
            .map(|error| error.to_string()),
        LISTEN_FORMAT => ListenAddr::from_str(text)
            .err()
            .map(|error| error.to_string()),
        TIME_FORMAT => parse_time(text).err().map(str::to_owned),
        NETWORK_FORMAT => parse_network(text).err().map(|error| error.to_string()),
        _ => None,
    }
}

/// The format of times in schemas.
pub(crate) const TIME_FORMAT: &str = "date-time";

/// Reads a time by RFC 3339, as UTC.
///
/// # Errors
/// It is none, or its year has not four digits in UTC.
pub(crate) fn parse_time(text: &str) -> Result<OffsetDateTime, &'static str> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    time.and_then(|time| time.checked_to_offset(UtcOffset::UTC))
        .filter(|time| (0..=9999).contains(&time.year()))
        .ok_or("expected a time by RFC 3339, such as `2030-01-31T12:00:00Z`")
}

/// A value in words: what was found. Confidential ones are only named by their type.
pub(super) fn describe(node: &Node, secret: bool) -> String {
    let short = |text: &str| match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    match &node.value {
        Value::Null => "null".into(),
        Value::Bool(_) if secret => "true or false".into(),
        Value::Bool(b) => format!("`{b}`"),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) if secret => "a number".into(),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => format!("`{}`", node.to_json()),
        Value::String(_) if secret => "a string".into(),
        Value::String(text) if text.is_empty() => "an empty string".into(),
        Value::String(text) => format!("the string `{}`", short(text)),
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a map".into(),
    }
}

/// The nearest of `names` to `name`, if any is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    names
        .into_iter()
        .map(|known| (strsim::osa_distance(&lower, &known.to_lowercase()), known))
        .filter(|(distance, known)| {
            // Two slips are many in a short name: it must look alike as well.
            let length = known.chars().count();
            (*distance <= 1 && length > 2)
                || (*distance <= (length / 3).max(2)
                    && strsim::jaro_winkler(&lower, &known.to_lowercase()) >= 0.65)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// `a`, `b` and so on, at most a dozen.
pub(super) fn name_list<S: AsRef<str>>(names: &[S]) -> String {
    let mut list = names
        .iter()
        .take(MAX_NAMES)
        .map(|name| format!("`{}`", name.as_ref()))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MAX_NAMES {
        list += &format!(" and {} more", names.len() - MAX_NAMES);
    }
    list
}

/// The values that `const` or `enum` allow.
pub(super) fn literals(rules: &Map<String, Json>) -> Option<Vec<&Json>> {
    match (rules.get("const"), rules.get("enum")) {
        (Some(literal), _) => Some(vec![literal]),
        (None, Some(Json::Array(literals))) => Some(literals.iter().collect()),
        _ => None,
    }
}

/// A literal as it is written, a text without quotes.
fn plain(literal: &Json) -> String {
    literal
        .as_str()
        .map_or_else(|| literal.to_string(), str::to_owned)
}

/// The error for a value that is none of `allowed`.
pub(super) fn unknown_value(node: &Node, allowed: &[&Json], secret: bool) -> String {
    let names: Vec<String> = allowed.iter().map(|literal| plain(literal)).collect();
    let expected = match names.as_slice() {
        [one] => format!("expected `{one}`"),
        _ => format!("expected one of {}", name_list(&names)),
    };
    match &node.value {
        Value::String(text) if !secret && !text.is_empty() => {
            match nearest(text, names.iter().map(String::as_str)) {
                Some(near) => format!("unknown value `{text}`, did you mean `{near}`?"),
                None => format!("{expected}, found {}", describe(node, secret)),
            }
        }
        _ => format!("{expected}, found {}", describe(node, secret)),
    }
}

/// The error for a value of another type than the schema's.
pub(super) fn mismatch(check: &Check<'_>, node: &Node, schema: &Json, secret: bool) -> String {
    let mut expected = Vec::new();
    let mut duration = false;
    expectations(check, schema, 0, &mut expected, &mut duration);
    if duration && matches!(node.value, Value::Int(_) | Value::UInt(_) | Value::Float(_)) {
        return UnitError::BARE_DURATION.into();
    }
    // Null is a way to leave a thing out, not a thing to expect.
    if expected.len() > 1 {
        expected.retain(|what| what != "null");
    }
    format!(
        "expected {}, found {}",
        or(&expected),
        describe(node, secret)
    )
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn or(parts: &[String]) -> String {
    match parts {
        [] => "something else".into(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// What a schema expects, in words; also whether a duration is among it.
fn expectations(
    check: &Check<'_>,
    schema: &Json,
    depth: usize,
    expected: &mut Vec<String>,
    duration: &mut bool,
) {
    let Some(rules) = schema.as_object().filter(|_| depth < super::MAX_REFS) else {
        return;
    };
    let mut add = |what: String| {
        if !expected.contains(&what) {
            expected.push(what);
        }
    };
    let format = rules.get("format").and_then(Json::as_str);
    *duration |= format == Some(DURATION_FORMAT);
    let in_words = rules
        .get("x-expect")
        .and_then(Json::as_str)
        .or(match format {
            Some(DURATION_FORMAT) => Some("a duration such as `5s`"),
            Some(SIZE_FORMAT) => Some("a size such as `64KiB`"),
            Some(STATUS_FORMAT) => Some("statuses such as `500-599`"),
            Some(LISTEN_FORMAT) => Some("an address such as `127.0.0.1:8080`"),
            Some(NETWORK_FORMAT) => Some("a network such as `10.0.0.0/8`"),
            _ => None,
        });
    if let Some(what) = in_words {
        return add(what.to_owned());
    }
    if let Some(literals) = literals(rules) {
        return literals
            .into_iter()
            .for_each(|literal| add(format!("`{}`", plain(literal))));
    }
    let types = match rules.get("type") {
        Some(Json::Array(types)) => types.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    for name in types {
        add(match name.as_str().unwrap_or_default() {
            "boolean" => "true or false".into(),
            "integer" => "an integer".into(),
            "array" => "a list".into(),
            "object" => "a map".into(),
            "null" => "null".into(),
            name => format!("a {name}"),
        });
    }
    if types.is_empty() {
        let target = rules
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|r| check.resolve(r));
        let lists = ["anyOf", "oneOf", "allOf"].map(|keyword| rules.get(keyword));
        let listed = lists
            .into_iter()
            .flatten()
            .filter_map(Json::as_array)
            .flatten();
        for part in target.into_iter().chain(listed) {
            expectations(check, part, depth + 1, expected, duration);
        }
    }
}
