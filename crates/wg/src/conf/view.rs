//! What the lines of a configuration mean: its interface and its peers.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Dns, Endpoint, SectionKind, Setting, Table, section::Section};
use crate::{AllowedIpChange, IpNet, PresharedKey, PrivateKey, PublicKey};

/// What `[Interface]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The interface's own key.
    pub private_key: Option<PrivateKey>,
    /// UDP port; `None` lets the kernel choose.
    pub listen_port: Option<u16>,
    /// Mark on outgoing encrypted packets; `None` is no mark, or for `wg-quick` one of its choice.
    pub fwmark: Option<u32>,
    /// Addresses with their prefix lengths; host bits are kept.
    pub addresses: Vec<IpNet>,
    /// Name servers and search domains, in order.
    pub dns: Vec<Dns>,
    /// Largest packet inside the tunnel, in bytes; `None` is found from the route to the peers.
    pub mtu: Option<u16>,
    /// Where the routes to the peers' networks go.
    pub table: Table,
    /// Commands before the interface is up; `%i` is its name.
    pub pre_up: Vec<String>,
    /// Commands when the interface is up.
    pub post_up: Vec<String>,
    /// Commands before the interface goes.
    pub pre_down: Vec<String>,
    /// Commands when the interface is gone.
    pub post_down: Vec<String>,
    /// Whether the interface's state is written to the file when it goes down.
    pub save_config: bool,
}

/// What a `[Peer]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// How people call the peer: the comment right below `[Peer]`, else the one right above.
    pub name: Option<String>,
    /// Which peer this is.
    pub public_key: PublicKey,
    /// Mixed into the handshake.
    pub preshared_key: Option<PresharedKey>,
    /// Networks that are the peer's, in order, each once. Host bits are zero.
    pub allowed_ips: Vec<IpNet>,
    /// Where the peer is.
    pub endpoint: Option<Endpoint>,
    /// Seconds between keepalives; `None` is off.
    pub persistent_keepalive: Option<u16>,
}

impl Interface {
    /// The name servers, those with link-local addresses with the interface that they are on.
    pub fn dns_servers(&self) -> impl Iterator<Item = (IpAddr, Option<&str>)> {
        self.dns.iter().filter_map(|item| match item {
            Dns::Server(address) => Some((*address, None)),
            Dns::Zoned(address, zone) => Some(((*address).into(), Some(zone.as_str()))),
            Dns::Search(_) => None,
        })
    }

    /// The domains in which short names are searched.
    pub fn dns_search(&self) -> impl Iterator<Item = &str> {
        self.dns.iter().filter_map(|item| match item {
            Dns::Server(_) | Dns::Zoned(..) => None,
            Dns::Search(domain) => Some(domain.as_str()),
        })
    }

