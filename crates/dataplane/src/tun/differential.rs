//! Splitting and joining against a plain reference, which builds each packet on its own.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a difference, or a number that a test made too large, ends a test"
)]

pub(super) mod spec;

use self::spec::{ACK, CWR, ECE, FIN, PSH, SYN, Spec};
use super::{
    coalesce::{Kinds, Plan},
    split::Frame,
    vnet::VNET_HDR_LEN,
};

pub(super) const BOTH: Kinds = Kinds { tcp: true, udp: true };

/// Most packets of one stream.
const MOST: usize = 200;

/// Reads bytes as one super-packet and as a stream of packets, and compares what becomes of both with the reference. For a
/// fuzzer.
pub fn differential(data: &[u8]) {
    let Some((first, rest)) = data.split_first_chunk::<12>() else {
        return;
    };
    check_splitting(first, rest);
    let steps = rest.as_chunks::<4>().0.iter().take(MOST).map(Step::from_bytes);
    check_joining(&steps.collect::<Vec<_>>());
}

/// Cuts a super-packet as 12 bytes describe it, and then with a damaged header.
fn check_splitting(description: &[u8; 12], damage: &[u8]) {
    let [
        kinds,
        flags,
        id_low,
        id_high,
        len_low,
        len_high,
        cut_low,
        cut_high,
        sequence @ ..,
    ] = *description;
    let is = |bit: u8| kinds >> bit & 1 == 1;
    let sequence = u32::from_le_bytes(sequence);
    let spec = Spec {
        v6: is(0),
        udp: is(1),
        dont_fragment: is(2),
        ip_options: is(3) && !is(0),
        ident: u16::from_le_bytes([id_low, id_high]),
        sequence,
        timestamp: is(4).then_some(sequence),
        flags: ACK | flags & (PSH | FIN | ECE | CWR),
        payload: payload(usize::from(u16::from_le_bytes([len_low, len_high])) % 40_000, id_low),
        ..Spec::default()
    };
    let segment = 200 + usize::from(u16::from_le_bytes([cut_low, cut_high])) % 9000;
    let mut frame = spec.build_frame(segment);
    // A UDP super-packet of one byte less than a segment and a half, say, has a short last packet, as TCP's have.
    if !spec.payload.is_empty() {
        assert!(split(&frame).as_ref() == Some(&spec.segments(segment)), "{spec:?}");
    }
    // Behind a header that lies anything may come out, but no panic, and nothing longer than what went in.
    for (place, byte) in frame[..VNET_HDR_LEN].iter_mut().zip(damage) {
        *place ^= byte;
    }
    for packet in split(&frame).unwrap_or_default() {
        assert!(packet.len() <= frame.len());
    }
}

fn payload(len: usize, seed: u8) -> Vec<u8> {
    (0..=250).cycle().skip(seed.into()).take(len).collect()
}

/// Joins a stream and cuts it again: each packet comes out once, unchanged, and those of one flow in their order.
pub(super) fn check_joining(steps: &[Step]) {
    let packets = stream(steps);
    let joined = join(&packets, BOTH);
    let cut = joined.iter().flat_map(|frame| split(frame).unwrap());
    let mut after: Vec<Vec<u8>> = cut.map(plain_ident).collect();
    let mut before: Vec<Vec<u8>> = packets.into_iter().map(plain_ident).collect();
    after.sort_by_key(|packet| flow_of(packet));
    before.sort_by_key(|packet| flow_of(packet));
    assert!(before == after, "{steps:?}");
}

/// The packets of a frame; `None` if it makes no sense.
pub(super) fn split(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let frame = Frame::with_header(frame)?;
    let packet = |number| {
        let mut packet = vec![0xaa; frame.len(number)];
        frame.write(number, &mut packet);
        packet
    };
    Some((0..frame.count()).map(packet).collect())
}

/// What the next packet of a stream is like.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) flow: u8,
    pub(super) v6: bool,
    pub(super) udp: bool,
    pub(super) payload: usize,
    pub(super) oddity: u8,
    pub(super) seed: u8,
}

impl Step {
    fn from_bytes(bytes: &[u8; 4]) -> Self {
        let [kinds, len, oddity, seed] = *bytes;
        let lengths = [0, 1, 60, 100, 100, 100, 100, 1300];
        Self {
            flow: 1 + (kinds & 1),
            v6: kinds & 2 != 0,
            udp: kinds & 4 != 0,
            payload: lengths[usize::from(len) % lengths.len()],
            oddity,
            seed,
        }
    }
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
