//! By what limits tell requests apart: floor 0.
//!
//! ```
//! use dgate_core::{Exchange, Key, exchange::Client, key::Keys};
//!
//! let by: Key = "header:X-Api-Key".parse()?;
//! let keys = Keys::new(by);
//! let ctx = Exchange::new(Client::default());
//! let mut headers = http::HeaderMap::new();
//! headers.insert("x-api-key", "a".parse()?);
//! let a = keys.of(&ctx, &headers);
//! headers.insert("x-api-key", "b".parse()?);
//! assert_ne!(a, keys.of(&ctx, &headers));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::exchange::Exchange;
use http::{HeaderMap, HeaderName};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::str::FromStr;

/// By what requests are told apart: `client_ip`, `consumer`, `header:NAME`, `route` or `global`.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// The client address: IPv4 as it is, of IPv6 the network of 64 bits, since a client has all of one.
    #[default]
    ClientIp,
    /// The consumer that an authentication plugin recognised; the client address when there is none.
    Consumer,
    /// The value of a header; the client address when it is absent.
    Header(HeaderName),
    /// The route.
    Route,
    /// Nothing: all requests are alike.
    Global,
}

/// Why a text is no [`Key`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no key: write {EXPECTED}")]
pub struct KeyError(String);

const EXPECTED: &str = "`client_ip`, `consumer`, `header:NAME`, `route` or `global`";

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(match text {
            "client_ip" => Self::ClientIp,
            "consumer" => Self::Consumer,
            "route" => Self::Route,
            "global" => Self::Global,
            _ => {
                let name = text.strip_prefix("header:").and_then(|n| n.parse().ok());
                Self::Header(name.ok_or_else(|| KeyError(text.to_owned()))?)
            }
        })
    }
}

impl Key {
    /// The word without the name of the header: `header` for `header:x-api-key`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ClientIp => "client_ip",
            Self::Consumer => "consumer",
            Self::Header(_) => "header",
            Self::Route => "route",
            Self::Global => "global",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            other => f.write_str(other.word()),
        }
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Key {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Key".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(client_ip|consumer|route|global|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$",
            "x-expect": EXPECTED,
        })
    }
}

/// Turns requests into keys of 128 bits, so that what is kept for a key does not grow with what a client sends.
///
/// The hash has two random seeds that no client knows: two keys that meet are as likely as two equal UUIDs.
#[derive(Clone, Debug)]
pub struct Keys {
    by: Key,
    seeds: [RandomState; 2],
}

impl Keys {
    /// Keys by this, with new seeds.
    pub fn new(by: Key) -> Self {
        Self {
            by,
            seeds: [RandomState::new(), RandomState::new()],
        }
    }

    /// By what.
    pub fn by(&self) -> &Key {
        &self.by
    }

    /// The key of a request. Without a peer address all requests have one [`Key::ClientIp`].
    pub fn of(&self, ctx: &Exchange, headers: &HeaderMap) -> u128 {
        match &self.by {
            Key::ClientIp => self.ip(ctx),
            Key::Consumer => match ctx.identity() {
                Some(identity) => self.hash(1, &identity.name),
                None => self.ip(ctx),
            },
            Key::Header(name) => match headers.get(name) {
                Some(value) => self.hash(2, value.as_bytes()),
                None => self.ip(ctx),
            },
            // Names of routes are unique in a namespace alone.
            Key::Route => match ctx.route() {
                Some(route) => self.hash(3, &(&*route.namespace, &*route.name)),
                None => 0,
            },
            Key::Global => 0,
        }
    }

    fn ip(&self, ctx: &Exchange) -> u128 {
        let ip = match ctx.client_ip().map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => u64::from(ip.to_bits()),
            // No global IPv6 network begins with 32 zero bits, so this meets no IPv4 address.
            Some(IpAddr::V6(ip)) => (ip.to_bits() >> 64) as u64,
            None => u64::MAX,
        };
        self.hash(0, &ip)
    }

    /// `kind` keeps an address and a header value of the same bytes apart.
    fn hash<T: Hash + ?Sized>(&self, kind: u8, value: &T) -> u128 {
        let [high, low] = self.seeds.each_ref().map(|seed| {
            let mut hasher = seed.build_hasher();
            kind.hash(&mut hasher);
            value.hash(&mut hasher);
            hasher.finish()
        });
        u128::from(high) << 64 | u128::from(low)
    }
}

/// Hashes what is a [`Keys`] key already: takes 64 of its bits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bits(u64);

impl Hasher for Bits {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Client, Identity};

    fn from(ip: &str) -> Exchange {
        Exchange::new(Client {
            ip: Some(ip.parse().unwrap()),
            ..Client::default()
        })
    }

    #[test]
    fn texts_are_keys_and_back() {
        for text in ["client_ip", "consumer", "header:x-key", "route", "global"] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        for text in ["", "ip", "header:", "header:a b", "header"] {
            let error = text.parse::<Key>().unwrap_err().to_string();
            assert!(error.contains("client_ip"), "{error}");
        }
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let keys = Keys::new(Key::ClientIp);
        let of = |ip| keys.of(&from(ip), &HeaderMap::new());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
    }

    #[test]
    fn an_unknown_consumer_counts_by_its_address() {
        let keys = Keys::new(Key::Consumer);
        let of = |ip, name: Option<&str>| {
            let ctx = from(ip);
            if let Some(name) = name {
                ctx.set_identity(Identity {
                    name: name.to_owned(),
                    ..Identity::default()
                });
            }
            keys.of(&ctx, &HeaderMap::new())
        };
        assert_eq!(of("10.0.0.1", Some("ann")), of("10.0.0.2", Some("ann")));
        assert_ne!(of("10.0.0.1", Some("ann")), of("10.0.0.1", Some("bob")));
        assert_ne!(of("10.0.0.1", None), of("10.0.0.2", None));
    }
}
