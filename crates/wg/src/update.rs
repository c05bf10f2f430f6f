//! What to change on a [`Device`](crate::Device): in every field `None` means leave alone.

use std::net::SocketAddr;

use crate::{IpNet, PresharedKey, PrivateKey, PublicKey};

/// A change to an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// A key of 32 zero bytes removes the key.
    pub private_key: Option<PrivateKey>,
    /// Zero lets the kernel choose a port.
    pub listen_port: Option<u16>,
    /// Zero removes the mark.
    pub fwmark: Option<u32>,
    /// Whether peers that `peers` does not name are removed.
    pub replace_peers: bool,
    /// Changes to peers, carried out in this order.
    pub peers: Vec<PeerUpdate>,
}

/// A change to one peer, which is made if it does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUpdate {
    /// Which peer.
    pub public_key: PublicKey,
    /// Removes the peer; the other fields then mean nothing.
    pub remove: bool,
    /// Changes nothing if the peer does not exist.
    pub update_only: bool,
    /// 32 zero bytes remove the preshared key.
    pub preshared_key: Option<PresharedKey>,
    /// Where to send to from now on.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; zero switches them off.
    pub persistent_keepalive: Option<u16>,
    /// Whether the networks that `allowed_ips` does not add are removed.
    pub replace_allowed_ips: bool,
    /// Changes to the peer's networks, carried out in this order.
    pub allowed_ips: Vec<AllowedIpChange>,
}

/// A change to a peer's allowed IPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AllowedIpChange {
    /// Gives the network to this peer, and takes it from any other.
    Add(IpNet),
    /// Takes the network from this peer, if it has it.
    Remove(IpNet),
}

impl PeerUpdate {
    /// A change that changes nothing yet, but makes the peer if it does not exist.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}
