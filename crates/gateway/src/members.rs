//! Who is on a running gateway, by name: finds what a change means for the tunnel.
//!
//! Pure: [`Members::update`] says what to do with the tunnel, [`Members::commit`] remembers that it was done.

use std::collections::{BTreeMap, HashMap, HashSet};

use wg::{PeerUpdate, PresharedKey, PublicKey, Update};

use crate::{
    Name,
    ordered::Ordered,
    server::{Peer, PeerChange},
};

/// The peers of a gateway in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Members {
    peers: Ordered<Name, Peer>,
    by_key: HashMap<PublicKey, Name>,
}

/// Two peers cannot have one key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} cannot have the public key {key}: it is that of {holder}")]
pub struct KeyTaken {
    /// Who asks for it.
    pub name: Name,
    /// The key.
    pub key: PublicKey,
    /// Who has it.
    pub holder: Name,
}

impl Members {
    /// The peers by name, in the order in which they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, &Peer)> {
        self.peers.iter()
    }

    /// The changes that lead to these peers and no others.
    pub(crate) fn difference(&self, wanted: Vec<(Name, Peer)>) -> Vec<PeerChange> {
        let names: HashSet<&Name> = wanted.iter().map(|(name, _)| name).collect();
        let gone = self.iter().map(|(name, _)| name).filter(|name| !names.contains(name));
        let mut changes: Vec<PeerChange> = gone.map(|name| PeerChange::Remove(name.clone())).collect();
        let differs = |(name, peer): &(Name, Peer)| self.peers.get(name) != Some(peer);
        let set = wanted.into_iter().filter(differs);
        changes.extend(set.map(|(name, peer)| PeerChange::Set(name, peer)));
        changes
    }

    /// What the changes mean for the tunnel. Names that come twice are as their last change has them.
    ///
    /// # Errors
    ///
    /// [`KeyTaken`].
    pub(crate) fn update(&self, changes: &[PeerChange]) -> Result<Update, KeyTaken> {
        let mut wanted: BTreeMap<&Name, Option<&Peer>> = BTreeMap::new();
        for change in changes {
            match change {
                PeerChange::Set(name, peer) => wanted.insert(name, Some(peer)),
                PeerChange::Remove(name) => wanted.insert(name, None),
            };
        }
        let mut keys: HashMap<PublicKey, &Name> = HashMap::new();
        for (name, peer) in &wanted {
            let Some(peer) = peer else { continue };
            let untouched = self
                .by_key
                .get(&peer.public_key)
                .filter(|holder| !wanted.contains_key(holder));
            if let Some(holder) = keys.insert(peer.public_key, name).or(untouched) {
                return Err(KeyTaken {
                    name: (*name).clone(),
                    key: peer.public_key,
                    holder: holder.clone(),
                });
            }
        }
        let mut peers = Vec::new();
        for name in wanted.keys() {
            let before = self.peers.get(name).map(|peer| peer.public_key);
            peers.extend(before.filter(|key| !keys.contains_key(key)).map(|key| PeerUpdate {
                remove: true,
                update_only: true,
                ..PeerUpdate::new(key)
            }));
        }
        // In the order of the changes, each name once.
        for change in changes {
            if let PeerChange::Set(name, _) = change
                && let Some(Some(peer)) = wanted.remove(name)
                && self.peers.get(name) != Some(peer)
            {
                peers.push(whole_update(peer));
            }
        }
        Ok(Update {
            peers,
            ..Update::default()
        })
    }

    /// The key that the peer of a change has.
    pub(crate) fn key_before(&self, change: &PeerChange) -> Option<PublicKey> {
        let (PeerChange::Set(name, _) | PeerChange::Remove(name)) = change;
        self.peers.get(name).map(|peer| peer.public_key)
    }

    /// Whether a peer has this key.
    pub(crate) fn has_key(&self, key: &PublicKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// What makes the peer of a change what it is.
    pub(crate) fn undoing(&self, change: &PeerChange) -> PeerChange {
        let (PeerChange::Set(name, _) | PeerChange::Remove(name)) = change;
        match self.peers.get(name) {
            Some(peer) => PeerChange::Set(name.clone(), peer.clone()),
            None => PeerChange::Remove(name.clone()),
        }
    }

    /// Remembers that the changes were made.
    pub(crate) fn commit(&mut self, changes: &[PeerChange]) {
        // All old keys go first: a key may have moved from one name to another.
        for change in changes {
            let (PeerChange::Set(name, _) | PeerChange::Remove(name)) = change;
            if let Some(peer) = self.peers.get(name) {
                self.by_key.remove(&peer.public_key);
            }
        }
        for change in changes {
            match change {
                PeerChange::Set(name, peer) => self.peers.insert(name.clone(), peer.clone()),
                PeerChange::Remove(name) => self.peers.remove(name),
            };
        }
        for change in changes {
            if let PeerChange::Set(name, _) = change
                && let Some(peer) = self.peers.get(name)
            {
                self.by_key.insert(peer.public_key, name.clone());
            }
        }
    }
}

