//! Input of every kind: nothing panics, nothing forged is delivered, and the tunnel goes on.

use proptest::prelude::*;

use super::network::{Network, packet, seed_random};
use crate::{buffer::Inbox, message::INITIATION_LEN};

#[derive(Clone, Debug)]
enum Attack {
    /// Bytes that start like a message of this kind.
    Noise(u8, Vec<u8>),
    /// A datagram that was seen, with one bit changed, and perhaps cut.
    Changed {
        which: usize,
        bit: usize,
        cut: Option<usize>,
    },
    /// Seen datagrams in one slot, with a length of segment that is not theirs.
    Joined { first: usize, count: usize, segment: usize },
}

fn attacks() -> impl Strategy<Value = Attack> {
    prop_oneof![
        (0_u8..6, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(kind, bytes)| Attack::Noise(kind, bytes)),
        (any::<usize>(), any::<usize>(), prop::option::of(0..INITIATION_LEN))
            .prop_map(|(which, bit, cut)| Attack::Changed { which, bit, cut }),
        (any::<usize>(), 1_usize..8, 0_usize..200).prop_map(|(first, count, segment)| Attack::Joined {
            first,
            count,
            segment
        }),
    ]
}

fn datagrams(attack: Attack, seen: &[Vec<u8>]) -> (Vec<u8>, usize) {
    match attack {
        Attack::Noise(kind, bytes) => {
            let datagram = [vec![kind, 0, 0, 0], bytes].concat();
            let len = datagram.len();
            (datagram, len)
        }
        Attack::Changed { which, bit, cut } => {
            let mut datagram = seen[which % seen.len()].clone();
            let bit = bit % (8 * datagram.len());
            datagram[bit / 8] ^= 1 << (bit % 8);
            datagram.truncate(cut.unwrap_or(usize::MAX));
            let len = datagram.len();
            (datagram, len)
        }
        Attack::Joined { first, count, segment } => {
            let chosen: Vec<_> = seen
                .iter()
                .cycle()
                .skip(first % seen.len())
                .take(count)
                .cloned()
                .collect();
            (chosen.concat(), segment)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn hostile_datagrams_are_dropped(attacks in prop::collection::vec((any::<bool>(), attacks()), 1..30), seed: u64) {
        seed_random(seed);
        let mut network = Network::pair();
        network.send(0, "10.0.0.2", b"hello");
        network.run_secs(1);
        network.send(1, "10.0.0.1", b"hello");
        network.run_secs(1);
        let seen: Vec<_> = network.seen.iter().map(|seen| seen.datagram.clone()).collect();
        let mut inbox = Inbox::new(1);
        for (to_bob, attack) in attacks {
            let (data, segment) = datagrams(attack, &seen);
            inbox.clear();
            inbox.push("203.0.113.66:6".parse().unwrap(), &data);
            inbox.filled_mut()[0].segment = segment;
            let now = network.now;
            let host = &mut network.hosts[usize::from(to_bob)];
            let mut delivered = 0;
            host.engine.open(now, &mut inbox, &mut host.outbox, |_, _| delivered += 1);
            prop_assert_eq!(delivered, 0);
        }
        network.collect();
        network.hosts[1].payloads();
        for _ in 0..4 {
            network.send(0, "10.0.0.2", b"still here");
            network.run_secs(10);
        }
        prop_assert!(!network.hosts[1].payloads().is_empty());
    }

    #[test]
    fn inner_packets_of_any_shape_are_delivered_as_they_are_or_dropped(
        inner in prop::collection::vec(any::<u8>(), 0..120),
        version in prop::option::of(prop_oneof![Just(0x45_u8), Just(0x60)]),
    ) {
        let mut network = Network::pair();
        network.send(0, "10.0.0.2", b"hello");
        network.run_secs(1);
        network.hosts[1].payloads();
        let mut inner = inner;
        if let (Some(first), Some(version)) = (inner.first_mut(), version) {
            *first = version;
        }
        let now = network.now;
        let _laid = network.hosts[0].send_packet(now, "10.0.0.2", &inner);
        network.run_secs(1);
        for (_, delivered) in network.hosts[1].received.drain(..) {
            prop_assert!(inner.starts_with(&delivered) || delivered.starts_with(&inner));
            prop_assert_eq!(&delivered[12..16], &packet("10.0.0.1", "10.0.0.2", &[])[12..16]);
        }
        let counters = network.hosts[1].counters();
        prop_assert!(counters.malformed_packets + counters.spoofed_sources <= 1);
    }
}
