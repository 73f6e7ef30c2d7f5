//! How entries lie in sled, format 1: a value with a checksum of our own, since sled's covers its pages on their way
//! to the disk and not what is in them later, and large values in chunks, since sled writes pages above a quarter of
//! a segment to files of their own that it never syncs.
//!
//! | key | value |
//! | --- | --- |
//! | `0` `format` | 4 bytes, little-endian, as all numbers in values |
//! | `0` `sequence` | 8 bytes: counts the batches |
//! | `1` key | kind 0 and the value, or kind 1 and where its chunks are: batch, place in the batch, how many |
//! | `2` batch, place, chunk (8 + 4 + 4 bytes, big-endian) | kind 0 and up to [`CHUNK`] bytes |

use crate::store::MAX_KEY;

/// The format that this release writes and the only one that it reads.
pub(super) const FORMAT: u32 = 1;

/// sled's unit of space. It is twice the default so that pages stay pages: see [`CHUNK`].
pub(super) const SEGMENT: usize = 1 << 20;

/// The most bytes in one value of sled. A leaf holds at most 16 entries before it is split, some more after a merge;
/// all of them together must stay below a quarter of a segment.
pub(super) const CHUNK: usize = 8 << 10;

const _: () = assert!(24 * (CHUNK + MAX_KEY + 64) < SEGMENT / 4);

pub(super) const FORMAT_KEY: &[u8] = b"\0format";
pub(super) const SEQUENCE_KEY: &[u8] = b"\0sequence";
const ENTRY: u8 = 1;
const CHUNKS: u8 = 2;

/// What stands before a payload: its kind and its checksum.
const HEAD: usize = 5;

/// A decoded value of sled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Inline(&'a [u8]),
    Chunked(Chunked),
}

/// Where the chunks of a large value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    pub(super) batch: u64,
    pub(super) place: u32,
    pub(super) count: u32,
}

impl Chunked {
    pub(super) fn keys(self) -> impl Iterator<Item = Vec<u8>> {
        let Self { batch, place, .. } = self;
        (0..self.count).map(move |chunk| {
            let mut key = vec![CHUNKS];
            key.extend(batch.to_be_bytes());
            key.extend(place.to_be_bytes());
            key.extend(chunk.to_be_bytes());
            key
        })
    }
}

/// The key of sled for a key of the store.
pub(super) fn entry(key: &[u8]) -> Vec<u8> {
    [&[ENTRY], key].concat()
}

/// The key of the store for a key of sled, if it is one of an entry.
pub(super) fn key_of(stored: &[u8]) -> Option<&[u8]> {
    stored.strip_prefix(&[ENTRY])
}

/// The range of all entries ends before this.
pub(super) const END: &[u8] = &[ENTRY + 1];

pub(super) fn inline(stored: &[u8], payload: &[u8]) -> Vec<u8> {
    encode(0, stored, payload)
}

pub(super) fn chunked(stored: &[u8], at: Chunked) -> Vec<u8> {
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&at.batch.to_le_bytes());
    payload[8..12].copy_from_slice(&at.place.to_le_bytes());
    payload[12..].copy_from_slice(&at.count.to_le_bytes());
    encode(1, stored, &payload)
}

/// `None` if it is not what was written under this key.
pub(super) fn decode<'a>(stored: &[u8], value: &'a [u8]) -> Option<Record<'a>> {
    let (head, payload) = value.split_at_checked(HEAD)?;
    if head[1..] != checksum(head[0], stored, payload) {
        return None;
    }
    match head[0] {
        0 => Some(Record::Inline(payload)),
        1 => Some(Record::Chunked(Chunked {
            batch: u64::from_le_bytes(payload.get(..8)?.try_into().ok()?),
            place: u32::from_le_bytes(payload.get(8..12)?.try_into().ok()?),
            count: u32::from_le_bytes(payload.get(12..)?.try_into().ok()?),
        })),
        _ => None,
    }
}

fn encode(kind: u8, stored: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD + payload.len());
    value.push(kind);
    value.extend(checksum(kind, stored, payload));
    value.extend_from_slice(payload);
    value
}

/// Covers the key as well, so that a value under another one is noticed.
fn checksum(kind: u8, stored: &[u8], payload: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(stored);
    hasher.update(payload);
    hasher.finalize().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let at = Chunked {
            batch: 7,
            place: 1,
            count: 3,
        };
        for value in [inline(b"\x01key", b"value"), chunked(b"\x01key", at)] {
            assert!(decode(b"\x01key", &value).is_some());
            assert_eq!(decode(b"\x01kez", &value), None);
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode(b"\x01key", &flipped), None, "bit {bit}");
            }
            for end in 0..value.len() {
                assert_eq!(decode(b"\x01key", &value[..end]), None, "cut at {end}");
            }
        }
    }
}
