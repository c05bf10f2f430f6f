//! The plain reference: builds a packet from its fields, and a super-packet's packets each on its own.

use crate::tun::vnet::{Gso, VnetHeader};

pub(in crate::tun) const FIN: u8 = 0x01;
pub(in crate::tun) const SYN: u8 = 0x02;
pub(in crate::tun) const PSH: u8 = 0x08;
pub(in crate::tun) const ACK: u8 = 0x10;
pub(in crate::tun) const ECE: u8 = 0x40;
pub(in crate::tun) const CWR: u8 = 0x80;

/// One packet, by its fields.
#[derive(Clone, Debug)]
pub(in crate::tun) struct Spec {
    pub(in crate::tun) v6: bool,
    pub(in crate::tun) udp: bool,
    pub(in crate::tun) flow: u8,
    pub(in crate::tun) ident: u16,
    pub(in crate::tun) dont_fragment: bool,
    pub(in crate::tun) more_fragments: bool,
    pub(in crate::tun) hop_limit: u8,
    pub(in crate::tun) ip_options: bool,
    pub(in crate::tun) sequence: u32,
    pub(in crate::tun) ack: u32,
    pub(in crate::tun) flags: u8,
    pub(in crate::tun) window: u16,
    /// Timestamps, as an option of TCP.
    pub(in crate::tun) timestamp: Option<u32>,
    pub(in crate::tun) payload: Vec<u8>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            v6: false,
            udp: false,
            flow: 1,
            ident: 77,
            dont_fragment: true,
            more_fragments: false,
            hop_limit: 64,
            ip_options: false,
            sequence: 1000,
            ack: 5,
            flags: ACK,
            window: 500,
            timestamp: Some(9),
            payload: Vec::new(),
        }
    }
}

/// The Internet checksum, two bytes at a time.
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap()
}

impl Spec {
    fn len16(len: usize) -> [u8; 2] {
        u16::try_from(len).unwrap().to_be_bytes()
    }

    fn addresses(&self) -> Vec<u8> {
        let len = if self.v6 { 16 } else { 4 };
        let mut bytes = vec![10; 2 * len];
        bytes[len - 1] = self.flow;
        bytes[2 * len - 1] = 99;
        bytes
    }

    fn protocol(&self) -> u8 {
        if self.udp { 17 } else { 6 }
    }

    pub(in crate::tun) fn transport(&self) -> Vec<u8> {
        let mut bytes = vec![0x12, self.flow, 0, 80];
        let at = if self.udp {
            bytes.extend(Self::len16(8 + self.payload.len()));
            bytes.extend([0, 0]);
            6
        } else {
            let options: Vec<u8> = self
                .timestamp
                .map(|stamp| [&[1, 1, 8, 10], &stamp.to_be_bytes()[..], &[0; 4]].concat())
                .unwrap_or_default();
            bytes.extend(self.sequence.to_be_bytes());
            bytes.extend(self.ack.to_be_bytes());
            bytes.extend([u8::try_from((20 + options.len()) / 4).unwrap() << 4, self.flags]);
            bytes.extend(self.window.to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(options);
            16
        };
        bytes.extend(&self.payload);
        let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let sum = checksum(&[&self.addresses(), &len, &[0, self.protocol()], &bytes]);
        let sum = if self.udp && sum == 0 { 0xffff } else { sum };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// The packet.
    pub(in crate::tun) fn build(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut bytes = if self.v6 {
            let mut bytes = vec![0x60, 0, 0, 3];
            bytes.extend(Self::len16(transport.len()));
            bytes.extend([self.protocol(), self.hop_limit]);
            bytes.extend(self.addresses());
            bytes
        } else {
            let options: &[u8] = if self.ip_options { &[1, 1, 1, 1] } else { &[] };
            let mut bytes = vec![0x45 + u8::from(self.ip_options), 0];
            bytes.extend(Self::len16(20 + options.len() + transport.len()));
            bytes.extend(self.ident.to_be_bytes());
            bytes.extend([
                u8::from(self.dont_fragment) << 6 | u8::from(self.more_fragments) << 5,
                0,
            ]);
            bytes.extend([self.hop_limit, self.protocol(), 0, 0]);
            bytes.extend(self.addresses());
            bytes.extend(options);
            let sum = checksum(&[&bytes]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes
        };
        bytes.extend(transport);
        bytes
    }

    /// The packet as a TUN device hands it over to be cut: its checksum holds the pseudo header's sum only.
    pub(in crate::tun) fn build_frame(&self, segment: usize) -> Vec<u8> {
        let mut packet = self.build();
        let start = if self.v6 {
            40
        } else {
            20 + 4 * usize::from(self.ip_options)
        };
        let offset = if self.udp { 6 } else { 16 };
        let len = u32::try_from(packet.len() - start).unwrap().to_be_bytes();
        let sum = !checksum(&[&self.addresses(), &len, &[0, self.protocol()]]);
        packet[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
        let cut = self.payload.len() > segment;
        let gso = match (cut, self.udp) {
            (false, _) => Gso::None,
            (true, true) => Gso::Udp,
            (true, false) => Gso::Tcp,
        };
        let narrow = |number: usize| u16::try_from(number).unwrap();
        let header = VnetHeader {
            gso,
            segment: if cut { narrow(segment) } else { 0 },
            header_len: narrow(start),
            checksum: Some((narrow(start), narrow(offset))),
        };
        [&header.bytes(self.v6)[..], &packet].concat()
    }

    /// The packets that this one stands for, each built on its own.
    pub(in crate::tun) fn segments(&self, segment: usize) -> Vec<Vec<u8>> {
        let count = self.payload.len().div_ceil(segment).max(1);
        let part = |number: usize| {
            let mut part = self.clone();
            part.payload = self.payload.chunks(segment).nth(number).unwrap_or_default().to_vec();
            part.ident = self.ident.wrapping_add(u16::try_from(number).unwrap());
            part.sequence = self.sequence.wrapping_add(u32::try_from(number * segment).unwrap());
            if number + 1 < count {
                part.flags &= !(FIN | PSH);
            }
            if number > 0 {
                part.flags &= !CWR;
            }
            part.build()
        };
        (0..count).map(part).collect()
    }
}
