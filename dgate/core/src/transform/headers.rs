//! Operations on headers.

use super::{Operations, entry_error};
use crate::plugin::FieldError;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::str::FromStr;

/// Operations on a header map, checked and ready.
#[derive(Clone, Debug, Default)]
pub struct HeaderOperations {
    remove: Vec<HeaderName>,
    rename: Vec<(HeaderName, HeaderName)>,
    replace: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    append: Vec<(HeaderName, HeaderValue)>,
}

/// Whether a header says where a message ends or belongs to one connection (RFC 9110 §7.6.1, RFC 9112 §6): only who
/// writes the message may set it. Everything else would let configuration forge message boundaries.
pub fn is_framing(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::CONTENT_LENGTH
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

fn name_of(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_str(text).map_err(|_| format!("`{text}` is no header name"))?;
    if is_framing(&name) {
        return Err(format!(
            "`{name}` belongs to the connection and cannot be changed"
        ));
    }
    Ok(name)
}

impl HeaderOperations {
    /// Checks what configuration asks for.
    ///
    /// # Errors
    /// At `/operation/headers/entry`: what is no header name or value, or a [framing](is_framing) header.
    pub fn new(operations: Operations<'_, String>) -> Result<Self, FieldError> {
        let mut ready = Self::default();
        for (at, text) in operations.remove.iter().enumerate() {
            let wrong = |e: String| entry_error("remove", "headers", &at.to_string(), e);
            ready.remove.push(name_of(text).map_err(wrong)?);
        }
        for (from, to) in operations.rename {
            let wrong = |e: String| entry_error("rename", "headers", from, e);
            let pair = name_of(from).and_then(|from| Ok((from, name_of(to)?)));
            ready.rename.push(pair.map_err(wrong)?);
        }
        let into = [&mut ready.replace, &mut ready.add, &mut ready.append];
        for ((operation, values), into) in operations.values().into_iter().zip(into) {
            for (text, value) in values {
                let wrong = |e: String| entry_error(operation, "headers", text, e);
                let name = name_of(text).map_err(wrong)?;
                let value = HeaderValue::from_str(value)
                    .map_err(|_| wrong("the text cannot stand in a header".to_owned()))?;
                into.push((name, value));
            }
        }
        Ok(ready)
    }

    /// Does them all: remove, rename, replace, add, append. In each, those of a map in the order of their names.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (from, to) in &self.rename {
            if let header::Entry::Occupied(old) = headers.entry(from) {
                let (_, values) = old.remove_entry_mult();
                let values: Vec<_> = values.collect();
                headers.remove(to);
                for value in values {
                    headers.append(to, value);
                }
            }
        }
        for (name, value) in &self.replace {
            if headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        for (name, value) in &self.add {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        for (name, value) in &self.append {
            headers.append(name, value.clone());
        }
    }
}
