//! A view of one IP packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING, V4_HEADER_LEN, V6_HEADER_LEN, checksum::Sum,
};

/// What the first bytes of a packet say: enough to route it and to cut it to its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender, as it claims.
    pub source: IpAddr,
    /// The destination.
    pub destination: IpAddr,
    /// Length of the whole packet; never more than the bytes that were given.
    pub len: usize,
}

/// Reads the addresses and the length of a packet, which may have padding after it.
///
/// `None` if it is no IP packet or is cut short. The header's checksum is not looked at.
#[inline]
#[must_use]
pub fn envelope(data: &[u8]) -> Option<Envelope> {
    match data.first()? >> 4 {
        4 => {
            let header = data.first_chunk::<V4_HEADER_LEN>()?;
            let header_len = usize::from(header[0] & 0x0f) * 4;
            let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
            if header_len < V4_HEADER_LEN || len < header_len || len > data.len() {
                return None;
            }
            Some(Envelope {
                source: v4(header, 12).into(),
                destination: v4(header, 16).into(),
                len,
            })
        }
        6 => {
            let header = data.first_chunk::<V6_HEADER_LEN>()?;
            let len = V6_HEADER_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
            if len > data.len() {
                return None;
            }
            Some(Envelope {
                source: v6(header, 8).into(),
                destination: v6(header, 24).into(),
                len,
            })
        }
        _ => None,
    }
}

fn v4(header: &[u8; V4_HEADER_LEN], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3])
}

fn v6(header: &[u8; V6_HEADER_LEN], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    octets.into()
}

/// One IP packet, its headers checked, its extension headers walked.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The sender, as it claims.
    pub source: IpAddr,
    /// The destination.
    pub destination: IpAddr,
    /// What `payload` is: the protocol after the last extension header, or that of the whole in a fragment.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// Type of service, or traffic class: six bits of DSCP, two of ECN.
    pub traffic_class: u8,
    /// Whether routers may not fragment it; always so in IPv6.
    pub dont_fragment: bool,
    /// Where the payload belongs, if the packet is a fragment.
    pub fragment: Option<Fragment>,
    /// The whole packet, cut to its length.
    pub bytes: &'a [u8],
    /// What follows the headers.
    pub payload: &'a [u8],
}

/// The place of a fragment in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// The packet that it is of; 16 bits in IPv4, 32 in IPv6.
    pub ident: u32,
    /// Where its payload begins in the packet's, in bytes; a multiple of 8.
    pub offset: usize,
    /// Whether more follows.
    pub more: bool,
}

/// Why bytes are not a packet that a host would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Neither IPv4 nor IPv6.
    #[error("the version is neither 4 nor 6")]
    Version,
    /// A length does not fit the bytes.
    #[error("a length in the headers does not fit the packet")]
    Length,
    /// The IPv4 header's checksum is wrong.
    #[error("the header's checksum is wrong")]
    Checksum,
    /// A fragment that no packet can hold: beyond 65,535 bytes, or one in the middle that is no multiple of 8 long.
    #[error("the fragment has an impossible place")]
    Fragment,
    /// Extension headers in an order or of a kind that is not allowed, or a source route with hops left (RFC 5095).
    #[error("the extension headers are not allowed")]
    Extension,
}