/// Makes a peer all that it is to be, whatever it was.
fn whole_update(peer: &Peer) -> PeerUpdate {
    let no_key = || PresharedKey::from_bytes([0; wg::key::KEY_LEN]);
    PeerUpdate {
        preshared_key: Some(peer.preshared_key.clone().unwrap_or_else(no_key)),
        persistent_keepalive: Some(peer.keepalive.unwrap_or(0)),
        ..peer.update()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wg::Device;

    use super::*;

    fn name(number: u8) -> Name {
        Name::numbered(number.into())
    }

    fn peer(key: u8, address: u8) -> Peer {
        Peer {
            public_key: PublicKey::from_bytes([key; 32]),
            preshared_key: key.is_multiple_of(2).then(|| PresharedKey::from_bytes([key; 32])),
            addresses: vec![[10, 0, 0, address].into()],
            networks: Vec::new(),
            keepalive: address.is_multiple_of(2).then_some(25),
            access: wg::access::Access::OPEN,
        }
    }

    /// The device that has just these peers.
    fn device(members: &Members) -> Device {
        let mut device = Device::default();
        let peers = members.iter().map(|(_, peer)| whole_update(peer)).collect();
        device.apply(&Update {
            peers,
            ..Update::default()
        });
        device
    }

    fn change(members: &mut Members, device: &mut Device, changes: &[PeerChange]) -> Result<Update, KeyTaken> {
        let update = members.update(changes)?;
        device.apply(&update);
        members.commit(changes);
        Ok(update)
    }

    #[test]
    fn a_change_names_only_the_peers_that_differ() {
        let (mut members, mut there) = (Members::default(), Device::default());
        let set = |name_: u8, key, address| PeerChange::Set(name(name_), peer(key, address));
        change(&mut members, &mut there, &[set(1, 1, 1), set(2, 2, 2)]).unwrap();
        for (changes, named) in [
            (vec![set(1, 1, 1)], 0),
            (vec![set(1, 1, 1), set(3, 3, 3)], 1),
            (vec![PeerChange::Remove(name(9))], 0),
            (vec![set(1, 4, 1)], 2),
            (vec![PeerChange::Remove(name(1)), PeerChange::Remove(name(2))], 2),
        ] {
            let update = change(&mut members, &mut there, &changes).unwrap();
            assert_eq!(update.peers.len(), named, "{changes:?}");
            assert_eq!(there, device(&members));
        }
    }

    #[test]
    fn a_key_belongs_to_one_peer() {
        let (mut members, mut there) = (Members::default(), Device::default());
        let set = |name_: u8, key, address| PeerChange::Set(name(name_), peer(key, address));
        change(&mut members, &mut there, &[set(1, 1, 1), set(2, 2, 2)]).unwrap();
        assert!(members.update(&[set(3, 1, 3)]).is_err());
        assert!(members.update(&[set(3, 3, 3), set(4, 3, 4)]).is_err());
        // Two peers may swap their keys and addresses, and a key may be handed on.
        change(&mut members, &mut there, &[set(1, 2, 2), set(2, 1, 1)]).unwrap();
        assert_eq!(there, device(&members));
        change(&mut members, &mut there, &[PeerChange::Remove(name(1)), set(5, 2, 2)]).unwrap();
        assert_eq!(there, device(&members));
    }

    fn any_change() -> impl Strategy<Value = PeerChange> {
        (0..6_u8, any::<bool>(), 0..4_u8).prop_map(|(number, remove, salt)| match remove {
            true => PeerChange::Remove(name(number)),
            // Keys are of one name, addresses of one name: as the pool gives them.
            false => PeerChange::Set(name(number), peer(number * 4 + salt, number * 4 + salt / 2)),
        })
    }

    proptest! {
        #[test]
        fn the_tunnel_follows_every_change(
            rounds in proptest::collection::vec(proptest::collection::vec(any_change(), 0..6), 0..6),
        ) {
            let (mut members, mut there) = (Members::default(), Device::default());
            for changes in rounds {
                change(&mut members, &mut there, &changes).unwrap();
                prop_assert_eq!(&there, &device(&members));
                let wanted = members.iter().map(|(name, peer)| (name.clone(), peer.clone())).collect();
                prop_assert!(members.difference(wanted).is_empty());
            }
        }
    }
}
