//! What a provider gives a container: one end of a tunnel.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use wg::{IpNet, PresharedKey, PrivateKey, PublicKey};

/// A tunnel to be had: everything that is set up for a container. `Debug` shows no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What the provider calls the other end, as `zurich401` or `home.conf`. The provider knows by it what the container
    /// holds, also after a restart.
    pub server: String,
    /// The region or the like in which it is, for people; `None` if the provider has no such thing.
    pub region: Option<String>,
    /// The container's own key.
    pub private_key: PrivateKey,
    /// The container's addresses in the tunnel, with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Name servers that are reached through the tunnel; empty leaves the container's own.
    pub dns: Vec<IpAddr>,
    /// Domains in which short names are looked up.
    pub search: Vec<String>,
    /// Largest packet inside the tunnel, in bytes; `None` is 1,420.
    pub mtu: Option<u16>,
    /// The other ends; at least one.
    pub peers: Vec<Server>,
}

/// One other end of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its key.
    pub public_key: PublicKey,
    /// Mixed into the handshake.
    pub preshared_key: Option<PresharedKey>,
    /// Where it is, looked up already.
    pub endpoint: SocketAddr,
    /// Networks that are reached through it.
    pub allowed_ips: Vec<IpNet>,
    /// Seconds between keepalives; `None` is off.
    pub persistent_keepalive: Option<u16>,
}

impl Offer {
    /// Whether the tunnel leads to the whole Internet of a family: then its default route is the tunnel.
    pub fn carries(&self, family: linux::Family) -> bool {
        let has_address = self.addresses.iter().any(|own| linux::Family::of(own.addr()) == family);
        has_address
            && self
                .peers
                .iter()
                .any(|peer| peer.allowed_ips.contains(&family.everything()))
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)
    }
}
