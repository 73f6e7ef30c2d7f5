//! Conditions on headers and query parameters, and the errors that patterns of all kinds share.
//!
//! A condition is text from a route: an exact value, or `/regex/`, which is what stands between
//! the first and the last slash, unanchored as written:
//!
//! | text | takes |
//! | --- | --- |
//! | `blue` | `blue` alone |
//! | `/^v[12]$/` | `v1`, `v2` |
//! | `/beta/` | whatever holds `beta` |
//! | `//` | anything, as long as the header or parameter is there |
//!
//! An exact value that itself begins and ends with a slash is written as a regex: `/^\/x\/$/`.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use regex::{Regex, RegexBuilder};

use super::path;

/// Bytes a compiled regex may take. Enough for lists of names and for classes such as `\w`, and
/// little enough that a repetition such as `(\w{100}){100}` is an error and not a full memory.
const REGEX_SIZE: usize = 1 << 20;

/// What is wrong with a pattern, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at column {column}")]
pub struct PatternError {
    column: usize,
    problem: Cow<'static, str>,
}

impl PatternError {
    pub(super) fn new(column: usize, problem: impl Into<Cow<'static, str>>) -> Self {
        Self {
            column,
            problem: problem.into(),
        }
    }

    /// The place, in characters from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What is wrong, without the place.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

/// One condition on a value. Two are equal if they were written alike.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// This value alone.
    Exact(String),
    /// Any value in which the regex finds something.
    Regex(Regex),
}

