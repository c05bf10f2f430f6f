//! Which peers have access rules of their own, and what those let pass.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use wg::{Access, PublicKey, access::Service};

use super::{Policy, flows::Key};
use crate::{
    engine::Peer,
    ip::{self, Packet},
    time::Time,
};

/// How long an answer between peers may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Most exchanges between peers that are remembered for their answers.
const MAX_EXCHANGES: usize = 65_536;

/// The rules of peers that have any, shared between the plane's handle and its loop.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules(Arc<RwLock<HashMap<PublicKey, Access>>>);

impl Rules {
    /// Sets peers' rules; those that are open are forgotten.
    pub(super) fn set(&self, changes: &[(PublicKey, Access)]) {
        let mut rules = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, access) in changes {
            if access.is_open() {
                rules.remove(key);
            } else {
                rules.insert(*key, access.clone());
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<PublicKey, Access>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a peer may reach a service outside.
    pub(super) fn permits(&self, peer: &Peer, destination: IpAddr, service: Service) -> bool {
        let rules = self.read();
        let access = rules.get(peer.public_key());
        access.is_none_or(|access| access.permits(destination, service))
    }

    /// Whether a packet of a peer's may go where it wants to. Without its first fragment another is nothing: of that one
    /// only the place is asked.
    fn permits_packet(&self, peer: &Peer, packet: &Packet<'_>) -> bool {
        if has_ports(packet) {
            return self.permits(peer, packet.destination, service(packet));
        }
        let rules = self.read();
        let list = rules
            .get(peer.public_key())
            .and_then(|access| access.destinations.as_ref());
        list.is_none_or(|list| list.iter().any(|allowed| allowed.network.contains(&packet.destination)))
    }

    /// Whether two peers are willing to reach each other.
    pub(super) fn are_willing(&self, policy: &Policy, peers: [&Peer; 2]) -> bool {
        let rules = self.read();
        peers.iter().all(|peer| {
            let own = rules.get(peer.public_key()).and_then(|access| access.peer_to_peer);
            own.unwrap_or(policy.peer_to_peer)
        })
    }

    /// Whether a peer has a list of destinations.
    fn has_list(&self, peer: &Peer) -> bool {
        let rules = self.read();
        let access = rules.get(peer.public_key());
        access.is_some_and(|access| access.destinations.is_some())
    }
}

/// What passes between peers: what the sender's list has, and answers to it.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// Until when each is remembered, by the way of what may be answered.
    until: HashMap<Exchange, Time>,
}

/// The way of a packet; ports are 0 where there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Exchange {
    protocol: u8,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
}

impl Exchanges {
    /// Whether a packet from one peer may go to another.
    pub(super) fn permit(&mut self, rules: &Rules, now: Time, peers: [&Peer; 2], packet: &Packet<'_>) -> bool {
        let [from, to] = peers;
        let way = Exchange::of(packet);
        if rules.has_list(from) && !rules.permits_packet(from, packet) {
            let asked = Exchange {
                protocol: way.protocol,
                from: way.to,
                to: way.from,
            };
            return self.until.get(&asked).is_some_and(|until| *until > now);
        }
        if rules.has_list(to) {
            self.remember(way, now);
            // An answer may come in fragments, of which only the first has ports.
            self.remember(way.without_ports(), now);
        }
        true
    }

    fn remember(&mut self, way: Exchange, now: Time) {
        if self.until.len() >= MAX_EXCHANGES && !self.until.contains_key(&way) {
            self.until.retain(|_, until| *until > now);
            if self.until.len() >= MAX_EXCHANGES {
                return;
            }
        }
        self.until.insert(way, now + ANSWER_TIMEOUT);
    }
}

impl Exchange {
    fn of(packet: &Packet<'_>) -> Self {
        let (from, to) = match packet.protocol {
            ip::TCP | ip::UDP if has_ports(packet) => (port(packet, 0), port(packet, 2)),
            _ => (0, 0),
        };
        Self {
            protocol: packet.protocol,
            from: (packet.source, from),
            to: (packet.destination, to),
        }
    }

    fn without_ports(self) -> Self {
        Self {
            from: (self.from.0, 0),
            to: (self.to.0, 0),
            ..self
        }
    }
}

/// Whether the packet's payload begins with its transport's header.
fn has_ports(packet: &Packet<'_>) -> bool {
    packet.fragment.is_none_or(|fragment| fragment.offset == 0)
}

fn port(packet: &Packet<'_>, at: usize) -> u16 {
    let bytes = packet.payload.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// What a packet is for.
pub(super) fn service(packet: &Packet<'_>) -> Service {
    match packet.protocol {
        ip::TCP => Service::Tcp(port(packet, 2)),
        ip::UDP => Service::Udp(port(packet, 2)),
        ip::ICMP | ip::ICMPV6 => Service::Icmp,
        _ => Service::Other,
    }
}

/// What a flow is for.
pub(super) fn service_of(key: &Key) -> Service {
    match key.protocol {
        ip::TCP => Service::Tcp(key.server.port()),
        ip::UDP => Service::Udp(key.server.port()),
        _ => Service::Icmp,
    }
}
