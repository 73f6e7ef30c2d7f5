//! From the host of a request to the domain that takes it.
//!
//! | pattern | takes | leaves |
//! | --- | --- | --- |
//! | `api.example.com` | that host | |
//! | `*.example.com` | `a.example.com`, `a.b.example.com` | `example.com`: the dot is a dot |
//! | `api.*` | `api.test`, `api.co.uk` | `xapi.test` |
//! | `*shop*` | `myshop.test`, `shop` | |
//! | `/^x[0-9]\.test$/` | `x1.test` | `xy.test` |
//! | `*` | every host, and none at all | |
//!
//! The highest priority wins, then exact before wildcard before regex, then the longest pattern,
//! then the first key. Matching ignores case, the port, a trailing dot and the brackets of an
//! IPv6 address; a `*` may span labels and may be empty.

use std::collections::HashMap;

pub use crate::resource::pattern::host::DomainPattern;
use crate::resource::pattern::host::{Kind, plain};

/// All the patterns of a snapshot.
///
/// A lookup is one hash for the exact hosts of each priority in use, and a walk over the wildcards
/// and regexes of that priority. It allocates only for a host that is not in lower case.
#[derive(Debug)]
pub struct DomainTable<T> {
    /// The highest priority first.
    levels: Vec<Level>,
    values: Vec<T>,
}

