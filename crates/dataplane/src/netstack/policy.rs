//! Which destinations peers may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wg::{IpNet, Ipv4Net, Ipv6Net};

/// What peers may reach beyond the open network. Everything here is off unless told so, but for `host_addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// This host's loopback: 127.0.0.0/8 and ::1. Services there trust who they talk to.
    pub host_loopback: bool,
    /// Link-local addresses, and the addresses at which clouds tell a machine its secrets.
    pub link_local: bool,
    /// This host's other addresses, as on its LAN. On by default, as on the kernel's plane.
    ///
    /// A peer's connection to one of them comes from this host itself, so that a firewall sees it on the loopback
    /// interface and commonly lets it pass: switch this off where a firewall alone guards services on 0.0.0.0.
    pub host_addresses: bool,
    /// Networks of other peers.
    pub peer_to_peer: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            host_loopback: false,
            link_local: false,
            host_addresses: true,
            peer_to_peer: false,
        }
    }
}

/// What to do with a packet for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go.
    Allow,
    /// It may not, and the sender is told.
    Prohibit,
    /// No host has such an address: multicast, broadcast, unspecified, or IPv4 inside IPv6 that cannot be on a wire.
    Drop,
}

impl Policy {
    /// Judges a destination that is neither the gateway's nor a peer's.
    #[must_use]
    pub fn judge(&self, destination: IpAddr) -> Verdict {
        match destination {
            IpAddr::V4(address) => self.judge_v4(address),
            IpAddr::V6(address) => self.judge_v6(address),
        }
    }

    /// The networks that `link_local` is about, each by its prefix: those of IPv4 also as a translator (RFC 6052) and a
    /// relay (RFC 3056) would reach them. They do not overlap.
    pub fn guarded_networks() -> Vec<IpNet> {
        let host = |address: Ipv4Addr| Ipv4Net::new_assert(address, 32);
        let mut networks_v4 = vec![Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)];
        networks_v4.extend(METADATA_V4.map(host));
        let mut networks: Vec<IpNet> = vec![Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10).into()];
        networks.extend(METADATA_V6.map(|address| IpNet::from(Ipv6Net::new_assert(address, 128))));
        for network in networks_v4 {
            let (bits, len) = (u128::from(network.network().to_bits()), network.prefix_len());
            let translated = Ipv6Addr::from_bits(0x64_ff9b << 96 | bits);
            let relayed = Ipv6Addr::from_bits(0x2002 << 112 | bits << 80);
            networks.extend([
                IpNet::from(network),
                Ipv6Net::new_assert(translated, 96 + len).into(),
                Ipv6Net::new_assert(relayed, 16 + len).into(),
            ]);
        }
        networks
    }

    fn judge_v4(&self, address: Ipv4Addr) -> Verdict {
        let allow = |allowed| if allowed { Verdict::Allow } else { Verdict::Prohibit };
        // Linux takes 0.0.0.0 for the loopback.
        if address.octets()[0] == 0 || address.is_multicast() || address.is_broadcast() {
            Verdict::Drop
        } else if address.is_loopback() {
            allow(self.host_loopback)
        } else if address.is_link_local() || METADATA_V4.contains(&address) {
            allow(self.link_local)
        } else {
            Verdict::Allow
        }
    }

    fn judge_v6(&self, address: Ipv6Addr) -> Verdict {
        let allow = |allowed| if allowed { Verdict::Allow } else { Verdict::Prohibit };
        if address.is_loopback() {
            return allow(self.host_loopback);
        }
        let segments = address.segments();
        // ::/96 holds the unspecified address and the IPv4-compatible ones; a kernel takes ::ffff:0:0/96 for IPv4.
        if address.is_multicast() || segments[..6] == [0; 6] || segments[..6] == [0, 0, 0, 0, 0, 0xffff] {
            return Verdict::Drop;
        }
        if address.is_unicast_link_local() || METADATA_V6.contains(&address) {
            return allow(self.link_local);
        }
        // A translator or a relay on the way would send it on to this IPv4 address.
        embedded_v4(address).map_or(Verdict::Allow, |inside| self.judge_v4(inside))
    }
}

/// Where clouds serve metadata outside the link-local networks: Azure's wire server, Alibaba, Oracle.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// The same in IPv6: AWS, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The IPv4 address inside a NAT64 (RFC 6052, RFC 8215) or 6to4 (RFC 3056) address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// Whether an inner packet may come from this address: one host's, and one that a wire can carry.
pub(super) fn is_possible_source(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(address) => {
            address.octets()[0] != 0 && !address.is_multicast() && !address.is_broadcast() && !address.is_loopback()
        }
        IpAddr::V6(address) => !address.is_multicast() && address.segments()[..5] != [0; 5],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_judged_by_what_they_are() {
        use Verdict::{Allow, Drop, Prohibit};
        let open = Policy {
            host_loopback: true,
            link_local: true,
            ..Policy::default()
        };
        // (destination, by default, with loopback and link-local allowed)
        for (destination, closed, opened) in [
            ("192.0.2.1", Allow, Allow),
            ("10.0.0.1", Allow, Allow),
            ("127.0.0.1", Prohibit, Allow),
            ("127.255.255.254", Prohibit, Allow),
            ("0.0.0.0", Drop, Drop),
            ("0.0.0.1", Drop, Drop),
            ("169.254.169.254", Prohibit, Allow),
            ("168.63.129.16", Prohibit, Allow),
            ("100.100.100.200", Prohibit, Allow),
            ("224.0.0.251", Drop, Drop),
            ("255.255.255.255", Drop, Drop),
            ("2001:db8::1", Allow, Allow),
            ("fd00::1", Allow, Allow),
            ("::1", Prohibit, Allow),
            ("::", Drop, Drop),
            ("::127.0.0.1", Drop, Drop),
            ("::ffff:127.0.0.1", Drop, Drop),
            ("::ffff:192.0.2.1", Drop, Drop),
            ("fe80::1", Prohibit, Allow),
            ("febf::1", Prohibit, Allow),
            ("ff02::1", Drop, Drop),
            ("fd00:ec2::254", Prohibit, Allow),
            ("64:ff9b::169.254.169.254", Prohibit, Allow),
            ("64:ff9b::127.0.0.1", Prohibit, Allow),
            ("64:ff9b:1:2:3:4:169.254.169.254", Prohibit, Allow),
            ("64:ff9b::192.0.2.1", Allow, Allow),
            ("64:ff9b::0.0.0.0", Drop, Drop),
            ("2002:7f00:1::1", Prohibit, Allow),
            ("2002:a9fe:a9fe::", Prohibit, Allow),
            ("2002:c000:201::1", Allow, Allow),
        ] {
            let address = destination.parse().unwrap();
            assert_eq!(Policy::default().judge(address), closed, "{destination}");
            assert_eq!(open.judge(address), opened, "{destination}, opened");
        }
    }

    #[test]
    fn all_of_a_guarded_network_is_prohibited() {
        for network in Policy::guarded_networks() {
            for address in [network.network(), network.broadcast()] {
                assert_eq!(Policy::default().judge(address), Verdict::Prohibit, "{network}");
            }
        }
    }

    #[test]
    fn impossible_sources_are_told_apart() {
        for (source, possible) in [
            ("10.0.0.2", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("239.1.1.1", false),
            ("fd00::2", true),
            ("::1", false),
            ("::", false),
            ("::ffff:10.0.0.2", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_possible_source(source.parse().unwrap()), possible, "{source}");
        }
    }
}
