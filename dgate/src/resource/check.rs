//! What is wrong with the texts of a resource and no schema can say: paths, hosts, conditions, methods, URLs. They are
//! looked at in the tree, so that what is wrong with them is told with everything else that is.

use super::pattern::host::DomainPattern;
use super::pattern::matcher::Matchers;
use super::pattern::route::Pattern;
use super::{Key, Kind, default_namespace};
use crate::config::{Diagnostic, Node, Value, join};
use dgate_core::Target;
use dgate_core::upstream::Protocol;
use http::Method;
use std::fmt::Display;

/// Everything that is wrong with the texts of a resource of this kind. What is no text where one belongs is for its
/// schema to tell.
pub(super) fn texts(kind: Kind, node: &Node, prefix: &str) -> Vec<Diagnostic> {
    let mut check = Check {
        kind,
        node,
        prefix,
        found: Vec::new(),
    };
    match kind {
        Kind::Domain => check.each("/patterns", |text| DomainPattern::parse(text).err()),
        Kind::Route => {
            check.each("/paths", |text| Pattern::parse(text).err());
            check.each("/methods", |text| method(text).err());
            check.matchers();
        }
        Kind::Service => {
            check.urls();
            check.each("/retry/methods", |text| method(text).err());
        }
        _ => {}
    }
    check.found
}

/// Reads a method as it is written in resources.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub(crate) fn method(text: &str) -> Result<Method, String> {
    match text.parse::<Method>() {
        Ok(_) if text.chars().any(|c| c.is_ascii_lowercase()) => {
            let meant = text.to_uppercase();
            Err(format!(
                "methods are case-sensitive: did you mean `{meant}`?"
            ))
        }
        Ok(method) => Ok(method),
        Err(_) => Err(format!("`{text}` is no HTTP method")),
    }
}

/// Why a protocol does not go with URLs.
pub(crate) fn protocol<'a>(
    protocol: Protocol,
    mut urls: impl Iterator<Item = &'a str>,
) -> Option<&'static str> {
    let (scheme, detail) = match protocol {
        Protocol::Http2 => (
            "http://",
            "`http2` is HTTP/2 over TLS, and needs https:// URLs: without TLS it is `h2c`",
        ),
        Protocol::H2c => (
            "https://",
            "`h2c` is HTTP/2 without TLS, and needs http:// URLs: over TLS it is `http2`",
        ),
        _ => return None,
    };
    urls.any(|url| url.starts_with(scheme)).then_some(detail)
}

struct Check<'a> {
    kind: Kind,
    node: &'a Node,
    prefix: &'a str,
    found: Vec<Diagnostic>,
}

impl<'a> Check<'a> {
    fn wrong(&mut self, pointer: &str, detail: impl Display) {
        let text = |field| self.node.get(field).and_then(Node::as_str);
        let detail = match text("name") {
            Some(name) => {
                let namespace = text("namespace").map_or_else(default_namespace, str::to_owned);
                format!("{}: {detail}", Key::new(self.kind, namespace, name))
            }
            None => detail.to_string(),
        };
        self.found.push(Diagnostic {
            pointer: format!("{}{pointer}", self.prefix),
            ..self.node.diagnose(pointer, detail)
        });
    }

    /// Reads each text of a list.
    fn each<E: Display>(&mut self, list: &str, wrong: impl Fn(&str) -> Option<E>) {
        for (at, item) in self.items(list).iter().enumerate() {
            if let Some(error) = item.as_str().and_then(&wrong) {
                self.wrong(&format!("{list}/{at}"), error);
            }
        }
    }

    fn items(&self, list: &str) -> &'a [Node] {
        match self.node.at(list).map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    fn urls(&mut self) {
        let url = |item: &'a Node| item.as_str().or_else(|| item.get("url")?.as_str());
        let urls = || self.items("/urls").iter().map(url);
        let named = self.node.get("protocol").map(Node::to_json);
        let named = named.and_then(|json| serde_json::from_value(json).ok());
        let mismatch = named.and_then(|named| protocol(named, urls().flatten()));
        for (at, text) in urls().enumerate() {
            if let Some(Err(error)) = text.map(str::parse::<Target>) {
                self.wrong(&format!("/urls/{at}"), error);
            }
        }
        if let Some(detail) = mismatch {
            self.wrong("/protocol", detail);
        }
    }

    fn matchers(&mut self) {
        let entries = |field: &str| -> Vec<(&'a str, &'a str)> {
            match self.node.get(field).map(|node| &node.value) {
                Some(Value::Map(entries)) => entries
                    .iter()
                    .filter_map(|(key, node)| Some((&*key.text, node.as_str()?)))
                    .collect(),
                _ => Vec::new(),
            }
        };
        let read = Matchers::parse(entries("headers"), entries("query"));
        for error in read.err().into_iter().flatten() {
            self.wrong(&join(&join("", error.field), &error.name), &error);
        }
    }
}
