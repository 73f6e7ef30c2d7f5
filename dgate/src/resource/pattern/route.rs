//! The text of a route's path, read into segments, and how one segment is matched.

use smallvec::SmallVec;

use super::matcher::PatternError;
use super::path;

/// Segments a pattern may have. A lookup goes one call deeper for each of them.
const MAX_SEGMENTS: usize = 256;

/// The path of a route.
///
/// | text | takes |
/// | --- | --- |
/// | `/users/{id}` | one segment, not empty, as parameter `id` |
/// | `/{month}-{year}`, `/img-{id}.png` | parameters within a segment, none of them empty |
/// | `/files/{*path}` | the rest, not empty, slashes and all, as parameter `path` |
/// | `/v/*/x` | any one segment, not empty |
/// | `/api/**` | `/api`, `/api/` and all below |
///
/// Literal parts are normalized as requests are, so `/münchen` is `/m%C3%BCnchen`. Write the
/// literal characters `{`, `}`, `*` as `%7B`, `%7D`, `%2A`. `/a` is not `/a/`.
///
/// Of several parameters in a segment each takes as little as it can, from the left:
/// `{a}-{b}` on `1-2-3` is `1` and `2-3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    pub(crate) segments: Vec<Segment>,
    pub(crate) rest: Option<Rest>,
    pub(crate) names: Vec<String>,
    prefix: String,
    prefix_segments: usize,
}

/// One segment of a pattern, in the order of precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Static(String),
    Mixed(Mixed),
    Parameter,
    Star,
}

/// What takes the remaining segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Rest {
    /// `{*name}`, which must not be empty.
    Named,
    /// `**`, which also takes the path that ends before it.
    Any,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong and at which character.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(body) = text.strip_prefix('/') else {
            return Err(PatternError::new(1, "path does not begin with `/`"));
        };
        let mut pattern = Self {
            text: text.to_owned(),
            segments: Vec::new(),
            rest: None,
            names: Vec::new(),
            prefix: String::new(),
            prefix_segments: 0,
        };
        let mut column = 2;
        for segment in body.split('/') {
            if pattern.rest.is_some() {
                return Err(PatternError::new(
                    column - 1,
                    "nothing can follow `**` or a rest parameter",
                ));
            }
            if pattern.segments.len() == MAX_SEGMENTS {
                return Err(PatternError::new(column, "more than 256 segments"));
            }
            pattern.push(segment, column)?;
            column += segment.chars().count() + 1;
        }
        for segment in &pattern.segments {
            let Segment::Static(literal) = segment else {
                break;
            };
            pattern.prefix.push('/');
            pattern.prefix.push_str(literal);
            pattern.prefix_segments += 1;
        }
        Ok(pattern)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The whole segments before the first parameter or wildcard, normalized: what `strip_path`
    /// takes. `/strip/v1` of `/strip/v1/**`, all of a path without either, empty for `/{id}`.
    pub fn literal_prefix(&self) -> &str {
        &self.prefix
    }

    /// How many segments [`Pattern::literal_prefix`] has, which `strip_path` takes off.
    pub fn prefix_segments(&self) -> usize {
        self.prefix_segments
    }

    fn push(&mut self, text: &str, column: usize) -> Result<(), PatternError> {
        match text {
            "*" => {
                self.segments.push(Segment::Star);
                return Ok(());
            }
            "**" => {
                self.rest = Some(Rest::Any);
                return Ok(());
            }
            "." | ".." => {
                let problem = "dot segments never match, they are removed from requests";
                return Err(PatternError::new(column, problem));
            }
            _ => {}
        }
        // `literals` has one more than there are parameters; those at the ends may be empty.
        let mut literals = vec![String::new()];
        let mut left = text;
        let column_of = |left: &str| column + text[..text.len() - left.len()].chars().count();
        while let Some(first) = left.chars().next() {
            let here = column_of(left);
            let at_last = literals.len() - 1;
            if first == '{' {
                let Some(end) = left.find('}') else {
                    return Err(PatternError::new(
                        here,
                        "brace is not closed in its segment",
                    ));
                };
                let name = &left[1..end];
                left = &left[end + 1..];
                if let Some(name) = name.strip_prefix('*') {
                    if here != column || !left.is_empty() {
                        let problem = "a rest parameter must be a whole segment";
                        return Err(PatternError::new(here, problem));
                    }
                    self.name(name, here + 2)?;
                    self.rest = Some(Rest::Named);
                    return Ok(());
                }
                if at_last > 0 && literals[at_last].is_empty() {
                    let problem = "two parameters need something between them";
                    return Err(PatternError::new(here, problem));
                }
                self.name(name, here + 1)?;
                literals.push(String::new());
                continue;
            }
            let end = left
                .find(['{', '}', '*', '?', '#', '%'])
                .unwrap_or(left.len());
            if end > 0 {
                path::push_normal(&mut literals[at_last], &left[..end]);
                left = &left[end..];
                continue;
            }
            if first == '%' && path::escape(left.as_bytes(), 0).is_some() {
                path::push_normal(&mut literals[at_last], &left[..3]);
                left = &left[3..];
                continue;
            }
            let problem = match first {
                '}' => "brace is not opened, write `%7D` for the character",
                '*' if left.starts_with("**") => "`**` must be a whole segment",
                '*' => "`*` must be a whole segment, name the parameter: `{name}`",
                '?' => "a path has no query, use the field `query`",
                '#' => "a path has no fragment",
                _ => "`%` without two hex digits, write `%25` for the character",
            };
            return Err(PatternError::new(here, problem));
        }
        let segment = match literals.as_slice() {
            [literal] if path::has_dot_segments(literal) => {
                let problem = "dot segments never match, they are removed from requests";
                return Err(PatternError::new(column, problem));
            }
            [literal] => Segment::Static(literal.clone()),
            [before, after] if before.is_empty() && after.is_empty() => Segment::Parameter,
            _ => Segment::Mixed(Mixed { literals }),
        };
        self.segments.push(segment);
        Ok(())
    }

    fn name(&mut self, name: &str, column: usize) -> Result<(), PatternError> {
        if name.is_empty() {
            return Err(PatternError::new(column, "parameter without a name"));
        }
        let known = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
        if let Some((at, odd)) = name
            .chars()
            .enumerate()
            .find(|(_, character)| !known(*character))
        {
            let problem = format!("`{odd}` in the name of a parameter");
            return Err(PatternError::new(column + at, problem));
        }
        if self.names.iter().any(|other| other == name) {
            return Err(PatternError::new(
                column,
                format!("parameter `{name}` is there twice"),
            ));
        }
        self.names.push(name.to_owned());
        Ok(())
    }
}

