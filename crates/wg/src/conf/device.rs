//! The interface that a configuration asks for.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{Conf, Endpoint, Error, Fault, SectionKind, Setting, section::Section};
use crate::{AllowedIpChange, Device, IpNet, PeerUpdate, PublicKey, Update};

impl Conf {
    /// The interface that the configuration asks for.
    ///
    /// `resolve` is asked for every endpoint that names a host or an interface; addresses need no resolver. As on
    /// an interface, a network that several peers have belongs to the last; several sections of one peer make one
    /// peer, with the networks of the last.
    ///
    /// # Errors
    ///
    /// The first error that `resolve` gives.
    pub fn device<E>(&self, resolve: impl FnMut(&Endpoint) -> Result<SocketAddr, E>) -> Result<Device, E> {
        let mut device = Device::default();
        device.apply(&self.update(resolve)?);
        Ok(device)
    }

    /// The change that makes a bare interface what the configuration asks for, with peers and networks in its order: the
    /// kernel's WireGuard keeps it.
    ///
    /// # Errors
    ///
    /// As [`Self::device`].
    pub fn update<E>(&self, mut resolve: impl FnMut(&Endpoint) -> Result<SocketAddr, E>) -> Result<Update, E> {
        let interface = self.interface();
        let mut peers = Vec::new();
        for section in self.sections.iter().filter(|section| section.kind == SectionKind::Peer) {
            peers.extend(peer_update(section, &mut resolve)?);
        }
        Ok(Update {
            private_key: interface.private_key,
            listen_port: interface.listen_port,
            fwmark: interface.fwmark,
            replace_peers: false,
            peers,
        })
    }

    /// What is allowed and probably not meant: a peer with two sections, a network with two peers.
    pub fn warnings(&self) -> Vec<Error> {
        let mut warnings = Vec::new();
        let mut heads: BTreeMap<PublicKey, usize> = BTreeMap::new();
        let mut owners: BTreeMap<IpNet, (PublicKey, usize)> = BTreeMap::new();
        let warning = |line, column, fault| Error {
            file: self.file.clone(),
            line,
            column,
            fault,
        };
        let mut above = self.preamble.len();
        for section in &self.sections {
            let head = above + section.lead.len() + 1;
            above = head + section.body.len();
            let Some(key) = section.public_key else {
                continue;
            };
            if let Some(first) = heads.insert(key, head) {
                warnings.push(warning(head, 1, Fault::PeerTwice { first }));
            }
            for (index, line) in section.body.iter().enumerate() {
                let Some(Setting::AllowedIps(changes)) = line.setting() else {
                    continue;
                };
                for change in changes {
                    let AllowedIpChange::Add(network) = change else {
                        continue;
                    };
                    let loser = owners.insert(*network, (key, head)).filter(|(owner, _)| *owner != key);
                    if let Some((_, first)) = loser {
                        let network = *network;
                        let fault = Fault::NetworkTwice { network, first };
                        warnings.push(warning(head + 1 + index, 1, fault));
                    }
                }
            }
        }
        warnings
    }
}

