//! Consistent hashing: a key stays with its endpoint, whatever happens to the others.
//!
//! By rendezvous with weights (C. Schindelhauer, G. Schomaker, "Weighted distributed hash tables", 2005): each
//! endpoint gets a score from the key and its URL, the highest wins. There is no ring to keep, the second best is the
//! same for all who need one, and several gateways agree.

use crate::exchange::Exchange;
use http::request::Parts;
use http::{HeaderName, header};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What of a request a hash goes by.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    /// The one client address.
    #[default]
    ClientIp,
    /// `header:NAME`: the value of a header.
    Header(HeaderName),
    /// `cookie:NAME`: the value of a cookie.
    Cookie(String),
    /// The path as it came.
    Path,
    /// `query:NAME`: the first value of a query parameter, as it came.
    Query(String),
    /// The name of the consumer that an authentication plugin recognised.
    Consumer,
}

/// A text that is no [`HashKey`].
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is nothing to hash by: write client_ip, path, consumer, header:NAME, cookie:NAME or query:NAME"
)]
pub struct HashKeyError(String);

impl FromStr for HashKey {
    type Err = HashKeyError;

    fn from_str(text: &str) -> Result<Self, HashKeyError> {
        let wrong = || HashKeyError(text.to_owned());
        Ok(match (text, text.split_once(':')) {
            ("client_ip", _) => Self::ClientIp,
            ("path", _) => Self::Path,
            ("consumer", _) => Self::Consumer,
            (_, Some(("header", name))) => Self::Header(name.parse().map_err(|_| wrong())?),
            (_, Some(("cookie", name))) if !name.is_empty() => Self::Cookie(name.to_owned()),
            (_, Some(("query", name))) if !name.is_empty() => Self::Query(name.to_owned()),
            _ => return Err(wrong()),
        })
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client_ip"),
            Self::Path => f.write_str("path"),
            Self::Consumer => f.write_str("consumer"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

impl Serialize for HashKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HashKey {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for HashKey {
    fn schema_name() -> Cow<'static, str> {
        "HashKey".into()
    }

    fn schema_id() -> Cow<'static, str> {
        concat!(module_path!(), "::HashKey").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`client_ip`, `path`, `consumer`, `header:NAME`, `cookie:NAME` or `query:NAME`.",
            "type": "string",
            "pattern": "^(client_ip|path|consumer|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+|(cookie|query):.+)$",
        })
    }
}

/// The key, and the endpoints by their URLs.
#[derive(Debug)]
pub(super) struct Ring {
    on: HashKey,
    seeds: Box<[u64]>,
}

impl Ring {
    pub(super) fn new(on: Option<HashKey>, urls: &[String]) -> Self {
        Self {
            on: on.unwrap_or_default(),
            seeds: urls.iter().map(|url| hash(url.as_bytes())).collect(),
        }
    }

    pub(super) fn reads_headers(&self) -> bool {
        matches!(self.on, HashKey::Header(_) | HashKey::Cookie(_))
    }

    /// The hash of what the request has under the key.
    pub(super) fn key(&self, ctx: &Exchange, parts: &Parts) -> Option<u64> {
        match &self.on {
            HashKey::ClientIp => ctx.client_ip().map(|ip| match ip {
                IpAddr::V4(ip) => hash(&ip.octets()),
                IpAddr::V6(ip) => hash(&ip.octets()),
            }),
            HashKey::Header(name) => parts.headers.get(name).map(|v| hash(v.as_bytes())),
            HashKey::Cookie(name) => cookie(parts, name.as_bytes()).map(hash),
            HashKey::Path => Some(hash(parts.uri.path().as_bytes())),
            HashKey::Query(name) => {
                let mut pairs = parts.uri.query()?.split('&');
                let value = pairs.find_map(|pair| match pair.split_once('=') {
                    Some((key, value)) => (key == name).then_some(value),
                    None => (pair == name).then_some(""),
                });
                value.map(|v| hash(v.as_bytes()))
            }
            HashKey::Consumer => ctx.identity().map(|who| hash(who.name.as_bytes())),
        }
    }

    /// The endpoint of `among` with the highest score.
    pub(super) fn pick(&self, key: u64, among: &[usize], weights: &[u32]) -> usize {
        let score = |at: usize| {
            // Between 0 and 1, neither of them.
            let draw = ((mix(key ^ self.seeds[at]) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            -f64::from(weights[at]) / draw.ln()
        };
        let mut best = (among[0], f64::MIN);
        for at in among {
            let score = score(*at);
            if score > best.1 {
                best = (*at, score);
            }
        }
        best.0
    }
}

fn cookie<'a>(parts: &'a Parts, name: &[u8]) -> Option<&'a [u8]> {
    let all = parts.headers.get_all(header::COOKIE).iter();
    let mut crumbs = all.flat_map(|v| v.as_bytes().split(|b| *b == b';'));
    crumbs.find_map(|crumb| {
        let crumb = crumb.trim_ascii();
        let at = crumb.iter().position(|b| *b == b'=')?;
        (&crumb[..at] == name).then(|| &crumb[at + 1..])
    })
}

/// FNV-1a, whose high bits `mix` makes as good as its low ones. The same in every process and version: gateways
/// side by side must agree.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}

/// The finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(count: usize) -> Ring {
        let urls: Vec<_> = (0..count)
            .map(|n| format!("http://10.0.0.{n}:80"))
            .collect();
        Ring::new(None, &urls)
    }

    fn keys() -> impl Iterator<Item = u64> {
        (0..10_000u32).map(|n| hash(&n.to_be_bytes()))
    }

    #[test]
    fn shares_follow_the_weights() {
        let (ring, mut counts) = (ring(4), [0; 4]);
        keys().for_each(|key| counts[ring.pick(key, &[0, 1, 2, 3], &[1, 1, 2, 4])] += 1);
        for (count, share) in counts.iter().zip([1_250, 1_250, 2_500, 5_000]) {
            assert!((share - 200..share + 200).contains(count), "{counts:?}");
        }
    }

    #[test]
    fn one_that_goes_away_moves_only_its_own_share() {
        let ring = ring(5);
        for key in keys() {
            let before = ring.pick(key, &[0, 1, 2, 3, 4], &[1; 5]);
            let after = ring.pick(key, &[0, 1, 3, 4], &[1; 5]);
            assert!(before == after || before == 2);
        }
    }

    #[test]
    fn keys_are_read_from_where_they_are_said_to_be() {
        let (parts, ()) = http::Request::builder()
            .uri("/a?user=other&x&user=no")
            .header("x-user", "ann")
            .header("cookie", "a=b; user=bob")
            .body(())
            .expect("a request")
            .into_parts();
        let ctx = Exchange::new(Default::default());
        for (on, value) in [
            ("header:X-User", Some("ann")),
            ("cookie:user", Some("bob")),
            ("query:user", Some("other")),
            ("query:x", Some("")),
            ("path", Some("/a")),
            ("cookie:us", None),
            ("header:none", None),
            ("consumer", None),
            ("client_ip", None),
        ] {
            let on: HashKey = on.parse().expect("a key");
            let ring = Ring::new(Some(on.clone()), &[]);
            let hash = value.map(|v| hash(v.as_bytes()));
            assert_eq!(ring.key(&ctx, &parts), hash, "{on}");
            assert_eq!(on.to_string().parse::<HashKey>().expect("a key"), on);
        }
        for wrong in ["", "header", "header:", "cookie:", "ip", "header:a b"] {
            assert!(wrong.parse::<HashKey>().is_err(), "{wrong}");
        }
    }
}