/// A segment of literal parts and parameters; two are equal whatever their parameters are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mixed {
    /// One more than there are parameters, and only the first and the last may be empty.
    literals: Vec<String>,
}

impl Mixed {
    /// More literal characters first, then fewer parameters, then the text, so that the order
    /// of two never depends on which was declared first.
    pub(crate) fn precedes(&self, other: &Self) -> bool {
        let rank = |mixed: &Self| {
            let characters = mixed.literals.iter().map(|literal| {
                let escapes = literal.bytes().filter(|byte| *byte == b'%').count();
                literal.len() - 2 * escapes
            });
            (usize::MAX - characters.sum::<usize>(), mixed.literals.len())
        };
        (rank(self), &self.literals) < (rank(other), &other.literals)
    }

    /// Pushes the values of the parameters if the segment matches, else leaves them as they were.
    ///
    /// Both ends are fixed first. Between them, taking each literal where it first occurs leaves
    /// the most for what follows, so a match is found if there is one, without going back:
    /// the time is the length of the segment times that of the literals.
    pub(crate) fn capture<'p>(
        &self,
        segment: &'p str,
        values: &mut SmallVec<[&'p str; 4]>,
    ) -> bool {
        let mark = values.len();
        let matched = self.try_capture(segment, values).is_some();
        if !matched {
            values.truncate(mark);
        }
        matched
    }

    fn try_capture<'p>(&self, segment: &'p str, values: &mut SmallVec<[&'p str; 4]>) -> Option<()> {
        let (first, others) = self.literals.split_first()?;
        let (last, middle) = others.split_last()?;
        let body = segment.strip_prefix(first.as_str())?;
        let mut left = body.strip_suffix(last.as_str())?;
        if is_within_escape(body, left.len()) {
            return None;
        }
        for literal in middle {
            let (at, _) = left.char_indices().skip(1).find(|(at, _)| {
                left[*at..].starts_with(literal.as_str()) && !is_within_escape(left, *at)
            })?;
            values.push(&left[..at]);
            left = &left[at + literal.len()..];
        }
        if left.is_empty() {
            return None;
        }
        values.push(left);
        Some(())
    }
}

