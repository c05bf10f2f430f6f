//! IP headers, written.

use std::net::IpAddr;

use super::{FRAGMENT, FRAGMENT_HEADER_LEN, V4_HEADER_LEN, V6_HEADER_LEN, checksum};

/// Hop limit of packets that begin here.
pub const DEFAULT_HOP_LIMIT: u8 = 64;

/// What an IP header says, but for the lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender.
    pub source: IpAddr,
    /// The destination, of the same family.
    pub destination: IpAddr,
    /// What the payload is.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// Type of service, or traffic class.
    pub traffic_class: u8,
    /// IPv4's identification; unused where fragments are forbidden (RFC 6864).
    pub ident: u16,
    /// IPv4's flag; IPv6 routers never fragment.
    pub dont_fragment: bool,
}

impl Header {
    /// A header with the usual hop limit, which routers may not fragment.
    #[must_use]
    pub const fn new(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            hop_limit: DEFAULT_HOP_LIMIT,
            traffic_class: 0,
            ident: 0,
            dont_fragment: true,
        }
    }

    /// Length of the header: 20 or 40.
    #[must_use]
    pub const fn len(&self) -> usize {
        if self.destination.is_ipv6() {
            V6_HEADER_LEN
        } else {
            V4_HEADER_LEN
        }
    }

    /// False; a header always has bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the header for a payload of this length to the front of `buffer`; returns the header's length.
    ///
    /// Writes nothing, and returns 0, if the buffer is shorter than the header, the families differ or the packet
    /// would be longer than 65,535 bytes.
    pub fn write(&self, buffer: &mut [u8], payload_len: usize) -> usize {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let Some(header) = buffer.first_chunk_mut::<V4_HEADER_LEN>() else {
                    return 0;
                };
                let Ok(total) = u16::try_from(V4_HEADER_LEN + payload_len) else {
                    return 0;
                };
                header[0] = 0x45;
                header[1] = self.traffic_class;
                header[2..4].copy_from_slice(&total.to_be_bytes());
                header[4..6].copy_from_slice(&self.ident.to_be_bytes());
                header[6..8].copy_from_slice(&[if self.dont_fragment { 0x40 } else { 0 }, 0]);
                header[8..10].copy_from_slice(&[self.hop_limit, self.protocol]);
                header[10..12].fill(0);
                header[12..16].copy_from_slice(&source.octets());
                header[16..20].copy_from_slice(&destination.octets());
                fix_v4_checksum(header);
                V4_HEADER_LEN
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let Some(header) = buffer.first_chunk_mut::<V6_HEADER_LEN>() else {
                    return 0;
                };
                let Ok(payload_len) = u16::try_from(payload_len) else {
                    return 0;
                };
                header[0] = 0x60 | self.traffic_class >> 4;
                header[1..4].copy_from_slice(&[self.traffic_class << 4, 0, 0]);
                header[4..6].copy_from_slice(&payload_len.to_be_bytes());
                header[6..8].copy_from_slice(&[self.protocol, self.hop_limit]);
                header[8..24].copy_from_slice(&source.octets());
                header[24..40].copy_from_slice(&destination.octets());
                V6_HEADER_LEN
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
        }
    }

    /// Length of what [`Header::write_fragment`] writes: 20 or 48.
    #[must_use]
    pub const fn fragment_len(&self) -> usize {
        if self.destination.is_ipv6() {
            V6_HEADER_LEN + FRAGMENT_HEADER_LEN
        } else {
            V4_HEADER_LEN
        }
    }

    /// Writes the headers of one fragment, whose payload of `payload_len` bytes begins at `offset`, a multiple of 8,
    /// in that of the whole; returns their length, or 0 as [`Header::write`] does.
    pub fn write_fragment(&self, buffer: &mut [u8], payload_len: usize, ident: u32, offset: u16, more: bool) -> usize {
        let [high, low, ident_high, ident_low] = ident.to_be_bytes();
        if self.destination.is_ipv4() {
            let ident = u16::from_be_bytes([ident_high, ident_low]);
            let header = Self {
                dont_fragment: false,
                ident,
                ..*self
            };
            if header.write(buffer, payload_len) == 0 {
                return 0;
            }
            let flags = (offset / 8) | if more { 0x2000 } else { 0 };
            buffer[6..8].copy_from_slice(&flags.to_be_bytes());
            buffer[10..12].fill(0);
            if let Some(header) = buffer.first_chunk_mut() {
                fix_v4_checksum(header);
            }
            return V4_HEADER_LEN;
        }
        let len = self.fragment_len();
        let header = Self {
            protocol: FRAGMENT,
            ..*self
        };
        if buffer.len() < len || header.write(buffer, FRAGMENT_HEADER_LEN + payload_len) == 0 {
            return 0;
        }
        let [place_high, place_low] = (offset & 0xfff8 | u16::from(more)).to_be_bytes();
        buffer[V6_HEADER_LEN..len].copy_from_slice(&[
            self.protocol,
            0,
            place_high,
            place_low,
            high,
            low,
            ident_high,
            ident_low,
        ]);
        len
    }
}

