//! When what is sent, to the millisecond: the tables of *WireGuard whitepaper 6*, as the kernel's driver keeps them.

use std::time::Duration;

use wg::PeerUpdate;

use super::network::{Network, Seen};
use crate::{
    engine::Counters,
    message::{DATA, DATA_OVERHEAD, INITIATION},
};

fn millis(seen: &[&Seen]) -> Vec<u128> {
    seen.iter()
        .map(|seen| seen.at.since(Network::START).as_millis())
        .collect()
}

fn assert_between(times: &[u128], expected: &[(u128, u128)]) {
    let inside = times
        .iter()
        .zip(expected)
        .all(|(time, (from, to))| (from..=to).contains(&time));
    assert!(
        times.len() == expected.len() && inside,
        "{times:?} are not between {expected:?}"
    );
}

/// A pair that has just shaken hands, and whose first packet was answered.
fn met() -> Network {
    let mut network = Network::pair();
    network.send(0, "10.0.0.2", b"hello");
    network.run(Duration::from_millis(50));
    network.send(1, "10.0.0.1", b"answer");
    network.run(Duration::from_millis(50));
    assert_eq!(
        (network.hosts[0].payloads().len(), network.hosts[1].payloads().len()),
        (1, 1)
    );
    network.seen.clear();
    network
}

fn keepalives(network: &Network, host: usize) -> Vec<u128> {
    let mut sent = network.sent_by(host, DATA, Network::START);
    sent.retain(|seen| seen.datagram.len() == DATA_OVERHEAD);
    millis(&sent)
}

#[test]
fn an_unanswered_initiation_is_repeated_for_ninety_seconds_and_then_given_up() {
    let mut network = Network::pair();
    network.down.push(network.hosts[1].address);
    network.send(0, "10.0.0.2", b"anyone?");
    network.run_secs(700);
    let sent = network.sent_by(0, INITIATION, Network::START);
    let times = millis(&sent);
    assert_eq!(
        times.len(),
        20,
        "the first, and one for each further attempt: {times:?}"
    );
    for pair in times.windows(2) {
        assert!(
            (5000..=5334).contains(&(pair[1] - pair[0])),
            "five seconds and a jitter: {times:?}"
        );
    }
    let distinct: std::collections::BTreeSet<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(distinct.len() > 10, "the jitter varies: {distinct:?}");
    assert_eq!(
        network.hosts[0].counters(),
        Counters {
            unsent_packets: 1,
            ..Counters::default()
        }
    );
    assert_eq!(network.hosts[0].engine.poll_timeout(), None, "nothing is left to do");

    // A new packet begins anew.
    network.down.clear();
    network.send(0, "10.0.0.2", b"now?");
    network.run_secs(1);
    assert_eq!(network.hosts[1].payloads(), [b"now?"]);
}

#[test]
fn data_that_is_not_answered_begins_a_handshake_after_fifteen_seconds() {
    let mut network = met();
    network
        .down
        .extend([network.hosts[0].address, network.hosts[1].address]);
    network.send(0, "10.0.0.2", b"lost");
    network.run_secs(5);
    network.send(0, "10.0.0.2", b"lost too");
    network.run_secs(13);
    let times = millis(&network.sent_by(0, INITIATION, Network::START));
    assert_between(&times, &[(15_100, 15_434)]);
}

#[test]
fn data_that_is_answered_begins_no_handshake() {
    let mut network = met();
    network.send(0, "10.0.0.2", b"question");
    network.run_secs(100);
    assert_eq!(millis(&network.sent_by(0, INITIATION, Network::START)), [0_u128; 0]);
    assert_eq!(keepalives(&network, 1), [10_110], "the keepalive is the answer");
    assert_eq!(keepalives(&network, 0), [0_u128; 0], "and needs none itself");
}

#[test]
fn what_is_received_is_acknowledged_after_ten_seconds_of_silence() {
    // Data to Bob at these milliseconds from 100 on; Bob's data; Bob's keepalives.
    for (received, sent, expected) in [
        (&[0][..], &[][..], &[10_110][..]),
        // One keepalive is for all that came before it.
        (&[0, 3000], &[], &[10_110]),
        (&[0, 1000, 2000, 9000], &[], &[10_110]),
        (&[0, 10_200], &[], &[10_110, 20_310]),
        // An answer is as good, and the next packet counts anew.
        (&[0], &[5000], &[]),
        (&[0, 8000], &[5000], &[18_110]),
        (&[], &[0, 7000], &[]),
    ] {
        let mut network = met();
        // The first packet of the pair's meeting was answered; Alice has to acknowledge the answer.
        let start = network.now;
        for ms in 0..40_000_u64 {
            if ms % 1000 == 0 || received.contains(&ms) || sent.contains(&ms) {
                network.run_until(start + Duration::from_millis(ms));
            }
            if received.contains(&ms) {
                network.send(0, "10.0.0.2", b"data");
            }
            if sent.contains(&ms) {
                network.send(1, "10.0.0.1", b"data");
            }
        }
        network.run_until(start + Duration::from_secs(40));
        assert_eq!(
            keepalives(&network, 1),
            expected,
            "received at {received:?}, sent at {sent:?}"
        );
    }
}

