//! Splitting and joining against a plain reference, which builds each packet on its own.

mod spec;

use proptest::prelude::*;

use self::spec::{ACK, CWR, ECE, FIN, PSH, SYN, Spec};
use super::{
    coalesce::{Kinds, MAX_JOINED, Plan},
    split::Frame,
    vnet::VNET_HDR_LEN,
};

const BOTH: Kinds = Kinds { tcp: true, udp: true };

fn split(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let frame = Frame::with_header(frame)?;
    let packet = |number| {
        let mut packet = vec![0xaa; frame.len(number)];
        frame.write(number, &mut packet);
        packet
    };
    Some((0..frame.count()).map(packet).collect())
}

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
        let packets = stream(&steps);
        let joined = join(&packets, BOTH);
        // Each packet comes out once, unchanged, and those of one flow in their order.
        let mut after: Vec<Vec<u8>> = joined.iter().flat_map(|frame| split(frame).unwrap()).map(plain_ident).collect();
        let mut before: Vec<Vec<u8>> = packets.into_iter().map(plain_ident).collect();
        after.sort_by_key(|packet| flow_of(packet));
        before.sort_by_key(|packet| flow_of(packet));
        prop_assert!(before == after);
    }
}

/// What the next packet of a stream is like.
#[derive(Clone, Debug)]
struct Step {
    flow: u8,
    v6: bool,
    udp: bool,
    payload: usize,
    oddity: u8,
    seed: u8,
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

/// Packets of several flows, most of which follow on each other, as if by one sender each.
fn stream(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut flows = std::collections::HashMap::new();
    let mut packets = Vec::new();
    for step in steps {
        let spec: &mut Spec = flows.entry((step.flow, step.v6, step.udp)).or_insert_with(|| Spec {
            flow: step.flow,
            v6: step.v6,
            udp: step.udp,
            dont_fragment: step.flow == 1,
            sequence: u32::MAX - 300,
            ident: u16::MAX - 2,
            ..Spec::default()
        });
        spec.payload = vec![step.seed; step.payload];
        spec.flags = ACK;
        (spec.ip_options, spec.more_fragments) = (false, false);
        let mut damage = None;
        match step.oddity {
            0 => spec.flags |= PSH,
            1 => spec.flags |= FIN,
            2 => spec.flags = SYN,
            3 => spec.flags |= CWR,
            4 => spec.flags |= ECE,
            5 => spec.sequence = spec.sequence.wrapping_add(7),
            6 => spec.sequence = spec.sequence.wrapping_sub(100),
            7 => spec.ack += 1,
            8 => spec.window ^= 1,
            9 => spec.hop_limit ^= 1,
            10 => spec.ident = spec.ident.wrapping_sub(1),
            11 => spec.ident = spec.ident.wrapping_add(9),
            12 => spec.timestamp = spec.timestamp.map(|stamp| stamp + 1),
            13 => spec.timestamp = None,
            14 => spec.ip_options = !spec.v6,
            15 => spec.more_fragments = !spec.v6,
            16 => spec.dont_fragment ^= true,
            17..=19 => damage = Some(usize::from(step.seed)),
            _ => {}
        }
        let mut packet = spec.build();
        if let Some(at) = damage {
            // Not the addresses and ports, so that the reference still knows the flow; nor the lengths.
            let transport = if spec.v6 { 40 } else { 20 };
            let at = transport + 6 + at % (packet.len() - transport - 6);
            packet[at] ^= 0x10;
        }
        packets.push(packet);
        spec.sequence = spec.sequence.wrapping_add(u32::try_from(step.payload).unwrap());
        // UDP that is not to be fragmented often has the same identification in all packets.
        if !(spec.udp && spec.dont_fragment) {
            spec.ident = spec.ident.wrapping_add(1);
        }
    }
    packets
}

/// Joins packets, and lays each group out as it is written to the device.
fn join(packets: &[Vec<u8>], kinds: Kinds) -> Vec<Vec<u8>> {
    let mut packets = packets.to_vec();
    let mut plan = Plan::new();
    // The second time in memory that was used before.
    for _ in 0..2 {
        plan.make(&packets, kinds);
    }
    let mut frames = Vec::new();
    for group in plan.groups() {
        let members: Vec<usize> = plan.members(group).collect();
        assert_eq!(members.len(), group.count());
        let mut frame = group.finish(&mut packets[members[0]]).to_vec();
        frame.extend_from_slice(&packets[members[0]]);
        for member in &members[1..] {
            frame.extend_from_slice(&packets[*member][group.headers_len()..]);
        }
        frames.push(frame);
    }
    frames
}

/// Family, protocol, addresses and ports.
fn flow_of(packet: &[u8]) -> (u8, u8, Vec<u8>) {
    if packet[0] >> 4 == 6 {
        return (6, packet[6], packet[8..44].to_vec());
    }
    let header = usize::from(packet[0] & 0xf) * 4;
    (4, packet[9], [&packet[12..20], &packet[header..header + 4]].concat())
}

/// Clears the identification of a packet that is not to be fragmented, where it means nothing (RFC 6864).
fn plain_ident(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 && packet[6] & 0x60 == 0x40 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
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
