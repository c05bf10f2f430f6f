//! What a netstack plane is told: its addresses, its services, its limits.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use wg::{IpNet, PublicKey};

use super::Policy;

/// A transport protocol that services speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A service that one peer alone reaches, and that peer nothing else.
#[derive(Clone, Debug)]
pub struct Reserved {
    /// Whose it is.
    pub peer: PublicKey,
    /// One of the gateway's own addresses, which no other peer reaches.
    pub address: IpAddr,
    /// The TCP port at it.
    pub port: u16,
    /// The socket in the file system at which it answers: no address, so that nobody else on this host can pass for the
    /// peer.
    pub socket: PathBuf,
}

/// How the plane is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The gateway's own addresses in the tunnel, with the networks around them.
    pub addresses: Vec<IpNet>,
    /// Longest inner packet.
    pub mtu: usize,
    /// Where peers may go.
    pub policy: Policy,
    /// Services on the gateway's own addresses, each an address of this process on the loopback. One on IPv4 sees each
    /// peer under an address of its own in 127.128.0.0/9.
    pub services: HashMap<(Protocol, u16), SocketAddr>,
    /// A service for one peer.
    pub reserved: Option<Reserved>,
    /// How much peers may use.
    pub limits: Limits,
    /// When idle flows end.
    pub timeouts: Timeouts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            mtu: 1_420,
            policy: Policy::default(),
            services: HashMap::new(),
            reserved: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl Config {
    /// Whether this is the gateway itself.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.addr() == address)
    }

    /// Whether a peer and a destination are not for each other: one is of the reserved service, and the other is not.
    pub(super) fn is_reserved(&self, peer: &PublicKey, destination: IpAddr) -> bool {
        let reserved = self.reserved.as_ref();
        reserved.is_some_and(|reserved| (reserved.peer == *peer) != (reserved.address == destination))
    }

    /// Whether the address is in a network around one of the gateway's, where only the gateway and peers live.
    pub(super) fn is_inside(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.contains(&address))
    }

    /// Whether the address means all hosts of a network around the gateway.
    pub(super) fn is_broadcast(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| match net {
            IpNet::V4(net) => net.prefix_len() < 31 && (net.broadcast() == address || net.network() == address),
            IpNet::V6(_) => false,
        })
    }

    /// The gateway's first address of the family of this one.
    pub(super) fn own_address(&self, like: IpAddr) -> Option<IpAddr> {
        self.addresses
            .iter()
            .map(IpNet::addr)
            .find(|address| address.is_ipv4() == like.is_ipv4())
    }
}

/// How much a peer may use, and all peers together.
///
/// Beside its own limits, a peer has at most [`SHARE`] times what is still free of descriptors and memory: one alone
/// gets four fifths of all, and the rest is there for those who come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP flows of a peer, those being dialled among them.
    pub tcp: usize,
    /// TCP flows of a peer that are being dialled.
    pub half_open: usize,
    /// UDP flows of a peer.
    pub udp: usize,
    /// Echo flows of a peer.
    pub echo: usize,
    /// Bytes of a peer's unfinished packets.
    pub reassembly_bytes: usize,
    /// Bytes of all peers' unfinished packets together.
    pub reassembly_bytes_all: usize,
    /// Flows of all peers together; `None`: by the process's limit of descriptors.
    pub flows: Option<usize>,
    /// Bytes that the TCP flows of all peers together buffer.
    pub buffer_bytes: usize,
}

/// A peer may use this many times what is still free.
pub const SHARE: usize = 4;

impl Default for Limits {
    fn default() -> Self {
        Self {
            tcp: 32_768,
            half_open: 2_048,
            udp: 4_096,
            echo: 256,
            reassembly_bytes: 1 << 20,
            reassembly_bytes_all: 16 << 20,
            flows: None,
            buffer_bytes: 256 << 20,
        }
    }
}

/// How long flows live without traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP until a reply was seen.
    pub udp_unreplied: Duration,
    /// UDP after a reply (RFC 4787, REQ-5: at least 2 minutes).
    pub udp: Duration,
    /// UDP to port 53: a query and its answer.
    pub dns: Duration,
    /// Echo (RFC 5508, REQ-2: at least 60 seconds).
    pub echo: Duration,
    /// TCP (RFC 5382, REQ-5: at least 2 hours and 4 minutes).
    pub tcp: Duration,
    /// TCP that is being dialled: as long as Linux retries at most.
    pub dial: Duration,
    /// TCP that one side has closed (RFC 5382, REQ-5: at least 4 minutes).
    pub tcp_closing: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            udp_unreplied: Duration::from_secs(60),
            udp: Duration::from_secs(180),
            dns: Duration::from_secs(20),
            echo: Duration::from_secs(60),
            tcp: Duration::from_secs(2 * 3_600 + 4 * 60),
            dial: Duration::from_secs(130),
            tcp_closing: Duration::from_secs(4 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let config = Config {
            addresses: vec!["10.13.13.1/24".parse().unwrap(), "fd0d::1/64".parse().unwrap()],
            ..Config::default()
        };
        // (address, own, inside, broadcast)
        for (address, own, inside, broadcast) in [
            ("10.13.13.1", true, true, false),
            ("10.13.13.2", false, true, false),
            ("10.13.13.255", false, true, true),
            ("10.13.13.0", false, true, true),
            ("10.13.14.1", false, false, false),
            ("fd0d::1", true, true, false),
            ("fd0d::ffff", false, true, false),
            ("fd0e::1", false, false, false),
        ] {
            let address = address.parse().unwrap();
            let got = (
                config.is_own(address),
                config.is_inside(address),
                config.is_broadcast(address),
            );
            assert_eq!(got, (own, inside, broadcast), "{address}");
        }
        assert_eq!(
            config.own_address("192.0.2.1".parse().unwrap()),
            Some("10.13.13.1".parse().unwrap())
        );
        assert_eq!(
            config.own_address("2001:db8::1".parse().unwrap()),
            Some("fd0d::1".parse().unwrap())
        );
    }
}
