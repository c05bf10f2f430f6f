//! Hosts, a network between them that may lose, double, delay and reorder, and a clock that the tests turn.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use wg::{AllowedIpChange, PeerUpdate, PresharedKey, PrivateKey, PublicKey, Update};

use crate::{
    buffer::{Inbox, Outbox},
    engine::{Counters, Engine, Peer, Sent},
    time::Time,
};

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(1) };
}

/// Random numbers that are the same in each run of a test, which has a thread of its own.
pub(super) fn random(buffer: &mut [u8]) {
    for byte in buffer {
        *byte = u8::try_from(next_random() >> 56).unwrap();
    }
}

pub(super) fn next_random() -> u64 {
    SEED.with(|seed| {
        // xorshift64*
        let mut x = seed.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        seed.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    })
}

pub(super) fn seed_random(seed: u64) {
    SEED.with(|cell| cell.set(seed | 1));
}

pub(super) fn private_key() -> PrivateKey {
    let mut bytes = [0; 32];
    random(&mut bytes);
    PrivateKey::from_random(bytes)
}

/// An IPv4 packet between two tunnel addresses.
pub(super) fn packet(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    for (at, address) in [(12, source), (16, destination)] {
        let IpAddr::V4(address) = address.parse().unwrap() else {
            panic!("IPv4 only")
        };
        packet[at..at + 4].copy_from_slice(&address.octets());
    }
    packet.extend_from_slice(payload);
    packet
}

/// One end: an engine, where it is, and what came out of it.
pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) key: PrivateKey,
    pub(super) address: SocketAddr,
    /// The tunnel address.
    pub(super) inner: &'static str,
    pub(super) received: VecDeque<(PublicKey, Vec<u8>)>,
    inbox: Inbox,
    pub(super) outbox: Outbox,
}

impl Host {
    pub(super) fn new(now: Time, address: &str, inner: &'static str) -> Self {
        Self::with_key(now, private_key(), address, inner)
    }

    pub(super) fn with_key(now: Time, key: PrivateKey, address: &str, inner: &'static str) -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + now.since(Time::ZERO);
        let mut host = Self {
            engine: Engine::new(now, wall, random),
            key: key.clone(),
            address: address.parse().unwrap(),
            inner,
            received: VecDeque::new(),
            inbox: Inbox::new(1),
            outbox: Outbox::new(),
        };
        host.apply(
            now,
            Update {
                private_key: Some(key),
                ..Update::default()
            },
        );
        host
    }

    pub(super) fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    pub(super) fn apply(&mut self, now: Time, update: Update) {
        self.engine.apply(now, &update, &mut self.outbox);
    }

    pub(super) fn apply_peer(&mut self, now: Time, peer: PeerUpdate) {
        self.apply(
            now,
            Update {
                peers: vec![peer],
                ..Update::default()
            },
        );
    }

    pub(super) fn peer(&self, other: &Self) -> Arc<Peer> {
        self.engine.peer(&other.public_key()).unwrap()
    }

    /// Sends a packet to a tunnel address, as a plane does.
    pub(super) fn send(&mut self, now: Time, destination: &str, payload: &[u8]) -> Option<Sent> {
        let packet = packet(self.inner, destination, payload);
        self.send_packet(now, destination, &packet)
    }

    pub(super) fn send_packet(&mut self, now: Time, destination: &str, packet: &[u8]) -> Option<Sent> {
        let peer = self.engine.peer_for(destination.parse().unwrap())?;
        let fill = |room: &mut [u8]| room.copy_from_slice(packet);
        Some(self.engine.send(now, &peer, packet.len(), fill, &mut self.outbox))
    }

    /// Receives datagrams, each alone.
    pub(super) fn open(&mut self, now: Time, source: SocketAddr, datagram: &[u8]) {
        self.inbox.clear();
        self.inbox.push(source, datagram);
        let received = &mut self.received;
        self.engine
            .open(now, &mut self.inbox, &mut self.outbox, |peer, packet| {
                received.push_back((*peer.public_key(), packet.to_vec()));
            });
    }

    /// What the host wants sent: where to, and the datagrams.
    pub(super) fn take_outbox(&mut self, now: Time) -> Vec<(SocketAddr, Vec<u8>)> {
        self.engine.seal(now, &mut self.outbox);
        let datagrams = self
            .outbox
            .runs()
            .iter()
            .flat_map(|run| run.datagrams().map(|datagram| (run.destination, datagram.to_vec())))
            .collect();
        self.outbox.clear();
        datagrams
    }

    /// The payloads that were delivered since the last look.
    pub(super) fn payloads(&mut self) -> Vec<Vec<u8>> {
        self.received
            .drain(..)
            .map(|(_, packet)| packet[20..].to_vec())
            .collect()
    }

    pub(super) fn counters(&self) -> Counters {
        self.engine.counters()
    }
}

/// How the network treats a datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) loss_percent: u64,
    pub(super) double_percent: u64,
    /// Largest time on the way, beyond the shortest of 10 ms.
    pub(super) jitter_ms: u64,
}

