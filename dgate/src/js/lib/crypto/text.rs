//! Bytes as text and back: hex, base64 and base64url (RFC 4648), latin1 and UTF-8.

use crate::js::bridge;
use rquickjs::{Ctx, Exception, Result, Value};

/// An encoding by its name in `node:crypto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Hex,
    Base64,
    Base64Url,
    Latin1,
}

impl Encoding {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        const NAMES: [(&str, Encoding); 8] = [
            ("hex", Encoding::Hex),
            ("base64", Encoding::Base64),
            ("base64url", Encoding::Base64Url),
            ("utf8", Encoding::Utf8),
            ("utf-8", Encoding::Utf8),
            ("latin1", Encoding::Latin1),
            ("binary", Encoding::Latin1),
            ("ascii", Encoding::Latin1),
        ];
        let known = NAMES
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known));
        known.map(|(_, encoding)| *encoding)
    }

    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Hex => hex(bytes),
            Self::Base64 => base64(bytes, STANDARD, true),
            Self::Base64Url => base64url(bytes),
            Self::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        }
    }

    /// The bytes a text stands for; `None` when it is not in this encoding. Base64 may be of either alphabet,
    /// without padding, and in lines.
    pub(super) fn decode(self, text: String) -> Option<Vec<u8>> {
        match self {
            Self::Utf8 => Some(text.into_bytes()),
            Self::Hex => unhex(text.as_bytes()),
            Self::Base64 | Self::Base64Url => unbase64(text.as_bytes(), true),
            Self::Latin1 => Some(text.encode_utf16().map(|unit| unit as u8).collect()),
        }
    }
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs
        .iter()
        .map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8))
        .collect()
}

fn base64(bytes: &[u8], alphabet: &[u8; 64], padded: bool) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..=chunk.len() {
            out.push(char::from(
                alphabet[(group >> (18 - 6 * index)) as usize & 63],
            ));
        }
        if padded {
            out.extend(std::iter::repeat_n('=', 3 - chunk.len()));
        }
    }
    out
}

/// Base64url without padding, as in a JWK (RFC 7515, section 2).
pub(super) fn base64url(bytes: &[u8]) -> String {
    base64(bytes, URL, false)
}

/// The bytes of a member of a JWK.
pub(super) fn unbase64url(text: &str) -> Option<Vec<u8>> {
    unbase64(text.as_bytes(), false)
}

fn unbase64(text: &[u8], lenient: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut group, mut bits) = (0u32, 0u32);
    let mut rest = text.iter();
    for &byte in rest.by_ref() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            b'+' if lenient => 62,
            b'/' if lenient => 63,
            b' ' | b'\n' | b'\r' | b'\t' if lenient => continue,
            b'=' if lenient => break,
            _ => return None,
        };
        group = (group << 6 | u32::from(value)) & 0xfff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((group >> bits) as u8);
        }
    }
    let only_padding = rest.all(|byte| b"= \n\r\t".contains(byte));
    (bits != 6 && only_padding).then_some(out)
}

/// The text of a value that must be a string.
///
/// # Errors
/// When the value is no string.
pub(super) fn string<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<String> {
    let Some(string) = value.as_string() else {
        return Err(Exception::throw_type(ctx, "a string is expected"));
    };
    bridge::text(ctx, string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let vectors = [
            "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
        ];
        for (len, text) in vectors.iter().enumerate() {
            let bytes = &b"foobar"[..len];
            assert_eq!(Encoding::Base64.encode(bytes), *text);
            assert_eq!(base64url(bytes), text.trim_end_matches('='));
            assert_eq!(Encoding::Base64.decode((*text).into()).unwrap(), bytes);
            assert_eq!(unbase64url(text.trim_end_matches('=')).unwrap(), bytes);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        assert_eq!(
            Encoding::Base64.decode("+/\n8=".into()).unwrap(),
            [0xfb, 0xff]
        );
        for bad in ["Zg==", "Zg", "Z", "+_8", "Zm9v\n", "é"] {
            assert_eq!(unbase64url(bad).is_some(), bad == "Zg", "{bad}");
        }
        assert!(Encoding::Base64.decode("Zg==Zg".into()).is_none());
    }

    #[test]
    fn hex_takes_both_cases_and_whole_bytes() {
        assert_eq!(
            Encoding::Hex.decode("00fFA0".into()).unwrap(),
            [0, 0xff, 0xa0]
        );
        assert_eq!(hex(&[0, 0xff, 0xa0]), "00ffa0");
        for bad in ["0", "0g", "é"] {
            assert!(Encoding::Hex.decode(bad.into()).is_none());
        }
    }
}
