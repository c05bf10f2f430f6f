//! Calls to a gateway over a simulated network, in virtual time. The gateway's TCP is smoltcp's.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::UNIX_EPOCH,
};

use smoltcp::{
    iface::{self, Interface, SocketHandle, SocketSet},
    socket::tcp as smol,
    wire::{HardwareAddress, IpAddress, IpCidr},
};

use super::*;
use crate::wire::Wire;

const CALLER: &str = "198.51.100.1:1000";
const GATEWAY: &str = "192.0.2.1:51820";
const INNER_CALLER: &str = "198.19.0.0:40000";
const INNER_GATEWAY: &str = "198.19.0.1:51820";

fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).unwrap();
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn wall(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000) + Duration::from_millis(millis)
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_random([number; 32])
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A generator of numbers that are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    /// Whether it falls on one of `percent` sides of a hundred.
    fn falls(&mut self, percent: u64) -> bool {
        self.number() % 100 < percent
    }

    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn ends() -> Ends {
    Ends {
        private_key: key(1),
        public_key: key(2).public_key(),
        endpoint: address(GATEWAY),
        source: address(INNER_CALLER),
        server: address(INNER_GATEWAY),
    }
}

/// A gateway that answers one line with this.
struct Gateway {
    engine: Engine,
    inbox: Inbox,
    outbox: Outbox,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    heard: Vec<u8>,
    answer: Vec<u8>,
    said: usize,
    /// Whether it says the answer again and again.
    is_endless: bool,
}

impl Gateway {
    fn new(now: u64, own: u8, caller: u8, answer: &[u8]) -> Self {
        let engine = Engine::new(at(now), wall(now), random);
        let mut peer = PeerUpdate::new(key(caller).public_key());
        peer.allowed_ips = vec![AllowedIpChange::Add(IpNet::from(address(INNER_CALLER).ip()))];
        let update = Update {
            private_key: Some(key(own)),
            peers: vec![peer],
            ..Update::default()
        };
        engine.apply(at(now), &update, &mut Outbox::new());
        let mut wire = Wire::default();
        let config = iface::Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut wire, smol_time(now));
        let inner = address(INNER_GATEWAY);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(IpAddress::from(inner.ip()), 31)).unwrap());
        let buffer = || smol::SocketBuffer::new(vec![0; 64 * 1024]);
        let mut socket = smol::Socket::new(buffer(), buffer());
        socket.listen(inner.port()).unwrap();
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        Self {
            engine,
            inbox: Inbox::new(1),
            outbox: Outbox::new(),
            wire,
            interface,
            sockets,
            socket,
            heard: Vec::new(),
            answer: answer.to_owned(),
            said: 0,
            is_endless: false,
        }
    }

    fn close(&mut self) {
        self.sockets.get_mut::<smol::Socket<'_>>(self.socket).abort();
    }

    fn handle_datagram(&mut self, now: u64, datagram: &[u8]) {
        self.inbox.clear();
        self.inbox.push(address(CALLER), datagram);
        let incoming = &mut self.wire.incoming;
        self.engine
            .open(at(now), &mut self.inbox, &mut self.outbox, |_, packet| {
                incoming.push_back(packet.to_vec());
            });
    }

    fn turn(&mut self, now: u64, mut send: impl FnMut(&[u8])) {
        self.engine.handle_timeout(at(now), &mut self.outbox);
        self.interface.poll(smol_time(now), &mut self.wire, &mut self.sockets);
        let socket = self.sockets.get_mut::<smol::Socket<'_>>(self.socket);
        while socket.can_recv() {
            socket
                .recv(|bytes| (bytes.len(), self.heard.extend_from_slice(bytes)))
                .unwrap();
        }
        if self.heard.ends_with(b"\n") {
            while socket.can_send() && self.said < self.answer.len() {
                self.said += socket.send_slice(&self.answer[self.said..]).unwrap();
                if self.is_endless && self.said == self.answer.len() {
                    self.said = 0;
                }
            }
        }
        self.interface.poll(smol_time(now), &mut self.wire, &mut self.sockets);
        let peer = self.engine.peer_for(address(INNER_CALLER).ip());
        for packet in self.wire.outgoing.drain(..) {
            if let Some(peer) = &peer {
                let fill = |buffer: &mut [u8]| buffer.copy_from_slice(&packet);
                let _lost = self.engine.send(at(now), peer, packet.len(), fill, &mut self.outbox);
            }
        }
        self.engine.seal(at(now), &mut self.outbox);
        for run in self.outbox.runs() {
            run.datagrams().for_each(&mut send);
        }
        self.outbox.clear();
    }
}

fn smol_time(millis: u64) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_millis(i64::try_from(millis).unwrap())
}

