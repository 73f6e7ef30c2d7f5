//! Faults of a source and how they read: one line each, and a frame of code for people.

use std::fmt;

use crate::position::{Lines, Position};

/// Faults that are reported for one source.
pub(crate) const MAX_DIAGNOSTICS: usize = 100;

/// One fault of a source. Lines and columns count from 1, columns in characters; the end is the
/// place after the last character concerned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Diagnostic {
    /// Line of the first character.
    pub line: u32,
    /// Column of the first character.
    pub column: u32,
    /// Line of the end.
    pub end_line: u32,
    /// Column of the end.
    pub end_column: u32,
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
}

impl Diagnostic {
    pub(crate) fn at_start(message: String) -> Self {
        Self {
            line: 1,
            column: 1,
            end_line: 1,
            end_column: 1,
            message,
        }
    }

    /// Position of the first character.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            line: self.line,
            column: self.column,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for Diagnostic {}

/// A fault at a range of bytes, before it has lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn place(self, lines: &Lines<'_>) -> Diagnostic {
        let start = lines.position(self.start);
        let end = lines.position(self.end.max(self.start));
        Diagnostic {
            line: start.line,
            column: start.column,
            end_line: end.line,
            end_column: end.column,
            message: self.message,
        }
    }
}

/// All faults as diagnostics, in the order of the source. Of several at one place the first stays:
/// the parser says the same in other words, or stumbles again over the same token. Past
/// [`MAX_DIAGNOSTICS`] nobody reads on.
pub(crate) fn place_all(mut faults: Vec<Fault>, lines: &Lines<'_>) -> Vec<Diagnostic> {
    faults.sort_by_key(|fault| fault.start);
    faults.dedup_by_key(|fault| fault.start);
    faults
        .into_iter()
        .take(MAX_DIAGNOSTICS)
        .map(|fault| fault.place(lines))
        .collect()
}

/// The line of a place, the line above it, and a caret under the column; no colours, and no line
/// end at the end.
///
/// ```
/// let frame = dgate_typescript::frame("let a = 1;\nlet b = ;\n", 2, 9);
/// assert_eq!(frame, "1 | let a = 1;\n2 | let b = ;\n  |         ^");
/// ```
#[must_use]
pub fn frame(source: &str, line: u32, column: u32) -> String {
    const WIDTH: usize = 160;
    let digits = line.max(1).to_string().len();
    // A minified line is cut to a window around the column.
    let from = (column as usize).saturating_sub(1 + WIDTH / 2);
    let from = if (column as usize) <= WIDTH { 0 } else { from };
    let mut out = String::new();
    for number in [line.saturating_sub(1), line] {
        let text = (number as usize)
            .checked_sub(1)
            .and_then(|n| source.split('\n').nth(n));
        if let Some(text) = text {
            let shown: String = text.trim_end().chars().skip(from).take(WIDTH).collect();
            out += format!("{number:digits$} | {shown}").trim_end();
            out.push('\n');
        }
    }
    // A tab before the caret stays one, so that the caret stands below its character.
    let current = (line as usize)
        .checked_sub(1)
        .and_then(|n| source.split('\n').nth(n));
    let before = current
        .unwrap_or_default()
        .chars()
        .chain(std::iter::repeat(' '));
    let pad: String = before
        .take((column as usize).saturating_sub(1))
        .skip(from)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    out + &format!("{:digits$} | {pad}^", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_of_the_first_line_has_none_above() {
        assert_eq!(frame("x = ;", 1, 5), "1 | x = ;\n  |     ^");
    }

    #[test]
    fn frame_keeps_tabs_and_aligns_numbers() {
        let source = "\n".repeat(8) + "a\n\t\tb(;\n";
        assert_eq!(frame(&source, 10, 5), " 9 | a\n10 | \t\tb(;\n   | \t\t  ^");
    }

    #[test]
    fn frame_of_a_place_that_is_not_there_does_not_fail() {
        assert_eq!(frame("", 0, 0), "  | ^");
        assert_eq!(frame("a", 7, 3), "  |   ^");
        assert_eq!(frame("a", 1, 2), "1 | a\n  |  ^");
    }

    #[test]
    fn frame_cuts_long_lines_around_the_column() {
        let source = "a".repeat(5000) + "!" + &"b".repeat(5000);
        let frame = frame(&source, 1, 5001);
        let lines: Vec<&str> = frame.lines().collect();
        assert!(lines[0].len() < 200);
        assert_eq!(lines[0].find('!'), lines[1].find('^'));
    }
}
