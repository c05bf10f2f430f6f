//! Handshakes, data, renewal, roaming.

use std::{net::SocketAddr, time::Duration};

use super::network::{Host, Network};
use crate::{
    engine::Counters,
    message::{DATA, INITIATION, RESPONSE},
    peer::MAX_STAGED_PACKETS,
};

#[test]
fn packets_flow_both_ways_after_the_first_asked_for_a_handshake() {
    let mut network = Network::pair();
    network.send(0, "10.0.0.2", b"hello");
    network.send(0, "10.0.0.2", b"again");
    network.run_secs(1);
    assert_eq!(network.hosts[1].payloads(), [b"hello", b"again"]);
    network.send(1, "10.0.0.1", b"answer");
    network.run_secs(1);
    assert_eq!(network.hosts[0].payloads(), [b"answer"]);
    let start = Network::START;
    assert_eq!(network.sent_by(0, INITIATION, start).len(), 1);
    assert_eq!(network.sent_by(0, DATA, start).len(), 2);
    network.run_secs(30);
    assert_eq!(network.sent_by(0, DATA, start).len(), 3, "two packets and a keepalive");
    let passed: Vec<_> = network.hosts.iter().map(|host| host.engine.traffic()).collect();
    assert_eq!((passed[0].sent, passed[0].received), (2, 1));
    assert_eq!((passed[1].sent, passed[1].received), (1, 2));
    assert!(network.hosts.iter().all(|host| host.counters() == Counters::default()));
}

#[test]
fn a_clean_network_loses_nothing_while_sessions_are_renewed() {
    let mut network = Network::pair();
    network.send(0, "10.0.0.2", b"first");
    network.run_secs(1);
    for i in 0_u32..4000 {
        network.send(0, "10.0.0.2", &i.to_be_bytes());
        network.send(1, "10.0.0.1", &i.to_be_bytes());
        network.run(Duration::from_millis(100));
    }
    network.run_secs(1);
    let expected: Vec<_> = (0_u32..4000).map(|i| i.to_be_bytes().to_vec()).collect();
    assert_eq!(network.hosts[1].payloads()[1..], expected);
    assert_eq!(network.hosts[0].payloads(), expected);
    let started = network.sent_by(0, INITIATION, Network::START);
    let started: Vec<_> = started
        .iter()
        .map(|seen| seen.at.since(Network::START).as_secs())
        .collect();
    assert_eq!(started, [0, 120, 240, 360], "the initiator renews every two minutes");
    assert_eq!(
        network.sent_by(1, INITIATION, Network::START).len(),
        0,
        "and nobody else"
    );
    assert!(network.hosts.iter().all(|host| host.counters() == Counters::default()));
}

#[test]
fn a_peer_that_begins_alone_is_told_that_the_session_stands() {
    let mut network = Network::pair();
    let now = network.now;
    let (alice, bob) = network.hosts.split_at_mut(1);
    let peer = alice[0].peer(&bob[0]);
    let mut state = peer.lock();
    alice[0]
        .engine
        .send_keepalive(now, &peer, &mut state, &mut alice[0].outbox);
    drop(state);
    network.run_secs(1);
    // Bob may only send once he has heard a packet of the new session.
    network.send(1, "10.0.0.1", b"from the responder");
    network.run_secs(1);
    assert_eq!(network.hosts[0].payloads(), [b"from the responder"]);
    assert_eq!(network.sent_by(1, INITIATION, Network::START).len(), 0);
}

#[test]
fn two_peers_that_begin_at_once_both_get_through_at_once() {
    let mut network = Network::pair();
    network.introduce(1, 0, true, None);
    let now = network.now;
    let _staged = network.hosts[0].send(now, "10.0.0.2", b"from Alice");
    let _staged = network.hosts[1].send(now, "10.0.0.1", b"from Bob");
    network.run(Duration::from_millis(100));
    assert_eq!(network.hosts[0].payloads(), [b"from Bob"]);
    assert_eq!(network.hosts[1].payloads(), [b"from Alice"]);
    for i in 0..3000_u32 {
        network.send(0, "10.0.0.2", &i.to_be_bytes());
        network.send(1, "10.0.0.1", &i.to_be_bytes());
        network.run(Duration::from_millis(100));
    }
    assert_eq!(
        [network.hosts[0].payloads().len(), network.hosts[1].payloads().len()],
        [3000, 3000]
    );
}

