//! Finds the least change that leads from one device to another, and carries changes out on a [`Device`].

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use crate::{AllowedIpChange, Device, IpNet, Peer, PeerUpdate, PresharedKey, PrivateKey, PublicKey, Update};

impl Device {
    /// The least change that makes this device, which is there, into `wanted`.
    ///
    /// Peers that stay are named only if something about them changes, so that their sessions live on. A network
    /// that moves from one peer to another is one `Add`, as giving it to the one takes it from the other; a network
    /// that several wanted peers claim belongs to the last of them. Where `wanted` leaves something open (no listen
    /// port, or no endpoint for a peer that has been heard from), what is there stays.
    pub fn difference(&self, wanted: &Self) -> Update {
        let owners_there = self.owners();
        let owners_wanted = wanted.owners();
        let there_networks = networks_by_peer(&owners_there);
        let wanted_networks = networks_by_peer(&owners_wanted);
        let none = BTreeSet::new();

        let removed = self
            .peers
            .keys()
            .filter(|key| !wanted.peers.contains_key(key))
            .map(|key| PeerUpdate {
                remove: true,
                update_only: true,
                ..PeerUpdate::new(*key)
            });
        let kept = wanted.peers.iter().filter_map(|(key, peer)| {
            let blank = Peer::default();
            let there = self.peers.get(key);
            let mut update = there.unwrap_or(&blank).settings_difference(*key, peer);
            update.update_only = there.is_some();
            let have = there_networks.get(key).unwrap_or(&none);
            let want = wanted_networks.get(key).unwrap_or(&none);
            // What another peer is given goes by itself.
            let given_up = have
                .difference(want)
                .filter(|network| !owners_wanted.contains_key(network));
            let gained = want.difference(have);
            update.allowed_ips = given_up
                .map(|network| AllowedIpChange::Remove(*network))
                .chain(gained.map(|network| AllowedIpChange::Add(*network)))
                .collect();
            (there.is_none() || update.changes_something()).then_some(update)
        });
        Update {
            private_key: changed_private_key(self.private_key.as_ref(), wanted.private_key.as_ref()),
            listen_port: wanted
                .listen_port
                .filter(|port| *port != 0 && self.listen_port != Some(*port)),
            fwmark: changed(self.fwmark, wanted.fwmark),
            replace_peers: false,
            peers: removed.chain(kept).collect(),
        }
    }

    /// Carries `update` out, as an interface would.
    ///
    /// A listen port of zero leaves the port open (`None`): which port it will be is the kernel's choice.
    pub fn apply(&mut self, update: &Update) {
        if let Some(key) = &update.private_key {
            self.private_key = Some(key.clone()).filter(|key| !key.is_zero());
        }
        if let Some(port) = update.listen_port {
            self.listen_port = Some(port).filter(|port| *port != 0);
        }
        if let Some(mark) = update.fwmark {
            self.fwmark = Some(mark).filter(|mark| *mark != 0);
        }
        if update.replace_peers {
            let named: BTreeSet<PublicKey> = update.peers.iter().map(|peer| peer.public_key).collect();
            self.peers.retain(|key, _| named.contains(key));
        }
        let mut owners = self.owners();
        for change in &update.peers {
            self.apply_to_peer(change, &mut owners);
        }
    }

