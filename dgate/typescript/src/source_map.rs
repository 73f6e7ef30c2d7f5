//! Where each piece of the emitted code came from, kept small: a live module holds one for as long
//! as it serves, and only an exception reads it.

use crate::position::Position;

/// Maps places of the emitted code back to the source.
///
/// About four bytes an entry; a lookup decodes one line. `Send + Sync`, and immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceMap {
    /// Start of each generated line in `data`, and the end of the last.
    lines: Box<[u32]>,
    /// Entries: generated column, original line, original column, each as a difference from the
    /// entry before it on the same line; zigzag, seven bits a byte.
    data: Box<[u8]>,
}

impl SourceMap {
    /// The place in the source that the code at `line` and `column` was written from.
    ///
    /// Both lines and both columns count from 1. The given column counts UTF-8 bytes, since that
    /// is what QuickJS-ng puts in a stack; the one returned counts characters, as people do.
    /// `None` where the line has nothing of the source, as in a helper that the compiler added.
    #[must_use]
    pub fn original(&self, line: u32, column: u32) -> Option<(u32, u32)> {
        let line = line.checked_sub(1)? as usize;
        let range = *self.lines.get(line)? as usize..*self.lines.get(line + 1)? as usize;
        let mut rest = self.data.get(range)?;
        let mut entry = [0_i64; 3];
        let mut found = None;
        while !rest.is_empty() {
            for part in &mut entry {
                *part += take(&mut rest)?;
            }
            // A column before the first entry is indentation: the first entry is nearest.
            if found.is_some() && entry[0] > i64::from(column) {
                break;
            }
            found = Some((u32::try_from(entry[1]).ok()?, u32::try_from(entry[2]).ok()?));
        }
        found
    }

    /// Bytes it holds on the heap.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.lines.len() * size_of::<u32>()
    }

    /// From places in the order of the generated code: generated line and column, both from 1,
    /// with the original place.
    pub(crate) fn build(entries: impl IntoIterator<Item = (u32, u32, Position)>) -> Self {
        let mut lines = vec![0];
        let mut data = Vec::new();
        let mut last = [0_i64; 3];
        for (
            line,
            column,
            Position {
                line: from,
                column: at,
            },
        ) in entries
        {
            while lines.len() < line as usize {
                lines.push(data.len() as u32);
                last = [0; 3];
            }
            let entry = [i64::from(column), i64::from(from), i64::from(at)];
            for (value, before) in entry.into_iter().zip(last) {
                put(&mut data, value - before);
            }
            last = entry;
        }
        lines.push(data.len() as u32);
        Self {
            lines: lines.into(),
            data: data.into(),
        }
    }
}

fn put(data: &mut Vec<u8>, value: i64) {
    let mut bits = ((value << 1) ^ (value >> 63)) as u64;
    while bits >= 0x80 {
        data.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    data.push(bits as u8);
}

fn take(data: &mut &[u8]) -> Option<i64> {
    let mut bits = 0_u64;
    let mut shift = 0;
    loop {
        let (&byte, rest) = data.split_first()?;
        *data = rest;
        bits |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_entry_at_or_before_the_column() {
        let place = |line, column| Position { line, column };
        let map = SourceMap::build([
            (1, 5, place(10, 3)),
            (1, 9, place(4, 200)),
            (4, 1, place(70_000, 1)),
        ]);
        assert_eq!(map.original(1, 1), Some((10, 3)));
        assert_eq!(map.original(1, 8), Some((10, 3)));
        assert_eq!(map.original(1, 9), Some((4, 200)));
        assert_eq!(map.original(1, 4000), Some((4, 200)));
        assert_eq!(map.original(2, 1), None);
        assert_eq!(map.original(4, 2), Some((70_000, 1)));
        assert_eq!(map.original(5, 1), None);
        assert_eq!(map.original(0, 0), None);
        assert_eq!(SourceMap::build([]).original(1, 1), None);
    }

    #[test]
    fn crosses_threads() {
        fn both<T: Send + Sync>() {}
        both::<SourceMap>();
    }
}
