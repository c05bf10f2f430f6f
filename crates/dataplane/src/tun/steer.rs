//! Chooses the queue that a packet is written to.
//!
//! The kernel sends a flow's answers to the queue that the flow was last written to. So the flows of one peer, which
//! all come to one lane, are spread over all lanes on their way back.

use crate::ip::{TCP, UDP, V6_HEADER_LEN};

/// The queue, of so many, that all packets of a flow are written to, in either direction.
pub(super) fn queue_of(packet: &[u8], queues: usize) -> usize {
    if queues <= 1 {
        return 0;
    }
    // SplitMix64's finalizer.
    let mut hash = flow(packet);
    hash = (hash ^ hash >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^= hash >> 31;
    usize::try_from(hash % queues as u64).unwrap_or_default()
}

/// What is the same in all packets of a flow, whoever sends them: addresses, and ports where they are at hand.
fn flow(packet: &[u8]) -> u64 {
    let number = |at: usize| {
        packet
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |b| u32::from_be_bytes(*b))
    };
    let Some(first) = packet.first() else { return 0 };
    let is_v6 = first >> 4 == 6;
    let (addresses, header_len) = if is_v6 {
        (
            (8..40).step_by(4).map(number).fold(0, |sum, word| sum ^ word),
            V6_HEADER_LEN,
        )
    } else {
        (number(12) ^ number(16), usize::from(first & 0x0f) * 4)
    };
    // The parts of a datagram belong together, and all but the first lack the ports.
    let is_fragment = !is_v6 && number(4) & 0x3fff != 0;
    let protocol = packet.get(if is_v6 { 6 } else { 9 });
    let has_ports = protocol.is_some_and(|protocol| [TCP, UDP].contains(protocol)) && !is_fragment;
    let ports = if has_ports { number(header_len) } else { 0 };
    u64::from(addresses) << 32
        | u64::from((ports >> 16) ^ (ports & 0xffff)) << 16
        | u64::from((ports >> 16).wrapping_add(ports) & 0xffff)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ip::{V4_HEADER_LEN, header::Header};

    fn packet(source: &str, destination: &str, protocol: u8, ports: (u16, u16)) -> Vec<u8> {
        let header = Header::new(source.parse().unwrap(), destination.parse().unwrap(), protocol);
        let mut packet = vec![0; V6_HEADER_LEN + 8];
        let len = header.write(&mut packet, 8);
        packet.truncate(len + 8);
        packet[len..len + 2].copy_from_slice(&ports.0.to_be_bytes());
        packet[len + 2..len + 4].copy_from_slice(&ports.1.to_be_bytes());
        packet
    }

    #[test]
    fn both_directions_of_a_flow_meet_and_flows_spread() {
        for (here, there) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            for protocol in [TCP, UDP] {
                let mut used = BTreeSet::new();
                for port in 40_000..40_064 {
                    let (out, back) = (
                        packet(here, there, protocol, (port, 443)),
                        packet(there, here, protocol, (443, port)),
                    );
                    assert_eq!(queue_of(&out, 8), queue_of(&back, 8));
                    used.insert(queue_of(&out, 8));
                }
                assert_eq!(used.len(), 8, "64 flows between {here} and {there} use all queues");
            }
        }
        assert_eq!(queue_of(&packet("10.0.0.1", "10.0.0.2", TCP, (1, 2)), 1), 0);
    }

    #[test]
    fn the_parts_of_a_datagram_stay_together_and_anything_has_a_queue() {
        let mut first = packet("10.0.0.1", "10.0.0.2", UDP, (1000, 53));
        let mut second = packet("10.0.0.1", "10.0.0.2", UDP, (0xffff, 0xabcd));
        first[6] |= 0x20;
        second[7] = 1;
        assert_eq!(queue_of(&first, 64), queue_of(&second, 64));
        for len in 0..V4_HEADER_LEN {
            assert!(queue_of(&first[..len], 3) < 3);
        }
    }
}
