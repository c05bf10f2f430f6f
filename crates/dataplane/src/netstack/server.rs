//! The other end of a flow outside the tunnel, and what it sees as the source.

use std::net::{Ipv4Addr, SocketAddr};

/// The half of the loopback in which peers have addresses; the other half holds what others listen on.
const PEERS: u32 = u32::from_be_bytes([127, 128, 0, 0]);

/// How many addresses it has, without the loopback's broadcast address.
const COUNT: u32 = (1 << 23) - 1;

/// Where a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// What the flow comes from; `None` leaves it to the kernel.
    pub(super) source: Option<Ipv4Addr>,
}

impl Server {
    /// A server that a peer named.
    pub(super) fn outside(address: SocketAddr) -> Self {
        Self { address, source: None }
    }

    /// A service of the gateway's own, which tells peers apart by where they come from. IPv6 has but one loopback address.
    pub(super) fn service(address: SocketAddr, peer: u32) -> Self {
        let is_loopback = matches!(address, SocketAddr::V4(address) if address.ip().is_loopback());
        let source = is_loopback.then(|| Ipv4Addr::from(PEERS + peer % COUNT));
        Self { address, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_have_addresses_of_their_own_where_the_loopback_has_more_than_one() {
        // (service, peer, source)
        for (service, peer, source) in [
            ("127.0.0.1:53", 0, Some("127.128.0.0")),
            ("127.0.0.1:53", 258, Some("127.128.1.2")),
            ("127.0.0.1:53", 0x7f_fffe, Some("127.255.255.254")),
            ("127.0.0.1:53", 0x7f_ffff, Some("127.128.0.0")),
            ("[::1]:53", 1, None),
            ("192.0.2.1:53", 1, None),
        ] {
            let server = Server::service(service.parse().unwrap(), peer);
            assert_eq!(
                server.source,
                source.map(|text| text.parse().unwrap()),
                "{service} {peer}"
            );
        }
    }
}
