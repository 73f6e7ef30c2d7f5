//! Networks as configuration writes them, and sets of them that are fast to look into.

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

/// A network, `10.0.0.0/8` or `2001:db8::/32`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

/// Why a text is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network: write an address and a prefix length, for example `10.0.0.0/8`")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let address = text.parse::<IpAddr>().map(IpNet::from).ok();
        let network = address.or_else(|| text.parse().ok());
        network
            .map(Self)
            .ok_or_else(|| NetworkError(text.to_owned()))
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Network {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The gateway's validator knows this format.
        json_schema!({ "type": "string", "format": "dgate-network" })
    }
}

/// Addresses as sorted ranges that do not touch, IPv4 and IPv6 apart: a lookup is one binary search, however many
/// networks were listed.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

impl Addresses {
    pub(crate) fn of(networks: &[Network]) -> Self {
        let mut all = Self::default();
        for Network(network) in networks {
            let ranges = match network {
                IpNet::V4(_) => &mut all.v4,
                IpNet::V6(_) => &mut all.v6,
            };
            ranges.push((number(network.network()), number(network.broadcast())));
        }
        for ranges in [&mut all.v4, &mut all.v6] {
            ranges.sort_unstable();
            ranges.dedup_by(|next, kept| {
                let joined = next.0 <= kept.1.saturating_add(1);
                if joined {
                    kept.1 = kept.1.max(next.1);
                }
                joined
            });
        }
        all
    }

    /// Whether an address is in one of the networks. An IPv4 address is one however it is written (`::ffff:10.0.0.1`).
    pub(crate) fn contain(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let ranges = match ip {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        let ip = number(ip);
        let after = ranges.partition_point(|(first, _)| *first <= ip);
        after > 0 && ip <= ranges[after - 1].1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> Addresses {
        let networks: Vec<_> = networks.iter().map(|n| n.parse().unwrap()).collect();
        Addresses::of(&networks)
    }

    #[test]
    fn sets_contain_what_their_networks_do() {
        let set = set(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "11.0.0.0/8",
            "192.0.2.7",
            "2001:db8::/32",
        ]);
        assert_eq!(set.v4.len(), 2, "10/8 and 11/8 are one range");
        for (ip, inside) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.1.2.3", true),
            ("11.255.255.255", true),
            ("12.0.0.0", false),
            ("192.0.2.6", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.0.0.1", true),
            ("2001:db8::1", true),
            ("2001:db9::", false),
            ("::1", false),
        ] {
            assert_eq!(set.contain(ip.parse().unwrap()), inside, "{ip}");
        }
    }

    #[test]
    fn everything_of_one_family_is_nothing_of_the_other() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(set(&["0.0.0.0/0"]).contain(ip("255.255.255.255")));
        assert!(!set(&["0.0.0.0/0"]).contain(ip("2001:db8::1")));
        assert!(set(&["::/0"]).contain(ip("ffff::")));
        assert!(!set(&["::/0"]).contain(ip("10.0.0.1")));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/99", "10.0.0/8", "host", "10.0.0.1-10.0.0.9"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
