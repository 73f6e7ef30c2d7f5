//! The keywords that look at one value alone: its type, number, text and how many it holds.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::super::diagnostic::Diagnostic;
use super::super::tree::{Node, Value};
use super::At;
use super::words::{describe, format_error};

pub(super) fn has_type(node: &Node, types: &Json) -> bool {
    let is = |name: &Json| {
        matches!(
            (name.as_str().unwrap_or_default(), &node.value),
            ("null", Value::Null)
                | ("boolean", Value::Bool(_))
                | ("integer", Value::Int(_) | Value::UInt(_))
                | ("number", Value::Int(_) | Value::UInt(_) | Value::Float(_))
                | ("string", Value::String(_))
                | ("array", Value::List(_))
                | ("object", Value::Map(_))
        )
    };
    match types {
        Json::Array(types) => types.iter().any(is),
        name => is(name),
    }
}

/// Whether a node is this literal, where 1 and 1.0 are one.
pub(super) fn equals(node: &Node, literal: &Json) -> bool {
    match (as_f64(node), literal.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => node.to_json() == *literal,
    }
}

fn as_f64(node: &Node) -> Option<f64> {
    match node.value {
        Value::Int(n) => Some(n as f64),
        Value::UInt(n) => Some(n as f64),
        Value::Float(n) => Some(n),
        _ => None,
    }
}

/// What integer formats of schemars hold; those of 64 bits and more need only a lower bound, which
/// the type of [`Value`] or `minimum` is.
fn width(format: &str) -> Option<(f64, f64)> {
    Some(match format {
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "uint8" => (0.0, u8::MAX.into()),
        "uint16" => (0.0, u16::MAX.into()),
        "uint32" => (0.0, u32::MAX.into()),
        _ => return None,
    })
}

pub(super) fn number(
    node: &Node,
    rules: &Map<String, Json>,
    at: At<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    let Some(n) = as_f64(node) else { return };
    let bound = |keyword| rules.get(keyword).and_then(Json::as_f64);
    let format = rules
        .get("format")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let (low, high) = width(format).unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    let low = bound("minimum").map_or(low, |min| min.max(low));
    let high = bound("maximum").map_or(high, |max| max.min(high));
    let found = describe(node, at.secret);
    let detail = if n < low {
        format!("expected at least {low}, found {found}")
    } else if n > high {
        format!("expected at most {high}, found {found}")
    } else if let Some(low) = bound("exclusiveMinimum").filter(|low| n <= *low) {
        format!("expected more than {low}, found {found}")
    } else if let Some(high) = bound("exclusiveMaximum").filter(|high| n >= *high) {
        format!("expected less than {high}, found {found}")
    } else if matches!((format, &node.value), ("int64" | "int", Value::UInt(_))) {
        format!("expected at most {}, found {found}", i64::MAX)
    } else {
        return;
    };
    errors.push(at.error(node.span, detail));
}

pub(super) fn string(
    node: &Node,
    text: &str,
    rules: &Map<String, Json>,
    at: At<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    let mut wrong = |detail: String| errors.push(at.error(node.span, detail));
    let expected = rules.get("x-expect").and_then(Json::as_str);
    let found = || describe(node, at.secret);
    if let Some(error) = rules
        .get("format")
        .and_then(Json::as_str)
        .and_then(|format| format_error(format, text))
    {
        wrong(if at.secret {
            "the value has not the right form".into()
        } else {
            error
        });
    }
    let bound = |keyword| rules.get(keyword).and_then(Json::as_u64);
    if bound("minLength").is_some() || bound("maxLength").is_some() {
        let length = text.chars().count() as u64;
        let has = match at.secret {
            true => String::new(),
            false => format!(", has {length}"),
        };
        match (bound("minLength"), bound("maxLength")) {
            (Some(1), _) if length == 0 => return wrong("must not be empty".into()),
            (Some(min), _) if length < min => {
                return wrong(format!("must have at least {min} characters{has}"));
            }
            (_, Some(max)) if length > max => {
                return wrong(format!("must have at most {max} characters{has}"));
            }
            _ => {}
        }
    }
    if let Some(pattern) = rules.get("pattern").and_then(Json::as_str)
        && !matches(pattern, text)
    {
        wrong(match expected {
            Some(expected) => format!("expected {expected}, found {}", found()),
            None => format!("{} does not match `{pattern}`", found()),
        });
    }
}

/// Checks `minItems` and `maxItems`, or those of `Properties`.
pub(super) fn count(
    node: &Node,
    has: usize,
    noun: &str,
    keyword: &str,
    rules: &Map<String, Json>,
    at: At<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    let bound = |side| {
        rules
            .get(&format!("{side}{keyword}"))
            .and_then(Json::as_u64)
    };
    let many = |n: u64| match (n, noun) {
        (1, noun) => format!("1 {noun}"),
        (n, "entry") => format!("{n} entries"),
        (n, noun) => format!("{n} {noun}s"),
    };
    let n = has as u64;
    let detail = match (bound("min"), bound("max")) {
        (Some(min), _) if n < min => format!("needs at least {}, has {has}", many(min)),
        (_, Some(max)) if n > max => format!("takes at most {}, has {has}", many(max)),
        _ => return,
    };
    errors.push(at.error(node.span, detail));
}

/// Whether `text` matches a `pattern` keyword. A pattern that this regex engine does not take says
/// nothing.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    /// Schemas are few, unless someone sends them: bounded then, by starting over.
    const MAX_PATTERNS: usize = 512;
    static PATTERNS: OnceLock<Mutex<HashMap<String, Option<Regex>>>> = OnceLock::new();
    let patterns = PATTERNS.get_or_init(Mutex::default);
    let mut patterns = patterns.lock().unwrap_or_else(PoisonError::into_inner);
    if !patterns.contains_key(pattern) {
        if patterns.len() >= MAX_PATTERNS {
            patterns.clear();
        }
        patterns.insert(pattern.to_owned(), Regex::new(pattern).ok());
    }
    let regex = patterns.get(pattern).cloned().flatten();
    drop(patterns);
    regex.is_none_or(|regex| regex.is_match(text))
}
