//! A running gateway: a tunnel, the peers on it, and DNS on its own address.

use std::{
    net::{IpAddr, SocketAddr},
    time::SystemTime,
};

use ipnet::IpNet;
use wg::{PresharedKey, PublicKey};

use crate::Name;

/// One peer as the gateway knows it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its key.
    pub public_key: PublicKey,
    /// The key that it shares with the gateway alone.
    pub preshared_key: Option<PresharedKey>,
    /// Its addresses in the tunnel.
    pub addresses: Vec<IpAddr>,
    /// Networks behind it.
    pub networks: Vec<IpNet>,
    /// Seconds between keepalives that the gateway sends; `None` is off.
    pub keepalive: Option<u16>,
}

impl Peer {
    /// What the gateway accepts from it and sends to it: its addresses, and the networks behind it.
    pub fn allowed_ips(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.addresses
            .iter()
            .copied()
            .map(IpNet::from)
            .chain(self.networks.iter().copied())
    }
}

/// What has happened with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Its name.
    pub name: Name,
    /// Its key.
    pub public_key: PublicKey,
    /// Where it was last heard from.
    pub endpoint: Option<SocketAddr>,
    /// When its last handshake was completed; `None` is never.
    pub latest_handshake: Option<SystemTime>,
    /// Bytes that the gateway received from it.
    pub received_bytes: u64,
    /// Bytes that the gateway sent to it.
    pub sent_bytes: u64,
}
