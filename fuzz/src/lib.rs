//! Two hosts and a hostile network between them, played by a script of bytes.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use dataplane::buffer::{Inbox, Outbox};
use dataplane::engine::Engine;
use dataplane::time::Time;
use wg::{AllowedIpChange, PeerUpdate, PrivateKey, Update};

/// The tunnel addresses of the two.
const INNER: [[u8; 4]; 2] = [[10, 0, 0, 1], [10, 0, 0, 2]];

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(1) };
}

/// The same numbers in each run, so that a finding can be repeated.
fn random(buffer: &mut [u8]) {
    for byte in buffer {
        let mut state = STATE.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        STATE.set(state);
        *byte = state.to_le_bytes()[4];
    }
}

struct Host {
    engine: Engine,
    address: SocketAddr,
    inbox: Inbox,
    outbox: Outbox,
}

/// The two hosts, and what is on its way between them.
pub struct World {
    now: Time,
    hosts: [Host; 2],
    /// To whom, and what.
    travelling: VecDeque<(usize, Vec<u8>)>,
    /// How often each packet was sent, by whom; each may arrive as often.
    sent: HashMap<(usize, Vec<u8>), usize>,
    number: u32,
    delivered: usize,
}

impl World {
    /// Two hosts that know each other's keys and addresses, without a session.
    pub fn new() -> Self {
        STATE.set(0x9e37_79b9_7f4a_7c15);
        let now = Time::from_nanos(1_000_000_000_000);
        let keys = [1, 2].map(|byte| PrivateKey::from_random([byte; 32]));
        let hosts = [0, 1].map(|me: usize| {
            let address = SocketAddr::from(([192, 0, 2, 1 + me as u8], 51820));
            let mut host = Host {
                engine: Engine::new(now, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), random),
                address,
                inbox: Inbox::new(1),
                outbox: Outbox::new(),
            };
            let mut peer = PeerUpdate::new(keys[1 - me].public_key());
            peer.endpoint = Some(SocketAddr::from(([192, 0, 2, 2 - me as u8], 51820)));
            let inner = std::net::IpAddr::from(INNER[1 - me]);
            peer.allowed_ips = vec![AllowedIpChange::Add(inner.into())];
            let update = Update { private_key: Some(keys[me].clone()), peers: vec![peer], ..Update::default() };
            host.engine.apply(now, &update, &mut host.outbox);
            host
        });
        let (travelling, sent) = (VecDeque::new(), HashMap::new());
        Self { now, hosts, travelling, sent, number: 0, delivered: 0 }
    }

    /// The same with a session: packets pass both ways.
    pub fn with_session() -> Self {
        let mut world = Self::new();
        world.send(0);
        world.deliver_all();
        world.send(1);
        world.deliver_all();
        assert_eq!(world.delivered, 2, "a quiet network delivers");
        world
    }

    /// Plays a script: one byte says what happens, the next ones how.
    pub fn play(&mut self, script: &[u8]) {
        let mut bytes = script.iter().copied();
        while let Some(step) = bytes.next() {
            let mut next = || bytes.next().unwrap_or(0);
            match step % 12 {
                0 | 1 => self.deliver_next(),
                2 => drop(self.travelling.pop_front()),
                3 => {
                    let (at, value) = (u16::from_le_bytes([next(), next()]), next());
                    if let Some((_, datagram)) = self.travelling.front_mut() {
                        let at = usize::from(at) % datagram.len().max(1);
                        if let Some(byte) = datagram.get_mut(at) {
                            *byte ^= value;
                        }
                    }
                    self.deliver_next();
                }
                4 => {
                    if let Some(first) = self.travelling.front().cloned() {
                        self.travelling.push_back(first);
                    }
                }
                5 => {
                    let (to, length) = (usize::from(next() & 1), usize::from(next()));
                    let datagram = std::iter::repeat_with(&mut next).take(length).collect();
                    self.travelling.push_front((to, datagram));
                    self.deliver_next();
                }
                6 => {
                    let length = usize::from(u16::from_le_bytes([next(), next()])) % 2048;
                    if let Some((_, datagram)) = self.travelling.front_mut() {
                        datagram.resize(length, 0);
                    }
                    self.deliver_next();
                }
                7 => self.wait(Duration::from_millis(u64::from(next()) * 100)),
                8 => self.travelling.rotate_left(usize::from(!self.travelling.is_empty())),
                9 => self.send(0),
                10 => self.send(1),
                _ => {
                    // A peer that is no friend: any bytes as an inner packet.
                    let (from, length) = (usize::from(next() & 1), usize::from(next()));
                    let packet: Vec<u8> = std::iter::repeat_with(&mut next).take(length).collect();
                    self.send_packet(from, packet);
                }
            }
        }
        self.deliver_all();
    }

    fn send(&mut self, from: usize) {
        self.number += 1;
        let mut packet = vec![0x45, 0, 0, 24, 0, 0, 0, 0, 64, 0, 0, 0];
        packet.extend(INNER[from]);
        packet.extend(INNER[1 - from]);
        packet.extend(self.number.to_be_bytes());
        self.send_packet(from, packet);
    }

    fn send_packet(&mut self, from: usize, packet: Vec<u8>) {
        let host = &mut self.hosts[from];
        let peer = host.engine.peer_for(INNER[1 - from].into()).expect("each knows the other");
        let fill = |room: &mut [u8]| room.copy_from_slice(&packet);
        let _ = host.engine.send(self.now, &peer, packet.len(), fill, &mut host.outbox);
        *self.sent.entry((from, packet)).or_default() += 1;
        self.collect(from);
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        for me in 0..2 {
            let host = &mut self.hosts[me];
            if host.engine.poll_timeout().is_some_and(|due| due <= self.now) {
                host.engine.handle_timeout(self.now, &mut host.outbox);
            }
            self.collect(me);
        }
    }

    fn deliver_all(&mut self) {
        // Hosts answer each other: some rounds are enough, for no answer begets more than one.
        for _ in 0..1000 {
            if self.travelling.is_empty() {
                return;
            }
            self.deliver_next();
        }
    }

    fn deliver_next(&mut self) {
        let Some((to, datagram)) = self.travelling.pop_front() else { return };
        let source = self.hosts[1 - to].address;
        let host = &mut self.hosts[to];
        host.inbox.clear();
        if host.inbox.push(source, &datagram) {
            let mut came = Vec::new();
            host.engine.open(self.now, &mut host.inbox, &mut host.outbox, |_, packet| came.push(packet.to_vec()));
            for packet in came {
                self.check(1 - to, &packet);
            }
        }
        self.collect(to);
    }

    /// What arrives was sent, whole, from the sender's own address, and arrives no more often than it was sent.
    fn check(&mut self, from: usize, packet: &[u8]) {
        self.delivered += 1;
        assert_eq!(packet.get(12..16), Some(&INNER[from][..]), "from another's address");
        let sent = self.sent.iter_mut().find(|((who, sent), left)| {
            **left > 0 && *who == from && sent.len() >= packet.len() && sent[..packet.len()] == *packet
        });
        let (_, left) = sent.expect("nobody sent this, or not so often");
        *left -= 1;
    }

    fn collect(&mut self, from: usize) {
        let host = &mut self.hosts[from];
        host.engine.seal(self.now, &mut host.outbox);
        for run in host.outbox.runs() {
            for datagram in run.datagrams() {
                // A script that makes more traffic than it delivers finds a full network.
                if self.travelling.len() < 256 {
                    self.travelling.push_back((1 - from, datagram.to_vec()));
                }
            }
        }
        host.outbox.clear();
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
