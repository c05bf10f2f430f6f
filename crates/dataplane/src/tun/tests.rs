//! Splitting and joining against a plain reference, which builds each packet on its own.

use proptest::prelude::*;

use super::{
    coalesce::{Kinds, MAX_JOINED, Plan},
    differential::{
        BOTH, Step, check_joining, differential,
        spec::{ACK, CWR, ECE, FIN, PSH, Spec},
        split,
    },
    vnet::VNET_HDR_LEN,
};

fn any_spec(udp: impl Strategy<Value = bool>, payload: impl Strategy<Value = usize>) -> impl Strategy<Value = Spec> {
    let flags = prop::sample::select(vec![ACK, ACK | PSH, ACK | FIN | PSH, ACK | ECE, ACK | CWR | PSH]);
    (
        any::<bool>(),
        udp,
        any::<[bool; 4]>(),
        any::<(u16, u32)>(),
        flags,
        payload,
    )
        .prop_map(
            |(v6, udp, [stamped, ip_options, dont_fragment, _], (ident, sequence), flags, payload)| Spec {
                v6,
                udp,
                ident,
                dont_fragment,
                ip_options: ip_options && !v6,
                sequence,
                flags,
                timestamp: stamped.then_some(sequence),
                payload: (0..payload).map(|at| u8::try_from(at % 251).unwrap()).collect(),
                ..Spec::default()
            },
        )
}

