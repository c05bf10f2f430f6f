//! A container, as far as it matters here.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use wg::IpNet;

/// A running container, as the engine tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without the slash that Docker writes before it.
    pub name: String,
    /// What it is labelled with.
    pub labels: BTreeMap<String, String>,
    /// Its first process, in this process's own numbering; `None` while it has none.
    pub pid: Option<i32>,
    /// The file of its network namespace, `SandboxKey`; `None` if the engine tells none.
    pub namespace: Option<PathBuf>,
    /// The file that it sees as `/etc/resolv.conf`; `None` if the engine keeps none.
    pub resolv_conf: Option<PathBuf>,
    /// The networks that it is in, by their names.
    pub networks: BTreeMap<String, Membership>,
}

/// A container's place in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The network's ID.
    pub network: String,
    /// The endpoint's ID; empty while the container is not running.
    pub endpoint: String,
    /// Whether names are looked up by Docker's resolver at 127.0.0.11: not on the default bridge.
    pub has_names: bool,
    /// The container's addresses in it, with the length of the network's prefix.
    pub addresses: Vec<IpNet>,
    /// The way to other networks, if there is one.
    pub gateways: Vec<IpAddr>,
    /// What its neighbours call it.
    pub aliases: Vec<String>,
}

impl Container {
    /// The networks of its neighbours, which it reaches without the tunnel.
    pub fn neighbours(&self) -> Vec<IpNet> {
        let mut all: Vec<_> = self
            .networks
            .values()
            .flat_map(|membership| &membership.addresses)
            .map(IpNet::trunc)
            .collect();
        all.sort();
        all.dedup();
        all
    }
}