impl<'a> Packet<'a> {
    /// Reads a packet, which may have padding after it.
    ///
    /// # Errors
    ///
    /// If a host would drop the packet as malformed.
    pub fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        match data.first().map(|first| first >> 4) {
            Some(4) => Self::parse_v4(data),
            Some(6) => Self::parse_v6(data),
            _ => Err(Malformed::Version),
        }
    }

    fn parse_v4(data: &'a [u8]) -> Result<Self, Malformed> {
        let header = data.first_chunk::<V4_HEADER_LEN>().ok_or(Malformed::Length)?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header_len < V4_HEADER_LEN || len < header_len || len > data.len() {
            return Err(Malformed::Length);
        }
        let bytes = &data[..len];
        if !Sum::ZERO.bytes(&bytes[..header_len]).is_intact() {
            return Err(Malformed::Checksum);
        }
        let payload = &bytes[header_len..];
        let flags = u16::from_be_bytes([header[6], header[7]]);
        let fragment = Fragment {
            ident: u32::from(u16::from_be_bytes([header[4], header[5]])),
            offset: usize::from(flags & 0x1fff) * 8,
            more: flags & 0x2000 != 0,
        };
        Ok(Self {
            source: v4(header, 12).into(),
            destination: v4(header, 16).into(),
            protocol: header[9],
            hop_limit: header[8],
            traffic_class: header[1],
            dont_fragment: flags & 0x4000 != 0,
            fragment: fragment.checked(payload.len(), header_len)?,
            bytes,
            payload,
        })
    }

    fn parse_v6(data: &'a [u8]) -> Result<Self, Malformed> {
        let header = data.first_chunk::<V6_HEADER_LEN>().ok_or(Malformed::Length)?;
        let len = V6_HEADER_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let bytes = data.get(..len).ok_or(Malformed::Length)?;
        let mut packet = Self {
            source: v6(header, 8).into(),
            destination: v6(header, 24).into(),
            protocol: header[6],
            hop_limit: header[7],
            traffic_class: header[0] << 4 | header[1] >> 4,
            dont_fragment: true,
            fragment: None,
            bytes,
            payload: &bytes[V6_HEADER_LEN..],
        };
        packet.walk_extensions()?;
        Ok(packet)
    }

    /// Moves `protocol` and `payload` behind the extension headers (RFC 8200, section 4).
    fn walk_extensions(&mut self) -> Result<(), Malformed> {
        let mut is_first = true;
        loop {
            let next = self.payload;
            let len = match self.protocol {
                HOP_BY_HOP if !is_first => return Err(Malformed::Extension),
                HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => {
                    8 + 8 * usize::from(*next.get(1).ok_or(Malformed::Length)?)
                }
                AUTHENTICATION => 8 + 4 * usize::from(*next.get(1).ok_or(Malformed::Length)?),
                FRAGMENT => 8,
                _ => return Ok(()),
            };
            let (extension, rest) = next.split_at_checked(len).ok_or(Malformed::Length)?;
            match self.protocol {
                // Hops left mean that the destination is not the last one; type 0 is forbidden altogether.
                ROUTING if extension[3] != 0 || extension[2] == 0 => return Err(Malformed::Extension),
                FRAGMENT => {
                    if self.fragment.is_some() {
                        return Err(Malformed::Extension);
                    }
                    let flags = u16::from_be_bytes([extension[2], extension[3]]);
                    let fragment = Fragment {
                        ident: u32::from_be_bytes([extension[4], extension[5], extension[6], extension[7]]),
                        offset: usize::from(flags & 0xfff8),
                        more: flags & 1 != 0,
                    };
                    self.fragment = fragment.checked(rest.len(), 0)?;
                }
                _ => {}
            }
            (self.protocol, self.payload, is_first) = (extension[0], rest, false);
            if self.fragment.is_some() {
                // What follows is a part of the packet; its headers are read once it is whole.
                return Ok(());
            }
        }
    }

    /// Whether it is IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// Length of all headers before the payload.
    #[must_use]
    pub fn headers_len(&self) -> usize {
        self.bytes.len() - self.payload.len()
    }

    /// Whether the payload's checksum is right: of TCP, ICMP, ICMPv6, and UDP that has one. All but ICMP count the
    /// addresses in, too.
    #[must_use]
    pub fn is_payload_intact(&self) -> bool {
        let start = match self.protocol {
            super::ICMP => Sum::ZERO,
            _ => super::checksum::pseudo_header(self.source, self.destination, self.protocol, self.payload.len()),
        };
        start.bytes(self.payload).is_intact()
    }
}