impl<T> Default for DomainTable<T> {
    fn default() -> Self {
        Self {
            levels: Vec::new(),
            values: Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
struct Level {
    exact: HashMap<String, usize>,
    patterns: Vec<(DomainPattern, usize)>,
}

impl<T> DomainTable<T> {
    /// Builds the table from patterns, each with its priority, the key of its domain (for
    /// conflicts and as the last resort of order) and what a match yields.
    ///
    /// # Errors
    /// Every pattern that two keys have at the same priority. One key may repeat itself.
    pub fn build(
        mut entries: Vec<(DomainPattern, i32, String, T)>,
    ) -> Result<Self, Vec<DomainConflict>> {
        entries.sort_by(|(a, a_priority, a_key, _), (b, b_priority, b_key, _)| {
            let order = b_priority
                .cmp(a_priority)
                .then_with(|| a.rank().cmp(&b.rank()));
            order
                .then_with(|| a.text.cmp(&b.text))
                .then_with(|| a_key.cmp(b_key))
        });
        let mut conflicts = Vec::new();
        // Sorted, equal patterns are neighbours; the key decides only between them and, among
        // patterns of one length, the table below.
        for pair in entries.windows(2) {
            let [(a, a_priority, first, _), (b, b_priority, second, _)] = pair else {
                continue;
            };
            if a.text == b.text && a_priority == b_priority && first != second {
                conflicts.push(DomainConflict {
                    pattern: a.text.clone(),
                    priority: *a_priority,
                    first: first.clone(),
                    second: second.clone(),
                });
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        entries.sort_by(|(a, a_priority, a_key, _), (b, b_priority, b_key, _)| {
            let order = b_priority
                .cmp(a_priority)
                .then_with(|| a.rank().cmp(&b.rank()));
            order
                .then_with(|| a_key.cmp(b_key))
                .then_with(|| a.text.cmp(&b.text))
        });
        let mut table = Self {
            levels: Vec::new(),
            values: Vec::with_capacity(entries.len()),
        };
        let mut last = None;
        for (pattern, priority, _, value) in entries {
            if last != Some(priority) {
                table.levels.push(Level::default());
                last = Some(priority);
            }
            let index = table.values.len();
            table.values.push(value);
            if let Some(level) = table.levels.last_mut() {
                match pattern.kind {
                    Kind::Exact => {
                        level.exact.entry(pattern.text).or_insert(index);
                    }
                    _ => level.patterns.push((pattern, index)),
                }
            }
        }
        Ok(table)
    }

    /// What the best matching pattern yields, for a host as it stands in a request: with or
    /// without port, in any case.
    pub fn find(&self, host: &str) -> Option<&T> {
        if self.levels.is_empty() {
            return None;
        }
        let host = plain(host);
        let index = self.levels.iter().find_map(|level| {
            let exact = level.exact.get(&*host).copied();
            exact.or_else(|| {
                let mut patterns = level.patterns.iter();
                patterns
                    .find(|(pattern, _)| pattern.takes(&host))
                    .map(|(_, index)| *index)
            })
        })?;
        self.values.get(index)
    }
}

/// One pattern at one priority in two domains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "domains `{first}` and `{second}` have the same pattern `{pattern}` at priority {priority}"
)]
pub struct DomainConflict {
    /// The pattern, in lower case.
    pub pattern: String,
    /// The priority of both.
    pub priority: i32,
    /// The key that comes first in order.
    pub first: String,
    /// The other key.
    pub second: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[(&'static str, i32, &'static str)]) -> DomainTable<&'static str> {
        let entry = |(key, priority, text): &(&'static str, i32, &'static str)| {
            (
                DomainPattern::parse(text).unwrap(),
                *priority,
                (*key).to_owned(),
                *key,
            )
        };
        DomainTable::build(patterns.iter().map(entry).collect()).unwrap()
    }

    fn check(patterns: &[(&'static str, i32, &'static str)], hosts: &[(&str, &str)]) {
        // The order in which they are declared never matters.
        for turn in 0..patterns.len() {
            let mut turned = patterns.to_vec();
            turned.rotate_left(turn);
            let table = table(&turned);
            for (host, expected) in hosts {
                assert_eq!(
                    table.find(host).copied().unwrap_or("none"),
                    *expected,
                    "{host}"
                );
            }
        }
    }

    #[test]
    fn exact_beats_wildcard_beats_regex() {
        check(
            &[
                ("exact", 0, "api.example.com"),
                ("wild", 0, "*.example.com"),
                ("regex", 0, "/^[a-z]+\\.example\\.com$/"),
                ("re2", 0, "/^x[0-9]\\.test$/"),
            ],
            &[
                ("api.example.com", "exact"),
                ("www.example.com", "wild"),
                ("x1.test", "re2"),
                ("xy.test", "none"),
            ],
        );
    }

    #[test]
    fn wildcards_stand_at_the_start_the_end_or_both() {
        check(
            &[
                ("left", 0, "*.example.com"),
                ("right", 0, "api.*"),
                ("both", 0, "*shop*"),
            ],
            &[
                ("a.example.com", "left"),
                ("a.b.example.com", "left"),
                ("api.test", "right"),
                ("api.co.uk", "right"),
                ("myshop.test", "both"),
                ("shop", "both"),
                ("example.com", "none"),
                ("xexample.com", "none"),
                ("xapi.test", "none"),
                ("", "none"),
            ],
        );
    }

    #[test]
    fn the_longest_wins_then_the_first_key() {
        check(
            &[
                ("short", 0, "*.example.com"),
                ("long", 0, "*.eu.example.com"),
                ("any", 0, "*"),
            ],
            &[
                ("a.eu.example.com", "long"),
                ("a.us.example.com", "short"),
                ("other.test", "any"),
                ("", "any"),
            ],
        );
        check(
            &[("b", 0, "a.*"), ("a", 0, "*.b")],
            &[("a.b", "a"), ("a.c", "b")],
        );
    }

    #[test]
    fn priority_wins_over_all() {
        check(
            &[("exact", 0, "api.example.com"), ("any", 5, "*")],
            &[("api.example.com", "any")],
        );
        check(
            &[
                ("exact", 0, "a.test"),
                ("low", -1, "*"),
                ("high", 7, "/^b/"),
            ],
            &[("a.test", "exact"), ("b.test", "high"), ("c.test", "low")],
        );
    }

    #[test]
    fn ignores_case_port_trailing_dot_and_brackets() {
        check(
            &[
                ("exact", 0, "Api.Example.com"),
                ("wild", 0, "*.Test"),
                ("six", 0, "[::1]"),
                ("regex", 0, "/^RE[0-9]$/"),
            ],
            &[
                ("API.example.COM", "exact"),
                ("api.example.com:8443", "exact"),
                ("api.example.com.", "exact"),
                ("api.example.com.:80", "exact"),
                ("X.TEST:1", "wild"),
                ("[::1]:80", "six"),
                ("[::1]", "six"),
                ("::1", "six"),
                ("re7:80", "regex"),
                ("Re7", "regex"),
            ],
        );
    }

    #[test]
    fn one_pattern_at_one_priority_in_two_domains_is_a_conflict() {
        let entries = |list: &[(&str, i32, &str)]| {
            let entry = |(key, priority, text): &(&str, i32, &str)| {
                (
                    DomainPattern::parse(text).unwrap(),
                    *priority,
                    (*key).to_owned(),
                    (),
                )
            };
            list.iter().map(entry).collect::<Vec<_>>()
        };
        let conflicts = DomainTable::build(entries(&[
            ("b/d", 0, "A.test"),
            ("a/d", 0, "a.TEST."),
            ("c/d", 0, "/x/"),
            ("d/d", 0, "/x/"),
        ]))
        .unwrap_err();
        assert_eq!(
            conflicts
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            [
                "domains `a/d` and `b/d` have the same pattern `a.test` at priority 0",
                "domains `c/d` and `d/d` have the same pattern `/x/` at priority 0",
            ]
        );
        assert!(
            DomainTable::build(entries(&[
                ("a/d", 0, "a.test"),
                ("b/d", 1, "a.test"),
                ("a/d", 0, "A.test")
            ]))
            .is_ok()
        );
    }

    #[test]
    fn errors_say_what_and_where() {
        for (text, column, problem) in [
            ("", 1, "empty pattern"),
            ("a b.test", 2, "space"),
            ("a.test:80", 7, "port"),
            ("https://a.test", 6, "port or scheme"),
            ("*a*b*", 5, "more than two"),
            ("a.*.test", 3, "middle"),
            ("*a.*.b", 4, "middle"),
            ("**", 2, "twice"),
            ("münchen.de", 2, "punycode"),
            ("a..test", 3, "empty label"),
            (".test", 1, "empty label"),
            ("/ab(/", 4, "unclosed group"),
            ("/ab", 1, "slash"),
            ("a.test/x", 7, "slash"),
            ("a@b.test", 2, "`@`"),
        ] {
            let error = DomainPattern::parse(text).unwrap_err();
            assert!(error.problem().contains(problem), "{text}: {error}");
            assert_eq!(error.column(), column, "{text}: {error}");
        }
    }
}
