//! Handshakes, data, renewal.

use super::network::Network;
use crate::message::{DATA, INITIATION};

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
    assert_eq!(network.hosts[0].counters(), crate::engine::Counters::default());
    assert_eq!(network.hosts[1].counters(), crate::engine::Counters::default());
    let start = Network::START;
    assert_eq!(network.sent_by(0, INITIATION, start).len(), 1);
    assert_eq!(network.sent_by(0, DATA, start).len(), 2);
}

#[test]
fn a_clean_network_loses_nothing_while_sessions_are_renewed() {
    let mut network = Network::pair();
    for i in 0_u32..4000 {
        network.send(0, "10.0.0.2", &i.to_be_bytes());
        network.send(
            1 - usize::from(i == 0),
            ["10.0.0.2", "10.0.0.1"][usize::from(i > 0)],
            &i.to_be_bytes(),
        );
        network.run(std::time::Duration::from_millis(100));
    }
    network.run_secs(1);
    let payloads = network.hosts[1].payloads();
    assert_eq!(payloads.len(), 4001);
    assert_eq!(network.hosts[0].payloads().len(), 3999);
    let started: Vec<_> = network
        .sent_by(0, INITIATION, Network::START)
        .iter()
        .map(|seen| seen.at.since(Network::START).as_secs())
        .collect();
    assert_eq!(started, [0, 120, 240, 360], "the initiator renews every two minutes");
    assert_eq!(
        network.sent_by(1, INITIATION, Network::START).len(),
        0,
        "and nobody else"
    );
}
