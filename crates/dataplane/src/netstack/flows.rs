//! The table of flows: by key for packets, by token for events.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
};

use crate::ip;

/// What tells a flow from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The peer's id: two peers may use the same addresses one after the other.
    pub(super) peer: u32,
    pub(super) protocol: u8,
    /// The client in the tunnel; the port of an echo is its identifier.
    pub(super) client: SocketAddr,
    /// Where it goes; the port of an echo is 0.
    pub(super) server: SocketAddr,
}

impl Key {
    /// The key in words. IPv4 stands as IPv4 inside IPv6, which no inner packet may use as an address.
    fn words(&self) -> [u64; 6] {
        let address = |address: IpAddr| {
            let bits = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
                IpAddr::V6(address) => address.to_bits(),
            };
            [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or_default())
        };
        let ([a, b], [c, d]) = (address(self.client.ip()), address(self.server.ip()));
        let ports = u64::from(self.client.port()) << 16 | u64::from(self.server.port());
        [a, b, c, d, u64::from(self.peer) << 32 | ports, u64::from(self.protocol)]
    }

    /// The protocol's errors in the family of the flow.
    pub(super) fn is_v6(&self) -> bool {
        self.client.is_ipv6()
    }

    /// Whether it is an echo.
    pub(super) fn is_echo(&self) -> bool {
        matches!(self.protocol, ip::ICMP | ip::ICMPV6)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = [0; 48];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.words()) {
            *chunk = word.to_ne_bytes();
        }
        state.write(&bytes);
    }
}

/// Flows, each at a place of its own.
///
/// The index hashes with SipHash under a random key, so that nobody outside can make keys that collide; the last key
/// is remembered, so that a train of packets of one flow costs one hash.
#[derive(Debug)]
pub(super) struct Flows<F> {
    places: Vec<Place<F>>,
    free: Vec<u32>,
    index: HashMap<Key, u32>,
    last: Option<(Key, u32)>,
    /// The most flows since [`Flows::has_ebbed`] was last true.
    peak: usize,
}

#[derive(Debug)]
struct Place<F> {
    /// How many flows were here before; a token names it, so that a late event meets no stranger.
    generation: u32,
    flow: Option<F>,
}

impl<F> Flows<F> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            last: None,
            peak: 0,
        }
    }

    /// Adds a flow, whose key must be new; returns its token.
    pub(super) fn insert(&mut self, key: Key, flow: F) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                flow: None,
            });
            u32::try_from(self.places.len() - 1).expect("there are fewer descriptors, thus flows, than 2^32")
        });
        self.places[place as usize].flow = Some(flow);
        self.index.insert(key, place);
        self.peak = self.peak.max(self.index.len());
        self.token(place)
    }

    /// The token of the flow with this key.
    pub(super) fn find(&mut self, key: &Key) -> Option<u64> {
        if let Some((last, place)) = &self.last
            && last == key
        {
            return Some(self.token(*place));
        }
        let place = *self.index.get(key)?;
        self.last = Some((*key, place));
        Some(self.token(place))
    }

    pub(super) fn get_mut(&mut self, token: u64) -> Option<&mut F> {
        let (generation, place) = split(token);
        let place = self.places.get_mut(place as usize)?;
        if place.generation != generation {
            return None;
        }
        place.flow.as_mut()
    }

    /// Takes a flow out; its token and key mean nothing afterwards.
    pub(super) fn remove(&mut self, token: u64, key: &Key) -> Option<F> {
        let (generation, at) = split(token);
        let place = self.places.get_mut(at as usize)?;
        if place.generation != generation {
            return None;
        }
        let flow = place.flow.take()?;
        place.generation = place.generation.wrapping_add(1) & MAX_GENERATION;
        self.free.push(at);
        self.index.remove(key);
        self.last = None;
        Some(flow)
    }

    /// The tokens of all flows.
    pub(super) fn tokens(&self) -> Vec<u64> {
        self.index.values().map(|&place| self.token(place)).collect()
    }

    /// Whether most of many flows have gone, so that it is worth the while to give memory back. True once for each time.
    pub(super) fn has_ebbed(&mut self) -> bool {
        let ebbed = self.peak >= MANY && self.index.len() <= self.peak / 4;
        if ebbed {
            self.peak = self.index.len();
            self.index.shrink_to_fit();
        }
        ebbed
    }

    /// How many flows there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    fn token(&self, place: u32) -> u64 {
        u64::from(self.places[place as usize].generation) << 32 | u64::from(place)
    }
}

/// So many flows leave a heap behind that is worth being given back.
const MANY: usize = 512;

/// Generations leave the highest bit of a token free, for events that are no flow's.
const MAX_GENERATION: u32 = u32::MAX >> 1;

fn split(token: u64) -> (u32, u32) {
    let generation = u32::try_from(token >> 32).unwrap_or_default();
    let place = u32::try_from(token & u64::from(u32::MAX)).unwrap_or_default();
    (generation, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(peer: u32, client: &str, server: &str) -> Key {
        Key {
            peer,
            protocol: ip::UDP,
            client: client.parse().unwrap(),
            server: server.parse().unwrap(),
        }
    }

    #[test]
    fn a_flow_is_found_by_all_of_its_key_and_by_its_token() {
        let keys = [
            key(1, "10.0.0.2:1", "192.0.2.1:2"),
            key(2, "10.0.0.2:1", "192.0.2.1:2"),
            key(1, "10.0.0.2:2", "192.0.2.1:1"),
            key(1, "10.0.0.3:1", "192.0.2.1:2"),
            key(1, "[fd00::2]:1", "[fd00::3]:2"),
            Key {
                protocol: ip::TCP,
                ..key(1, "10.0.0.2:1", "192.0.2.1:2")
            },
        ];
        let mut flows = Flows::new();
        let tokens: Vec<u64> = (0..).zip(keys).map(|(n, key)| flows.insert(key, n)).collect();
        assert_eq!(flows.len(), keys.len());
        for (mut n, (key, token)) in (0..).zip(keys.iter().zip(&tokens)) {
            assert_eq!(flows.find(key), Some(*token));
            assert_eq!(flows.find(key), Some(*token));
            assert_eq!(flows.get_mut(*token), Some(&mut n));
        }
    }

    #[test]
    fn an_ebb_is_told_once() {
        let mut flows = Flows::new();
        let keys: Vec<Key> = (0..600).map(|peer| key(peer, "10.0.0.2:1", "192.0.2.1:2")).collect();
        let tokens: Vec<u64> = keys.iter().map(|key| flows.insert(*key, ())).collect();
        let mut told = Vec::new();
        for (token, key) in tokens.iter().zip(&keys) {
            flows.remove(*token, key);
            if flows.has_ebbed() {
                told.push(flows.len());
            }
        }
        assert_eq!(told, [150]);
    }

    #[test]
    fn a_late_event_meets_no_stranger() {
        let (first, second) = (key(1, "10.0.0.2:1", "192.0.2.1:2"), key(1, "10.0.0.2:3", "192.0.2.1:2"));
        let mut flows = Flows::new();
        let old = flows.insert(first, 'a');
        assert_eq!(flows.find(&first), Some(old));
        assert_eq!(flows.remove(old, &first), Some('a'));
        assert_eq!((flows.find(&first), flows.remove(old, &first)), (None, None));
        let new = flows.insert(second, 'b');
        assert_eq!(new & 0xffff_ffff, old & 0xffff_ffff);
        assert_eq!(flows.get_mut(old), None);
        assert_eq!(flows.get_mut(new), Some(&mut 'b'));
        assert_eq!(flows.tokens(), [new]);
    }
}