/// A datagram that was sent, for tests that look at them.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Time,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) datagram: Vec<u8>,
}

/// The hosts and what is on the way between them.
pub(super) struct Network {
    pub(super) now: Time,
    pub(super) hosts: Vec<Host>,
    pub(super) weather: Weather,
    /// Everything that was sent, lost or not.
    pub(super) seen: Vec<Seen>,
    /// Datagrams to these addresses vanish.
    pub(super) down: Vec<SocketAddr>,
    on_the_way: BTreeMap<(Time, usize), Seen>,
    sent: usize,
}

const LATENCY: Duration = Duration::from_millis(10);

impl Network {
    pub(super) const START: Time = Time::from_nanos(1_000_000_000_000);

    /// Hosts that know each other. Only the first has been told where the others are.
    pub(super) fn new(hosts: Vec<Host>) -> Self {
        let now = Self::START;
        let mut network = Self {
            now,
            hosts,
            weather: Weather::default(),
            seen: Vec::new(),
            down: Vec::new(),
            on_the_way: BTreeMap::new(),
            sent: 0,
        };
        for i in 0..network.hosts.len() {
            for j in (0..network.hosts.len()).filter(|&j| j != i) {
                network.introduce(i, j, i == 0, None);
            }
        }
        network
    }

    /// Alice at 10.0.0.1 and Bob at 10.0.0.2; Alice knows where Bob is.
    pub(super) fn pair() -> Self {
        Self::new(vec![
            Host::new(Self::START, "192.0.2.1:1111", "10.0.0.1"),
            Host::new(Self::START, "192.0.2.2:2222", "10.0.0.2"),
        ])
    }

    /// Makes `to` a peer of `of`.
    pub(super) fn introduce(&mut self, of: usize, to: usize, with_endpoint: bool, psk: Option<[u8; 32]>) {
        let other = &self.hosts[to];
        let net = format!("{}/32", other.inner).parse().unwrap();
        let update = PeerUpdate {
            endpoint: with_endpoint.then_some(other.address),
            preshared_key: psk.map(PresharedKey::from_bytes),
            allowed_ips: vec![AllowedIpChange::Add(net)],
            ..PeerUpdate::new(other.public_key())
        };
        let now = self.now;
        self.hosts[of].apply_peer(now, update);
    }

    pub(super) fn send(&mut self, from: usize, destination: &str, payload: &[u8]) {
        let now = self.now;
        let sent = self.hosts[from].send(now, destination, payload);
        assert!(matches!(sent, Some(Sent::Laid | Sent::Staged)), "{sent:?}");
        self.collect();
    }

    /// Puts what hosts want sent on the way.
    pub(super) fn collect(&mut self) {
        for i in 0..self.hosts.len() {
            let source = self.hosts[i].address;
            for (destination, datagram) in self.hosts[i].take_outbox(self.now) {
                self.put(source, destination, datagram);
            }
        }
    }

    /// Puts a datagram on the way, as the weather is.
    pub(super) fn put(&mut self, source: SocketAddr, destination: SocketAddr, datagram: Vec<u8>) {
        let seen = Seen {
            at: self.now,
            source,
            destination,
            datagram,
        };
        self.seen.push(seen.clone());
        let copies = 1 + u64::from(next_random() % 100 < self.weather.double_percent);
        for _ in 0..copies {
            if next_random() % 100 < self.weather.loss_percent {
                continue;
            }
            let jitter = Duration::from_millis(next_random() % (self.weather.jitter_ms + 1));
            self.on_the_way
                .insert((self.now + LATENCY + jitter, self.sent), seen.clone());
            self.sent += 1;
        }
    }

    /// Lets time pass until `end`, handling all that happens meanwhile.
    pub(super) fn run_until(&mut self, end: Time) {
        self.collect();
        loop {
            let arrival = self.on_the_way.first_key_value().map(|(&(at, _), _)| at);
            let timeout = self.hosts.iter().filter_map(|host| host.engine.poll_timeout()).min();
            let Some(next) = arrival.into_iter().chain(timeout).min().filter(|&next| next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (
                    _,
                    Seen {
                        source,
                        destination,
                        datagram,
                        ..
                    },
                ) = self.on_the_way.pop_first().unwrap();
                let up = !self.down.contains(&destination);
                if let Some(host) = self.hosts.iter_mut().find(|host| host.address == destination && up) {
                    host.open(self.now, source, &datagram);
                }
            } else {
                for host in &mut self.hosts {
                    host.engine.handle_timeout(self.now, &mut host.outbox);
                }
            }
            self.collect();
        }
        self.now = end;
    }

    pub(super) fn run(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    pub(super) fn run_secs(&mut self, secs: u64) {
        self.run(Duration::from_secs(secs));
    }

    /// Datagrams from a host since `since`, by the type in their first byte.
    pub(super) fn sent_by(&self, host: usize, kind: u8, since: Time) -> Vec<&Seen> {
        let source = self.hosts[host].address;
        self.seen
            .iter()
            .filter(|seen| seen.source == source && seen.datagram[0] == kind && seen.at >= since)
            .collect()
    }
}