/// What a network does to datagrams, in percent, and how long the way is, in milliseconds.
#[derive(Clone, Copy)]
struct Weather {
    lost: u64,
    doubled: u64,
    late: u64,
    delay: u64,
}

const FAIR: Weather = Weather {
    lost: 0,
    doubled: 0,
    late: 0,
    delay: 20,
};

/// The two ends and the network between them.
struct World {
    now: u64,
    call: Call,
    gateway: Gateway,
    weather: Weather,
    dice: Dice,
    /// Datagrams on their way, by when they come: to the gateway or to the caller.
    under_way: BTreeMap<(u64, u64), (bool, Vec<u8>)>,
    count: u64,
    unsaid: Vec<u8>,
    heard: Vec<u8>,
}

impl World {
    fn new(now: u64, gateway: Gateway, weather: Weather, seed: u64) -> Self {
        Self {
            now,
            call: Call::begin(at(now), wall(now), random, ends()).unwrap(),
            gateway,
            weather,
            dice: Dice(seed),
            under_way: BTreeMap::new(),
            count: 0,
            unsaid: b"{\"ask\":\"report\"}\n".to_vec(),
            heard: Vec::new(),
        }
    }

    /// Goes on for so many milliseconds, or until this is so; whether it is.
    fn run(&mut self, millis: u64, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + millis;
        while self.now < end {
            self.step();
            if is_so(self) {
                return true;
            }
            self.now += 1;
        }
        false
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= now) {
            let (is_to_gateway, datagram) = entry.remove();
            if is_to_gateway {
                self.gateway.handle_datagram(now, &datagram);
            } else {
                self.call.handle_datagram(at(now), address(GATEWAY), &datagram);
            }
        }
        if self.call.poll_timeout().is_some_and(|due| due <= at(now)) {
            self.call.handle_timeout(at(now));
        }
        let written = self.call.write(&self.unsaid);
        self.unsaid.drain(..written);
        self.call.read(at(now), |bytes| self.heard.extend_from_slice(bytes));
        let mut sent = Vec::new();
        self.call
            .poll_datagrams(at(now), |datagram| sent.push((true, datagram.to_vec())));
        self.gateway.turn(now, |datagram| sent.push((false, datagram.to_vec())));
        for (is_to_gateway, datagram) in sent {
            let copies = if self.dice.falls(self.weather.lost) {
                0
            } else {
                1 + u64::from(self.dice.falls(self.weather.doubled))
            };
            for _ in 0..copies {
                let late = if self.dice.falls(self.weather.late) {
                    self.dice.number() % 60
                } else {
                    0
                };
                self.count += 1;
                let due = now + self.weather.delay + late;
                self.under_way
                    .insert((due, self.count), (is_to_gateway, datagram.clone()));
            }
        }
    }
}

fn long_answer() -> Vec<u8> {
    let mut answer: Vec<u8> = (0..1_048_575_u32).map(|n| b'a' + n.to_le_bytes()[1] % 26).collect();
    answer.push(b'\n');
    answer
}

#[test]
fn a_question_is_answered_whatever_the_network_does() {
    let harsh = Weather {
        lost: 5,
        doubled: 5,
        late: 20,
        delay: 20,
    };
    // (weather, answer, seeds, milliseconds that it may take)
    let short = b"{\"answer\":\"ending\"}\n".to_vec();
    for (weather, answer, seeds, limit) in [
        (FAIR, &short, 1, 200),
        (FAIR, &long_answer(), 1, 5_000),
        (harsh, &short, 30, 60_000),
        (harsh, &long_answer(), 5, 120_000),
    ] {
        for seed in 1..=seeds {
            let mut world = World::new(0, Gateway::new(0, 2, 1, answer), weather, seed);
            let is_done = world.run(limit, |world| world.heard.len() >= answer.len());
            assert!(is_done, "seed {seed}: {:?} after {} ms", world.call, world.now);
            assert!(world.heard == *answer, "seed {seed}");
            assert_eq!(world.gateway.heard, b"{\"ask\":\"report\"}\n");
            world.call.hang_up();
            assert_eq!(world.call.progress(), Progress::Ended(End::Aborted));
        }
    }
}

#[test]
fn it_is_told_how_far_a_call_came() {
    // Another key at the gateway, as after a restart; a gateway that does not know the caller.
    for (own, caller) in [(3, 1), (2, 4)] {
        let mut world = World::new(0, Gateway::new(0, own, caller, b""), FAIR, 1);
        assert!(!world.run(30_000, |world| world.call.progress() != Progress::Calling));
    }
    // Nothing listens.
    let mut world = World::new(0, Gateway::new(0, 2, 1, b""), FAIR, 1);
    world.gateway.close();
    assert!(world.run(1_000, |world| world.call.progress() == Progress::Refused));
    // TCP goes nowhere.
    let mut world = World::new(0, Gateway::new(0, 2, 1, b""), FAIR, 1);
    world.gateway.interface.update_ip_addrs(|addresses| addresses.clear());
    assert!(world.run(1_000, |world| world.call.progress() == Progress::Reached));
    assert!(!world.run(20_000, |world| world.call.progress() != Progress::Reached));
}

