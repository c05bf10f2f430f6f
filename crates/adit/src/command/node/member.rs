//! A peer of a lease's gateway: its key, its addresses, its traffic. Pure.

use std::net::IpAddr;

use gateway::{
    Name,
    server::{Peer, PeerState},
};
use wg::{PublicKey, access::Access};

/// A peer that may connect, or will once it has a key.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: Name,
    pub(super) key: Option<Key>,
    pub(super) addresses: Vec<IpAddr>,
    /// What passed under the keys that it had before, in bytes.
    pub(super) before: Traffic,
}

/// A peer's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) public: PublicKey,
    /// Whether the pair was made here.
    pub(super) is_made: bool,
}

/// Bytes that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Member {
    /// The member that is wanted; `there` is the one of its name.
    pub(super) fn wanted(
        name: Name,
        key: Option<PublicKey>,
        there: Option<Self>,
        addresses: Vec<IpAddr>,
        states: &[PeerState],
    ) -> Self {
        let old = there.as_ref().and_then(|member| member.key);
        let key = match key {
            Some(public) => Some(Key {
                public,
                is_made: old.is_some_and(|old| old.is_made && old.public == public),
            }),
            None => old.filter(|old| old.is_made),
        };
        let is_same_key = key.map(|key| key.public) == old.map(|old| old.public);
        let before = match &there {
            None => Traffic::default(),
            Some(member) if is_same_key => member.before,
            Some(member) => member.before.and(member.state(states)),
        };
        Self {
            name,
            key,
            addresses,
            before,
        }
    }

    /// What the gateway knows of it, among these.
    pub(super) fn state<'a>(&self, states: &'a [PeerState]) -> Option<&'a PeerState> {
        states.iter().find(|state| state.name == self.name)
    }

    /// The member as the gateway is told of it; not at all without a key.
    pub(super) fn peer(&self) -> Option<(Name, Peer)> {
        let peer = Peer {
            public_key: self.key?.public,
            preshared_key: None,
            addresses: self.addresses.clone(),
            networks: Vec::new(),
            keepalive: None,
            access: Access::OPEN,
        };
        Some((self.name.clone(), peer))
    }
}

impl Traffic {
    /// This and what the gateway has counted.
    pub(super) fn and(self, state: Option<&PeerState>) -> Self {
        state.map_or(self, |state| Self {
            received: self.received.saturating_add(state.received_bytes),
            sent: self.sent.saturating_add(state.sent_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_of_a_peer_adds_up_over_its_keys() {
        let name: Name = "a".parse().unwrap();
        let state = PeerState {
            name: name.clone(),
            public_key: PublicKey::from_bytes([1; 32]),
            endpoint: None,
            latest_handshake: None,
            received_bytes: 10,
            sent_bytes: 100,
        };
        let states = [state];
        let key = |number: u8| Some(PublicKey::from_bytes([number; 32]));
        let member = |key, there| Member::wanted(name.clone(), key, there, Vec::new(), &states);
        let first = member(key(1), None);
        assert_eq!(first.before, Traffic::default());
        assert_eq!(member(key(1), Some(first.clone())).before, Traffic::default());
        let second = member(key(2), Some(first.clone()));
        assert_eq!((second.before.received, second.before.sent), (10, 100));
        assert_eq!(member(None, Some(second.clone())).before.received, 20);
        assert_eq!(
            member(key(1), None).before,
            Traffic::default(),
            "who comes back begins anew"
        );
    }
}
