//! Keys, peers and networks that change while packets flow.

use std::time::Duration;

use wg::{AllowedIpChange, PeerUpdate, PresharedKey, PrivateKey, Update};

use super::network::{Host, Network, packet, private_key};
use crate::{
    engine::Sent,
    message::{DATA, INITIATION},
};

fn met() -> Network {
    let mut network = Network::pair();
    network.send(0, "10.0.0.2", b"hello");
    network.run_secs(1);
    network.hosts[1].payloads();
    network.seen.clear();
    network
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut network = met();
    let status = network.hosts[0].engine.status();
    let (now, key) = (network.now, network.hosts[0].key.clone());
    network.hosts[0].apply(
        now,
        Update {
            private_key: Some(key),
            ..Update::default()
        },
    );
    network.introduce(0, 1, true, None);
    network.collect();
    assert_eq!(network.hosts[0].engine.status(), status);
    network.send(0, "10.0.0.2", b"same session");
    network.run_secs(1);
    assert_eq!(network.hosts[1].payloads(), [b"same session"]);
    assert_eq!(network.sent_by(0, INITIATION, Network::START).len(), 0);
}

#[test]
fn a_new_private_key_ends_sending_and_begins_a_handshake_at_once() {
    let mut network = met();
    let (now, new) = (network.now, private_key());
    network.hosts[0].key = new.clone();
    network.hosts[0].apply(
        now,
        Update {
            private_key: Some(new),
            ..Update::default()
        },
    );
    network.introduce(1, 0, false, None);
    network.send(0, "10.0.0.2", b"as another");
    network.run_secs(1);
    let received = network.hosts[1].received.pop_front().unwrap();
    assert_eq!(received.0, network.hosts[0].public_key());
    assert_eq!(network.sent_by(0, INITIATION, Network::START).len(), 1);
}

#[test]
fn without_a_private_key_nothing_is_said() {
    let mut network = met();
    let (now, none) = (network.now, PrivateKey::from_bytes([0; 32]));
    network.hosts[0].apply(
        now,
        Update {
            private_key: Some(none),
            ..Update::default()
        },
    );
    assert_eq!(network.hosts[0].engine.status().device.private_key, None);
    network.send(0, "10.0.0.2", b"who am I?");
    network.run_secs(200);
    assert_eq!(network.sent_by(0, INITIATION, Network::START).len(), 0);
    let initiation = { Network::pair() };
    drop(initiation);
    network.hosts[1].payloads();
    network.send(1, "10.0.0.1", b"and who are you?");
    network.run_secs(10);
    assert!(network.hosts[0].counters().no_identity > 0);
}

#[test]
fn ones_own_public_key_is_no_peer() {
    let now = Network::START;
    let mut host = Host::new(now, "192.0.2.1:1", "10.0.0.1");
    host.apply_peer(now, PeerUpdate::new(host.public_key()));
    assert!(host.engine.status().peers.is_empty(), "it is not added");
    let later = private_key();
    host.apply_peer(now, PeerUpdate::new(later.public_key()));
    assert_eq!(host.engine.status().peers.len(), 1);
    host.apply(
        now,
        Update {
            private_key: Some(later),
            ..Update::default()
        },
    );
    assert!(
        host.engine.status().peers.is_empty(),
        "and goes when the key becomes ours"
    );
}

#[test]
fn a_removed_peer_is_neither_heard_nor_spoken_to() {
    let mut network = met();
    let (now, bob) = (network.now, network.hosts[1].public_key());
    let held = network.hosts[0].peer(&network.hosts[1]);
    network.send(1, "10.0.0.1", b"on the way");
    network.hosts[0].apply_peer(
        now,
        PeerUpdate {
            remove: true,
            ..PeerUpdate::new(bob)
        },
    );
    network.run_secs(30);
    assert!(held.is_removed());
    assert_eq!(network.hosts[0].payloads().len(), 0);
    assert!(network.hosts[0].engine.peer_for("10.0.0.2".parse().unwrap()).is_none());
    let now = network.now;
    let host = &mut network.hosts[0];
    assert_eq!(
        host.engine
            .send(now, &held, 20, |room| room.fill(0x45), &mut host.outbox),
        Sent::Unreachable
    );
    assert_eq!(host.engine.index.len(), 0);
    assert_eq!(host.engine.poll_timeout(), None);

    network.introduce(0, 1, true, None);
    network.send(0, "10.0.0.2", b"back");
    network.run_secs(6);
    assert_eq!(network.hosts[1].payloads(), [b"back"]);
    assert_ne!(
        network.hosts[0].peer(&network.hosts[1]).id(),
        held.id(),
        "a number is given once"
    );
}

