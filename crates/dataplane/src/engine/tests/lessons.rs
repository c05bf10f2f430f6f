//! Faults that others paid for: `reference/dataplane.md`, sections 11 and 12.

use std::{net::SocketAddr, time::Duration};

use wg::{AllowedIpChange, PeerUpdate, PublicKey};

use super::network::{Host, Network, packet};
use crate::{
    buffer::{Inbox, SLOT_LEN},
    message::{COOKIE_REPLY, DATA, DATA_OVERHEAD, INITIATION},
    timers::REJECT_AFTER_MESSAGES,
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
fn oversized_datagrams_are_dropped_and_counted() {
    let mut network = met();
    let now = network.now;
    let source = network.hosts[0].address;
    for kind in 0..=5 {
        for len in [0, 1, 31, 32, 149, 1500, 9000, 65_507, SLOT_LEN] {
            let mut datagram = vec![0xAA; len];
            datagram
                .iter_mut()
                .take(4)
                .enumerate()
                .for_each(|(i, byte)| *byte = if i == 0 { kind } else { 0 });
            network.hosts[1].open(now, source, &datagram);
        }
    }
    let counters = network.hosts[1].counters();
    assert_eq!(
        counters.malformed_datagrams + counters.unknown_index,
        6 * 9 - 6,
        "an empty slot holds no datagram"
    );
    network.send(0, "10.0.0.2", b"still here");
    network.run_secs(1);
    assert_eq!(network.hosts[1].payloads(), [b"still here"]);
}

#[test]
fn a_peer_with_a_key_of_low_order_is_never_called() {
    let mut network = Network::pair();
    let key = PublicKey::from_bytes([0; 32]);
    let (now, endpoint) = (network.now, Some(network.hosts[1].address));
    network.hosts[0].apply_peer(
        now,
        PeerUpdate {
            endpoint,
            allowed_ips: vec![AllowedIpChange::Add("10.0.0.9/32".parse().unwrap())],
            persistent_keepalive: Some(1),
            ..PeerUpdate::new(key)
        },
    );
    network.send(0, "10.0.0.9", b"hello");
    network.run_secs(100);
    assert_eq!(network.seen.len(), 0);
    assert_eq!(network.hosts[0].engine.index.len(), 0);
}

#[test]
fn a_counter_never_wraps() {
    let mut network = met();
    let peer = network.hosts[0].peer(&network.hosts[1]);
    let session = peer.current().unwrap().sealer;
    // The counter, packets in the batch, packets that leave with this session.
    for (counter, packets, leave) in [
        (REJECT_AFTER_MESSAGES - 3, 3, 3),
        (REJECT_AFTER_MESSAGES - 2, 3, 0),
        (u64::MAX - 1, 3, 0),
    ] {
        session.set_counter(0);
        let now = network.now;
        for _ in 0..packets {
            let _laid = network.hosts[0].send(now, "10.0.0.2", b"packet");
        }
        session.set_counter(counter);
        let sent = network.hosts[0].take_outbox(now);
        let data: Vec<_> = sent.iter().filter(|(_, datagram)| datagram[0] == DATA).collect();
        assert_eq!(data.len(), leave, "counter {counter}");
        for (i, (_, datagram)) in data.iter().enumerate() {
            assert_eq!(datagram[8..16], (counter + i as u64).to_le_bytes());
        }
    }
    network.run_secs(5);
    let since = network.now;
    network.send(0, "10.0.0.2", b"afterwards");
    network.run_secs(1);
    let expected = [&b"packet"[..], b"packet", b"packet", b"afterwards"];
    assert_eq!(
        network.hosts[1].payloads(),
        expected,
        "the last batch waited for the new session"
    );
    assert_eq!(network.sent_by(0, INITIATION, since).len(), 1);
}

#[test]
fn a_session_is_renewed_after_very_many_messages() {
    let mut network = met();
    let peer = network.hosts[0].peer(&network.hosts[1]);
    network.run_secs(10);
    for (counter, renewed) in [(1 << 60, 1), ((1 << 60) - 10, 0)].into_iter().rev() {
        peer.current().unwrap().sealer.set_counter(counter);
        let since = network.now;
        network.send(0, "10.0.0.2", b"packet");
        network.run_secs(1);
        assert_eq!(
            network.sent_by(0, INITIATION, since).len(),
            renewed,
            "counter {counter}"
        );
    }
}

/// A gateway and two clients, as in `networks_move_between_peers`, with 10.0.0.0/8 and a network within it.
fn gateway() -> Network {
    let mut network = Network::new(vec![
        Host::new(Network::START, "192.0.2.1:1", "10.0.0.1"),
        Host::new(Network::START, "192.0.2.2:2", "10.0.0.2"),
        Host::new(Network::START, "192.0.2.3:3", "10.0.0.3"),
    ]);
    for (of, to, net) in [
        (0, 1, "10.0.0.0/8"),
        (0, 2, "10.3.0.0/16"),
        (1, 0, "0.0.0.0/0"),
        (2, 0, "0.0.0.0/0"),
    ] {
        let update = PeerUpdate {
            allowed_ips: vec![AllowedIpChange::Add(net.parse().unwrap())],
            ..PeerUpdate::new(network.hosts[to].public_key())
        };
        network.hosts[of].apply_peer(Network::START, update);
    }
    network.send(0, "10.0.0.2", b"hello");
    network.send(0, "10.0.0.3", b"hello");
    network.run_secs(1);
    network
}

#[test]
fn a_peer_cannot_forge_an_address_inside_its_network_that_is_anothers() {
    let mut network = gateway();
    // Which client, the source that it writes, whether the packet passes.
    for (client, source, passes) in [
        (1, "10.0.0.2", true),
        (1, "10.2.0.1", true),
        (1, "10.3.0.1", false),
        (1, "10.0.0.3", false),
        (1, "11.0.0.1", false),
        (2, "10.3.0.1", true),
        (2, "10.0.0.3", true),
        (2, "10.0.0.2", false),
        (2, "10.4.0.1", false),
        (2, "127.0.0.1", false),
    ] {
        let before = network.hosts[0].counters().spoofed_sources;
        let packet = packet(source, "10.0.0.1", b"mine");
        let now = network.now;
        let _laid = network.hosts[client].send_packet(now, "10.0.0.1", &packet);
        network.run_secs(1);
        let received = network.hosts[0]
            .received
            .drain(..)
            .map(|(key, _)| key)
            .collect::<Vec<_>>();
        let expected = if passes {
            vec![network.hosts[client].public_key()]
        } else {
            Vec::new()
        };
        assert_eq!(received, expected, "client {client} as {source}");
        assert_eq!(network.hosts[0].counters().spoofed_sources - before, u64::from(!passes));
    }
}

#[test]
fn a_forged_source_after_an_honest_one_in_the_same_batch_is_noticed() {
    let mut network = gateway();
    let now = network.now;
    for source in ["10.0.0.2", "10.0.0.2", "10.3.0.1", "10.0.0.2", "10.3.0.1", "10.2.2.2"] {
        let packet = packet(source, "10.0.0.1", b"mine");
        let _laid = network.hosts[1].send_packet(now, "10.0.0.1", &packet);
    }
    // As one slot that the kernel joined.
    let datagrams: Vec<u8> = network.hosts[1]
        .take_outbox(now)
        .into_iter()
        .flat_map(|(_, datagram)| datagram)
        .collect();
    let mut inbox = Inbox::new(1);
    inbox.push(network.hosts[1].address, &datagrams);
    inbox.filled_mut()[0].segment = datagrams.len() / 6;
    let (mut delivered, host) = (0, &mut network.hosts[0]);
    host.engine
        .open(now, &mut inbox, &mut host.outbox, |_, _| delivered += 1);
    assert_eq!((delivered, host.counters().spoofed_sources), (4, 2));
}

#[test]
fn idle_peers_fall_silent() {
    let mut network = met();
    network.run_secs(1000);
    let data: Vec<_> = (0..2)
        .map(|host| network.sent_by(host, DATA, Network::START).len())
        .collect();
    assert_eq!(data, [0, 1], "one keepalive for one packet, and none for the keepalive");
    assert!(network.sent_by(1, DATA, Network::START)[0].datagram.len() == DATA_OVERHEAD);
}

#[test]
fn nobody_roams_on_a_cookie_reply() {
    let mut network = Network::pair();
    let now = network.now;
    let _staged = network.hosts[0].send(now, "10.0.0.2", b"hello");
    let first = network.hosts[0].take_outbox(now).remove(0).1;
    for _ in 0..1000 {
        network.hosts[1].open(now, "198.51.100.1:1".parse().unwrap(), &first);
    }
    let reply = network.hosts[1].take_outbox(now).pop().unwrap().1;
    assert_eq!(reply[0], COOKIE_REPLY);
    let eve: SocketAddr = "203.0.113.66:6".parse().unwrap();
    network.hosts[0].open(now, eve, &reply);
    assert_eq!(
        network.hosts[0].counters().forged_cookies,
        0,
        "it is authentic, and Eve repeats it"
    );
    let bob = network.hosts[0].peer(&network.hosts[1]);
    assert_eq!(bob.endpoint(), Some(network.hosts[1].address));
    let status = network.hosts[0].engine.status();
    assert_eq!(status.peers[&network.hosts[1].public_key()].rx_bytes, 0);
}

#[test]
fn the_replay_window_steps_over_its_end_in_batches() {
    for (batch, reversed) in [(64, false), (64, true), (61, true), (1, false), (128, true)] {
        let mut network = met();
        let now = network.now;
        let source = network.hosts[0].address;
        let mut inbox = Inbox::new(1);
        let (mut delivered, mut counter) = (0, 0);
        while counter < 3 * 8192 + 100 {
            for _ in 0..batch {
                let _laid = network.hosts[0].send(now, "10.0.0.2", b"x");
                counter += 1;
            }
            let mut sent = network.hosts[0].take_outbox(now);
            if reversed {
                sent.reverse();
            }
            let datagrams: Vec<u8> = sent.into_iter().flat_map(|(_, datagram)| datagram).collect();
            for _again in 0..2 {
                inbox.clear();
                inbox.push(source, &datagrams);
                inbox.filled_mut()[0].segment = datagrams.len() / batch;
                let host = &mut network.hosts[1];
                host.engine.open(now, &mut inbox, &mut host.outbox, |_, packet| {
                    assert_eq!(packet[20..], *b"x");
                    delivered += 1;
                });
                inbox.filled_mut()[0].data[..datagrams.len()].copy_from_slice(&datagrams);
            }
        }
        assert_eq!(delivered, counter, "batches of {batch}, reversed: {reversed}");
        assert_eq!(network.hosts[1].counters().replayed_data, counter as u64);
        assert_eq!(network.hosts[1].counters().forged_data, 0);
    }
}

#[test]
fn a_response_that_is_repeated_changes_nothing() {
    let mut network = Network::pair();
    network.send(0, "10.0.0.2", b"hello");
    network.run_secs(1);
    let (alice, bob) = (network.hosts[0].address, network.hosts[1].address);
    for seen in network.seen.clone().iter().filter(|seen| seen.destination == alice) {
        network.put(bob, alice, seen.datagram.clone());
    }
    network.run_secs(1);
    assert_eq!(network.hosts[0].counters().unknown_index, 1);
    network.send(0, "10.0.0.2", b"same session");
    network.run(Duration::from_millis(50));
    assert_eq!(network.hosts[1].payloads(), [&b"hello"[..], b"same session"]);
}
