//! What a call says beside its body, read so that what does not fit is a problem document: the names in its path,
//! and what it relies on (RFC 9110 section 13).

use super::Shared;
use super::problem::Refusal;
use axum::extract::FromRequestParts;
use http::header::{self, HeaderMap};
use http::request::Parts;
use serde::de::DeserializeOwned;

/// The names in the path of a call.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refusal> {
        match axum::extract::Path::from_request_parts(parts, shared).await {
            Ok(axum::extract::Path(names)) => Ok(Self(names)),
            Err(error) => Err(Refusal::malformed(error.body_text())),
        }
    }
}

/// What `If-Match` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// `*`: that there is something.
    Any,
    /// One of these revisions or versions. Other tags are none of ours, and weak ones never match (section 13.1.1).
    OneOf(Vec<u64>),
}

impl IfMatch {
    /// Reads it, if it is there.
    ///
    /// # Errors
    /// It is neither `*` nor a list of entity tags.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let lines: Vec<_> = headers.get_all(header::IF_MATCH).iter().collect();
        if lines.is_empty() {
            return Ok(None);
        }
        // Several lines are one list (section 5.3).
        let lines: Vec<_> = lines
            .into_iter()
            .map(|line| String::from_utf8_lossy(line.as_bytes()))
            .collect();
        let malformed = || {
            let detail = "If-Match is `*`, or revisions in quotes, as ETag gives them: \"7\"";
            Refusal::malformed(detail)
        };
        Self::parse(&lines.join(","))
            .map(Some)
            .ok_or_else(malformed)
    }

    fn parse(text: &str) -> Option<Self> {
        if text.trim_matches([' ', '\t']) == "*" {
            return Some(Self::Any);
        }
        let (mut tags, mut any) = (Vec::new(), false);
        // Elements of a list may be empty.
        let mut rest = text.trim_start_matches([' ', '\t', ',']);
        while !rest.is_empty() {
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
            if tag.contains(|c: char| c <= ' ' || c == '\x7f') {
                return None;
            }
            let after = after.trim_start_matches([' ', '\t']);
            if !(after.is_empty() || after.starts_with(',')) {
                return None;
            }
            any = true;
            // As it was written: `07` is another tag than `7`.
            let ours = tag.parse::<u64>().ok().filter(|n| n.to_string() == tag);
            tags.extend(ours.filter(|_| !weak));
            rest = after.trim_start_matches([' ', '\t', ',']);
        }
        any.then_some(Self::OneOf(tags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_a_star_or_a_list_of_tags() {
        let of = |tags: &[u64]| Some(IfMatch::OneOf(tags.to_vec()));
        for (text, read) in [
            ("*", Some(IfMatch::Any)),
            (" * ", Some(IfMatch::Any)),
            ("\"7\"", of(&[7])),
            ("\"7\", \"2126\"", of(&[7, 2126])),
            (",\"7\" ,, \"8\",", of(&[7, 8])),
            ("W/\"7\"", of(&[])),
            ("\"a,b\", \"7\"", of(&[7])),
            ("\"+7\"", of(&[])),
            ("\"07\"", of(&[])),
            ("\"\"", of(&[])),
            ("7", None),
            ("", None),
            (",", None),
            ("\"7", None),
            ("\"7\" \"8\"", None),
            ("\"7\", *", None),
            ("\"a b\"", None),
            ("w/\"7\"", None),
        ] {
            assert_eq!(IfMatch::parse(text), read, "{text}");
        }
    }
}