#[test]
fn a_persistent_keepalive_is_sent_whenever_nothing_else_was_for_its_time() {
    let mut network = met();
    let (now, bob) = (network.now, network.hosts[1].public_key());
    let set = |secs| PeerUpdate {
        persistent_keepalive: Some(secs),
        ..PeerUpdate::new(bob)
    };
    network.hosts[0].apply_peer(now, set(25));
    network.run_secs(60);
    assert_eq!(keepalives(&network, 0), [100, 25_100, 50_100], "the first at once");
    network.send(0, "10.0.0.2", b"data");
    network.run_secs(40);
    // Data at 60,100, Bob's keepalive for it at 70,120.
    assert_eq!(keepalives(&network, 0)[3..], [95_120], "received packets count too");
    let now = network.now;
    network.hosts[0].apply_peer(now, set(0));
    network.run_secs(60);
    assert_eq!(keepalives(&network, 0).len(), 4, "and off is off");
}

#[test]
fn the_initiator_renews_a_session_when_it_sends_after_two_minutes() {
    for (after, renewed) in [(119, false), (120, true), (179, true)] {
        for sender in [0, 1] {
            let mut network = met();
            network.run_until(Network::START + Duration::from_secs(after) + Duration::from_millis(20));
            let since = network.now;
            network.send(sender, ["10.0.0.2", "10.0.0.1"][sender], b"late");
            network.run_secs(1);
            assert_eq!(network.hosts[1 - sender].payloads(), [b"late"]);
            // Alice also renews when she receives shortly before the end.
            let expected = usize::from(renewed && (sender == 0 || after == 179));
            assert_eq!(
                network.sent_by(0, INITIATION, since).len(),
                expected,
                "host {sender} sent after {after} s"
            );
            assert_eq!(
                network.sent_by(1, INITIATION, since).len(),
                0,
                "the responder never renews"
            );
        }
    }
}

#[test]
fn the_initiator_renews_a_session_that_it_receives_with_shortly_before_its_end() {
    for (after, renewed) in [(164, false), (165, true), (170, true)] {
        let mut network = met();
        network.run_until(Network::START + Duration::from_secs(after) + Duration::from_millis(20));
        let since = network.now;
        network.send(1, "10.0.0.1", b"one");
        network.send(1, "10.0.0.1", b"two");
        network.run_secs(1);
        assert_eq!(network.hosts[0].payloads().len(), 2);
        let sent = network.sent_by(0, INITIATION, since).len();
        assert_eq!(sent, usize::from(renewed), "received after {after} s");
    }
}

#[test]
fn a_session_is_not_used_after_three_minutes() {
    for host in [0, 1] {
        let mut network = met();
        // Alice is told where Bob is; Bob has heard where Alice is.
        network.run_until(Network::START + Duration::from_secs(180) + Duration::from_millis(20));
        let since = network.now;
        network.send(host, ["10.0.0.2", "10.0.0.1"][host], b"late");
        network.run_secs(1);
        let first = network.seen.iter().find(|seen| seen.at >= since).unwrap();
        assert_eq!(first.datagram[0], INITIATION, "host {host} begins a new session");
        assert_eq!(network.hosts[1 - host].payloads(), [b"late"]);
    }
}

#[test]
fn a_message_of_a_session_past_its_time_is_refused() {
    for (secs, expired) in [(179, 0), (180, 1)] {
        let mut network = met();
        network.send(0, "10.0.0.2", b"long on its way");
        let kept = network.sent_by(0, DATA, Network::START)[0].clone();
        let mut bob = network.hosts.remove(1);
        let now = Network::START + Duration::from_secs(secs) + Duration::from_millis(10);
        bob.open(now, kept.source, &kept.datagram);
        assert_eq!(bob.counters().expired_session, expired, "after {secs} s");
        assert_eq!(bob.payloads().len(), 1 - usize::try_from(expired).unwrap());
    }
}

#[test]
fn all_keys_are_wiped_nine_minutes_after_the_last_handshake() {
    let mut network = met();
    network.run_until(Network::START + Duration::from_secs(539));
    assert_eq!(
        network
            .hosts
            .iter()
            .map(|host| host.engine.index.len())
            .collect::<Vec<_>>(),
        [1, 1]
    );
    network.run_until(Network::START + Duration::from_secs(541));
    for host in &network.hosts {
        assert_eq!(host.engine.index.len(), 0);
        assert_eq!(host.engine.poll_timeout(), None);
    }
}

#[test]
fn the_latest_handshake_and_the_bytes_are_told_as_wg_tells_them() {
    let network = met();
    let wall = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_001_000);
    // Initiation 148, response 92, a packet of 25 and one of 26 bytes, each padded to 32 and 32 more.
    for (host, rx, tx, ms) in [(0, 92 + 64, 148 + 64, 20), (1, 148 + 64, 92 + 64, 30)] {
        let status = network.hosts[host].engine.status();
        let peer = status.peers[&network.hosts[1 - host].public_key()];
        assert_eq!((peer.rx_bytes, peer.tx_bytes), (rx, tx), "host {host}");
        assert_eq!(peer.latest_handshake, Some(wall + Duration::from_millis(ms)));
        let endpoint = status.device.peers[&network.hosts[1 - host].public_key()].endpoint;
        assert_eq!(endpoint, Some(network.hosts[1 - host].address));
    }
}
