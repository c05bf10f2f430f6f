//! Fragments in every order, and a model that they are held against.

use super::*;
use crate::ip::UDP;
use proptest::prelude::*;

fn fragment(v6: bool, ident: u32, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let (source, destination): (IpAddr, IpAddr) = if v6 {
        ("fd00::2".parse().unwrap(), "2001:db8::1".parse().unwrap())
    } else {
        ([10, 0, 0, 2].into(), [192, 0, 2, 1].into())
    };
    let header = Header::new(source, destination, UDP);
    let mut bytes = vec![0; header.fragment_len()];
    header.write_fragment(&mut bytes, payload.len(), ident, offset, more);
    bytes.extend_from_slice(payload);
    bytes
}

fn add<'a>(reassembler: &'a mut Reassembler, now: Time, bytes: &[u8]) -> Outcome<'a> {
    let packet = Packet::parse(bytes).unwrap();
    reassembler.add(now, &packet, packet.fragment.unwrap())
}

#[test]
fn a_packet_of_the_greatest_length_comes_together_in_any_order() {
    for v6 in [false, true] {
        let payload: Vec<u8> = (0..65_515u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut pieces: Vec<_> = payload.chunks(1_368).enumerate().collect();
        for _ in 0..3 {
            pieces.rotate_left(17);
            pieces.reverse();
            let mut reassembler = Reassembler::new(1 << 20);
            for (n, &(index, piece)) in pieces.iter().enumerate() {
                let offset = u16::try_from(index * 1_368).unwrap();
                let more = index != payload.len() / 1_368;
                let bytes = fragment(v6, 7, offset, more, piece);
                match add(&mut reassembler, Time::ZERO, &bytes) {
                    Outcome::Whole(whole) => {
                        assert_eq!(n, pieces.len() - 1);
                        let packet = Packet::parse(whole).unwrap();
                        assert_eq!((packet.protocol, packet.fragment), (UDP, None));
                        assert!(packet.payload == payload);
                    }
                    Outcome::Waiting => assert!(n < pieces.len() - 1),
                    Outcome::Rejected => panic!("rejected"),
                }
            }
            assert_eq!(reassembler.held(), 0);
        }
    }
}

#[test]
fn an_overlap_spoils_the_packet_and_what_comes_of_it_later() {
    // (offset, more, length, fill of a second fragment after 0..16; outcome)
    for (offset, more, len, fill, outcome) in [
        (16, false, 8, 1, "whole"),
        (0, true, 16, 0, "waiting"),
        (0, true, 8, 0, "waiting"),
        (0, true, 16, 1, "rejected"),
        (8, true, 16, 0, "rejected"),
        (8, false, 8, 0, "rejected"),
        (8, false, 3, 0, "rejected"),
    ] {
        let mut reassembler = Reassembler::new(1 << 20);
        assert_eq!(
            add(&mut reassembler, Time::ZERO, &fragment(false, 1, 0, true, &[0; 16])),
            Outcome::Waiting
        );
        let bytes = fragment(false, 1, offset, more, &vec![fill; len]);
        let got = match add(&mut reassembler, Time::ZERO, &bytes) {
            Outcome::Waiting => "waiting",
            Outcome::Whole(_) => "whole",
            Outcome::Rejected => "rejected",
        };
        assert_eq!(got, outcome, "{offset} {more} {len}");
        if outcome == "rejected" {
            let rest = fragment(false, 1, 16, false, &[0; 8]);
            assert_eq!(add(&mut reassembler, Time::ZERO, &rest), Outcome::Rejected);
        }
    }
}

#[test]
fn what_is_never_finished_is_forgotten_in_time_and_told_once() {
    let mut reassembler = Reassembler::new(1 << 20);
    add(&mut reassembler, Time::ZERO, &fragment(false, 1, 0, true, &[0; 16]));
    add(&mut reassembler, Time::ZERO, &fragment(false, 2, 16, true, &[0; 16]));
    let due = Time::ZERO + REASSEMBLY_TIMEOUT;
    assert_eq!(reassembler.poll_timeout(), Some(due));
    let mut told = 0;
    assert_eq!(
        reassembler.expire(Time::from_nanos(due.as_nanos() - 1), |_| told += 1),
        0
    );
    assert_eq!(reassembler.expire(due, |quote| told += quote.len()), 2);
    assert_eq!((told, reassembler.held(), reassembler.poll_timeout()), (36, 0, None));
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let limit = 100_000;
    let mut reassembler = Reassembler::new(limit);
    for ident in 0..10_000 {
        let offset = u16::try_from(ident * 7_919 % 8_000 * 8).unwrap();
        add(
            &mut reassembler,
            Time::ZERO,
            &fragment(true, ident, offset, true, &[0; 8]),
        );
        assert!(reassembler.held() <= limit);
    }
    assert!(reassembler.take_evicted() > 9_000);
    // A well-behaved sender gets through all the same.
    add(
        &mut reassembler,
        Time::ZERO,
        &fragment(true, 70_000, 0, true, &[1; 1_000]),
    );
    assert!(matches!(
        add(
            &mut reassembler,
            Time::ZERO,
            &fragment(true, 70_000, 1_000, false, &[1; 9])
        ),
        Outcome::Whole(_)
    ));
}

/// The plainest reassembly: a byte is there or not, and any byte that comes twice must be the same.
#[derive(Default)]
struct Model {
    bytes: Vec<Option<u8>>,
    len: Option<usize>,
    rejected: bool,
}

impl Model {
    fn add(&mut self, offset: usize, more: bool, payload: &[u8]) -> Option<Vec<u8>> {
        let end = offset + payload.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, None);
        }
        let there = self.bytes[offset..end].iter().filter(|byte| byte.is_some()).count();
        let same = self.bytes[offset..end]
            .iter()
            .zip(payload)
            .all(|(byte, new)| *byte == Some(*new));
        let reached = self.bytes.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let agrees = match (self.len, more) {
            (Some(len), true) => end < len,
            (Some(len), false) => end == len,
            (None, true) => true,
            (None, false) => reached <= end,
        };
        self.rejected |= !agrees || there > 0 && !(same && (more || self.len == Some(end)));
        if self.rejected {
            return None;
        }
        for (byte, new) in self.bytes[offset..end].iter_mut().zip(payload) {
            *byte = Some(*new);
        }
        if !more {
            self.len = Some(end);
        }
        self.len.and_then(|len| self.bytes[..len].iter().copied().collect())
    }
}

proptest! {
    #[test]
    fn any_fragments_give_what_the_model_gives(
        fragments in proptest::collection::vec((0u16..12, 1usize..5, any::<bool>(), 0u8..16), 1..24),
        v6: bool,
    ) {
        let mut reassembler = Reassembler::new(1 << 20);
        let mut model = Model::default();
        for (offset, len, more, fill) in fragments {
            // Mostly consistent contents, sometimes not.
            let fill = u8::from(fill == 0);
            let len = len * 8 - if more { 0 } else { 3 };
            let payload = vec![fill; len];
            let bytes = fragment(v6, 3, offset * 8, more, &payload);
            let Ok(packet) = Packet::parse(&bytes) else { continue };
            let Some(place) = packet.fragment else { continue };
            let expected = model.add(place.offset, more, &payload);
            match reassembler.add(Time::ZERO, &packet, place) {
                Outcome::Whole(whole) => {
                    let whole = Packet::parse(whole).unwrap();
                    prop_assert_eq!(Some(whole.payload), expected.as_deref());
                    return Ok(());
                }
                Outcome::Waiting => prop_assert!(!model.rejected && expected.is_none()),
                Outcome::Rejected => prop_assert!(model.rejected),
            }
        }
    }
}
