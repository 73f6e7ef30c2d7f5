//! Addresses in configuration: what a listener binds, and networks in CIDR form.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// The `format` keyword of a [`ListenAddr`] in JSON Schemas.
pub const LISTEN_FORMAT: &str = "dgate-listen";

/// The `format` keyword of a network in JSON Schemas.
pub const NETWORK_FORMAT: &str = "dgate-network";

/// Why a text is no address, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

/// What a listener binds: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` (IPv4), or `:8080` for
/// every IPv4 address of the machine. Port 0 lets the system choose.
///
/// Other names are refused: what a listener binds should not depend on a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddr(SocketAddr);

impl ListenAddr {
    /// This port on 127.0.0.1.
    pub const fn loopback(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// The address to bind.
    pub const fn get(self) -> SocketAddr {
        self.0
    }

    /// Whether only this machine can connect.
    pub fn is_loopback(self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }
}

impl Deref for ListenAddr {
    type Target = SocketAddr;

    fn deref(&self) -> &SocketAddr {
        &self.0
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ListenAddr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let digits = |port: &&str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = |prefix| {
            text.strip_prefix(prefix)
                .filter(digits)
                .and_then(|p| p.parse().ok())
        };
        let address = text
            .parse()
            .ok()
            .or_else(|| Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port(":")?)))
            .or_else(|| {
                Some(SocketAddr::new(
                    Ipv4Addr::LOCALHOST.into(),
                    port("localhost:")?,
                ))
            });
        address.map(Self).ok_or_else(|| {
            AddressError(format!(
                "`{text}` is no address to listen on: write an IP address and a port, for example \
                 `127.0.0.1:8080`, or `:8080` for every address"
            ))
        })
    }
}

impl Serialize for ListenAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ListenAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for ListenAddr {
    fn schema_name() -> Cow<'static, str> {
        "ListenAddr".into()
    }

    fn schema_id() -> Cow<'static, str> {
        concat!(module_path!(), "::ListenAddr").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An IP address and a port to listen on, such as `127.0.0.1:8080`; `:8080` for every IPv4 address.",
            "type": "string",
            "format": LISTEN_FORMAT,
        })
    }
}

/// One listener or several: `listen` takes a text as well as a list.
pub(crate) fn one_or_many<'de, D>(deserializer: D) -> Result<Vec<ListenAddr>, D::Error>
where
    D: Deserializer<'de>,
{
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Array(list) => list
            .into_iter()
            .map(|one| ListenAddr::deserialize(one).map_err(de::Error::custom))
            .collect(),
        one => Ok(vec![
            ListenAddr::deserialize(one).map_err(de::Error::custom)?,
        ]),
    }
}

/// The schema of [`one_or_many`].
pub(crate) fn one_or_many_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "array", "items": generator.subschema_for::<ListenAddr>(), "uniqueItems": true },
            generator.subschema_for::<ListenAddr>(),
        ],
    })
}

/// A network: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
///
/// # Errors
/// Text that is neither.
pub fn parse_network(text: &str) -> Result<IpNet, AddressError> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => text.parse().ok(),
    };
    network.ok_or_else(|| {
        AddressError(format!(
            "`{text}` is no network: write an address and a prefix length, for example `10.0.0.0/8`"
        ))
    })
}

/// Deserializes a list of networks by [`parse_network`].
pub(crate) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<Cow<'_, str>>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| parse_network(text).map_err(de::Error::custom))
        .collect()
}

/// The schema of [`networks`].
pub(crate) fn networks_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "type": "string", "format": NETWORK_FORMAT } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listens_on_addresses_and_ports() {
        for (text, address) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("[::1]:80", Some("[::1]:80")),
            (":8080", Some("0.0.0.0:8080")),
            ("localhost:0", Some("127.0.0.1:0")),
            ("8080", None),
            (":", None),
            (":+80", None),
            (":65536", None),
            ("127.0.0.1", None),
            ("example.com:80", None),
            ("", None),
        ] {
            let parsed = text.parse::<ListenAddr>().ok().map(|a| a.to_string());
            assert_eq!(parsed.as_deref(), address, "{text}");
        }
    }

    #[test]
    fn tells_loopback() {
        for (text, loopback) in [
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            (":1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(
                text.parse::<ListenAddr>().unwrap().is_loopback(),
                loopback,
                "{text}"
            );
        }
    }

    #[test]
    fn networks_are_cidrs_or_addresses() {
        for (text, network) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.0.0.1", Some("10.0.0.1/32")),
            ("::1", Some("::1/128")),
            ("10.0.0.0/99", None),
            ("x", None),
        ] {
            let parsed = parse_network(text).ok().map(|n| n.to_string());
            assert_eq!(parsed.as_deref(), network, "{text}");
        }
    }
}
