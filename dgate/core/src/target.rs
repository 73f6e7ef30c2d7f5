//! Where one attempt goes: floor 0. A hook names a target by URL; a balancer by one of its endpoints.

use http::Uri;
use http::uri::Scheme;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;

/// The base URL for one attempt: scheme, authority and a base path, `http` or `https`.
///
/// ```
/// let target: dgate_core::Target = "http://10.0.0.7:8080/base/".parse().unwrap();
/// assert_eq!(target.to_string(), "http://10.0.0.7:8080/base");
/// assert!("ftp://x".parse::<dgate_core::Target>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    https: bool,
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    base_path: Box<str>,
    public_only: bool,
    at: Option<IpAddr>,
    or: Alternative,
}

/// Another way to the same place, which is no part of what makes it this place.
#[derive(Clone, Copy, Default)]
struct Alternative(Option<IpAddr>);

impl PartialEq for Alternative {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Alternative {}
impl Hash for Alternative {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A URL that is no target.
#[derive(Debug, thiserror::Error)]
#[error("`{url}` is no upstream URL: {reason}")]
pub struct TargetError {
    url: String,
    reason: &'static str,
}

impl Target {
    /// The same, to be reached at public addresses only: not at loopback, link-local, private or other special
    /// ones (RFC 6890). Checked after its name was looked up. It shares no connection with the unmarked target.
    #[must_use]
    pub fn public_only(self) -> Self {
        Self {
            public_only: true,
            ..self
        }
    }
    /// The same at one address of its name, or at another if it is the first to take a connection.
    pub(crate) fn pinned(&self, at: IpAddr, or: Option<IpAddr>) -> Self {
        Self {
            at: Some(at),
            or: Alternative(or),
            ..self.clone()
        }
    }
    /// The addresses that it was pinned to.
    pub(crate) fn addresses(&self) -> Option<(IpAddr, Option<IpAddr>)> {
        Some((self.at?, self.or.0))
    }
    /// The URL, with the address that it was pinned to: how statistics name it.
    pub(crate) fn label(&self) -> String {
        match self.at {
            Some(at) => format!("{self} ({at})"),
            None => self.to_string(),
        }
    }
    /// Whether it is `other` or an address of it.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        self == other
            || self.at.is_some()
                && Self {
                    at: None,
                    ..self.clone()
                } == *other
    }
    /// The same host at another port.
    pub(crate) fn with_port(self, port: u16) -> Self {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.to_string(),
        };
        Self {
            port,
            authority: format!("{host}:{port}").into(),
            ..self
        }
    }
    /// Whether only public addresses will do.
    pub fn is_public_only(&self) -> bool {
        self.public_only
    }
    /// Whether the connection is TLS.
    pub fn https(&self) -> bool {
        self.https
    }
    /// The host without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
    /// The port, 80 or 443 when the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }
    /// Host and port as they stand in the URL: the `Host` header of requests to it.
    pub fn authority(&self) -> &str {
        &self.authority
    }
    /// The path that is put before every request's path; empty, or starts with `/` and does not end with one.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }
}

impl FromStr for Target {
    type Err = TargetError;
    fn from_str(url: &str) -> Result<Self, TargetError> {
        let fail = |reason| TargetError {
            url: without_userinfo(url),
            reason,
        };
        let uri: Uri = url
            .parse()
            .map_err(|_| fail("it does not parse as a URL (RFC 3986)"))?;
        let https = match uri.scheme() {
            Some(s) if *s == Scheme::HTTP => false,
            Some(s) if *s == Scheme::HTTPS => true,
            _ => return Err(fail("the scheme must be http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| fail("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(fail("credentials in a URL are not supported"));
        }
        if uri.query().is_some() {
            return Err(fail("a query is not supported here"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err(fail("it has no host"));
        }
        // Not `Authority::port`, which takes one that does not parse for none.
        let rest = authority.as_str().strip_prefix(authority.host());
        let port = match rest.unwrap_or_default().strip_prefix(':') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
            Some(_) => None,
            None => Some(if https { 443 } else { 80 }),
        };
        let port = port
            .filter(|port| *port != 0)
            .ok_or_else(|| fail("the port is not between 1 and 65535"))?;
        Ok(Self {
            https,
            host: host.into(),
            port,
            authority: authority.as_str().into(),
            base_path: uri.path().trim_end_matches('/').into(),
            public_only: false,
            at: None,
            or: Alternative::default(),
        })
    }
}

/// A URL as errors show it: what may be a password is left out, even where it holds a `/` or `?` that it must not.
fn without_userinfo(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    match url[start..].rfind('@') {
        Some(at) => format!("{}…{}", &url[..start], &url[start + at..]),
        None => url.to_owned(),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.base_path)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_does_not_parse_is_not_taken_for_none() {
        for port in ["0", "70000", "99999", "80x", "abc", "", "+80", "-1"] {
            for host in ["host", "127.0.0.1", "[::1]"] {
                let url = format!("http://{host}:{port}");
                let found = url.parse::<Target>().map_err(|e| e.to_string());
                assert!(found.is_err(), "{url}: {found:?}");
            }
        }
        let port = |url: &str| url.parse::<Target>().map(|t| t.port()).ok();
        assert_eq!(port("http://[::1]:65535/x"), Some(65535));
        assert_eq!(port("https://[::1]"), Some(443));
        assert_eq!(port("http://host/a:b"), Some(80));
    }
}
