//! Cuts the super-packets that the kernel hands over into the packets that they stand for.
//!
//! ```text
//!   ┌─────────┬────┬─────┬──────────────────────────────┐
//!   │ vnet 10 │ IP │ TCP │ up to 64 KiB of payload      │        as read from the TUN
//!   └─────────┴────┴─────┴──────────────────────────────┘
//!   ┌────┬─────┬─────────┐ ┌────┬─────┬─────────┐ ┌────┬─────┬──────┐
//!   │ IP │ TCP │ segment │ │ IP │ TCP │ segment │ │ IP │ TCP │ rest │
//!   └────┴─────┴─────────┘ └────┴─────┴─────────┘ └────┴─────┴──────┘
//! ```
//!
//! Pure. Each packet is written once, to where it will be sealed.

use super::vnet::{Gso, VNET_HDR_LEN, VnetHeader};
use crate::ip::{self, V4_HEADER_LEN, V6_HEADER_LEN, checksum::Sum};

const TCP_HEADER_LEN: usize = 20;
const TCP_FLAGS: usize = 13;
/// FIN and PSH: of the last segment only.
const TCP_LAST_ONLY: u8 = 0x01 | 0x08;
/// CWR: of the first segment only.
const TCP_FIRST_ONLY: u8 = 0x80;

/// A packet as read from a TUN device, and what it is to be cut into.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    packet: &'a [u8],
    gso: Gso,
    /// Where the transport header begins.
    transport: usize,
    /// Length of all headers; the whole packet's if it is not cut.
    headers: usize,
    segment: usize,
    /// Where the checksum is, if it is to be written.
    checksum: Option<usize>,
}

impl<'a> Frame<'a> {
    /// A packet without a header of the TUN's.
    pub fn whole(packet: &'a [u8]) -> Self {
        Self {
            packet,
            gso: Gso::None,
            transport: 0,
            headers: packet.len(),
            segment: 0,
            checksum: None,
        }
    }

    /// Reads a packet with its header; `None` if they do not fit each other.
    pub fn with_header(frame: &'a [u8]) -> Option<Self> {
        let (header, packet) = frame.split_first_chunk::<VNET_HDR_LEN>()?;
        let header = VnetHeader::read(header)?;
        let Some((start, offset)) = header.checksum else {
            // Without the place of the checksum nothing can be cut.
            return (header.gso == Gso::None && !packet.is_empty()).then(|| Self::whole(packet));
        };
        let transport = usize::from(start);
        let checksum = transport + usize::from(offset);
        let ip_header_len = if packet.first()? >> 4 == 6 {
            V6_HEADER_LEN
        } else {
            V4_HEADER_LEN
        };
        if transport < ip_header_len || checksum + 2 > packet.len() {
            return None;
        }
        let headers = match header.gso {
            Gso::None => packet.len(),
            Gso::Udp => transport + ip::UDP_HEADER_LEN,
            Gso::Tcp => {
                let words = packet.get(transport + TCP_FLAGS - 1)? >> 4;
                transport + (usize::from(words) * 4).max(TCP_HEADER_LEN)
            }
        };
        let segment = usize::from(header.segment);
        // Each of the packets has the headers, the last one perhaps little more: the checksum is in them.
        if headers > packet.len() || checksum + 2 > headers || header.gso != Gso::None && segment == 0 {
            return None;
        }
        Some(Self {
            packet,
            gso: header.gso,
            transport,
            headers,
            segment,
            checksum: Some(checksum),
        })
    }

    /// The packet's headers and payload, uncut.
    pub(super) fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// How many packets it is.
    pub fn count(&self) -> usize {
        match self.gso {
            Gso::None => 1,
            Gso::Tcp | Gso::Udp => (self.packet.len() - self.headers).div_ceil(self.segment).max(1),
        }
    }

    /// Length of the packet of this number.
    pub fn len(&self, number: usize) -> usize {
        self.headers + self.payload(number).len()
    }

    /// Writes the packet of this number; `out` is as long as [`Frame::len`] says.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn write(&self, number: usize, out: &mut [u8]) {
        let payload = self.payload(number);
        let (headers, rest) = out.split_at_mut(self.headers);
        headers.copy_from_slice(&self.packet[..self.headers]);
        rest.copy_from_slice(payload);
        if self.gso != Gso::None {
            self.fix_ip(number, out);
            self.fix_transport(number, out);
        }
        if let Some(at) = self.checksum {
            self.write_checksum(at, out);
        }
    }

    fn payload(&self, number: usize) -> &'a [u8] {
        let payload = &self.packet[self.headers..];
        let start = (number * self.segment).min(payload.len());
        let end = (start + self.segment).min(payload.len());
        &payload[start..end]
    }

    fn fix_ip(&self, number: usize, out: &mut [u8]) {
        let len = out.len();
        if out[0] >> 4 == 6 {
            put(out, 4, len - V6_HEADER_LEN);
            return;
        }
        put(out, 2, len);
        let ident = u16::from_be_bytes([out[4], out[5]]);
        put(out, 4, usize::from(ident) + number);
        put(out, 10, 0);
        let sum = Sum::ZERO.bytes(&out[..self.transport]).finish();
        out[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn fix_transport(&self, number: usize, out: &mut [u8]) {
        let transport = &mut out[self.transport..];
        if self.gso == Gso::Udp {
            let len = transport.len();
            put(transport, 4, len);
            return;
        }
        let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
        let offset = u32::try_from(number * self.segment).unwrap_or_default();
        transport[4..8].copy_from_slice(&sequence.wrapping_add(offset).to_be_bytes());
        if number + 1 < self.count() {
            transport[TCP_FLAGS] &= !TCP_LAST_ONLY;
        }
        if number > 0 {
            transport[TCP_FLAGS] &= !TCP_FIRST_ONLY;
        }
    }

    fn write_checksum(&self, at: usize, out: &mut [u8]) {
        let sum = if self.gso == Gso::None {
            // The field holds the pseudo header's sum.
            Sum::ZERO.bytes(&out[self.transport..])
        } else {
            out[at..at + 2].fill(0);
            let protocol = if self.gso == Gso::Udp { ip::UDP } else { ip::TCP };
            pseudo_header(out, protocol, out.len() - self.transport).bytes(&out[self.transport..])
        };
        let checksum = match sum.finish() {
            // In UDP zero means that there is none.
            0 if at - self.transport == 6 => 0xffff,
            checksum => checksum,
        };
        out[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The sum of the pseudo header, of a packet that has a whole IP header.
pub(super) fn pseudo_header(packet: &[u8], protocol: u8, len: usize) -> Sum {
    let addresses = if packet[0] >> 4 == 6 {
        &packet[8..40]
    } else {
        &packet[12..20]
    };
    let len = u32::try_from(len).unwrap_or_default();
    Sum::ZERO
        .bytes(addresses)
        .bytes(&len.to_be_bytes())
        .number(u16::from(protocol))
}

/// Writes a number of 16 bits; what is above them is dropped, as counters in headers do.
pub(super) fn put(bytes: &mut [u8], at: usize, number: usize) {
    let number = u16::try_from(number & 0xffff).unwrap_or_default();
    bytes[at..at + 2].copy_from_slice(&number.to_be_bytes());
}