proptest! {
    #[test]
    fn a_super_packet_is_cut_into_the_packets_that_it_stands_for(
        spec in any_spec(any::<bool>(), 1..40_000_usize), segment in 200..9000_usize,
    ) {
        let frame = spec.build_frame(segment);
        prop_assert!(split(&frame).unwrap() == spec.segments(segment));
    }

    #[test]
    fn no_frame_makes_splitting_panic(
        mut frame in prop::collection::vec(any::<u8>(), 0..200), gso in 0..7_u8, spec in any_spec(any::<bool>(), 0..99_usize),
    ) {
        if frame.len() > 1 {
            (frame[0], frame[1]) = (1, gso);
        }
        let _ = split(&frame);
        // A good one, with a bad header.
        let mut good = spec.build_frame(20);
        for (at, byte) in frame.iter().take(VNET_HDR_LEN).enumerate().skip(2) {
            good[at] = *byte;
            let _ = split(&good);
        }
    }

    #[test]
    fn what_is_joined_is_split_into_the_same_packets(steps in prop::collection::vec(any_step(), 1..120)) {
        check_joining(&steps);
    }

    #[test]
    fn no_bytes_make_the_reference_differ(data in prop::collection::vec(any::<u8>(), 0..600)) {
        differential(&data);
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let payload = prop::sample::select(vec![0, 1, 60, 100, 100, 100, 100, 100, 100, 1300]);
    (
        1..3_u8,
        any::<bool>(),
        prop::bool::weighted(0.2),
        payload,
        0..40_u8,
        any::<u8>(),
    )
        .prop_map(|(flow, v6, udp, payload, oddity, seed)| Step {
            flow,
            v6,
            udp,
            payload,
            oddity,
            seed,
        })
}

/// Packets of one flow, made by `change` from the number of each.
fn flow(count: u8, change: impl Fn(u8, &mut Spec)) -> Vec<Vec<u8>> {
    let packet = |number| {
        let mut spec = Spec {
            payload: vec![number; 100],
            ..Spec::default()
        };
        spec.sequence += u32::from(number) * 100;
        spec.ident += u16::from(number);
        change(number, &mut spec);
        spec.build()
    };
    (0..count).map(packet).collect()
}

/// Packets of one flow that can be joined.
pub(super) fn segments_of_a_flow(count: u8) -> Vec<Vec<u8>> {
    flow(count, |_, _| {})
}

/// How many packets each group joins, of a flow's packets made by `change` from the number of each.
fn groups(count: u8, kinds: Kinds, change: impl Fn(u8, &mut Spec)) -> Vec<usize> {
    let mut plan = Plan::new();
    plan.make(&flow(count, change), kinds);
    plan.groups().iter().map(super::coalesce::Group::count).collect()
}

#[test]
fn packets_of_one_flow_are_joined_up_to_what_ends_a_group() {
    type Change = fn(u8, &mut Spec);
    let cases: [(&str, Change, &[usize]); 13] = [
        ("all alike", |_, _| {}, &[6]),
        ("over IPv6", |_, spec| spec.v6 = true, &[6]),
        ("of UDP", |_, spec| spec.udp = true, &[6]),
        (
            "a short one ends the group",
            |n, spec| {
                if n > 2 {
                    spec.payload.truncate(50)
                }
            },
            &[4, 1, 1],
        ),
        (
            "PSH ends the group",
            |n, spec| {
                if n == 2 {
                    spec.flags |= PSH
                }
            },
            &[3, 3],
        ),
        ("the identification stands", |_, spec| spec.ident = 4, &[6]),
        (
            "it stands, and means something",
            |_, spec| (spec.ident, spec.dont_fragment) = (4, false),
            &[1; 6],
        ),
        (
            "the identification is random",
            |n, spec| spec.ident = u16::from(n) * 77,
            &[1; 6],
        ),
        ("other acknowledgements", |n, spec| spec.ack = u32::from(n / 3), &[3, 3]),
        (
            "other timestamps",
            |n, spec| spec.timestamp = Some(u32::from(n / 2)),
            &[2, 2, 2],
        ),
        ("a gap", |n, spec| spec.sequence += u32::from(n / 2) * 9, &[2, 2, 2]),
        ("a fragment", |n, spec| spec.more_fragments = n == 2, &[2, 1, 3]),
        ("options of IP", |n, spec| spec.ip_options = n == 5, &[5, 1]),
    ];
    for (name, change, wanted) in cases {
        assert_eq!(groups(6, BOTH, change), wanted, "{name}");
    }
    let in_turns = |n: u8, spec: &mut Spec| {
        (spec.flow, spec.sequence, spec.ident) = (n % 2, u32::from(n / 2) * 100, u16::from(n / 2));
    };
    assert_eq!(groups(6, BOTH, in_turns), [3, 3], "flows in turns");
    assert_eq!(groups(6, Kinds { tcp: false, udp: true }, |_, _| {}), [1; 6]);
    assert_eq!(
        groups(200, BOTH, |_, _| {}),
        [MAX_JOINED, MAX_JOINED, MAX_JOINED, 200 - 3 * MAX_JOINED]
    );
    let long = |_: u8, spec: &mut Spec| {
        spec.payload = vec![1; 9000];
        spec.sequence = (spec.sequence - 1000) * 90;
    };
    assert_eq!(
        groups(8, BOTH, long),
        [7, 1],
        "a super-packet is no longer than a packet can be"
    );
}

#[test]
fn a_checksum_of_zero_is_written_as_ones_in_udp() {
    for v6 in [false, true] {
        let mut spec = Spec {
            v6,
            udp: true,
            payload: vec![0; 2],
            ..Spec::default()
        };
        let transport = spec.transport();
        spec.payload = transport[6..8].to_vec();
        assert_eq!(spec.transport()[6..8], [0xff, 0xff], "the payload makes the sum zero");
        assert_eq!(split(&spec.build_frame(2)).unwrap(), [spec.build()]);
    }
}

#[test]
fn a_frame_whose_checksum_is_not_in_its_headers_is_refused_if_it_is_to_be_cut() {
    // (checksum behind the start of the transport header, taken?), of TCP with 32 bytes of header.
    for (offset, taken) in [(16_u16, true), (30, true), (31, false), (500, false)] {
        let spec = Spec {
            payload: vec![1; 1010],
            ..Spec::default()
        };
        let mut frame = spec.build_frame(500);
        frame[8..10].copy_from_slice(&offset.to_ne_bytes());
        assert_eq!(split(&frame).is_some(), taken, "{offset}");
    }
}
