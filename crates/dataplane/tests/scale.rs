//! Many peers: what each costs in memory, and that all of them are served.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]
#![allow(unsafe_code, reason = "the allocator is asked how much it gave")]
#![cfg(target_env = "gnu")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use dataplane::{
    buffer::{Inbox, Outbox},
    engine::{Engine, Sent},
    time::Time,
};
use wg::{AllowedIpChange, PeerUpdate, PrivateKey, PublicKey, Update};

const PEERS: u32 = 1000;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const START: Time = Time::from_nanos(1_000_000_000_000);

fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).unwrap();
}

fn private_key() -> PrivateKey {
    let mut bytes = [0; 32];
    random(&mut bytes);
    PrivateKey::from_random(bytes)
}

fn inner(i: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0A01_0000 + i)
}

fn address(i: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0xC612_0000 + i), 1))
}

fn update(key: PublicKey, inner: Ipv4Addr, endpoint: Option<SocketAddr>) -> PeerUpdate {
    PeerUpdate {
        endpoint,
        allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(inner).into())],
        ..PeerUpdate::new(key)
    }
}

/// Bytes that are allocated, those of libraries in C included.
fn allocated() -> usize {
    // SAFETY: it takes nothing and returns numbers.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

fn packet(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0; 20];
    (packet[0], packet[3]) = (0x45, 20);
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    packet
}

fn send(engine: &Engine, now: Time, source: Ipv4Addr, destination: Ipv4Addr, outbox: &mut Outbox) -> Sent {
    let (packet, peer) = (
        packet(source, destination),
        engine.peer_for(destination.into()).unwrap(),
    );
    engine.send(now, &peer, packet.len(), |room| room.copy_from_slice(&packet), outbox)
}

/// Carries datagrams to and fro until both ends are silent; returns the packets that arrived at the gateway.
fn talk(now: Time, gateway: &Engine, client: &Engine, from: SocketAddr, outbox: &mut Outbox) -> usize {
    let (mut inbox, mut arrived) = (Inbox::new(4), 0);
    let mut ends = [(client, from), (gateway, "192.0.2.1:51820".parse().unwrap())];
    ends[0].0.seal(now, outbox);
    while !outbox.is_empty() {
        inbox.clear();
        for run in outbox.runs() {
            assert!(inbox.push(ends[0].1, run.data()));
            inbox.filled_mut().last_mut().unwrap().segment = run.segment;
        }
        outbox.clear();
        ends.swap(0, 1);
        ends[0].0.open(now, &mut inbox, outbox, |_, _| arrived += 1);
        ends[0].0.seal(now, outbox);
    }
    arrived
}

#[test]
fn a_peer_with_two_sessions_costs_less_than_four_kilobytes() {
    let key = private_key();
    let (gateway, mut outbox) = (Engine::new(START, SystemTime::now(), random), Outbox::new());
    gateway.apply(
        START,
        &Update {
            private_key: Some(key.clone()),
            ..Update::default()
        },
        &mut outbox,
    );
    let clients: Vec<_> = (0..PEERS).map(|_| private_key()).collect();
    let before = allocated();
    let peers = clients
        .iter()
        .zip(0..)
        .map(|(client, i)| update(client.public_key(), inner(i), None))
        .collect();
    gateway.apply(
        START,
        &Update {
            peers,
            ..Update::default()
        },
        &mut outbox,
    );
    let configured = allocated();
    for (client, i) in clients.iter().zip(0..) {
        // Each comes, talks, and renews its session.
        let engine = Engine::new(START, SystemTime::now(), random);
        let own = GATEWAY;
        let peers = vec![update(key.public_key(), own, Some("192.0.2.1:51820".parse().unwrap()))];
        engine.apply(
            START,
            &Update {
                private_key: Some(client.clone()),
                peers,
                ..Update::default()
            },
            &mut outbox,
        );
        for secs in [0, 121, 122] {
            // One after the other: all at once would be a flood.
            let now = START + Duration::from_secs(secs + 130 * u64::from(i));
            assert!(matches!(
                send(&engine, now, inner(i), own, &mut outbox),
                Sent::Laid | Sent::Staged
            ));
            assert_eq!(talk(now, &gateway, &engine, address(i), &mut outbox), 1);
        }
    }
    let each = |after: usize| after.saturating_sub(before) / PEERS as usize;
    let (configured, talking) = (each(configured), each(allocated()));
    println!("{configured} bytes for a configured peer, {talking} for one with two sessions");
    assert!(talking < 4096, "{talking} bytes a peer");

    let status = gateway.status();
    assert!(
        status
            .peers
            .values()
            .all(|peer| peer.latest_handshake.is_some() && peer.rx_bytes > 0)
    );
    // All alarms are rung in time, some peers a call.
    let end = START + Duration::from_secs(130 * u64::from(PEERS));
    let (mut now, mut first) = (end, 0);
    while let Some(due) = gateway.poll_timeout() {
        first += u32::from(due <= end);
        now = now.max(due);
        outbox.clear();
        gateway.handle_timeout(now, &mut outbox);
        gateway.seal(now, &mut outbox);
        assert!(outbox.runs().len() <= 64, "no call holds up packets");
    }
    assert!(first < PEERS / 10, "{first} calls woke {PEERS} peers");
    assert!(now < end + Duration::from_secs(1000), "all keys are wiped");
}
