//! Floods of handshakes.

use std::{net::SocketAddr, time::Duration};

use super::network::{Host, Network};
use crate::{
    message::{COOKIE_REPLY, INITIATION, RESPONSE},
    time::Time,
};

/// Brings a host under load with a message that was captured, from many sources, none of which gets an answer that is
/// larger than its question.
fn flood(host: &mut Host, now: Time, initiation: &[u8]) {
    for i in 0..1000_u32 {
        host.open(
            now,
            SocketAddr::from((std::net::Ipv4Addr::from_bits(0xC633_6400 + i), 7)),
            initiation,
        );
    }
    let sent: usize = host.take_outbox(now).iter().map(|(_, datagram)| datagram.len()).sum();
    assert!(sent < 1000 * initiation.len());
}

fn initiation(network: &mut Network) -> Vec<u8> {
    let now = network.now;
    let _staged = network.hosts[0].send(now, "10.0.0.2", b"hello");
    network.hosts[0].take_outbox(now).remove(0).1
}

#[test]
fn under_load_a_cookie_is_asked_for_and_the_next_attempt_has_it() {
    let mut network = Network::pair();
    let first = initiation(&mut network);
    let now = network.now;
    flood(&mut network.hosts[1], now, &first);
    assert!(network.hosts[1].counters().cookies_sent > 0);
    let (alice, bob) = (network.hosts[0].address, network.hosts[1].address);
    network.put(alice, bob, first.clone());
    network.run_secs(1);
    assert_eq!(network.sent_by(1, COOKIE_REPLY, now).len(), 1);
    assert_eq!(network.sent_by(1, RESPONSE, now).len(), 0, "no work is done");

    network.run_until(now + Duration::from_millis(4990));
    let now = network.now;
    flood(&mut network.hosts[1], now, &first);
    network.run_secs(1);
    assert_eq!(network.hosts[1].payloads(), [b"hello"], "the cookie opened the door");
    assert!(network.hosts[0].counters().forged_cookies == 0 && network.hosts[1].counters().rate_limited == 0);
}

#[test]
fn one_source_with_a_cookie_is_held_to_twenty_handshakes_a_second() {
    let mut network = Network::pair();
    let first = initiation(&mut network);
    let now = network.now;
    flood(&mut network.hosts[1], now, &first);
    let (alice, bob) = (network.hosts[0].address, network.hosts[1].address);
    network.put(alice, bob, first.clone());
    // Alice's second attempt has the cookie; Eve repeats it from Alice's address.
    network.run_until(now + Duration::from_millis(4990));
    let since = network.now;
    let second = loop {
        network.run(Duration::from_millis(1));
        if let Some(seen) = network.sent_by(0, INITIATION, since).last() {
            break seen.datagram.clone();
        }
    };
    let now = network.now;
    flood(&mut network.hosts[1], now, &first);
    let before = network.hosts[1].counters();
    for _ in 0..1000 {
        network.hosts[1].open(now, alice, &second);
    }
    let after = network.hosts[1].counters();
    assert_eq!(after.rate_limited - before.rate_limited, 995);
    assert_eq!(after.replayed_handshakes - before.replayed_handshakes, 4);
}

#[test]
fn load_ends_by_itself_with_no_peers_at_all() {
    let mut network = Network::pair();
    let first = initiation(&mut network);
    let key = network.hosts[1].key.clone();
    let mut lonely = Host::with_key(network.now, key, "192.0.2.2:2222", "10.0.0.2");
    let now = network.now;
    flood(&mut lonely, now, &first);
    let asked = lonely.counters().cookies_sent;
    assert!(asked > 0);
    lonely.open(now + Duration::from_secs(3), network.hosts[0].address, &first);
    let counters = lonely.counters();
    assert_eq!(
        (counters.cookies_sent, counters.rate_limited),
        (asked, 0),
        "the message was looked at"
    );
}

#[test]
fn messages_for_another_host_cost_only_a_hash() {
    let mut network = Network::pair();
    let mut first = initiation(&mut network);
    first[120] ^= 1;
    let now = network.now;
    for _ in 0..5000 {
        network.hosts[1].open(now, "198.51.100.1:1".parse().unwrap(), &first);
    }
    let counters = network.hosts[1].counters();
    assert_eq!(
        (counters.wrong_mac1, counters.cookies_sent),
        (5000, 0),
        "they are no load either"
    );
    assert!(network.hosts[1].take_outbox(now).is_empty());
}

#[test]
fn a_peer_may_begin_fifty_handshakes_a_second() {
    let mut network = Network::pair();
    let (mut accepted, start) = (0, network.now);
    for i in 0..100_u64 {
        // Each from a fresh Alice, whose clock is right.
        let now = start + Duration::from_millis(10 * i);
        let old = &network.hosts[0];
        let alice = Host::with_key(now, old.key.clone(), &old.address.to_string(), old.inner);
        network.hosts[0] = alice;
        network.now = now;
        network.introduce(0, 1, true, None);
        let message = initiation(&mut network);
        let source = network.hosts[0].address;
        network.hosts[1].open(now, source, &message);
        accepted += network.hosts[1].take_outbox(now).len();
    }
    let counters = network.hosts[1].counters();
    assert!((40..=50).contains(&accepted), "{accepted} were answered");
    assert_eq!(
        counters.flooded_handshakes + counters.replayed_handshakes,
        100 - accepted as u64
    );
}

#[test]
fn a_repeated_initiation_is_not_answered() {
    let mut network = Network::pair();
    let first = initiation(&mut network);
    let (now, alice) = (network.now, network.hosts[0].address);
    for (secs, answered) in [(0, 1), (1, 0), (200, 0), (1000, 0)] {
        let now = now + Duration::from_secs(secs);
        network.hosts[1].open(now, alice, &first);
        let responses = network.hosts[1]
            .take_outbox(now)
            .iter()
            .filter(|(_, d)| d[0] == RESPONSE)
            .count();
        assert_eq!(responses, answered, "after {secs} s");
        let bob = &mut network.hosts[1];
        bob.engine.handle_timeout(now, &mut bob.outbox);
    }
    assert_eq!(network.hosts[1].counters().replayed_handshakes, 3);
}