#[test]
fn a_peer_that_was_restarted_is_found_again() {
    for restarted in [0, 1] {
        let mut network = Network::pair();
        network.send(0, "10.0.0.2", b"before");
        network.run_secs(1);
        network.send(1, "10.0.0.1", b"before");
        network.run_secs(10);
        let old = &network.hosts[restarted];
        let new = Host::with_key(network.now, old.key.clone(), &old.address.to_string(), old.inner);
        network.hosts[restarted] = new;
        network.introduce(restarted, 1 - restarted, restarted == 0, None);
        let since = network.now;
        for _ in 0..200 {
            network.send(0, "10.0.0.2", b"after");
            network.run(Duration::from_millis(100));
        }
        let arrived = network.hosts[1].payloads().len();
        // The one who was restarted begins at once; the other notices after 15 seconds of silence.
        let expected = if restarted == 0 { 200 } else { 40 };
        assert!(
            arrived >= expected,
            "{arrived} packets arrived after host {restarted} was restarted"
        );
        assert!(network.sent_by(0, INITIATION, since).len() <= 3);
    }
}

#[test]
fn packets_that_wait_for_a_handshake_are_the_newest() {
    let mut network = Network::pair();
    let bob = network.hosts[1].address;
    network.down.push(bob);
    for i in 0_u32..200 {
        network.send(0, "10.0.0.2", &i.to_be_bytes());
    }
    network.run_secs(3);
    network.down.clear();
    network.run_secs(5);
    let payloads = network.hosts[1].payloads();
    assert_eq!(payloads.len(), MAX_STAGED_PACKETS);
    assert_eq!(
        payloads[0],
        (200 - u32::try_from(MAX_STAGED_PACKETS).unwrap()).to_be_bytes()
    );
    assert_eq!(
        network.hosts[0].counters().unsent_packets,
        200 - MAX_STAGED_PACKETS as u64
    );
}

#[test]
fn a_peer_is_followed_where_authentic_messages_come_from() {
    let mut network = Network::pair();
    network.send(0, "10.0.0.2", b"hello");
    network.run_secs(1);
    let elsewhere: SocketAddr = "198.51.100.9:9".parse().unwrap();
    network.hosts[0].address = elsewhere;
    network.send(0, "10.0.0.2", b"moved");
    network.run_secs(1);
    let alice = network.hosts[1].peer(&network.hosts[0]);
    assert_eq!(alice.endpoint(), Some(elsewhere));
    network.send(1, "10.0.0.1", b"found");
    network.run_secs(1);
    assert_eq!(network.hosts[0].payloads(), [b"found"]);

    // What was heard before, or is not authentic, moves nobody.
    let eve: SocketAddr = "203.0.113.66:6".parse().unwrap();
    let bob = network.hosts[1].address;
    for seen in network.seen.clone().iter().filter(|seen| seen.destination == bob) {
        network.put(eve, bob, seen.datagram.clone());
        let mut forged = seen.datagram.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        network.put(eve, bob, forged);
    }
    network.run_secs(1);
    assert_eq!(alice.endpoint(), Some(elsewhere));
    assert!(network.hosts[1].counters().replayed_data > 0 && network.hosts[1].counters().forged_data > 0);
}

#[test]
fn old_messages_still_open_while_a_session_is_renewed() {
    let mut network = Network::pair();
    network.send(0, "10.0.0.2", b"hello");
    network.run_secs(121);
    // Sealed with the old session, on the way while the handshake overtakes it.
    let now = network.now;
    let _laid = network.hosts[0].send(now, "10.0.0.2", b"slow");
    let slow = network.hosts[0].take_outbox(now);
    assert_eq!(
        slow.iter().map(|(_, datagram)| datagram[0]).collect::<Vec<_>>(),
        [DATA, INITIATION]
    );
    let (alice, bob) = (network.hosts[0].address, network.hosts[1].address);
    network.put(alice, bob, slow[1].1.clone());
    network.run_secs(1);
    network.send(0, "10.0.0.2", b"new session");
    network.run_secs(1);
    network.put(alice, bob, slow[0].1.clone());
    network.run_secs(1);
    assert_eq!(network.hosts[1].payloads(), [&b"hello"[..], b"new session", b"slow"]);
    assert_eq!(network.sent_by(1, RESPONSE, Network::START).len(), 2);
}