/// Whether cutting here would cut a `%20` in two: the literal `0` does not end it.
fn is_within_escape(text: &str, at: usize) -> bool {
    let begins = |back: usize| at >= back && path::escape(text.as_bytes(), at - back).is_some();
    begins(1) || begins(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_and_where() {
        for (text, column, problem) in [
            ("", 1, "begin"),
            ("users", 1, "begin"),
            ("/users/{id", 8, "not closed"),
            ("/users/{id/x}", 8, "not closed"),
            ("/users/id}", 10, "not opened"),
            ("/ü/{}", 5, "without a name"),
            ("/{*}", 4, "without a name"),
            ("/{id}/x/{id}", 10, "twice"),
            ("/{a}/{*a}", 8, "twice"),
            ("/{*p}/x", 6, "follow"),
            ("/a/**/x", 6, "follow"),
            ("/a/**/", 6, "follow"),
            ("/x-{*p}", 4, "whole segment"),
            ("/{*p}.png", 2, "whole segment"),
            ("/{a}{b}", 5, "between"),
            ("/a**", 3, "whole segment"),
            ("/img-*.png", 6, "whole segment"),
            ("/a?b=c", 3, "query"),
            ("/a#b", 3, "fragment"),
            ("/a/%zz", 4, "hex"),
            ("/a/../b", 4, "dot"),
            ("/a/%2e", 4, "dot"),
            ("/{id:[0-9]+}", 5, "`:`"),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.problem().contains(problem), "{text}: {error}");
            assert_eq!(error.column(), column, "{text}: {error}");
        }
        assert!(Pattern::parse(&"/x".repeat(MAX_SEGMENTS)).is_ok());
        assert!(Pattern::parse(&"/x".repeat(MAX_SEGMENTS + 1)).is_err());
    }

    #[test]
    fn prefixes_are_whole_literal_segments() {
        for (text, prefix, segments) in [
            ("/strip/v1/**", "/strip/v1", 2),
            ("/cut/{id}/rest", "/cut", 1),
            ("/files/{*path}", "/files", 1),
            ("/both/img-{id}.png", "/both", 1),
            ("/münchen/*", "/m%C3%BCnchen", 1),
            ("/exact/path", "/exact/path", 2),
            ("/a/", "/a/", 2),
            ("/", "/", 1),
            ("/**", "", 0),
            ("/{id}", "", 0),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(
                (pattern.literal_prefix(), pattern.prefix_segments()),
                (prefix, segments)
            );
        }
    }

    #[test]
    fn parameters_within_a_segment_take_as_little_as_they_can() {
        for (text, segment, expected) in [
            ("/{m}-{y}", "03-2024", Some(&["03", "2024"][..])),
            ("/{m}-{y}", "1-2-3", Some(&["1", "2-3"])),
            ("/{m}-{y}", "--", None),
            ("/{m}-{y}", "---", Some(&["-", "-"])),
            ("/{m}-{y}", "03-", None),
            ("/{m}-{y}", "-2024", None),
            ("/{m}-{y}", "032024", None),
            ("/img-{id}.png", "img-7.png", Some(&["7"])),
            ("/img-{id}.png", "img-.png", None),
            ("/img-{id}.png", "img-a.png.png", Some(&["a.png"])),
            ("/{a}-{b}.png", "x-y.png.png", Some(&["x", "y.png"])),
            ("/{a}aa{b}", "aaaa", Some(&["a", "a"])),
            ("/a{x}a", "a", None),
            ("/a{x}a", "aa", None),
            ("/{x}0", "%20", None),
            ("/{x}0", "%200", Some(&["%20"])),
            ("/{a}2{b}", "%20x", None),
            ("/{a}2{b}", "%202x", Some(&["%20", "x"])),
            ("/{a}%2f{b}", "a%2Fb", Some(&["a", "b"])),
            ("/{a}-{b}", "ü-ü", Some(&["ü", "ü"])),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            let [Segment::Mixed(mixed)] = pattern.segments.as_slice() else {
                panic!("{text}")
            };
            let mut values = SmallVec::new();
            let matched = mixed.capture(segment, &mut values);
            assert_eq!(
                matched.then_some(values.as_slice()),
                expected,
                "{text} on {segment}"
            );
            assert!(matched || values.is_empty());
        }
    }
}