fn fix_v4_checksum(header: &mut [u8; V4_HEADER_LEN]) {
    let sum = checksum::of(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Takes one hop off a packet that is passed on, and mends its checksum. Does nothing if the header is cut short.
pub fn decrease_hop_limit(packet: &mut [u8]) {
    match packet.first().map(|first| first >> 4) {
        Some(4) => {
            let header_len = usize::from(packet[0] & 0x0f) * 4;
            let Some(header) = packet.get_mut(..header_len.max(V4_HEADER_LEN)) else {
                return;
            };
            header[8] = header[8].saturating_sub(1);
            header[10..12].fill(0);
            let sum = checksum::of(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Some(6) if packet.len() >= V6_HEADER_LEN => packet[7] = packet[7].saturating_sub(1),
        _ => {}
    }
}

/// Writes a UDP header before its payload, which stands at `datagram[8..]`, and the checksum over both.
///
/// Does nothing if the datagram is shorter than the header or longer than 65,535 bytes.
pub fn write_udp(datagram: &mut [u8], source: (IpAddr, u16), destination: (IpAddr, u16)) {
    let Ok(len) = u16::try_from(datagram.len()) else { return };
    let Some(header) = datagram.first_chunk_mut::<{ super::UDP_HEADER_LEN }>() else {
        return;
    };
    header[0..2].copy_from_slice(&source.1.to_be_bytes());
    header[2..4].copy_from_slice(&destination.1.to_be_bytes());
    header[4..6].copy_from_slice(&len.to_be_bytes());
    header[6..8].fill(0);
    let sum = checksum::pseudo_header(source.0, destination.0, super::UDP, datagram.len())
        .bytes(datagram)
        .finish();
    // Zero means "no checksum" (RFC 768).
    let sum = if sum == 0 { 0xffff } else { sum };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::{Fragment, Packet, UDP};

    #[test]
    fn what_is_written_is_read_back() {
        for (source, destination) in [("10.0.0.1", "192.0.2.9"), ("fd00::1", "2001:db8::9")] {
            let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
            let header = Header {
                hop_limit: 3,
                traffic_class: 0xb9,
                ..Header::new(source, destination, UDP)
            };
            let mut bytes = vec![0xaa; header.len() + 11];
            write_udp(&mut bytes[header.len()..], (source, 7), (destination, 9));
            assert_eq!(header.write(&mut bytes, 11), header.len());
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(
                (packet.source, packet.destination, packet.protocol),
                (source, destination, UDP)
            );
            assert_eq!(
                (packet.hop_limit, packet.traffic_class, packet.fragment),
                (3, 0xb9, None)
            );
            assert_eq!(packet.payload.len(), 11);
            assert!(packet.is_payload_intact() && packet.dont_fragment);

            let mut bytes = vec![0xaa; header.fragment_len() + 16];
            assert_eq!(
                header.write_fragment(&mut bytes, 16, 0x0102, 24, true),
                header.fragment_len()
            );
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(
                packet.fragment,
                Some(Fragment {
                    ident: 0x0102,
                    offset: 24,
                    more: true
                })
            );
            assert_eq!((packet.protocol, packet.payload), (UDP, &[0xaa; 16][..]));
        }
    }

    #[test]
    fn a_packet_that_is_passed_on_has_one_hop_less() {
        for (source, destination) in [("10.0.0.1", "192.0.2.9"), ("fd00::1", "2001:db8::9")] {
            let header = Header::new(source.parse().unwrap(), destination.parse().unwrap(), UDP);
            let mut bytes = vec![0; header.len()];
            header.write(&mut bytes, 0);
            decrease_hop_limit(&mut bytes);
            assert_eq!(Packet::parse(&bytes).unwrap().hop_limit, DEFAULT_HOP_LIMIT - 1);
            decrease_hop_limit(&mut bytes[..7]);
        }
    }

    #[test]
    fn what_cannot_be_written_is_left_alone() {
        let v4 = Header::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), UDP);
        let mixed = Header {
            source: "::1".parse().unwrap(),
            ..v4
        };
        assert_eq!(v4.write(&mut [0; 19], 1), 0);
        assert_eq!(v4.write(&mut [0; 40], 65_516), 0);
        assert_eq!(mixed.write(&mut [0; 60], 1), 0);
        assert_eq!(mixed.write_fragment(&mut [0; 60], 1, 1, 0, true), 0);
        write_udp(&mut [0; 7], ([10, 0, 0, 1].into(), 1), ([10, 0, 0, 2].into(), 2));
    }
}