    /// Carries out the change to one peer; `owners` is kept in step.
    pub(crate) fn apply_to_peer(&mut self, change: &PeerUpdate, owners: &mut BTreeMap<IpNet, PublicKey>) {
        let key = change.public_key;
        if change.remove {
            for network in self.peers.remove(&key).unwrap_or_default().allowed_ips {
                disown(owners, network, key);
            }
            return;
        }
        if change.update_only && !self.peers.contains_key(&key) {
            return;
        }
        let peer = self.peers.entry(key).or_default();
        if let Some(preshared) = &change.preshared_key {
            peer.preshared_key = Some(preshared.clone()).filter(|key| !key.is_zero());
        }
        if let Some(endpoint) = change.endpoint {
            peer.endpoint = Some(endpoint);
        }
        if let Some(secs) = change.persistent_keepalive {
            peer.persistent_keepalive = Some(secs).filter(|secs| *secs != 0);
        }
        if change.replace_allowed_ips {
            for network in mem::take(&mut peer.allowed_ips) {
                disown(owners, network, key);
            }
        }
        for network in &change.allowed_ips {
            match network {
                AllowedIpChange::Add(network) => {
                    let network = network.trunc();
                    let before = owners.insert(network, key).filter(|owner| *owner != key);
                    if let Some(other) = before.and_then(|owner| self.peers.get_mut(&owner)) {
                        other.allowed_ips.remove(&network);
                    }
                    self.peers.entry(key).or_default().allowed_ips.insert(network);
                }
                AllowedIpChange::Remove(network) => {
                    let network = network.trunc();
                    disown(owners, network, key);
                    self.peers.entry(key).or_default().allowed_ips.remove(&network);
                }
            }
        }
    }

    /// Which peer each network belongs to: the last that claims it.
    pub(crate) fn owners(&self) -> BTreeMap<IpNet, PublicKey> {
        let claims = self
            .peers
            .iter()
            .flat_map(|(key, peer)| peer.allowed_ips.iter().map(|network| (network, *key)));
        claims.map(|(network, key)| (network.trunc(), key)).collect()
    }
}

impl Peer {
    /// What to change but for the networks.
    fn settings_difference(&self, key: PublicKey, wanted: &Self) -> PeerUpdate {
        PeerUpdate {
            preshared_key: changed_preshared_key(self.preshared_key.as_ref(), wanted.preshared_key.as_ref()),
            endpoint: wanted.endpoint.filter(|endpoint| self.endpoint != Some(*endpoint)),
            persistent_keepalive: changed(self.persistent_keepalive, wanted.persistent_keepalive),
            ..PeerUpdate::new(key)
        }
    }
}

impl Update {
    /// Whether carrying this out can have no effect.
    pub fn is_empty(&self) -> bool {
        let Self {
            private_key,
            listen_port,
            fwmark,
            replace_peers,
            peers,
        } = self;
        private_key.is_none() && listen_port.is_none() && fwmark.is_none() && !replace_peers && peers.is_empty()
    }
}

impl PeerUpdate {
    /// Whether anything about a peer that exists would change.
    fn changes_something(&self) -> bool {
        self.remove
            || self.preshared_key.is_some()
            || self.endpoint.is_some()
            || self.persistent_keepalive.is_some()
            || self.replace_allowed_ips
            || !self.allowed_ips.is_empty()
    }
}

fn disown(owners: &mut BTreeMap<IpNet, PublicKey>, network: IpNet, key: PublicKey) {
    if owners.get(&network) == Some(&key) {
        owners.remove(&network);
    }
}

fn networks_by_peer(owners: &BTreeMap<IpNet, PublicKey>) -> BTreeMap<PublicKey, BTreeSet<IpNet>> {
    let mut networks: BTreeMap<PublicKey, BTreeSet<IpNet>> = BTreeMap::new();
    for (network, key) in owners {
        networks.entry(*key).or_default().insert(*network);
    }
    networks
}

/// A number for an [`Update`], in which zero is "none".
fn changed<T: Copy + Default + PartialEq>(there: Option<T>, wanted: Option<T>) -> Option<T> {
    let (there, wanted) = (there.unwrap_or_default(), wanted.unwrap_or_default());
    (there != wanted).then_some(wanted)
}

fn changed_private_key(there: Option<&PrivateKey>, wanted: Option<&PrivateKey>) -> Option<PrivateKey> {
    let zero = PrivateKey::from_bytes([0; 32]);
    let wanted = wanted.unwrap_or(&zero);
    (there.unwrap_or(&zero) != wanted).then(|| wanted.clone())
}

