//! How links are, for people and programs.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use wg::IpNet;

/// One link, as this host sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Its name.
    pub link: String,
    /// This host's name in it.
    pub host: String,
    /// All addresses of the link.
    pub networks: Vec<IpNet>,
    /// Which plane carries it.
    pub plane: String,
    /// The UDP port of its tunnel here.
    pub port: u16,
    /// The tunnel's interface.
    pub interface: String,
    /// The Docker network; `None` if the link is plain.
    pub docker_network: Option<String>,
    /// Whether containers have no other way out.
    pub internal: bool,
    /// Tokens that may still be used.
    pub tokens: usize,
    /// What does not work, in words.
    pub problems: Vec<String>,
    /// Its hosts, this one first.
    pub hosts: Vec<HostStatus>,
}

/// One host of a link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name.
    pub host: String,
    /// Whether it is this one.
    pub here: bool,
    /// Its public key.
    pub public_key: String,
    /// The networks of its containers.
    pub networks: Vec<IpNet>,
    /// Its own addresses in them.
    pub addresses: Vec<IpAddr>,
    /// Whether it answers; this one always does.
    pub up: bool,
    /// Where it is heard from, or looked for.
    pub endpoint: Option<SocketAddr>,
    /// Seconds since the last handshake.
    pub handshake: Option<u64>,
    /// Bytes received from it.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
    /// Its containers.
    pub containers: Vec<ContainerStatus>,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// What its neighbours call it; the first is its name.
    pub names: Vec<String>,
    /// Its addresses in the link.
    pub addresses: Vec<IpAddr>,
}
