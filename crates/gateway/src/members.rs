//! Who is on a running gateway, by name: finds what a change means for the tunnel.
//!
//! Pure: [`Members::update`] says what to do with the tunnel, [`Members::commit`] remembers that it was done.

use std::collections::{BTreeMap, HashMap, HashSet};

use ipnet::IpNet;
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
    /// Addresses, and networks behind peers. Of networks in networks the smaller one wins; two alike would be whose
    /// peer came last, without a word to the other.
    by_network: HashMap<IpNet, Name>,
    /// The gateway's own addresses.
    own: HashSet<IpNet>,
    /// Who asks the gateway and is none of its peers.
    launcher: Option<PublicKey>,
}

/// What two cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    /// A key is one peer's.
    #[error("{name} cannot have the public key {key}: it is that of {holder}")]
    Key {
        /// Who asks for it.
        name: Name,
        /// The key.
        key: PublicKey,
        /// Who has it.
        holder: Name,
    },
    /// An address or a network is one peer's.
    #[error(
        "the network {network} cannot be behind {name}: it is that of {holder}; a smaller or a larger one can be, or \
         none"
    )]
    Network {
        /// Who asks for it.
        name: Name,
        /// The network; one of a single address is that address.
        network: IpNet,
        /// Who has it.
        holder: Name,
    },
    /// The gateway keeps its own address.
    #[error("the network {network} cannot be behind {name}: it is the gateway's own address")]
    Own {
        /// Who asks for it.
        name: Name,
        /// The address.
        network: IpNet,
    },
    /// The launcher's key is no peer's.
    #[error("{name} cannot have the public key of the gateway's launcher")]
    Launcher {
        /// Who asks for it.
        name: Name,
    },
}

impl Taken {
    /// Who asks for it.
    pub fn name(&self) -> &Name {
        let (Self::Key { name, .. } | Self::Network { name, .. } | Self::Own { name, .. } | Self::Launcher { name }) =
            self;
        name
    }
}

/// Peers as they are to be, by name; `None` is to go.
type Wanted<'a> = BTreeMap<&'a Name, Option<&'a Peer>>;

/// Finds what two of these peers would have, on a gateway with these addresses.
///
/// # Errors
///
/// [`Taken`].
pub(crate) fn check<'a>(gateway: &[IpNet], peers: impl Iterator<Item = (&'a Name, &'a Peer)>) -> Result<(), Taken> {
    let wanted = peers.map(|(name, peer)| (name, Some(peer))).collect();
    Members::new(gateway).check_wanted(&wanted).map(drop)
}

impl Members {
    /// Nobody, on a gateway with these addresses.
    pub(crate) fn new(gateway: &[IpNet]) -> Self {
        Self {
            own: gateway.iter().map(|address| address.addr().into()).collect(),
            ..Self::default()
        }
    }

    /// The same beside this launcher.
    pub(crate) fn beside(mut self, launcher: Option<PublicKey>) -> Self {
        self.launcher = launcher;
        self
    }

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

    /// Whether the changes can be made.
    ///
    /// # Errors
    ///
    /// [`Taken`].
    pub(crate) fn check(&self, changes: &[PeerChange]) -> Result<(), Taken> {
        self.check_wanted(&wanted(changes)).map(drop)
    }

    /// The keys of the peers that are to be, and whose they are.
    fn check_wanted<'a>(&self, wanted: &Wanted<'a>) -> Result<HashMap<PublicKey, &'a Name>, Taken> {
        let mut keys: HashMap<PublicKey, &Name> = HashMap::new();
        let mut networks: HashMap<IpNet, &Name> = HashMap::new();
        for (name, peer) in wanted {
            let Some(peer) = peer else { continue };
            if self.launcher == Some(peer.public_key) {
                return Err(Taken::Launcher { name: (*name).clone() });
            }
            let untouched = |holder: &&Name| !wanted.contains_key(*holder);
            let holder = self.by_key.get(&peer.public_key).filter(untouched);
            if let Some(holder) = keys.insert(peer.public_key, name).or(holder) {
                return Err(Taken::Key {
                    name: (*name).clone(),
                    key: peer.public_key,
                    holder: holder.clone(),
                });
            }
            for network in peer.networks_of_all() {
                if self.own.contains(&network) {
                    let name = (*name).clone();
                    return Err(Taken::Own { name, network });
                }
                let holder = self.by_network.get(&network).filter(untouched);
                let other = networks.insert(network, name).filter(|other| other != name);
                if let Some(holder) = other.or(holder) {
                    // Whoever has it as an address has it by right.
                    let is_address = peer.addresses.iter().any(|address| IpNet::from(*address) == network);
                    let (name, holder) = if is_address { (holder, *name) } else { (*name, holder) };
                    return Err(Taken::Network {
                        name: name.clone(),
                        network,
                        holder: holder.clone(),
                    });
                }
            }
        }
        Ok(keys)
    }

    /// What the changes mean for the tunnel. Names that come twice are as their last change has them.
    ///
    /// # Errors
    ///
    /// [`Taken`].
    pub(crate) fn update(&self, changes: &[PeerChange]) -> Result<Update, Taken> {
        let mut wanted = wanted(changes);
        let keys = self.check_wanted(&wanted)?;
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
        // All that was goes first: a key may have moved from one name to another.
        for change in changes {
            let (PeerChange::Set(name, _) | PeerChange::Remove(name)) = change;
            if let Some(peer) = self.peers.get(name) {
                self.by_key.remove(&peer.public_key);
                for network in peer.networks_of_all() {
                    self.by_network.remove(&network);
                }
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
                let networks = peer.networks_of_all();
                self.by_network.extend(networks.map(|network| (network, name.clone())));
            }
        }
    }
}

