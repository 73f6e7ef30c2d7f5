//! Paths of requests: normalized for matching, decoded for parameters.
//!
//! The router matches on the normalized path only, and the upstream gets the client's own bytes
//! (unless they held dot segments), so nothing here changes what it is given:
//!
//! | the client sends | [`normalize`] | why |
//! | --- | --- | --- |
//! | `/users/7` | borrowed | nothing to do, one pass |
//! | `/%75sers/%7Eme` | `/users/~me` | unreserved characters (RFC 3986 §6.2.2.2) |
//! | `/m%c3%bcnchen` | `/m%C3%BCnchen` | hex digits (§6.2.2.1) |
//! | `/a/%2e%2e/b` | `/b` | dot segments (§6.2.2.3), never above the root |
//! | `/a%2Fb//c` | borrowed | an encoded slash separates nothing, empty segments stay |

use std::borrow::Cow;

/// Bytes a path may hold as they are: `pchar` of RFC 3986 §3.3 without `%`, and `/`.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_unreserved(byte as u8)
            || matches!(
                byte as u8,
                b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
            )
            || matches!(byte as u8, b':' | b'@' | b'/');
        byte += 1;
    }
    table
};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The form of a path that routes are matched against (RFC 3986 §6.2.2).
///
/// Escapes of unreserved characters are decoded, the hex digits of the others become upper case,
/// dot segments are removed, and bytes that no path may hold (`ü`, `{`, a space) are encoded.
/// `%2F` stays, empty segments stay, and an escape that is none (`%zz`) stays. Normalizing twice
/// is normalizing once. The empty path is `/`; the `*` of `OPTIONS *` is itself and no route's.
pub fn normalize(path: &str) -> Cow<'_, str> {
    let mut before = b'/';
    let mut plain = true;
    for &byte in path.as_bytes() {
        if !PLAIN[byte as usize] || (byte == b'.' && before == b'/') {
            plain = false;
            break;
        }
        before = byte;
    }
    if path == "*" || (path.starts_with('/') && (plain || is_normal(path))) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(rewrite(path))
}

/// Whether a path as the client sent it holds `.` or `..` segments, encoded ones too.
///
/// The upstream then gets the normalized path, so that nothing climbs out of a base path.
pub fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(is_dot_segment)
}

/// A parameter's value, percent-decoded; bytes that are no UTF-8 become U+FFFD.
pub fn decode(segment: &str) -> Cow<'_, str> {
    if segment.contains('%') {
        decode_with(segment, |byte| byte)
    } else {
        Cow::Borrowed(segment)
    }
}

/// A name or value of a query string, percent-decoded, with `+` as a space.
pub fn decode_query(text: &str) -> Cow<'_, str> {
    if text.contains(['%', '+']) {
        decode_with(text, |byte| if byte == b'+' { b' ' } else { byte })
    } else {
        Cow::Borrowed(text)
    }
}

/// Appends the normalized form of text that holds no `/`; dot segments are the caller's affair.
pub(super) fn push_normal(out: &mut String, text: &str) {
    let bytes = text.as_bytes();
    // How many hex digits would complete the `%` that is no escape. Decoding `%32` in `%%32e`
    // would make `%2e` of it, and a server behind us would see a dot that we did not.
    let mut missing = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if let Some(value) = escape(bytes, at) {
            if is_unreserved(value) && !(missing > 0 && value.is_ascii_hexdigit()) {
                out.push(char::from(value));
            } else {
                push_escaped(out, value);
            }
            missing = 0;
            at += 3;
            continue;
        }
        if byte == b'%' {
            out.push('%');
            missing = 2;
        } else if PLAIN[byte as usize] {
            out.push(char::from(byte));
            missing = if byte.is_ascii_hexdigit() {
                i32::max(missing - 1, 0)
            } else {
                0
            };
        } else {
            push_escaped(out, byte);
            missing = 0;
        }
        at += 1;
    }
}

/// The byte that `%XX` at this place stands for.
pub(super) fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low, ..] = bytes.get(at..)? else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(*high)? * 16 + digit(*low)?) as u8)
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_dot_segment(segment: &str) -> bool {
    // Two dots, encoded, are six bytes.
    if segment.is_empty() || segment.len() > 6 {
        return false;
    }
    let dot = |text: &str| {
        let taken = text.strip_prefix('.').or_else(|| text.strip_prefix("%2e"));
        taken.or_else(|| text.strip_prefix("%2E")).map(str::len)
    };
    let Some(left) = dot(segment) else {
        return false;
    };
    left == 0 || dot(&segment[segment.len() - left..]) == Some(0)
}

