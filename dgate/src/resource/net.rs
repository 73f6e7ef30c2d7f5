//! The entries of `permissions.net`: which hosts a module may reach, and on which ports.
//!
//! ```
//! use dgate::resource::NetPermission;
//!
//! let entry: NetPermission = "*.example.com:443".parse().expect("an entry");
//! assert!(entry.allows("api.example.com", 443));
//! assert!(!entry.allows("example.com", 443) && !entry.allows("api.example.com", 80));
//! ```

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// One entry: `host`, `host:port`, `*.host`, `[::1]:port`. Without a port it holds for every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetPermission {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// A name in lower case, without the dot at its end.
    Name(String),
    /// Everything below a name, which is kept with its dot in front.
    Below(String),
    Address(IpAddr),
}

/// Why a text is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no network permission: write `host`, `host:port` or `*.host`, with IPv6 addresses in brackets, \
     without a scheme or path"
)]
pub struct NetPermissionError(String);

impl NetPermission {
    /// Whether it allows a connection to `host`, as it stands in a URL (IPv6 with or without brackets), and `port`.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let bare = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        match &self.host {
            Host::Name(name) => host.eq_ignore_ascii_case(name),
            // What the wildcard stands for is not empty.
            Host::Below(end) => {
                host.len() > end.len()
                    && host
                        .get(host.len() - end.len()..)
                        .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
            }
            Host::Address(address) => bare
                .parse::<IpAddr>()
                .is_ok_and(|found| found.to_canonical() == address.to_canonical()),
        }
    }
}

impl FromStr for NetPermission {
    type Err = NetPermissionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NetPermissionError(text.to_owned());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or_else(wrong)?;
                let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
                let port = match after {
                    "" => None,
                    _ => Some(after.strip_prefix(':').ok_or_else(wrong)?),
                };
                (Host::Address(address.into()), port)
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                (host_of(host).ok_or_else(wrong)?, port)
            }
        };
        let port = match port {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let port = digits.parse::<u16>().ok().filter(|port| *port > 0);
                Some(port.ok_or_else(wrong)?)
            }
            Some(_) => return Err(wrong()),
            None => None,
        };
        Ok(Self { host, port })
    }
}

/// A name, a name below which everything is allowed, or an IPv4 address.
fn host_of(text: &str) -> Option<Host> {
    let (wildcard, name) = match text.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return None;
    }
    match (wildcard, name.parse::<IpAddr>()) {
        (false, Ok(address)) => Some(Host::Address(address)),
        (true, Ok(_)) => None,
        (true, Err(_)) => Some(Host::Below(format!(".{name}"))),
        (false, Err(_)) => Some(Host::Name(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_allow_what_they_name() {
        for (entry, host, port, allowed) in [
            ("api.example.com", "API.example.com", 443, true),
            ("api.example.com", "api.example.com.", 80, true),
            ("api.example.com", "x.api.example.com", 80, false),
            ("api.example.com:8080", "api.example.com", 8080, true),
            ("api.example.com:8080", "api.example.com", 80, false),
            ("*.example.com", "a.b.example.com", 80, true),
            ("*.example.com", "example.com", 80, false),
            ("*.example.com", "badexample.com", 80, false),
            ("127.0.0.1", "127.0.0.1", 1, true),
            ("127.0.0.1:1", "127.0.0.1", 2, false),
            ("[::1]", "[::1]", 9, true),
            ("[::1]:9", "::1", 9, true),
            ("[::1]:9", "[0:0:0:0:0:0:0:1]", 9, true),
            ("127.0.0.1", "[::ffff:127.0.0.1]", 9, true),
            ("localhost", "127.0.0.1", 9, false),
        ] {
            let parsed: NetPermission = entry.parse().unwrap();
            assert_eq!(parsed.allows(host, port), allowed, "{entry} {host}:{port}");
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "a..b",
            "http://a.com",
            "a.com/x",
            "a.com:",
            "a.com:0",
            "a.com:65536",
            "a.com:+1",
            "::1",
            "[::1",
            "[::1]9",
            "[a.com]",
            "a b",
            "*.127.0.0.1",
            "a.*.com",
            "10.0.0.0/8",
        ] {
            assert!(text.parse::<NetPermission>().is_err(), "{text}");
        }
    }
}