#[test]
fn replacing_peers_keeps_the_sessions_of_those_that_stay() {
    let mut hosts = vec![Host::new(Network::START, "192.0.2.1:1", "10.0.0.1")];
    hosts.push(Host::new(Network::START, "192.0.2.2:2", "10.0.0.2"));
    hosts.push(Host::new(Network::START, "192.0.2.3:3", "10.0.0.3"));
    let mut network = Network::new(hosts);
    network.send(0, "10.0.0.2", b"hello");
    network.send(0, "10.0.0.3", b"hello");
    network.run_secs(1);
    network.seen.clear();
    let stays = PeerUpdate::new(network.hosts[1].public_key());
    let now = network.now;
    network.hosts[0].apply(
        now,
        Update {
            replace_peers: true,
            peers: vec![stays],
            ..Update::default()
        },
    );
    network.send(0, "10.0.0.2", b"still here");
    network.run_secs(1);
    assert_eq!(network.hosts[1].payloads(), [&b"hello"[..], b"still here"]);
    assert_eq!(network.sent_by(0, INITIATION, Network::START).len(), 0);
    assert!(network.hosts[0].engine.peer_for("10.0.0.3".parse().unwrap()).is_none());
}

#[test]
fn preshared_keys_must_be_equal_and_count_from_the_next_handshake() {
    let mut network = Network::pair();
    // Alice's key, Bob's key, whether they meet.
    for (alice, bob, meet) in [
        (Some([1; 32]), Some([2; 32]), false),
        (Some([1; 32]), Some([1; 32]), true),
        (Some([0; 32]), Some([1; 32]), false),
        (Some([0; 32]), Some([0; 32]), true),
        (Some([3; 32]), Some([3; 32]), true),
    ] {
        network.introduce(0, 1, true, alice);
        network.introduce(1, 0, false, bob);
        // Old sessions are past their use by then.
        network.run_secs(600);
        network.hosts[1].payloads();
        network.send(0, "10.0.0.2", b"secret?");
        network.run_secs(1);
        assert_eq!(
            network.hosts[1].payloads().len(),
            usize::from(meet),
            "{alice:?} and {bob:?}"
        );
        network.run_secs(100);
    }
    let status = network.hosts[0].engine.status();
    let peer = &status.device.peers[&network.hosts[1].public_key()];
    assert_eq!(peer.preshared_key, Some(PresharedKey::from_bytes([3; 32])));
}

#[test]
fn a_preshared_key_may_change_while_a_session_lives() {
    let mut network = met();
    network.introduce(0, 1, true, Some([9; 32]));
    network.introduce(1, 0, false, Some([9; 32]));
    for i in 0_u32..200 {
        network.send(0, "10.0.0.2", &i.to_be_bytes());
        network.run_secs(1);
    }
    assert_eq!(
        network.hosts[1].payloads().len(),
        200,
        "the session goes on, and the next one has the new key"
    );
}

#[test]
fn an_endpoint_that_is_configured_takes_effect_with_the_next_packet() {
    let mut network = met();
    let (now, bob) = (network.now, network.hosts[1].public_key());
    network.hosts[1].address = "198.51.100.2:2".parse().unwrap();
    let endpoint = Some(network.hosts[1].address);
    network.hosts[0].apply_peer(
        now,
        PeerUpdate {
            endpoint,
            ..PeerUpdate::new(bob)
        },
    );
    network.send(0, "10.0.0.2", b"there");
    network.run_secs(1);
    assert_eq!(network.hosts[1].payloads(), [b"there"]);
    assert_eq!(network.sent_by(0, INITIATION, Network::START).len(), 0);
}

#[test]
fn a_peer_whose_place_is_unknown_cannot_be_sent_to() {
    let mut network = Network::pair();
    let now = network.now;
    assert_eq!(
        network.hosts[1].send(now, "10.0.0.1", b"where?"),
        Some(Sent::Unreachable)
    );
    assert_eq!(network.hosts[1].counters().no_endpoint, 1);
    assert_eq!(network.hosts[1].send(now, "10.9.9.9", b"who?"), None);
    let long = vec![0; 65_500];
    let packet = packet("10.0.0.1", "10.0.0.2", &long[..65_480]);
    assert_eq!(
        network.hosts[0].send_packet(now, "10.0.0.2", &packet),
        Some(Sent::TooLong)
    );
}

