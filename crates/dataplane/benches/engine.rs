//! What one core does: handshakes, sealing, opening, routing. `cargo bench -p dataplane --bench engine`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant, SystemTime},
};

use dataplane::{
    buffer::{Inbox, MAX_SEGMENTS, Outbox},
    engine::Engine,
    time::Time,
};
use wg::{AllowedIpChange, PeerUpdate, PrivateKey, Update};

/// How long each row is measured; the best of its rounds counts, since other work can only slow it down.
const ROUNDS: usize = 200;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let rounds = if std::env::args().any(|argument| argument == "--bench") {
        ROUNDS
    } else {
        2
    };
    println!("{:<34}{:>12}{:>12}", "", "ns", "Gbit/s");
    for len in [64, 256, 1420, 9000] {
        data(len, rounds);
    }
    handshake(rounds);
    for peers in [1, 200, 10_000] {
        route(peers, rounds);
    }
}

fn row(name: &str, each: Duration, bits: usize) {
    let nanos = each.as_secs_f64() * 1e9;
    let rate = if bits == 0 {
        String::new()
    } else {
        format!("{:.2}", bits as f64 / nanos)
    };
    println!("{name:<34}{nanos:>12.0}{rate:>12}");
}

fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the kernel has random bytes");
}

fn private_key() -> PrivateKey {
    let mut bytes = [0; 32];
    random(&mut bytes);
    PrivateKey::from_random(bytes)
}

struct End {
    engine: Engine,
    key: PrivateKey,
    address: SocketAddr,
    inbox: Inbox,
    outbox: Outbox,
}

const ALICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const BOB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

impl End {
    fn new(now: Time, port: u16) -> Self {
        let (engine, key) = (Engine::new(now, SystemTime::now(), random), private_key());
        engine.set_mtu(9000);
        let (inbox, mut outbox) = (Inbox::new(4), Outbox::new());
        engine.apply(
            now,
            &Update {
                private_key: Some(key.clone()),
                ..Update::default()
            },
            &mut outbox,
        );
        Self {
            engine,
            key,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            inbox,
            outbox,
        }
    }

    fn meet(&mut self, now: Time, other: &Self, inner: Ipv4Addr) {
        let net = IpAddr::from(inner).into();
        let peer = PeerUpdate {
            endpoint: Some(other.address),
            allowed_ips: vec![AllowedIpChange::Add(net)],
            ..PeerUpdate::new(other.key.public_key())
        };
        self.engine.apply(
            now,
            &Update {
                peers: vec![peer],
                ..Update::default()
            },
            &mut self.outbox,
        );
    }

    /// Carries what this end wants sent to the other, and returns how long that took to open.
    fn deliver(&mut self, now: Time, other: &mut Self) -> Duration {
        other.inbox.clear();
        for run in self.outbox.runs() {
            assert!(other.inbox.push(self.address, run.data()));
            let last = other.inbox.filled_mut().last_mut().expect("something was pushed");
            last.segment = run.segment;
        }
        let start = Instant::now();
        other
            .engine
            .open(now, &mut other.inbox, &mut other.outbox, |_, packet| {
                black_box(packet);
            });
        let took = start.elapsed();
        self.outbox.clear();
        took
    }
}

fn pair(now: Time) -> (End, End) {
    let (mut alice, mut bob) = (End::new(now, 1), End::new(now, 2));
    alice.meet(now, &bob, BOB);
    bob.meet(now, &alice, ALICE);
    (alice, bob)
}

/// An IPv4 packet of `len` bytes from Alice to Bob.
fn packet(len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(len).expect("packets are short").to_be_bytes());
    packet[12..16].copy_from_slice(&ALICE.octets());
    packet[16..20].copy_from_slice(&BOB.octets());
    packet
}

/// Time to shake hands, both ends: the initiation, the response, and the first packet.
fn shake_hands(now: Time, alice: &mut End, bob: &mut End) -> [Duration; 3] {
    let packet = packet(64);
    let peer = alice.engine.peer_for(BOB.into()).expect("Alice knows Bob");
    let start = Instant::now();
    let _staged = alice.engine.send(
        now,
        &peer,
        packet.len(),
        |room| room.copy_from_slice(&packet),
        &mut alice.outbox,
    );
    let initiated = start.elapsed();
    let responded = alice.deliver(now, bob);
    let finished = bob.deliver(now, alice);
    alice.engine.seal(now, &mut alice.outbox);
    alice.deliver(now, bob);
    [initiated, responded, finished]
}

fn data(len: usize, rounds: usize) {
    let now = Time::now();
    let (mut alice, mut bob) = pair(now);
    shake_hands(now, &mut alice, &mut bob);
    let packet = packet(len);
    let peer = alice.engine.peer_for(BOB.into()).expect("Alice knows Bob");
    let count = MAX_SEGMENTS.min(60_000 / (len + 32));
    let mut best = [Duration::MAX; 3];
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..count {
            let _laid = alice
                .engine
                .send(now, &peer, len, |room| room.copy_from_slice(&packet), &mut alice.outbox);
        }
        let laid = start.elapsed();
        let start = Instant::now();
        alice.engine.seal(now, &mut alice.outbox);
        let sealed = start.elapsed();
        let opened = alice.deliver(now, &mut bob);
        best = [best[0].min(laid), best[1].min(sealed), best[2].min(opened)];
    }
    assert_eq!(bob.engine.counters(), dataplane::engine::Counters::default());
    for (name, best) in ["send (copies)", "seal", "open"].into_iter().zip(best) {
        row(
            &format!("{name}, {len} bytes, batches of {count}"),
            best / u32::try_from(count).expect("few"),
            8 * len,
        );
    }
}

fn handshake(rounds: usize) {
    let mut best = [Duration::MAX; 3];
    for _ in 0..rounds {
        let now = Time::now();
        let (mut alice, mut bob) = pair(now);
        let took = shake_hands(now, &mut alice, &mut bob);
        best = [best[0].min(took[0]), best[1].min(took[1]), best[2].min(took[2])];
    }
    for (name, best) in ["initiate", "respond", "finish"].into_iter().zip(best) {
        row(&format!("handshake, {name}"), best, 0);
    }
}

fn route(peers: u32, rounds: usize) {
    let now = Time::now();
    let mut end = End::new(now, 1);
    let address = |i: u32| Ipv4Addr::from_bits(0x0A00_0000 + i);
    let start = Instant::now();
    let update = |i| PeerUpdate {
        allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(address(i)).into())],
        ..PeerUpdate::new(private_key().public_key())
    };
    let update = Update {
        peers: (0..peers).map(update).collect(),
        ..Update::default()
    };
    let made = start.elapsed();
    let start = Instant::now();
    end.engine.apply(now, &update, &mut end.outbox);
    row(
        &format!("apply, {peers} peers (keys {made:.0?})"),
        start.elapsed() / peers,
        0,
    );
    let mut best = [Duration::MAX; 2];
    for _ in 0..rounds {
        let start = Instant::now();
        for i in 0..1000_u32 {
            black_box(end.engine.peer_for(address(i.wrapping_mul(7919) % peers).into()));
        }
        best[0] = best[0].min(start.elapsed());
        let start = Instant::now();
        let routes = end.engine.routes();
        for i in 0..1000_u32 {
            black_box(routes.peer_for(address(i.wrapping_mul(7919) % peers).into()));
        }
        best[1] = best[1].min(start.elapsed());
    }
    row(&format!("route, {peers} peers"), best[0] / 1000, 0);
    row(&format!("route in a batch, {peers} peers"), best[1] / 1000, 0);
}
