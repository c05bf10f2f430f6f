//! Rewrites a change for interfaces that cannot take a single network from a peer.
//!
//! The kernel's WireGuard is one before Linux 6.16: it replaces all networks of a peer, or adds to them.

use std::collections::BTreeSet;

use crate::{AllowedIpChange, Device, PeerUpdate, PublicKey, Update};

impl Update {
    /// Whether it takes single networks from peers.
    pub fn removes_networks(&self) -> bool {
        self.peers.iter().any(PeerUpdate::removes_networks)
    }

    /// The same change to `there`, in which no single network is taken away: the peer's networks are replaced by those
    /// that it shall have. Peers that are to go because nobody names them are named, so that the others keep their
    /// sessions, which an interface that replaces all of its peers ends.
    pub fn without_removals(&self, there: &Device) -> Self {
        let mut device = there.clone();
        let mut owners = device.owners();
        let mut peers = Vec::with_capacity(self.peers.len());
        if self.replace_peers {
            let named: BTreeSet<PublicKey> = self.peers.iter().map(|peer| peer.public_key).collect();
            let unnamed = there.peers.keys().filter(|key| !named.contains(key));
            peers.extend(unnamed.map(|key| PeerUpdate {
                remove: true,
                update_only: true,
                ..PeerUpdate::new(*key)
            }));
        }
        for change in &peers {
            device.apply_to_peer(change, &mut owners);
        }
        for change in &self.peers {
            device.apply_to_peer(change, &mut owners);
            let mut change = change.clone();
            if change.removes_networks() {
                let none = BTreeSet::new();
                let networks = device
                    .peers
                    .get(&change.public_key)
                    .map_or(&none, |peer| &peer.allowed_ips);
                // What it is given and loses again is taken from others nevertheless.
                change.allowed_ips.retain(|change| match change {
                    AllowedIpChange::Add(network) => !networks.contains(&network.trunc()),
                    AllowedIpChange::Remove(_) => false,
                });
                if !change.allowed_ips.is_empty() {
                    peers.push(change.clone());
                }
                change.replace_allowed_ips = true;
                change.allowed_ips = networks.iter().copied().map(AllowedIpChange::Add).collect();
            }
            peers.push(change);
        }
        Self {
            private_key: self.private_key.clone(),
            listen_port: self.listen_port,
            fwmark: self.fwmark,
            replace_peers: false,
            peers,
        }
    }
}

impl PeerUpdate {
    fn removes_networks(&self) -> bool {
        let mut changes = self.allowed_ips.iter();
        !self.remove && changes.any(|change| matches!(change, AllowedIpChange::Remove(_)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{IpNet, Peer};

    fn key(number: u8) -> PublicKey {
        PublicKey::from_bytes([number; 32])
    }

    fn network(number: u8) -> IpNet {
        IpNet::from(std::net::IpAddr::from([10, 0, 0, number]))
    }

    prop_compose! {
        fn peer_update()(
            number in 0_u8..4,
            remove in prop::bool::weighted(0.1),
            update_only: bool,
            replace_allowed_ips: bool,
            changes in prop::collection::vec((any::<bool>(), 0_u8..6), 0..5),
        ) -> PeerUpdate {
            let change = |(add, number)| match add {
                true => AllowedIpChange::Add(network(number)),
                false => AllowedIpChange::Remove(network(number)),
            };
            let allowed_ips = changes.into_iter().map(change).collect();
            PeerUpdate { remove, update_only, replace_allowed_ips, allowed_ips, ..PeerUpdate::new(key(number)) }
        }
    }

    prop_compose! {
        /// No network belongs to two peers, as on an interface.
        fn device()(owners in prop::collection::btree_map(0_u8..6, 0_u8..4, 0..6), idle in 0_u8..4) -> Device {
            let mut device = Device::default();
            device.peers.insert(key(idle), Peer::default());
            for (number, owner) in owners {
                device.peers.entry(key(owner)).or_default().allowed_ips.insert(network(number));
            }
            device
        }
    }

    proptest! {
        #[test]
        fn the_rewritten_change_does_the_same_and_takes_no_single_network(
            there in device(),
            replace_peers: bool,
            peers in prop::collection::vec(peer_update(), 0..6),
        ) {
            let update = Update { replace_peers, peers, ..Update::default() };
            let rewritten = update.without_removals(&there);
            prop_assert!(!rewritten.removes_networks() && !rewritten.replace_peers);
            let (mut one, mut other) = (there.clone(), there);
            one.apply(&update);
            other.apply(&rewritten);
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn what_takes_nothing_away_stays_as_it_is() {
        let add = PeerUpdate {
            allowed_ips: vec![AllowedIpChange::Add(network(1))],
            ..PeerUpdate::new(key(1))
        };
        let update = Update {
            fwmark: Some(1),
            peers: vec![add],
            ..Update::default()
        };
        assert!(!update.removes_networks());
        assert_eq!(update.without_removals(&Device::default()), update);
    }
}
