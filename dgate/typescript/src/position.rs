//! Lines and columns of a source text, from byte offsets. Used by every part that names a place.

use std::fmt;

/// A place in the original source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1. Only a line feed ends a line.
    pub line: u32,
    /// Column, from 1, in characters (Unicode scalar values).
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Index of a source text. A lookup is a binary search: a minified module is one line, and
/// counting its characters for each token would be quadratic.
pub(crate) struct Lines<'a> {
    text: &'a str,
    /// Byte offset at which each line starts.
    starts: Vec<u32>,
    /// For each character of more than one byte, the offset after it.
    wide: Vec<u32>,
    /// Bytes beyond one a character, summed up to and with the same entry of `wide`.
    surplus: Vec<u32>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut lines = Self {
            text,
            starts: vec![0],
            wide: Vec::new(),
            surplus: Vec::new(),
        };
        let mut sum = 0;
        for (offset, c) in text.char_indices() {
            if c == '\n' {
                lines.starts.push(offset as u32 + 1);
            } else if c.len_utf8() > 1 {
                sum += c.len_utf8() as u32 - 1;
                lines.wide.push((offset + c.len_utf8()) as u32);
                lines.surplus.push(sum);
            }
        }
        lines
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// Position of a byte offset; one past the end is the place after the last character.
    pub(crate) fn position(&self, offset: u32) -> Position {
        let offset = offset.min(self.text.len() as u32);
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts[line - 1];
        let column = offset - start - (self.surplus_at(offset) - self.surplus_at(start));
        Position {
            line: line as u32,
            column: column + 1,
        }
    }

    fn surplus_at(&self, offset: u32) -> u32 {
        match self.wide.partition_point(|&end| end <= offset) {
            0 => 0,
            n => self.surplus[n - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, offset: usize) -> (u32, u32) {
        let Position { line, column } = Lines::new(text).position(offset as u32);
        (line, column)
    }

    #[test]
    fn counts_characters_and_line_feeds() {
        let text = "añb\r\n日本 x\n";
        assert_eq!(at(text, 0), (1, 1));
        assert_eq!(at(text, text.find('b').unwrap()), (1, 3));
        assert_eq!(at(text, text.find('x').unwrap()), (2, 4));
        assert_eq!(at(text, text.len()), (3, 1));
        assert_eq!(at("", 0), (1, 1));
        assert_eq!(at("ab", 99), (1, 3));
    }
}
