//! Which addresses are public: the rest must not be reached on behalf of code that may name any host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is reachable from everywhere: none of the special-purpose ones (RFC 6890 and the IANA
/// registries that it began), nor one that hides such an IPv4 address (mapped, NAT64, 6to4, Teredo).
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => v6(ip),
    }
}

fn v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        // 100.64.0.0/10: shared address space, RFC 6598
        || (a == 100 && b & 0xc0 == 64)
        // 192.0.0.0/24: protocol assignments
        || (a == 192 && b == 0 && c == 0)
        // 192.88.99.0/24: 6to4 relays, deprecated by RFC 7526
        || (a == 192 && b == 88 && c == 99)
        // 198.18.0.0/15: benchmarks, RFC 2544
        || (a == 198 && b & 0xfe == 18)
        || a >= 240;
    !special
}

fn v6(ip: Ipv6Addr) -> bool {
    if let Some(mapped) = ip.to_ipv4_mapped() {
        return v4(mapped);
    }
    let segments = ip.segments();
    match segments {
        // NAT64, RFC 6052
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(embedded(high, low)),
        // 6to4, RFC 3056
        [0x2002, high, low, ..] => v4(embedded(high, low)),
        // Teredo, protocol assignments and documentation
        [0x2001, second, ..] => !(second < 0x200 || second == 0xdb8),
        [0x3fff, second, ..] => second > 0xfff,
        // Only 2000::/3 is given out as global unicast.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn only_global_unicast_is_public() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "2002:808:808::1",
        ];
        let special = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "::7f00:1",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text} is public");
        }
        for text in special {
            assert!(!is_public(text.parse().unwrap()), "{text} is not public");
        }
    }
}
