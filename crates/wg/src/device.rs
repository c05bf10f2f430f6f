//! A WireGuard interface and its peers: as wanted, and as found.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::SystemTime,
};

use crate::{IpNet, PresharedKey, PrivateKey, PublicKey};

/// What an interface is, or is wanted to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// `None`: the interface has no key and cannot speak.
    pub private_key: Option<PrivateKey>,
    /// UDP port; `None` lets the kernel choose.
    pub listen_port: Option<u16>,
    /// Mark on outgoing encrypted packets, for policy routing; `None` is no mark.
    pub fwmark: Option<u32>,
    /// The peers by their public keys.
    pub peers: BTreeMap<PublicKey, Peer>,
}

/// One peer of a [`Device`]; its public key is the map's key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Mixed into the handshake; `None` is the same as 32 zero bytes.
    pub preshared_key: Option<PresharedKey>,
    /// Where it was configured to be, or was last heard from.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives, 1 to 65535; `None` is off.
    pub persistent_keepalive: Option<u16>,
    /// Networks that are routed to this peer, and accepted from it. Host bits are zero.
    pub allowed_ips: BTreeSet<IpNet>,
}

/// A [`Device`] with what has happened on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The interface as it is.
    pub device: Device,
    /// What has happened, for each peer of `device`.
    pub peers: BTreeMap<PublicKey, PeerStatus>,
}

/// What has happened with one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// When the last handshake was completed; `None` is never.
    pub latest_handshake: Option<SystemTime>,
    /// Bytes received from the peer, in UDP payloads that were authentic.
    pub rx_bytes: u64,
    /// Bytes sent to the peer, in UDP payloads.
    pub tx_bytes: u64,
}