/// What a section asks for; `None` if it is no peer's.
fn peer_update<E>(
    section: &Section,
    resolve: &mut impl FnMut(&Endpoint) -> Result<SocketAddr, E>,
) -> Result<Option<PeerUpdate>, E> {
    let Some(key) = section.public_key else {
        return Ok(None);
    };
    let mut update = PeerUpdate {
        replace_allowed_ips: true,
        ..PeerUpdate::new(key)
    };
    let mut endpoint = None;
    for setting in section.settings() {
        match setting {
            Setting::PresharedKey(key) => update.preshared_key = Some(key.clone()),
            Setting::Endpoint(found) => endpoint = Some(found),
            Setting::PersistentKeepalive(secs) => update.persistent_keepalive = Some(*secs),
            Setting::AllowedIps(changes) => update.allowed_ips.extend(changes),
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
    if let Some(endpoint) = endpoint {
        update.endpoint = Some(match endpoint.address() {
            Some(address) => address,
            None => resolve(endpoint)?,
        });
    }
    Ok(Some(update))
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{ALICE, BOB, conf, everything, key},
        *,
    };

    #[test]
    fn names_are_resolved_by_the_caller_and_addresses_are_not() {
        let text = format!(
            "[Peer]\nPublicKey = {ALICE}\nEndpoint = 192.0.2.1:5\n[Peer]\nPublicKey = {BOB}\nEndpoint = a.example:6"
        );
        let address: SocketAddr = "[2001:db8::1]:6".parse().unwrap();
        let device = conf(&text).device(|endpoint| match endpoint.to_string().as_str() {
            "a.example:6" => Ok(address),
            other => Err(other.to_owned()),
        });
        let peers = device.unwrap().peers;
        assert_eq!(peers[&key(ALICE)].endpoint, Some("192.0.2.1:5".parse().unwrap()));
        assert_eq!(peers[&key(BOB)].endpoint, Some(address));
        assert_eq!(conf(&text).device(|_| Err("no such host")), Err("no such host"));
    }

    #[test]
    fn sections_of_one_peer_make_one_and_a_network_has_one_owner() {
        let text = format!(
            "[Interface]\n[Peer]\nPublicKey = {ALICE}\nAllowedIPs = 10.0.0.0/8, 10.1.0.0/16\nPersistentKeepalive = 9\n\
             [Peer]\nPublicKey = {BOB}\nAllowedIPs = 10.1.9.9/16\n\
             [Peer]\nPublicKey = {ALICE}\nAllowedIPs = 10.2.0.0/16\n"
        );
        let conf = conf(&text);
        let device = conf.device(|_| Err(())).unwrap();
        let alice = &device.peers[&key(ALICE)];
        assert_eq!(alice.persistent_keepalive, Some(9));
        let networks: Vec<String> = alice.allowed_ips.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.2.0.0/16"]);
        assert_eq!(device.peers[&key(BOB)].allowed_ips.len(), 1);
        let warnings: Vec<String> = conf.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "wg0.conf:8:1: AllowedIPs: 10.1.0.0/16 is taken from the peer in line 2, as a network has one peer",
                "wg0.conf:9:1: this peer has another section, in line 2; make one of them, as AllowedIPs of this one replace those",
            ]
        );
    }

    #[test]
    fn the_change_has_peers_and_networks_in_the_order_of_the_file() {
        let text = format!(
            "[Interface]\n[Peer]\nPublicKey = {ALICE}\nAllowedIPs = 10.9.0.0/16, 10.1.0.0/16\n\
             [Peer]\nPublicKey = {BOB}\nAllowedIPs = ::/0, 0.0.0.0/0\n"
        );
        let update = conf(&text).update(|_| Err(())).unwrap();
        let peers = update.peers.iter().map(|peer| {
            let network = |change: &AllowedIpChange| match change {
                AllowedIpChange::Add(network) | AllowedIpChange::Remove(network) => network.to_string(),
            };
            let networks: Vec<String> = peer.allowed_ips.iter().map(network).collect();
            (peer.public_key, networks.join(" "))
        });
        let expected = [
            (key(ALICE), "10.9.0.0/16 10.1.0.0/16".to_owned()),
            (key(BOB), "::/0 0.0.0.0/0".to_owned()),
        ];
        assert_eq!(peers.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn settings_of_wg_quick_make_no_difference_to_the_device() {
        let device = conf(&everything())
            .device(|_| Ok::<_, ()>("[fe80::1%2]:51820".parse().unwrap()))
            .unwrap();
        assert_eq!(device.listen_port, None);
        assert_eq!(device.fwmark, Some(0xca6c));
        assert_eq!(device.peers.len(), 2);
        assert_eq!(conf("").warnings(), []);
        assert_eq!(conf("").device(|_| Err(())), Ok(Device::default()));
    }
}
