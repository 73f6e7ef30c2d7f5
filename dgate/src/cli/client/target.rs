//! What a command is about: a kind of resources as people write it, and the key of one.

use std::fmt;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::failure::Failure;
use crate::config::nearest;
use crate::resource::Kind;

/// All that is not unreserved in a URL (RFC 3986, 2.3): what is left over never ends a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes a segment of a path, or a value of a query.
pub(in crate::cli) fn encoded(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, SEGMENT)
}

/// Reads kinds in singular, plural and short, for clap.
#[derive(Clone)]
pub(super) struct KindParser;

impl TypedValueParser for KindParser {
    type Value = Kind;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Kind, clap::Error> {
        let text = value.to_string_lossy();
        if let Some(kind) = Kind::parse(&text).or_else(|| Kind::parse(&text.to_lowercase())) {
            return Ok(kind);
        }
        let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(cmd);
        let strings = |kinds: &mut dyn Iterator<Item = &str>| {
            ContextValue::Strings(kinds.map(str::to_owned).collect())
        };
        if let Some(arg) = arg {
            let arg = ContextValue::String(arg.to_string());
            error.insert(ContextKind::InvalidArg, arg);
        }
        error.insert(
            ContextKind::InvalidValue,
            ContextValue::String(text.clone().into_owned()),
        );
        let known = || Kind::ALL.iter().map(|k| k.singular());
        error.insert(ContextKind::ValidValue, strings(&mut known()));
        let both = known().chain(Kind::ALL.iter().map(|k| k.plural()));
        if let Some(meant) = nearest(&text, both) {
            error.insert(
                ContextKind::SuggestedValue,
                ContextValue::String(meant.to_owned()),
            );
        }
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = Kind::ALL
            .iter()
            .map(|kind| PossibleValue::new(kind.singular()).alias(kind.plural()));
        Some(Box::new(values))
    }
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    segments: Vec<String>,
}

impl Target {
    /// Reads a key as people write it.
    pub(super) fn parse(kind: Kind, key: &str) -> Result<Self, Failure> {
        let segments = match kind.singular() {
            "namespace" => read(key, 1, 1),
            // An id may hold slashes: what comes third is the rest.
            "document" => read(key, 3, 3),
            _ => read(key, 2, usize::MAX),
        };
        let form = match kind.singular() {
            "namespace" => "the key of a namespace is its name",
            "document" => {
                "the key of a document is namespace/collection/id, or collection/id in namespace default"
            }
            _ => "a key is namespace/name, or a name in namespace default",
        };
        match segments {
            Some(segments) => Ok(Self { kind, segments }),
            None => Err(Failure::usage(
                format_args!("`{key}` as a {kind}"),
                "not a key",
                form,
            )),
        }
    }

    /// Its address in the Admin API.
    pub(super) fn path(&self) -> String {
        let mut path = kind_path(self.kind);
        for segment in &self.segments {
            path += &format!("/{}", encoded(segment));
        }
        path
    }

    /// Its key, as changes name it.
    pub(super) fn key(&self) -> String {
        self.segments.join("/")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key())
    }
}

/// The address of a kind in the Admin API.
pub(super) fn kind_path(kind: Kind) -> String {
    format!("/api/v1/{}", kind.singular())
}

/// Splits a key into `count` segments, the first of which may be left out. `limit` is how often it is split at most.
fn read(key: &str, count: usize, limit: usize) -> Option<Vec<String>> {
    let mut segments: Vec<String> = key.splitn(limit, '/').map(str::to_owned).collect();
    if segments.len() + 1 == count {
        segments.insert(0, "default".to_owned());
    }
    let sound = segments.len() == count
        && segments
            .iter()
            .all(|s| !s.is_empty() && s != "." && s != "..");
    (sound && (count > 1 || !key.contains('/'))).then_some(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_namespace_default() {
        let path = |kind, key| Target::parse(kind, key).ok().map(|t| t.path());
        for (kind, key, wanted) in [
            (Kind::Service, "a/b", Some("/api/v1/service/a/b")),
            (Kind::Service, "b", Some("/api/v1/service/default/b")),
            (Kind::Service, "a/b/c", None),
            (Kind::Service, "a/", None),
            (Kind::Service, "", None),
            (Kind::Service, "../x", None),
            (
                Kind::Service,
                "a b/ü?",
                Some("/api/v1/service/a%20b/%C3%BC%3F"),
            ),
            (Kind::Namespace, "a", Some("/api/v1/namespace/a")),
            (Kind::Namespace, "a/b", None),
        ] {
            assert_eq!(path(kind, key).as_deref(), wanted, "{kind} {key}");
        }
    }

    #[test]
    fn the_rest_of_a_documents_key_is_its_id() {
        for (key, wanted) in [
            ("n/c/a/b@c d", Some(["n", "c", "a/b@c d"])),
            ("c/x", Some(["default", "c", "x"])),
            ("x", None),
        ] {
            let wanted = wanted.map(|s| s.map(str::to_owned).to_vec());
            assert_eq!(read(key, 3, 3), wanted, "{key}");
        }
        assert_eq!(encoded("a/b@c d%").to_string(), "a%2Fb%40c%20d%25");
    }
}
