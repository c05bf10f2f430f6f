//! Reads an interface out of the messages that the kernel answers with.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    time::{Duration, SystemTime},
};

use wg::{Device, IpNet, Peer, PeerStatus, PresharedKey, PrivateKey, PublicKey, Status};

use super::{allowed_ip_attribute, device_attribute, peer_attribute};
use crate::{attribute, genetlink};

/// What one message says. An interface with many peers takes several, and so does a peer with many networks: the next
/// message then begins with its key and goes on with its networks.
#[derive(Debug, Default)]
pub(super) struct Part {
    private_key: Option<PrivateKey>,
    listen_port: Option<u16>,
    fwmark: Option<u32>,
    peers: Vec<(PublicKey, Peer, PeerStatus)>,
}

impl Part {
    /// Reads a message from its generic header on; what is malformed is left out.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let mut part = Self::default();
        for (kind, value) in attribute::read(payload.get(genetlink::HEADER_LEN..)?) {
            match kind {
                device_attribute::PRIVATE_KEY => {
                    let key = value.first_chunk().map(|bytes| PrivateKey::from_bytes(*bytes));
                    part.private_key = key.filter(|key| !key.is_zero());
                }
                device_attribute::LISTEN_PORT => part.listen_port = attribute::u16(value).filter(|port| *port != 0),
                device_attribute::FWMARK => part.fwmark = attribute::u32(value).filter(|mark| *mark != 0),
                device_attribute::PEERS => {
                    part.peers = attribute::read(value).filter_map(|(_, peer)| read_peer(peer)).collect();
                }
                _ => {}
            }
        }
        Some(part)
    }
}

/// Puts the messages about one interface together.
pub(super) fn merge(parts: Vec<Part>) -> Status {
    let (mut device, mut peers) = (Device::default(), std::collections::BTreeMap::new());
    for part in parts {
        device.private_key = device.private_key.or(part.private_key);
        device.listen_port = device.listen_port.or(part.listen_port);
        device.fwmark = device.fwmark.or(part.fwmark);
        for (key, peer, happened) in part.peers {
            match device.peers.entry(key) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(peer);
                    peers.insert(key, happened);
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    entry.get_mut().allowed_ips.extend(peer.allowed_ips);
                }
            }
        }
    }
    Status { device, peers }
}

fn read_peer(bytes: &[u8]) -> Option<(PublicKey, Peer, PeerStatus)> {
    let (mut key, mut peer, mut happened) = (None, Peer::default(), PeerStatus::default());
    for (kind, value) in attribute::read(bytes) {
        match kind {
            peer_attribute::PUBLIC_KEY => key = value.first_chunk().map(|bytes| PublicKey::from_bytes(*bytes)),
            peer_attribute::PRESHARED_KEY => {
                let key = value.first_chunk().map(|bytes| PresharedKey::from_bytes(*bytes));
                peer.preshared_key = key.filter(|key| !key.is_zero());
            }
            peer_attribute::ENDPOINT => peer.endpoint = read_sockaddr(value),
            peer_attribute::PERSISTENT_KEEPALIVE_INTERVAL => {
                peer.persistent_keepalive = attribute::u16(value).filter(|secs| *secs != 0);
            }
            peer_attribute::LAST_HANDSHAKE_TIME => happened.latest_handshake = read_time(value),
            peer_attribute::RX_BYTES => happened.rx_bytes = attribute::u64(value)?,
            peer_attribute::TX_BYTES => happened.tx_bytes = attribute::u64(value)?,
            peer_attribute::ALLOWEDIPS => {
                let networks = attribute::read(value).filter_map(|(_, network)| read_network(network));
                peer.allowed_ips.extend(networks);
            }
            _ => {}
        }
    }
    Some((key?, peer, happened))
}

fn read_network(bytes: &[u8]) -> Option<IpNet> {
    let (mut address, mut prefix_len) = (None, None);
    for (kind, value) in attribute::read(bytes) {
        match kind {
            allowed_ip_attribute::IPADDR => address = read_address(value),
            allowed_ip_attribute::CIDR_MASK => prefix_len = value.first().copied(),
            _ => {}
        }
    }
    IpNet::new(address?, prefix_len?).ok()
}

/// An address, of which the length tells the family.
fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|octets| Ipv6Addr::from(octets).into())
}

/// Reads `struct sockaddr_in` or `struct sockaddr_in6`.
fn read_sockaddr(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(attribute::u16(bytes)?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match family {
        libc::AF_INET => {
            let octets: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some(SocketAddrV4::new(octets.into(), port).into())
        }
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
            let octets: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
            Some(SocketAddrV6::new(octets.into(), port, flow, scope).into())
        }
        _ => None,
    }
}

/// Reads `struct __kernel_timespec`: seconds and nanoseconds since 1970, of which zero is never.
fn read_time(bytes: &[u8]) -> Option<SystemTime> {
    let seconds = attribute::u64(bytes)?;
    let nanoseconds = u32::try_from(attribute::u64(bytes.get(8..)?)?).ok()?;
    if seconds == 0 && nanoseconds == 0 {
        return None;
    }
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds.min(999_999_999)))
}
