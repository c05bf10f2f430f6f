//! Two engines, each used by two threads at once as a plane uses it, while a fast clock keeps renewing their sessions.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant, SystemTime},
};

use dataplane::{
    buffer::{Inbox, Outbox},
    engine::{Counters, Engine},
    time::Time,
};
use wg::{AllowedIpChange, PeerUpdate, PrivateKey, Update};

/// Seconds that pass in one: sessions are renewed more than once a second, and many batches lie between.
const HASTE: u32 = 150;
const SESSIONS: usize = 6;
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];

fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).unwrap();
}

fn address(host: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, [1, 2][host]))
}

/// What both threads of a host share.
struct Host {
    number: usize,
    engine: Engine,
    started: Instant,
    /// The other end's receiving thread.
    wire: SyncSender<(Vec<u8>, usize)>,
    handshakes: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Host {
    fn now(&self) -> Time {
        Time::from_nanos(1_000_000_000_000) + self.started.elapsed() * HASTE
    }

    fn transmit(&self, outbox: &mut Outbox) {
        self.engine.seal(self.now(), outbox);
        for run in outbox.runs() {
            self.handshakes
                .fetch_add(usize::from(run.data()[0] == 1), Ordering::Relaxed);
            // The other end may have stopped already; and a full wire loses, as a socket's buffer does.
            let _lost = self.wire.try_send((run.data().to_vec(), run.segment));
        }
        outbox.clear();
    }

    fn send(&self) {
        let (mut outbox, mut sent) = (Outbox::new(), 0_u64);
        while !self.stop.load(Ordering::Relaxed) {
            let peer = self.engine.peer_for(INNER[1 - self.number].into()).unwrap();
            for _ in 0..32 {
                let fill = |packet: &mut [u8]| {
                    packet.fill(0);
                    (packet[0], packet[3]) = (0x45, 28);
                    packet[12..16].copy_from_slice(&INNER[self.number].octets());
                    packet[20..].copy_from_slice(&sent.to_be_bytes());
                };
                let _sent = self.engine.send(self.now(), &peer, 28, fill, &mut outbox);
                sent += 1;
            }
            self.engine.handle_timeout(self.now(), &mut outbox);
            self.transmit(&mut outbox);
            std::thread::yield_now();
        }
    }

    /// Returns how many packets were received.
    fn receive(&self, wire: &Receiver<(Vec<u8>, usize)>) -> usize {
        let (mut inbox, mut outbox, mut seen) = (Inbox::new(1), Outbox::new(), HashSet::new());
        while !self.stop.load(Ordering::Relaxed) {
            let Ok((data, segment)) = wire.recv_timeout(Duration::from_millis(10)) else {
                continue;
            };
            inbox.clear();
            inbox.push(address(1 - self.number), &data);
            inbox.filled_mut()[0].segment = segment;
            self.engine.open(self.now(), &mut inbox, &mut outbox, |_, packet| {
                assert!(
                    seen.insert(u64::from_be_bytes(packet[20..].try_into().unwrap())),
                    "a packet came twice"
                );
            });
            self.transmit(&mut outbox);
        }
        seen.len()
    }
}

fn hosts(wires: [SyncSender<(Vec<u8>, usize)>; 2]) -> [Host; 2] {
    let keys = [1, 2].map(|byte| PrivateKey::from_random([byte; 32]));
    let (started, handshakes, stop) = (Instant::now(), Arc::default(), Arc::default());
    let mut hosts = wires.into_iter().enumerate().map(|(number, wire)| {
        let (now, mut outbox) = (Time::from_nanos(1_000_000_000_000), Outbox::new());
        let engine = Engine::new(now, SystemTime::now(), random);
        let peer = PeerUpdate {
            endpoint: Some(address(1 - number)),
            allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(INNER[1 - number]).into())],
            ..PeerUpdate::new(keys[1 - number].public_key())
        };
        let update = Update {
            private_key: Some(keys[number].clone()),
            peers: vec![peer],
            ..Update::default()
        };
        engine.apply(now, &update, &mut outbox);
        Host {
            number,
            engine,
            started,
            wire,
            handshakes: Arc::clone(&handshakes),
            stop: Arc::clone(&stop),
        }
    });
    [hosts.next().unwrap(), hosts.next().unwrap()]
}

#[test]
fn threads_share_an_engine_while_sessions_come_and_go() {
    let ((to_bob, bobs_wire), (to_alice, alices_wire)) = (sync_channel(256), sync_channel(256));
    let hosts = hosts([to_bob, to_alice]);
    let received = std::thread::scope(|scope| {
        let receivers = [(&hosts[0], alices_wire), (&hosts[1], bobs_wire)].map(|(host, wire)| {
            scope.spawn(move || host.send());
            scope.spawn(move || host.receive(&wire))
        });
        let began = Instant::now();
        while hosts[0].handshakes.load(Ordering::Relaxed) < SESSIONS && began.elapsed() < Duration::from_secs(60) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        hosts[0].stop.store(true, Ordering::Relaxed);
        receivers.map(|receiver| receiver.join().unwrap())
    });
    assert!(
        hosts[0].handshakes.load(Ordering::Relaxed) >= SESSIONS,
        "sessions are renewed"
    );
    for (host, received) in hosts.iter().zip(received) {
        assert!(received > 1000, "{received} packets arrived");
        // The wire loses, and a slow machine makes sessions expire; but nothing is ever broken.
        let counters = host.engine.counters();
        let blameless = Counters {
            unknown_index: counters.unknown_index,
            expired_session: counters.expired_session,
            unsent_packets: counters.unsent_packets,
            forged_handshakes: counters.forged_handshakes,
            flooded_handshakes: counters.flooded_handshakes,
            ..Counters::default()
        };
        assert_eq!(counters, blameless);
    }
}