#[test]
fn networks_move_between_peers_and_the_longest_wins() {
    let now = Network::START;
    let mut host = Host::new(now, "192.0.2.1:1", "10.0.0.1");
    let (one, two) = (private_key().public_key(), private_key().public_key());
    let add = |net: &str| AllowedIpChange::Add(net.parse().unwrap());
    let remove = |net: &str| AllowedIpChange::Remove(net.parse().unwrap());
    let update = |key, replace_allowed_ips, allowed_ips: &[_]| PeerUpdate {
        replace_allowed_ips,
        allowed_ips: allowed_ips.to_vec(),
        ..PeerUpdate::new(key)
    };
    // Update, then whom 10.1.1.1 and 10.2.2.2 belong to, then how many networks each has.
    for (update, owners, counts) in [
        (update(one, false, &[add("10.0.0.0/8")]), [Some(one), Some(one)], [1, 0]),
        (
            update(two, false, &[add("10.1.0.0/16"), add("10.1.1.1/32")]),
            [Some(two), Some(one)],
            [1, 2],
        ),
        (
            update(one, false, &[add("10.1.1.1/32")]),
            [Some(one), Some(one)],
            [2, 1],
        ),
        (update(two, false, &[add("10.0.0.0/8")]), [Some(one), Some(two)], [1, 2]),
        (
            update(two, false, &[remove("10.1.1.1/32")]),
            [Some(one), Some(two)],
            [1, 2],
        ),
        (
            update(one, false, &[remove("10.1.1.1/32")]),
            [Some(two), Some(two)],
            [0, 2],
        ),
        (update(one, true, &[add("10.2.2.0/24")]), [Some(two), Some(one)], [1, 2]),
        (update(two, true, &[add("10.1.1.0/24")]), [Some(two), Some(one)], [1, 1]),
        (update(two, true, &[]), [None, Some(one)], [1, 0]),
    ] {
        host.apply_peer(now, update.clone());
        let routes = host.engine.routes();
        for (address, owner) in ["10.1.1.1", "10.2.2.2"].into_iter().zip(owners) {
            let found = routes.peer_for(address.parse().unwrap()).map(|peer| *peer.public_key());
            assert_eq!(found, owner, "{address} after {update:?}");
        }
        let status = host.engine.status();
        for (key, count) in [one, two].into_iter().zip(counts) {
            let found = status.device.peers.get(&key).map_or(0, |peer| peer.allowed_ips.len());
            assert_eq!(found, count, "after {update:?}");
        }
    }
}

#[test]
fn a_keepalive_begins_the_handshake_as_soon_as_all_is_known() {
    let now = Network::START;
    let bob = Host::new(now, "192.0.2.2:2", "10.0.0.2");
    let key = bob.public_key();
    let steps = [
        Update {
            private_key: Some(private_key()),
            ..Update::default()
        },
        Update {
            peers: vec![PeerUpdate {
                persistent_keepalive: Some(25),
                ..PeerUpdate::new(key)
            }],
            ..Update::default()
        },
        Update {
            peers: vec![PeerUpdate {
                endpoint: Some(bob.address),
                ..PeerUpdate::new(key)
            }],
            ..Update::default()
        },
    ];
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1], [2, 0, 1]] {
        let mut alice = Host::with_key(now, PrivateKey::from_bytes([0; 32]), "192.0.2.1:1", "10.0.0.1");
        let mut sent = Vec::new();
        for step in order {
            alice.apply(now, steps[step].clone());
            sent.extend(alice.take_outbox(now));
        }
        assert_eq!(sent.len(), 1, "{order:?}");
        assert_eq!((sent[0].0, sent[0].1[0]), (bob.address, INITIATION));
    }
}

#[test]
fn runs_keep_each_peers_packets_together_and_in_order() {
    let mut hosts = vec![Host::new(Network::START, "192.0.2.1:1", "10.0.0.1")];
    hosts.push(Host::new(Network::START, "192.0.2.2:2", "10.0.0.2"));
    hosts.push(Host::new(Network::START, "192.0.2.3:3", "10.0.0.3"));
    let mut network = Network::new(hosts);
    network.send(0, "10.0.0.2", b"hello");
    network.send(0, "10.0.0.3", b"hello");
    network.run_secs(1);
    let now = network.now;
    let host = &mut network.hosts[0];
    for i in 0..200_u32 {
        let mut payload = vec![0; if i % 20 == 19 { 600 } else { 1400 }];
        payload[..4].copy_from_slice(&i.to_be_bytes());
        let _laid = host.send(now, ["10.0.0.2", "10.0.0.3"][i as usize % 2], &payload);
    }
    host.engine.seal(now, &mut host.outbox);
    let shapes: Vec<_> = host
        .outbox
        .runs()
        .iter()
        .map(|run| (run.destination.port(), run.datagrams().len()))
        .collect();
    // Each tenth packet of the second peer's is shorter, and ends its run; a run holds 45 of 1,452 bytes.
    let mut expected = vec![(2, 45), (3, 10)];
    for _ in 0..9 {
        expected.push((3, 10));
    }
    expected.extend([(2, 45), (2, 10)]);
    let mut sorted = shapes.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    assert!(
        host.outbox
            .runs()
            .iter()
            .all(|run| run.datagrams().all(|datagram| datagram[0] == DATA))
    );
    network.collect();
    network.run(Duration::from_secs(1));
    for host in [1, 2] {
        let numbers: Vec<_> = network.hosts[host].payloads()[1..]
            .iter()
            .map(|payload| payload[3])
            .collect();
        let expected: Vec<u8> = (0..200).filter(|i| usize::from(i % 2) == host - 1).collect();
        assert_eq!(numbers, expected);
    }
}