impl Fragment {
    /// `None` for a whole packet, an "atomic fragment" among them (RFC 6946).
    ///
    /// `headers` counts towards the 65,535 bytes of a packet: the header in IPv4, nothing in IPv6.
    fn checked(self, payload_len: usize, headers: usize) -> Result<Option<Self>, Malformed> {
        if self.offset == 0 && !self.more {
            return Ok(None);
        }
        // A middle one must end on 8; the whole must fit a packet; an empty fragment says nothing.
        if self.more && !payload_len.is_multiple_of(8)
            || payload_len == 0
            || self.offset + payload_len + headers > 65_535
        {
            return Err(Malformed::Fragment);
        }
        Ok(Some(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::{UDP, header};
    use proptest::prelude::*;

    fn v6_packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; V6_HEADER_LEN];
        let (source, destination) = ("fd00::2".parse().unwrap(), "2001:db8::1".parse().unwrap());
        header::Header::new(source, destination, protocol).write(&mut packet, payload.len());
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn extension_headers_are_walked_to_the_transport() {
        let fragment = |flags: u8| vec![UDP, 0, 0, flags, 0, 0, 0, 9];
        // (first protocol, payload, result: protocol and what is left of the payload)
        for (protocol, payload, result) in [
            (UDP, vec![1, 2, 3], Ok((UDP, 3))),
            (
                HOP_BY_HOP,
                [vec![UDP, 0, 1, 4, 0, 0, 0, 0], vec![7]].concat(),
                Ok((UDP, 1)),
            ),
            (
                DESTINATION_OPTIONS,
                [vec![UDP, 1], vec![0; 14], vec![7; 9]].concat(),
                Ok((UDP, 9)),
            ),
            (
                AUTHENTICATION,
                [vec![UDP, 1], vec![0; 10], vec![7]].concat(),
                Ok((UDP, 1)),
            ),
            (FRAGMENT, [fragment(0), vec![7; 5]].concat(), Ok((UDP, 5))),
            (FRAGMENT, [fragment(1), vec![7; 8]].concat(), Ok((UDP, 8))),
            (FRAGMENT, [fragment(1), vec![7; 9]].concat(), Err(Malformed::Fragment)),
            (FRAGMENT, fragment(1), Err(Malformed::Fragment)),
            (
                FRAGMENT,
                vec![
                    FRAGMENT, 0, 0, 0, 0, 0, 0, 9, UDP, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8,
                ],
                Ok((UDP, 8)),
            ),
            (
                DESTINATION_OPTIONS,
                vec![HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 0, UDP, 0, 0, 0, 0, 0, 0, 0],
                Err(Malformed::Extension),
            ),
            (ROUTING, vec![UDP, 0, 0, 0, 0, 0, 0, 0], Err(Malformed::Extension)),
            (ROUTING, vec![UDP, 0, 4, 1, 0, 0, 0, 0], Err(Malformed::Extension)),
            (ROUTING, vec![UDP, 0, 4, 0, 0, 0, 0, 0], Ok((UDP, 0))),
            (DESTINATION_OPTIONS, vec![UDP, 9, 0, 0], Err(Malformed::Length)),
            (DESTINATION_OPTIONS, vec![UDP], Err(Malformed::Length)),
            (HOP_BY_HOP, vec![], Err(Malformed::Length)),
        ] {
            let bytes = v6_packet(protocol, &payload);
            let got = Packet::parse(&bytes).map(|packet| (packet.protocol, packet.payload.len()));
            assert_eq!(got, result, "{protocol} {payload:?}");
        }
    }

    #[test]
    fn an_ipv4_header_is_checked() {
        let mut good = vec![0; V4_HEADER_LEN];
        let (source, destination) = ("10.0.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap());
        header::Header::new(source, destination, UDP).write(&mut good, 4);
        good.extend_from_slice(b"load and padding");
        let packet = Packet::parse(&good).unwrap();
        assert_eq!(
            (packet.payload, packet.source, packet.destination),
            (&b"load"[..], source, destination)
        );
        assert_eq!(
            envelope(&good),
            Some(Envelope {
                source,
                destination,
                len: 24
            })
        );
        // (byte, value, error)
        for (at, value, error) in [
            (0, 0x55, Malformed::Version),
            (0, 0x44, Malformed::Length),
            (0, 0x46, Malformed::Checksum),
            (2, 0xff, Malformed::Length),
            (3, 19, Malformed::Length),
            (12, 11, Malformed::Checksum),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Packet::parse(&bad).unwrap_err(), error, "byte {at}");
        }
        assert_eq!(Packet::parse(&good[..19]).unwrap_err(), Malformed::Length);
        assert_eq!(Packet::parse(&[]).unwrap_err(), Malformed::Version);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(mut data in proptest::collection::vec(any::<u8>(), 0..200), version in 4u8..7, protocol in 0u8..64) {
            if let Some(first) = data.first_mut() {
                *first = version << 4 | *first & 0x0f;
            }
            // Lengths that fit reach deeper.
            let len = u16::try_from(data.len()).unwrap();
            if version == 6 && data.len() > 48 {
                data[4..6].copy_from_slice(&(len - 40).to_be_bytes());
                data[6] = protocol;
                data[41] &= 3;
            }
            if let Ok(packet) = Packet::parse(&data) {
                prop_assert!(packet.payload.len() < packet.bytes.len());
                prop_assert_eq!(envelope(&data).map(|e| e.len), Some(packet.bytes.len()));
                let _ = packet.is_payload_intact();
            }
            let _ = envelope(&data);
        }
    }
}
