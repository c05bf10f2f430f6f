//! The addresses inside the tunnel between a gateway and its launcher.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use wg::PublicKey;

/// The TCP port at the gateway's end of the link where questions are answered.
pub const ASK_PORT: u16 = 51_820;

/// Where links have their addresses: half of the network that is kept for measurements between devices (RFC 2544, appendix C;
/// RFC 6890), which no host on the Internet and no usual private network has.
pub const LINKS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 19, 0, 0), 16);

/// The two addresses of a link. They follow from the launcher's key, so that both ends know them, and the links of two
/// gateways on one host are hardly ever the same.
///
/// IPv4, since every host has that at least inside: an IPv6 address cannot be had where IPv6 is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The launcher's.
    pub launcher: Ipv4Addr,
    /// The gateway's.
    pub gateway: Ipv4Addr,
}

impl Link {
    /// The link of the launcher with this key.
    pub fn of(launcher: &PublicKey) -> Self {
        let [third, fourth, ..] = *launcher.as_bytes();
        let [a, b, ..] = LINKS.addr().octets();
        let launcher = Ipv4Addr::new(a, b, third, fourth & 0xfe);
        Self {
            launcher,
            gateway: Ipv4Addr::new(a, b, third, fourth | 1),
        }
    }

    /// The gateway's address with the network that is the link (RFC 3021).
    pub fn network(&self) -> IpNet {
        Ipv4Net::new_assert(self.gateway, 31).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_in_one_network_of_two() {
        for (bytes, launcher, gateway) in [
            ([0, 0], "198.19.0.0", "198.19.0.1"),
            ([1, 7], "198.19.1.6", "198.19.1.7"),
            ([255, 255], "198.19.255.254", "198.19.255.255"),
        ] {
            let mut key = [9; 32];
            key[..2].copy_from_slice(&bytes);
            let link = Link::of(&PublicKey::from_bytes(key));
            assert_eq!(
                (link.launcher.to_string(), link.gateway.to_string()),
                (launcher.to_owned(), gateway.to_owned())
            );
            assert!(link.network().contains(&std::net::IpAddr::from(link.launcher)));
            assert!(LINKS.contains(&link.launcher) && LINKS.contains(&link.gateway));
        }
    }
}