    /// Puts lines together: lists grow, of other settings the last counts.
    pub(super) fn from_settings<'a>(settings: impl Iterator<Item = &'a Setting>) -> Self {
        let mut interface = Self::default();
        for setting in settings {
            match setting.clone() {
                Setting::PrivateKey(key) => interface.private_key = Some(key),
                Setting::ListenPort(port) => interface.listen_port = Some(port).filter(|port| *port != 0),
                Setting::FwMark(mark) => interface.fwmark = Some(mark).filter(|mark| *mark != 0),
                Setting::Address(addresses) => interface.addresses.extend(addresses),
                Setting::Dns(items) => interface.dns.extend(items),
                Setting::Mtu(mtu) => interface.mtu = Some(mtu),
                Setting::Table(table) => interface.table = table,
                Setting::PreUp(command) => interface.pre_up.push(command),
                Setting::PostUp(command) => interface.post_up.push(command),
                Setting::PreDown(command) => interface.pre_down.push(command),
                Setting::PostDown(command) => interface.post_down.push(command),
                Setting::SaveConfig(save) => interface.save_config = save,
                Setting::PublicKey(_)
                | Setting::PresharedKey(_)
                | Setting::AllowedIps(_)
                | Setting::Endpoint(_)
                | Setting::PersistentKeepalive(_) => {}
            }
        }
        interface
    }

    /// The lines that say this, in the order in which they are written.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let list = |list: &[String], setting: fn(String) -> Setting| list.iter().cloned().map(setting).collect();
        let hooks: [Vec<Setting>; 4] = [
            list(&self.pre_up, Setting::PreUp),
            list(&self.post_up, Setting::PostUp),
            list(&self.pre_down, Setting::PreDown),
            list(&self.post_down, Setting::PostDown),
        ];
        let single = [
            (!self.addresses.is_empty()).then(|| Setting::Address(self.addresses.clone())),
            self.private_key.clone().map(Setting::PrivateKey),
            self.listen_port.map(Setting::ListenPort),
            (!self.dns.is_empty()).then(|| Setting::Dns(self.dns.clone())),
            self.mtu.map(Setting::Mtu),
            self.fwmark.map(Setting::FwMark),
            (self.table != Table::Auto).then_some(Setting::Table(self.table)),
        ];
        let save = self.save_config.then_some(Setting::SaveConfig(true));
        single
            .into_iter()
            .flatten()
            .chain(hooks.into_iter().flatten())
            .chain(save)
            .collect()
    }
}

impl Peer {
    /// A peer of which nothing but its key is known.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            name: None,
            public_key,
            preshared_key: None,
            allowed_ips: Vec::new(),
            endpoint: None,
            persistent_keepalive: None,
        }
    }

    /// Puts the lines of a section together; `None` if it is no peer's.
    pub(super) fn from_section(section: &Section) -> Option<Self> {
        if section.kind != SectionKind::Peer {
            return None;
        }
        let mut peer = Self {
            name: section.name().map(str::to_owned),
            ..Self::new(section.public_key?)
        };
        // The order of each network's line.
        let mut networks = BTreeMap::new();
        for setting in section.settings() {
            match setting {
                Setting::PresharedKey(key) => peer.preshared_key = Some(key.clone()).filter(|key| !key.is_zero()),
                Setting::Endpoint(endpoint) => peer.endpoint = Some(endpoint.clone()),
                Setting::PersistentKeepalive(secs) => {
                    peer.persistent_keepalive = Some(*secs).filter(|secs| *secs != 0);
                }
                Setting::AllowedIps(changes) => {
                    for change in changes {
                        let order = peer.allowed_ips.len();
                        match change {
                            AllowedIpChange::Add(network) => {
                                networks.entry(*network).or_insert(order);
                                peer.allowed_ips.push(*network);
                            }
                            AllowedIpChange::Remove(network) => {
                                networks.remove(network);
                            }
                        }
                    }
                }
                Setting::PublicKey(_)
                | Setting::PrivateKey(_)
                | Setting::ListenPort(_)
                | Setting::FwMark(_)
                | Setting::Address(_)
                | Setting::Dns(_)
                | Setting::Mtu(_)
                | Setting::Table(_)
                | Setting::PreUp(_)
                | Setting::PostUp(_)
                | Setting::PreDown(_)
                | Setting::PostDown(_)
                | Setting::SaveConfig(_) => {}
            }
        }
        let mut order = 0;
        peer.allowed_ips.retain(|network| {
            order += 1;
            networks.get(network) == Some(&(order - 1))
        });
        Some(peer)
    }

    /// The lines that say this, in the order in which they are written.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let networks = self
            .allowed_ips
            .iter()
            .map(|network| AllowedIpChange::Add(network.trunc()));
        let settings = [
            Some(Setting::PublicKey(self.public_key)),
            self.preshared_key.clone().map(Setting::PresharedKey),
            (!self.allowed_ips.is_empty()).then(|| Setting::AllowedIps(networks.collect())),
            self.endpoint.clone().map(Setting::Endpoint),
            self.persistent_keepalive.map(Setting::PersistentKeepalive),
        ];
        settings.into_iter().flatten().collect()
    }
}