fn wanted<'a>(changes: &'a [PeerChange]) -> Wanted<'a> {
    let change = |change: &'a PeerChange| match change {
        PeerChange::Set(name, peer) => (name, Some(peer)),
        PeerChange::Remove(name) => (name, None),
    };
    changes.iter().map(change).collect()
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

    fn change(members: &mut Members, device: &mut Device, changes: &[PeerChange]) -> Result<Update, Taken> {
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

    #[test]
    fn an_address_and_a_network_belong_to_one_peer() {
        let gateway: IpNet = "10.0.0.1/24".parse().unwrap();
        let mut members = Members::new(&[gateway]);
        let set = |number: u8, networks: &[&str]| {
            let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
            let peer = Peer {
                networks,
                ..peer(number, number)
            };
            PeerChange::Set(name(number), peer)
        };
        let first = [set(2, &["192.168.5.0/24"]), set(3, &[])];
        members.check(&first).unwrap();
        members.commit(&first);
        for (changes, reason) in [
            (
                vec![set(4, &["10.0.0.3/32"])],
                "10.0.0.3/32 cannot be behind peer4: it is that of peer3",
            ),
            (vec![set(4, &["192.168.5.0/24"])], "behind peer4: it is that of peer2"),
            (
                vec![set(4, &["192.168.5.7/24"])],
                "192.168.5.0/24 cannot be behind peer4",
            ),
            (vec![set(3, &["192.168.5.0/24"])], "behind peer3: it is that of peer2"),
            (
                vec![set(4, &["10.0.0.1/32"])],
                "behind peer4: it is the gateway's own address",
            ),
            (
                vec![set(4, &["0.0.0.0/0"]), set(5, &["0.0.0.0/0"])],
                "behind peer5: it is that of peer4",
            ),
            // Who has the address is in the right, whoever comes first.
            (
                vec![set(4, &["10.0.0.5/32"]), set(5, &[])],
                "10.0.0.5/32 cannot be behind peer4",
            ),
            (
                vec![set(5, &["10.0.0.4/32"]), set(4, &[])],
                "10.0.0.4/32 cannot be behind peer5",
            ),
            // Smaller ones win over larger ones, what is handed on is free, and twice of one peer is once.
            (vec![set(4, &["10.0.0.0/24", "192.168.5.0/25"])], ""),
            (vec![set(4, &["192.168.5.0/24"]), set(2, &[])], ""),
            (vec![set(4, &["10.0.0.3/32"]), PeerChange::Remove(name(3))], ""),
            (vec![set(4, &["10.0.0.4/32", "172.16.0.0/12", "172.16.0.0/12"])], ""),
        ] {
            let problem = members.check(&changes).err().map(|taken| taken.to_string());
            assert!(
                problem.as_deref().unwrap_or_default().contains(reason) && problem.is_some() != reason.is_empty(),
                "{changes:?}: {problem:?}"
            );
        }
        // It is free again once its peer is gone.
        let handed_on = [PeerChange::Remove(name(2)), set(4, &["192.168.5.0/24"])];
        members.check(&handed_on).unwrap();
        members.commit(&handed_on);
        members.check(&[set(2, &["192.168.5.0/24"])]).unwrap_err();
        members.commit(&[PeerChange::Remove(name(4))]);
        members.check(&[set(2, &["192.168.5.0/24"])]).unwrap();
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
