//! What one core does with packets in the clear: split, coalesce, checksum. `cargo bench -p dataplane --bench packets`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{hint::black_box, time::Instant};

use dataplane::{
    ip::checksum,
    tun::{
        coalesce::{Kinds, Plan},
        split::Frame,
    },
};

/// How often each row is measured; the best of its rounds counts, since other work can only slow it down.
const ROUNDS: usize = 2000;

/// IPv4, and TCP with timestamps.
const HEADERS: usize = 20 + 32;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let rounds = if bench { ROUNDS } else { 2 };
    println!("{:<46}{:>12}{:>12}", "", "ns", "Gbit/s");
    for len in [20, 64, 1420, 9000, 64_000] {
        let bytes = vec![0x5a; len];
        row(&format!("checksum, {len} bytes"), len, 1, rounds, || {
            black_box(checksum::of(black_box(&bytes)));
        });
    }
    for segment in [200, 1368, 8868] {
        super_packets(segment, rounds);
    }
}

/// The best time of a packet of `len` bytes, `run` being `count` of them.
fn row(name: &str, len: usize, count: usize, rounds: usize, mut run: impl FnMut()) {
    let best = (0..rounds).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    let nanos = best.min().unwrap_or_default().as_secs_f64() * 1e9 / count as f64;
    println!("{name:<46}{nanos:>12.1}{:>12.2}", (8 * len) as f64 / nanos);
}

/// Splits one super-packet into segments of so much data, and joins them again.
fn super_packets(segment: usize, rounds: usize) {
    let count = (60_000 / segment).min(44);
    let bytes = frame(segment, count);
    let frame = Frame::with_header(&bytes).expect("the frame is right");
    assert_eq!(frame.count(), count);
    let mut packets = vec![vec![0; HEADERS + segment]; count];
    let len = HEADERS + segment;
    row(
        &format!("split, {count} segments of {segment}"),
        len,
        count,
        rounds,
        || {
            let frame = Frame::with_header(black_box(&bytes)).expect("the frame is right");
            for (number, packet) in packets.iter_mut().enumerate() {
                frame.write(number, packet);
            }
        },
    );
    let both = Kinds { tcp: true, udp: true };
    let mut plan = Plan::new();
    row(
        &format!("coalesce, {count} segments of {segment}"),
        len,
        count,
        rounds,
        || {
            plan.make(black_box(&packets), both);
        },
    );
    assert_eq!(plan.groups().len(), 1, "all of them are one flow in order");
    // A packet of each of two flows in turn: what joins is never the packet before.
    let mut other = packets.clone();
    for packet in &mut other {
        change_port(packet);
    }
    let mixed: Vec<_> = packets
        .iter()
        .zip(&other)
        .flat_map(|(one, other)| [one, other])
        .collect();
    row(
        &format!("coalesce, two flows of {count}"),
        len,
        2 * count,
        rounds,
        || {
            plan.make(black_box(&mixed), both);
        },
    );
    assert_eq!(plan.groups().len(), 2);
}

/// A super-packet as a TUN device with `IFF_VNET_HDR` gives it: `struct virtio_net_hdr`, then the packet.
fn frame(segment: usize, count: usize) -> Vec<u8> {
    let narrow = |number: usize| u16::try_from(number).expect("below 64 KiB");
    let total = narrow(HEADERS + segment * count);
    let mut bytes = vec![1, 1];
    for number in [narrow(HEADERS), narrow(segment), 20, 16] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend([0x45, 0]);
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    // Ports, sequence, acknowledgement, header length and ACK, window, checksum, urgent pointer, timestamps.
    bytes.extend([
        0x14, 0x51, 0xc0, 0x01, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0, 0, 0, 0, 0,
    ]);
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    bytes.extend((0..segment * count).map(|at| u8::try_from(at % 251).expect("below 251")));
    bytes
}

/// Makes a packet one of another flow, its checksum with it: a word that is one more, a sum that is one less.
fn change_port(packet: &mut [u8]) {
    let word = |packet: &[u8], at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let port = word(packet, 20) + 1;
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    let sum = u32::from(!word(packet, 36)) + 1;
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("a folded sum");
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
}