impl Matcher {
    /// Reads `value` or `/regex/`.
    ///
    /// # Errors
    /// The regex does not parse, or takes more than 1 MiB when compiled.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        match regex_text(text) {
            Some(regex) => compile(regex, false).map(Self::Regex),
            None => Ok(Self::Exact(text.to_owned())),
        }
    }

    /// Whether a value meets the condition.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == value,
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    fn matches_bytes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == value,
            Self::Regex(regex) => std::str::from_utf8(value).is_ok_and(|text| regex.is_match(text)),
        }
    }

    fn source(&self) -> (bool, &str) {
        match self {
            Self::Exact(exact) => (false, exact),
            Self::Regex(regex) => (true, regex.as_str()),
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Matcher {}

/// All the conditions of a route beside path and method; every one of them must hold.
#[derive(Debug, Clone, Default)]
pub struct Matchers {
    /// By header name. Any one of the values of a repeated header will do.
    pub headers: Vec<(HeaderName, Matcher)>,
    /// By parameter name, case-sensitive and decoded. Any one of repeated parameters will do.
    pub query: Vec<(String, Matcher)>,
}

impl Matchers {
    /// Reads the maps `headers` and `query` of a route.
    ///
    /// # Errors
    /// Every entry that is wrong, not only the first.
    pub fn parse(
        headers: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
        query: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self, Vec<MatcherError>> {
        let mut matchers = Self::default();
        let mut errors = Vec::new();
        for (name, text) in headers {
            let name = name.as_ref();
            let problem = match (name.parse::<HeaderName>(), Matcher::parse(text.as_ref())) {
                (Err(_), _) => "not a header name".to_owned(),
                (_, Err(error)) => error.to_string(),
                // Maps keep `X-A` and `x-a` apart, HTTP does not.
                (Ok(known), Ok(_)) if matchers.headers.iter().any(|(other, _)| *other == known) => {
                    "given twice, header names ignore case".to_owned()
                }
                (Ok(known), Ok(matcher)) => {
                    matchers.headers.push((known, matcher));
                    continue;
                }
            };
            errors.push(MatcherError {
                field: "headers",
                name: name.to_owned(),
                problem,
            });
        }
        for (name, text) in query {
            let name = name.as_ref().to_owned();
            match Matcher::parse(text.as_ref()) {
                Ok(matcher) => matchers.query.push((name, matcher)),
                Err(error) => errors.push(MatcherError {
                    field: "query",
                    name,
                    problem: error.to_string(),
                }),
            }
        }
        if errors.is_empty() {
            Ok(matchers)
        } else {
            Err(errors)
        }
    }

    /// How many conditions there are; more of them go first on equal paths.
    pub fn count(&self) -> usize {
        self.headers.len() + self.query.len()
    }

    /// Whether a request meets all the conditions. The query is raw, without `?`.
    pub fn matches(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        self.headers.iter().all(|(name, matcher)| {
            headers
                .get_all(name)
                .iter()
                .any(|value| matcher.matches_bytes(value.as_bytes()))
        }) && self.query.iter().all(|(name, matcher)| {
            pairs(query.unwrap_or_default()).any(|(key, value)| {
                path::decode_query(key) == name.as_str()
                    && matcher.matches(&path::decode_query(value))
            })
        })
    }

    /// What two sets of conditions have in common exactly if they are the same, in any order.
    pub(crate) fn identity(&self) -> Vec<(bool, String, bool, String)> {
        let entry = |is_query, name: &str, matcher: &Matcher| {
            let (is_regex, source) = matcher.source();
            (is_query, name.to_owned(), is_regex, source.to_owned())
        };
        let headers = self
            .headers
            .iter()
            .map(|(name, matcher)| entry(false, name.as_str(), matcher));
        let query = self
            .query
            .iter()
            .map(|(name, matcher)| entry(true, name, matcher));
        let mut all: Vec<_> = headers.chain(query).collect();
        all.sort();
        all
    }
}

impl PartialEq for Matchers {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Matchers {}

/// A condition that can't be read, and which one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}.{name}: {problem}")]
pub struct MatcherError {
    /// The field of the route: `headers` or `query`.
    pub field: &'static str,
    /// The name in that map, as written.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

/// What stands between the slashes of `/regex/`.
pub(super) fn regex_text(text: &str) -> Option<&str> {
    text.strip_prefix('/')?.strip_suffix('/')
}

/// Compiles what [`regex_text`] found; columns of errors count its first slash.
pub(super) fn compile(text: &str, ignore_case: bool) -> Result<Regex, PatternError> {
    RegexBuilder::new(text)
        .case_insensitive(ignore_case)
        .size_limit(REGEX_SIZE)
        .dfa_size_limit(REGEX_SIZE)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                PatternError::new(1, "regex takes more than 1 MiB when compiled")
            }
            error => {
                // The crate draws the place for people: the pattern, indented by four, and below
                // it a caret. Its last line is the cause.
                let drawn = error.to_string();
                let caret = drawn
                    .lines()
                    .find(|line| line.trim_start().starts_with('^'));
                let column = caret
                    .and_then(|line| line.find('^'))
                    .map_or(1, |at| at.max(4) - 2);
                let cause = drawn.lines().last().unwrap_or_default();
                let cause = cause.strip_prefix("error: ").unwrap_or(cause);
                PatternError::new(column, format!("regex: {cause}"))
            }
        })
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NONE: [(&str, &str); 0] = [];

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_static(value),
            );
        }
        map
    }

    #[test]
    fn header_matchers_take_exact_values_and_regexes() {
        let exact = Matchers::parse([("X-Tenant", "blue")], NONE).unwrap();
        let regex = Matchers::parse([("x-version", "/^v[12]$/")], NONE).unwrap();
        for (list, expected) in [
            (&[("x-tenant", "blue")][..], true),
            (&[("x-tenant", "green")], false),
            (&[("x-tenant", "green"), ("x-tenant", "blue")], true),
            (&[], false),
        ] {
            assert_eq!(exact.matches(&headers(list), None), expected, "{list:?}");
        }
        for (value, expected) in [("v1", true), ("v2", true), ("v3", false), ("xv1", false)] {
            assert_eq!(
                regex.matches(&headers(&[("x-version", value)]), None),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn query_matchers_see_decoded_names_and_values() {
        let exact = Matchers::parse(NONE, [("mode", "full view")]).unwrap();
        let regex = Matchers::parse(NONE, [("n", "/^[0-9]+$/")]).unwrap();
        for (query, expected) in [
            (Some("mode=full%20view"), true),
            (Some("a=1&mode=full+view"), true),
            (Some("mode=half&mode=full%20view"), true),
            (Some("m%6Fde=full%20view"), true),
            (Some("mode=half"), false),
            (Some("MODE=full%20view"), false),
            (Some("mode"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(
                exact.matches(&HeaderMap::new(), query),
                expected,
                "{query:?}"
            );
        }
        assert!(regex.matches(&HeaderMap::new(), Some("n=12")));
        assert!(!regex.matches(&HeaderMap::new(), Some("n=1x")));
        let present = Matchers::parse(NONE, [("flag", "//")]).unwrap();
        assert!(present.matches(&HeaderMap::new(), Some("flag")));
        assert!(!present.matches(&HeaderMap::new(), Some("flags")));
    }

    #[test]
    fn all_matchers_must_hold() {
        let both = Matchers::parse([("x-a", "1"), ("x-b", "2")], [("c", "3")]).unwrap();
        assert_eq!(both.count(), 3);
        assert!(both.matches(&headers(&[("x-a", "1"), ("x-b", "2")]), Some("c=3")));
        assert!(!both.matches(&headers(&[("x-a", "1")]), Some("c=3")));
        assert!(!both.matches(&headers(&[("x-a", "1"), ("x-b", "2")]), None));
    }

    #[test]
    fn equal_as_written_in_any_order() {
        let one = Matchers::parse([("X-A", "1"), ("x-b", "/2/")], [("c", "3")]).unwrap();
        assert_eq!(
            one,
            Matchers::parse([("x-b", "/2/"), ("x-a", "1")], [("c", "3")]).unwrap()
        );
        assert_ne!(
            one,
            Matchers::parse([("x-b", "2"), ("x-a", "1")], [("c", "3")]).unwrap()
        );
        assert_ne!(
            one,
            Matchers::parse([("x-b", "/2/"), ("x-a", "1")], [("C", "3")]).unwrap()
        );
    }

    #[test]
    fn errors_name_every_entry() {
        let errors = Matchers::parse(
            [("x a", "1"), ("x-b", "/(/"), ("X-C", "1"), ("x-c", "2")],
            [("q", "/\\w{1000}{1000}/")],
        )
        .unwrap_err();
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "headers.x a: not a header name",
                "headers.x-b: regex: unclosed group at column 2",
                "headers.x-c: given twice, header names ignore case",
                "query.q: regex takes more than 1 MiB when compiled at column 1",
            ]
        );
        assert_eq!(Matcher::parse("/ab[/").unwrap_err().column(), 4);
        assert_eq!(
            Matcher::parse("/ab").unwrap(),
            Matcher::Exact("/ab".to_owned())
        );
        assert_eq!(Matcher::parse("/").unwrap(), Matcher::Exact("/".to_owned()));
    }
}