#[test]
fn a_gateway_that_is_killed_and_comes_back_with_another_key_says_no_more() {
    let mut world = World::new(0, Gateway::new(0, 2, 1, &long_answer()), FAIR, 1);
    assert!(world.run(2_000, |world| world.heard.len() > 10_000));
    world.gateway = Gateway::new(world.now, 3, 1, &long_answer());
    world.run(500, |_| false);
    let heard = world.heard.len();
    assert!(!world.run(60_000, |world| world.heard.len() > heard));
    assert_ne!(world.call.progress(), Progress::Ended(End::Finished));
}

#[test]
fn a_later_call_takes_the_place_of_an_earlier_one() {
    let mut first = World::new(0, Gateway::new(0, 2, 1, b"1\n"), FAIR, 1);
    assert!(first.run(1_000, |world| world.heard == b"1\n"));
    first.call.hang_up();
    first.run(100, |_| false);
    let mut gateway = first.gateway;
    let socket = gateway.sockets.get_mut::<smol::Socket<'_>>(gateway.socket);
    socket.abort();
    socket.listen(address(INNER_GATEWAY).port()).unwrap();
    (gateway.heard, gateway.said, gateway.answer) = (Vec::new(), 0, b"2\n".to_vec());
    // An initiation that is older than the last one is nothing.
    let mut stale = World::new(first.now, gateway, FAIR, 1);
    stale.call = Call::begin(at(first.now), wall(0), random, ends()).unwrap();
    assert!(!stale.run(1_000, |world| world.call.progress() != Progress::Calling));
    let mut second = World::new(stale.now, stale.gateway, FAIR, 1);
    assert!(second.run(1_000, |world| world.heard == b"2\n"));
}

#[test]
fn what_a_hostile_gateway_sends_costs_little_and_does_no_harm() {
    // Datagrams of any kind, before and in a call.
    let mut world = World::new(0, Gateway::new(0, 2, 1, b"yes\n"), FAIR, 1);
    let mut dice = Dice(7);
    for round in 0..2_000 {
        let len = usize::try_from(dice.number() % 1_500).unwrap();
        let mut garbage: Vec<u8> = (0..len).map(|_| dice.number().to_le_bytes()[0]).collect();
        if let Some(first) = garbage.first_mut().filter(|_| round % 2 == 0) {
            *first = 1 + first.wrapping_rem(4);
        }
        world.call.handle_datagram(at(world.now), address(GATEWAY), &garbage);
    }
    assert!(world.run(1_000, |world| world.heard == b"yes\n"));
    // Packets of any kind through the tunnel that it owns.
    for round in 0..2_000_u64 {
        let len = usize::try_from(20 + dice.number() % 100).unwrap();
        let mut payload: Vec<u8> = (0..len).map(|_| dice.number().to_le_bytes()[0]).collect();
        payload[..2].copy_from_slice(&51_820_u16.to_be_bytes());
        payload[2..4].copy_from_slice(&40_000_u16.to_be_bytes());
        let (source, destination): (IpAddr, IpAddr) = (address(INNER_GATEWAY).ip(), address(INNER_CALLER).ip());
        if round % 3 != 0 {
            payload[16..18].fill(0);
            tcp::write_checksum(source, destination, &mut payload);
        }
        let header = Header::new(source, destination, ip::TCP);
        let mut packet = vec![0; header.len()];
        header.write(&mut packet, payload.len());
        packet.extend_from_slice(&payload);
        world.gateway.wire.outgoing.push_back(packet);
        if round % 50 == 0 {
            world.run(1, |_| false);
        }
    }
    world.run(1_000, |_| false);
    // An answer without end goes no further than it is read.
    let mut endless = Gateway::new(0, 2, 1, &[b'x'; 1_000]);
    endless.is_endless = true;
    let mut world = World::new(0, endless, FAIR, 1);
    assert!(world.run(5_000, |world| world.heard.len() > 1_000_000));
    world.call.hang_up();
    world.step();
    let heard = world.heard.len();
    world.run(1_000, |_| false);
    assert_eq!(world.heard.len(), heard);
}

#[test]
fn there_is_no_call_to_oneself() {
    let oneself = Ends {
        private_key: key(2),
        ..ends()
    };
    let other_family = Ends {
        server: address("[fd00::1]:1"),
        ..ends()
    };
    for ends in [oneself, other_family] {
        assert!(Call::begin(at(0), wall(0), random, ends).is_none());
    }
}