fn changed_preshared_key(there: Option<&PresharedKey>, wanted: Option<&PresharedKey>) -> Option<PresharedKey> {
    let zero = PresharedKey::from_bytes([0; 32]);
    let wanted = wanted.unwrap_or(&zero);
    (there.unwrap_or(&zero) != wanted).then(|| wanted.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> PublicKey {
        PublicKey::from_bytes([number; 32])
    }

    fn network(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// A device with these peers and their networks.
    fn device(peers: &[(u8, &[&str])]) -> Device {
        let peers = peers.iter().map(|(number, networks)| {
            let allowed_ips = networks.iter().map(|text| network(text)).collect();
            (
                key(*number),
                Peer {
                    allowed_ips,
                    ..Peer::default()
                },
            )
        });
        Device {
            peers: peers.collect(),
            ..Device::default()
        }
    }

    #[test]
    fn a_network_that_moves_is_one_addition_whatever_the_order_of_the_peers() {
        for (from, to) in [(1, 2), (2, 1)] {
            let there = device(&[(from, &["10.0.0.0/8", "10.1.0.0/16"]), (to, &[])]);
            let wanted = device(&[(from, &["10.0.0.0/8"]), (to, &["10.1.0.0/16"])]);
            let update = there.difference(&wanted);
            assert_eq!(
                update.peers,
                [PeerUpdate {
                    update_only: true,
                    allowed_ips: vec![AllowedIpChange::Add(network("10.1.0.0/16"))],
                    ..PeerUpdate::new(key(to))
                }]
            );
            let mut result = there;
            result.apply(&update);
            assert_eq!(result, wanted);
        }
    }

    #[test]
    fn two_peers_can_swap_their_networks() {
        let mut there = device(&[(1, &["10.0.0.1/32"]), (2, &["10.0.0.2/32"])]);
        let wanted = device(&[(1, &["10.0.0.2/32"]), (2, &["10.0.0.1/32"])]);
        there.apply(&there.clone().difference(&wanted));
        assert_eq!(there, wanted);
    }

    #[test]
    fn what_a_device_loses_is_named() {
        let mut there = device(&[(1, &["10.0.0.1/32"]), (2, &[])]);
        there.private_key = Some(PrivateKey::from_bytes([7; 32]));
        there.fwmark = Some(9);
        let peer = there.peers.get_mut(&key(1)).unwrap();
        peer.preshared_key = Some(PresharedKey::from_bytes([8; 32]));
        peer.persistent_keepalive = Some(25);
        let wanted = device(&[(1, &[])]);
        let update = there.difference(&wanted);
        assert_eq!(
            update,
            Update {
                private_key: Some(PrivateKey::from_bytes([0; 32])),
                fwmark: Some(0),
                peers: vec![
                    PeerUpdate {
                        remove: true,
                        update_only: true,
                        ..PeerUpdate::new(key(2))
                    },
                    PeerUpdate {
                        update_only: true,
                        preshared_key: Some(PresharedKey::from_bytes([0; 32])),
                        persistent_keepalive: Some(0),
                        allowed_ips: vec![AllowedIpChange::Remove(network("10.0.0.1/32"))],
                        ..PeerUpdate::new(key(1))
                    },
                ],
                ..Update::default()
            }
        );
        there.apply(&update);
        assert_eq!(there, wanted);
    }

    #[test]
    fn a_port_and_an_endpoint_that_are_left_open_stay_as_they_are() {
        let mut there = device(&[(1, &[])]);
        there.listen_port = Some(51820);
        there.peers.get_mut(&key(1)).unwrap().endpoint = Some("192.0.2.1:7".parse().unwrap());
        assert!(there.difference(&device(&[(1, &[])])).is_empty());
    }

    #[test]
    fn a_network_that_two_wanted_peers_claim_settles_on_the_last() {
        let wanted = device(&[(1, &["10.0.0.0/8"]), (2, &["10.0.0.0/8"])]);
        let mut there = Device::default();
        there.apply(&there.clone().difference(&wanted));
        assert_eq!(there, device(&[(1, &[]), (2, &["10.0.0.0/8"])]));
        assert!(there.difference(&wanted).is_empty());
    }

    #[test]
    fn host_bits_are_no_difference() {
        let there = device(&[(1, &["10.0.0.0/8"])]);
        assert!(there.difference(&device(&[(1, &["10.1.2.3/8"])])).is_empty());
    }

    #[test]
    fn replacing_peers_keeps_those_that_are_named() {
        let mut there = device(&[(1, &["10.0.0.1/32"]), (2, &["10.0.0.2/32"])]);
        there.apply(&Update {
            replace_peers: true,
            peers: vec![PeerUpdate::new(key(2))],
            ..Update::default()
        });
        assert_eq!(there, device(&[(2, &["10.0.0.2/32"])]));
    }

    #[test]
    fn an_update_only_of_an_unknown_peer_makes_none() {
        let mut there = Device::default();
        let update = PeerUpdate {
            update_only: true,
            persistent_keepalive: Some(1),
            ..PeerUpdate::new(key(1))
        };
        there.apply(&Update {
            peers: vec![update],
            ..Update::default()
        });
        assert_eq!(there, Device::default());
    }

    fn any_peer() -> impl Strategy<Value = (Peer, Vec<u8>)> {
        let preshared = proptest::option::of((1..3_u8).prop_map(|byte| PresharedKey::from_bytes([byte; 32])));
        let endpoint = proptest::option::of((1..4_u16).prop_map(|port| ([192, 0, 2, 1], port).into()));
        let keepalive = proptest::option::of(1..3_u16);
        (
            preshared,
            endpoint,
            keepalive,
            proptest::collection::vec(0..12_u8, 0..4),
        )
            .prop_map(|(preshared_key, endpoint, persistent_keepalive, networks)| {
                (
                    Peer {
                        preshared_key,
                        endpoint,
                        persistent_keepalive,
                        allowed_ips: BTreeSet::new(),
                    },
                    networks,
                )
            })
    }

    /// Few peers and few networks, so that they meet; each network has one owner.
    fn any_device() -> impl Strategy<Value = Device> {
        let private = proptest::option::of((1..3_u8).prop_map(|byte| PrivateKey::from_bytes([byte; 32])));
        let port = proptest::option::of(1..3_u16);
        let mark = proptest::option::of(1..3_u32);
        let peers = proptest::collection::btree_map((0..5_u8).prop_map(key), any_peer(), 0..5);
        (private, port, mark, peers).prop_map(|(private_key, listen_port, fwmark, drafts)| {
            let mut taken = BTreeSet::new();
            let peers = drafts.into_iter().map(|(key, (mut peer, networks))| {
                for number in networks {
                    let text = format!(
                        "10.{}.0.0/{}",
                        number / 2,
                        15 + number % 2 + u8::from(number / 2 % 2 == 0)
                    );
                    if taken.insert(network(&text).trunc()) {
                        peer.allowed_ips.insert(network(&text).trunc());
                    }
                }
                (key, peer)
            });
            Device {
                private_key,
                listen_port,
                fwmark,
                peers: peers.collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn the_difference_leads_from_any_device_to_any_other(there in any_device(), wanted in any_device()) {
            let update = there.difference(&wanted);
            let mut result = there.clone();
            result.apply(&update);
            prop_assert!(result.difference(&wanted).is_empty());
            // What `wanted` leaves open stays.
            let mut expected = wanted;
            expected.listen_port = expected.listen_port.or(there.listen_port);
            for (key, peer) in &mut expected.peers {
                peer.endpoint = peer.endpoint.or(there.peers.get(key).and_then(|peer| peer.endpoint));
            }
            prop_assert_eq!(result, expected);
        }

        #[test]
        fn equal_devices_have_an_empty_difference(device in any_device()) {
            prop_assert!(device.difference(&device).is_empty());
        }

        #[test]
        fn no_change_in_a_difference_can_be_left_out(there in any_device(), wanted in any_device()) {
            let update = there.difference(&wanted);
            for skipped in 0..update.peers.len() {
                let mut less = update.clone();
                less.peers.remove(skipped);
                let mut result = there.clone();
                result.apply(&less);
                prop_assert!(!result.difference(&wanted).is_empty());
            }
        }
    }
}
