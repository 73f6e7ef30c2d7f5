//! What is wrong with a document, and where: the one form of every error of configuration files,
//! bundles, bodies of the Admin API and plugin configs.

use std::cell::Cell;
use std::fmt;

/// A place in a text: line and column, both from 1, columns in characters.
///
/// The default, 0:0, is no place: the value did not come from a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub col: usize,
}

impl Span {
    /// No place.
    pub const NONE: Self = Self { line: 0, col: 0 };

    /// A place; both numbers count from 1.
    pub const fn new(line: usize, col: usize) -> Self {
        Self { line, col }
    }

    /// The place, unless it is none.
    pub fn known(self) -> Option<Self> {
        (self.line > 0).then_some(self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.col)
    }
}

/// Lines of a text, for turning byte offsets into [`Span`]s.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// The offset asked for last and its place. Counting goes on from there: a text of one long
    /// line would cost the square of its length otherwise.
    last: Cell<(usize, Span)>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let breaks = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(i, _)| i + 1);
        let starts = std::iter::once(0).chain(breaks).collect();
        Self {
            text,
            starts,
            last: Cell::new((0, Span::new(1, 1))),
        }
    }

    /// The place of the byte at `offset`; past the end, the end.
    pub(crate) fn span(&self, offset: usize) -> Span {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset);
        let (from, col) = match self.last.get() {
            (last, span) if span.line == line && last <= offset => (last, span.col),
            _ => (self.starts[line - 1], 1),
        };
        let span = Span::new(line, col + self.text[from..offset].chars().count());
        self.last.set((offset, span));
        span
    }

    /// The byte offset of a place given as line and byte column, both from 1.
    pub(crate) fn offset(&self, line: usize, byte_col: usize) -> usize {
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(self.text.len());
        start + byte_col.saturating_sub(1)
    }
}

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where in the value: a JSON pointer (RFC 6901), empty for the whole.
    pub pointer: String,
    /// Where in the text, if the value came from one.
    pub span: Option<Span>,
    /// What is wrong, and what would be right.
    pub detail: String,
    /// Where in the text that the value is, such as a module's source.
    pub within: Option<Within>,
}

/// A place within a text that is itself a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Within {
    /// The place, counted from the start of that text.
    pub span: Span,
    /// What is wrong there, without the place.
    pub detail: String,
}

impl Diagnostic {
    /// An error at `pointer`; a span of 0:0 counts as none.
    pub fn new(pointer: impl Into<String>, span: Span, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            span: span.known(),
            detail: detail.into(),
            within: None,
        }
    }

    /// The same with its texts as long as one can read.
    pub(crate) fn short(&self) -> Self {
        Self {
            pointer: shortened(&self.pointer),
            detail: shortened(&self.detail),
            span: self.span,
            within: self.within.as_ref().map(|within| Within {
                span: within.span,
                detail: shortened(&within.detail),
            }),
        }
    }

    /// The line that a person reads: `file:line:col: detail`.
    ///
    /// Without a place in the text the pointer says where: `file: detail (at /proxy/listen)`.
    pub fn render(&self, file: &str) -> String {
        match self.span {
            Some(span) => format!("{file}:{span}: {}", self.detail),
            None => format!("{file}: {self}"),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        if !self.pointer.is_empty() {
            write!(f, " (at {})", self.pointer)?;
        }
        Ok(())
    }
}

/// How many errors are told at once. Whoever mends these sees the rest the next time.
pub(crate) const MAX_TOLD: usize = 100;

/// How many characters of one text, which may repeat a value of any length, are told.
const MAX_TEXT: usize = 1000;

/// Errors as they are told, in an answer or a log: the first hundred, each as long as one can read, and how many more
/// there are.
pub(crate) fn told(errors: &[Diagnostic]) -> Vec<Diagnostic> {
    let mut told: Vec<_> = errors
        .iter()
        .take(MAX_TOLD)
        .map(Diagnostic::short)
        .collect();
    if let Some(more) = more(errors.len()) {
        told.push(Diagnostic::new("", Span::NONE, more));
    }
    told
}

/// What is said of errors that are not told, if these are so many.
pub(crate) fn more(errors: usize) -> Option<String> {
    match errors.checked_sub(MAX_TOLD)? {
        0 => None,
        1 => Some("and 1 more error".to_owned()),
        more => Some(format!("and {more} more errors")),
    }
}

/// A text as long as one can read.
pub(crate) fn shortened(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Appends one step to a JSON pointer, escaped by RFC 6901.
pub fn join(pointer: &str, step: &str) -> String {
    format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"))
}

/// The steps of a JSON pointer, unescaped.
pub fn steps(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_characters() {
        let lines = Lines::new("aé\nüb\n");
        assert_eq!(lines.span(0), Span::new(1, 1));
        assert_eq!(lines.span(3), Span::new(1, 3));
        assert_eq!(lines.span(6), Span::new(2, 2));
        assert_eq!(lines.span(99), Span::new(3, 1));
        assert_eq!(lines.span(3), Span::new(1, 3));
        assert_eq!(lines.span(1), Span::new(1, 2));
        assert_eq!(lines.span(lines.offset(2, 3)), Span::new(2, 2));
    }

    #[test]
    fn renders_the_place_or_else_the_pointer() {
        let at = Diagnostic::new("/a", Span::new(3, 7), "wrong");
        assert_eq!(at.render("x.yaml"), "x.yaml:3:7: wrong");
        let nowhere = Diagnostic::new("/a", Span::NONE, "wrong");
        assert_eq!(nowhere.render("x.yaml"), "x.yaml: wrong (at /a)");
    }

    #[test]
    fn pointers_escape_their_steps() {
        let pointer = join(&join("", "a/b"), "c~1");
        assert_eq!(pointer, "/a~1b/c~01");
        assert_eq!(steps(&pointer).collect::<Vec<_>>(), ["a/b", "c~1"]);
        assert_eq!(steps("").count(), 0);
    }
}
