//! The entries of `allow_origins`, and which origins they mean.

use regex::Regex;

/// One entry: `*`, an origin as a browser sends it, `*.x` for every host below x, or `/regex/`.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    Any,
    Exact(String),
    /// Scheme, if the entry names one, and what follows the `*`: `.example.com:8443`.
    Below(Option<String>, String),
    Regex(Regex),
}

impl Pattern {
    /// Reads an entry; an error says what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let regex = text.strip_prefix('/').and_then(|t| t.strip_suffix('/'));
        if let Some(regex) = regex.filter(|regex| !regex.is_empty()) {
            // The whole origin: a part would let `https://app.test.evil.test` in.
            return Regex::new(&format!("^(?:{regex})$"))
                .map(Self::Regex)
                .map_err(|error| format!("`{text}` is no regular expression: {error}"));
        }
        let wrong = || {
            format!(
                "`{text}` is no origin: write `https://host`, `https://host:port`, `*.host`, `/regex/` or `*`, \
                 without a path"
            )
        };
        let lower = text.to_ascii_lowercase();
        let (scheme, authority) = match lower.split_once("://") {
            Some((scheme, authority)) => (Some(scheme), authority),
            None => (None, lower.as_str()),
        };
        let scheme_is_one = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if scheme.is_some_and(|s| s.is_empty() || !scheme_is_one(s)) {
            return Err(wrong());
        }
        // A browser leaves the default port out.
        let authority = match scheme {
            Some("https") => authority.strip_suffix(":443").unwrap_or(authority),
            Some("http") => authority.strip_suffix(":80").unwrap_or(authority),
            _ => authority,
        };
        match (scheme, authority.strip_prefix('*')) {
            (scheme, Some(end)) if end.starts_with('.') && is_authority(&end[1..]) => {
                Ok(Self::Below(scheme.map(str::to_owned), end.to_owned()))
            }
            (Some(scheme), None) if is_authority(authority) => {
                Ok(Self::Exact(format!("{scheme}://{authority}")))
            }
            _ => Err(wrong()),
        }
    }

    /// Whether this origin is meant, as it stands in the header.
    pub(crate) fn is(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => origin == exact,
            Self::Below(scheme, end) => {
                let Some((its_scheme, authority)) = origin.split_once("://") else {
                    return false;
                };
                let schemes = match scheme {
                    Some(scheme) => its_scheme == scheme,
                    None => matches!(its_scheme, "http" | "https"),
                };
                let below = authority.strip_suffix(end.as_str()).unwrap_or_default();
                schemes && !below.is_empty() && below.bytes().all(in_name)
            }
            Self::Regex(regex) => regex.is_match(origin),
        }
    }
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// A host, or an IPv6 address in brackets, perhaps with a port.
fn is_authority(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':').or(Some(""))),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let in_host = |byte| in_name(byte) || (bracketed.is_some() && byte == b':');
    !host.is_empty()
        && host.bytes().all(in_host)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_mean_what_they_say() {
        for (entry, origin, meant) in [
            ("*", "https://any.test", true),
            ("https://app.test", "https://app.test", true),
            ("HTTPS://App.test:443", "https://app.test", true),
            ("https://app.test", "http://app.test", false),
            ("https://app.test", "https://app.test:8443", false),
            ("https://app.test", "https://app.test.evil.test", false),
            ("https://app.test:8443", "https://app.test:8443", true),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("*.app.test", "https://a.b.app.test", true),
            ("*.app.test", "http://a.app.test", true),
            ("*.app.test", "https://app.test", false),
            ("*.app.test", "https://evilapp.test", false),
            ("*.app.test", "https://.app.test", false),
            ("*.app.test", "https://evil.test/.app.test", false),
            ("*.app.test", "https://evil.test#.app.test", false),
            ("*.app.test", "ftp://a.app.test", false),
            ("https://*.app.test", "http://a.app.test", false),
            ("https://*.app.test:8443", "https://a.app.test:8443", true),
            ("/https://app-[0-9]+\\.test/", "https://app-12.test", true),
            (
                "/https://app-[0-9]+\\.test/",
                "https://app-12.test.evil.test",
                false,
            ),
            ("/a|https://b/", "https://a", false),
        ] {
            assert_eq!(
                Pattern::parse(entry).unwrap().is(origin),
                meant,
                "{entry} {origin}"
            );
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for entry in [
            "",
            "app.test",
            "null",
            "https://",
            "https://app.test/",
            "https://app.test/path",
            "https://app.test:port",
            "https://a*.test",
            "*app.test",
            "**",
            "https://*",
            "/(/",
            "://app.test",
        ] {
            assert!(Pattern::parse(entry).is_err(), "{entry}");
        }
    }
}