/// Whether a path with escapes or dots is normalized already, so that `/a%20b` costs no
/// allocation. May say no to odd ones (`%%32`) that stay as they are.
fn is_normal(path: &str) -> bool {
    let bytes = path.as_bytes();
    let bytes_are = bytes
        .iter()
        .enumerate()
        .all(|(at, &byte)| match escape(bytes, at) {
            Some(value) => {
                !is_unreserved(value) && !bytes[at + 1..at + 3].iter().any(u8::is_ascii_lowercase)
            }
            None => byte == b'%' || PLAIN[byte as usize],
        });
    bytes_are && !has_dot_segments(path)
}

fn rewrite(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 16);
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let start = out.len();
        if is_dot_segment(segment) {
            // One dot is `.` or `%2e`, every other length is that of two.
            if !matches!(segment.len(), 1 | 3) {
                out.truncate(out.rfind('/').unwrap_or(0));
            }
            if segments.peek().is_none() {
                out.push('/');
            }
            continue;
        }
        out.push('/');
        push_normal(&mut out, segment);
        debug_assert!(
            !is_dot_segment(&out[start + 1..]),
            "dots are seen before decoding"
        );
    }
    out
}

fn push_escaped(out: &mut String, byte: u8) {
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

fn decode_with(text: &str, plain: impl Fn(u8) -> u8) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match escape(bytes, at) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(plain(byte));
                at += 1;
            }
        }
    }
    let lossy =
        |error: std::string::FromUtf8Error| String::from_utf8_lossy(error.as_bytes()).into_owned();
    Cow::Owned(String::from_utf8(out).unwrap_or_else(lossy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_as_rfc_3986_says() {
        for (sent, expected) in [
            ("/a/../b/x", "/b/x"),
            ("/b/./x", "/b/x"),
            ("/a/%2e%2e/b/x", "/b/x"),
            ("/a/x/z/%2E./../y", "/a/y"),
            ("/../b/x", "/b/x"),
            ("/b/..", "/"),
            ("/b/.", "/b/"),
            ("/a/b/%2E", "/a/b/"),
            ("/a//../b", "/a/b"),
            ("/a/./", "/a/"),
            ("/..", "/"),
            ("/../../..", "/"),
            ("/a/b/c/./../../g", "/a/g"),
            ("/%75sers/%7Eme", "/users/~me"),
            ("/m%c3%bcnchen", "/m%C3%BCnchen"),
            ("/münchen", "/m%C3%BCnchen"),
            ("/a b|{c}", "/a%20b%7C%7Bc%7D"),
            ("/open/..%2fclosed", "/open/..%2Fclosed"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/%%32e%%32e/x", "/%%32e%%32e/x"),
            ("/%2%35", "/%2%35"),
            ("/%zz%41", "/%zzA"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("", "/"),
            ("a", "/a"),
            ("*", "*"),
        ] {
            let normal = normalize(sent);
            assert_eq!(normal, expected, "{sent}");
            assert_eq!(normalize(&normal), expected, "{sent} twice");
        }
    }

    #[test]
    fn what_is_normal_is_borrowed() {
        for path in [
            "/",
            "/a/b",
            "//a//",
            "/.well-known/x",
            "/...",
            "/a.b",
            "/a%20b",
            "/a%2Fb",
            "/%zz",
            "*",
        ] {
            assert!(matches!(normalize(path), Cow::Borrowed(_)), "{path}");
        }
    }

    #[test]
    fn sees_dot_segments_of_the_clients_path() {
        for path in [
            "/.",
            "/..",
            "/a/../b",
            "/a/%2e",
            "/%2E%2e/x",
            "/.%2e",
            "/%2e.",
        ] {
            assert!(has_dot_segments(path), "{path}");
        }
        for path in [
            "/",
            "/a.b/c",
            "/...",
            "/.a",
            "/..%2F",
            "/%2e%2e%2e",
            "/%252e",
            "/a..",
            "/%2",
        ] {
            assert!(!has_dot_segments(path), "{path}");
        }
    }

    #[test]
    fn random_paths_are_normal_after_one_pass_and_hold_no_dots() {
        let mut seed = 7_u64;
        let pieces = [
            "/", "/", ".", "..", "%2e", "%2E", "%", "2", "e", "%32", "%25", "%65", "a", "%2f", "ü",
            "%c3",
        ];
        for _ in 0..50_000 {
            let mut path = String::from("/");
            for _ in 0..8 {
                seed = seed
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                path.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            let once = normalize(&path).into_owned();
            assert_eq!(normalize(&once), once, "{path}");
            assert!(once.starts_with('/') && !has_dot_segments(&once), "{path}");
        }
    }

    #[test]
    fn decodes_values() {
        assert_eq!(decode("a%2Fb%20%C3%BC"), "a/b ü");
        assert_eq!(decode("x/y/z.txt"), "x/y/z.txt");
        assert_eq!(decode("%zz%4+"), "%zz%4+");
        assert_eq!(decode("%ff!"), "\u{fffd}!");
        assert_eq!(decode_query("full%20view+x%2B"), "full view x+");
    }
}
