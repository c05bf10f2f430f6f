//! ICMP (RFC 792) and ICMPv6 (RFC 4443): errors and echoes, written and read.

use std::net::IpAddr;

use super::{ICMP, ICMPV6, Packet, V4_HEADER_LEN, V4_MIN_MTU, V6_HEADER_LEN, V6_MIN_MTU, checksum, header::Header};

/// Length of the header of an error or echo message.
pub const HEADER_LEN: usize = 8;

/// Longest packet that [`write_error`] makes.
pub const MAX_ERROR_LEN: usize = V6_MIN_MTU;

const V4_ECHO_REPLY: u8 = 0;
const V4_UNREACHABLE: u8 = 3;
const V4_ECHO_REQUEST: u8 = 8;
const V4_TIME_EXCEEDED: u8 = 11;
const V6_UNREACHABLE: u8 = 1;
const V6_TOO_BIG: u8 = 2;
const V6_TIME_EXCEEDED: u8 = 3;
const V6_PARAMETER_PROBLEM: u8 = 4;
const V6_ECHO_REQUEST: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;

/// What went wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// No route to the destination's network.
    NetworkUnreachable,
    /// The destination does not answer on its link.
    HostUnreachable,
    /// The destination does not speak the protocol.
    ProtocolUnreachable,
    /// Nobody listens on the port.
    PortUnreachable,
    /// A policy forbids it.
    Prohibited,
    /// Longer than the next link takes, and not to be fragmented.
    TooBig {
        /// Longest packet that the link takes.
        mtu: u32,
    },
    /// The hop limit was used up.
    HopLimitExceeded,
    /// Fragments were missing when their time was up.
    ReassemblyTimeExceeded,
}

impl Error {
    /// The error of a message's type, code and the number after its checksum; `None` if it is no error, or one that has
    /// no name here.
    #[must_use]
    pub fn from_message(is_v6: bool, kind: u8, code: u8, number: u32) -> Option<Self> {
        Some(if is_v6 {
            match (kind, code) {
                (V6_UNREACHABLE, 1 | 5 | 6) => Self::Prohibited,
                (V6_UNREACHABLE, 3) => Self::HostUnreachable,
                (V6_UNREACHABLE, 4) => Self::PortUnreachable,
                (V6_UNREACHABLE, _) => Self::NetworkUnreachable,
                (V6_PARAMETER_PROBLEM, 1) => Self::ProtocolUnreachable,
                (V6_TOO_BIG, _) => Self::TooBig { mtu: number },
                (V6_TIME_EXCEEDED, 0) => Self::HopLimitExceeded,
                (V6_TIME_EXCEEDED, 1) => Self::ReassemblyTimeExceeded,
                _ => return None,
            }
        } else {
            match (kind, code) {
                (V4_UNREACHABLE, 1 | 7 | 8 | 12) => Self::HostUnreachable,
                (V4_UNREACHABLE, 2) => Self::ProtocolUnreachable,
                (V4_UNREACHABLE, 3) => Self::PortUnreachable,
                (V4_UNREACHABLE, 4) => Self::TooBig { mtu: number & 0xffff },
                (V4_UNREACHABLE, 9 | 10 | 13) => Self::Prohibited,
                (V4_UNREACHABLE, _) => Self::NetworkUnreachable,
                (V4_TIME_EXCEEDED, 0) => Self::HopLimitExceeded,
                (V4_TIME_EXCEEDED, 1) => Self::ReassemblyTimeExceeded,
                _ => return None,
            }
        })
    }

    /// Type, code, and the four bytes after the checksum.
    fn message(self, is_v6: bool) -> (u8, u8, u32) {
        if is_v6 {
            return match self {
                Self::NetworkUnreachable => (V6_UNREACHABLE, 0, 0),
                Self::Prohibited => (V6_UNREACHABLE, 1, 0),
                Self::HostUnreachable => (V6_UNREACHABLE, 3, 0),
                Self::PortUnreachable => (V6_UNREACHABLE, 4, 0),
                // "Unrecognized next header"; the pointer names the header's field in a packet without extensions.
                Self::ProtocolUnreachable => (V6_PARAMETER_PROBLEM, 1, 6),
                Self::TooBig { mtu } => (V6_TOO_BIG, 0, mtu),
                Self::HopLimitExceeded => (V6_TIME_EXCEEDED, 0, 0),
                Self::ReassemblyTimeExceeded => (V6_TIME_EXCEEDED, 1, 0),
            };
        }
        match self {
            Self::NetworkUnreachable => (V4_UNREACHABLE, 0, 0),
            Self::HostUnreachable => (V4_UNREACHABLE, 1, 0),
            Self::ProtocolUnreachable => (V4_UNREACHABLE, 2, 0),
            Self::PortUnreachable => (V4_UNREACHABLE, 3, 0),
            Self::TooBig { mtu } => (V4_UNREACHABLE, 4, mtu.min(0xffff)),
            Self::Prohibited => (V4_UNREACHABLE, 13, 0),
            Self::HopLimitExceeded => (V4_TIME_EXCEEDED, 0, 0),
            Self::ReassemblyTimeExceeded => (V4_TIME_EXCEEDED, 1, 0),
        }
    }
}

/// Length of the error packet about this packet; `None` if there must be none.
///
/// There is no error about an ICMP error, about a fragment that is not the first, nor about a packet from or to an
/// address that is not one host's (RFC 1122, 3.2.2; RFC 4443, 2.4 (e)).
#[must_use]
pub fn error_len(about: &Packet<'_>) -> Option<usize> {
    let is_later_fragment = about.fragment.is_some_and(|fragment| fragment.offset > 0);
    if is_later_fragment || is_error(about) || !is_one_host(about.source) || !is_one_host(about.destination) {
        return None;
    }
    let (header_len, longest) = if about.is_v6() {
        (V6_HEADER_LEN, V6_MIN_MTU)
    } else {
        (V4_HEADER_LEN, V4_MIN_MTU)
    };
    Some((header_len + HEADER_LEN + about.bytes.len()).min(longest))
}

fn is_error(packet: &Packet<'_>) -> bool {
    let kind = packet.payload.first().copied();
    match packet.protocol {
        // All but the queries: echo, timestamp and the like.
        ICMP => !matches!(kind, Some(V4_ECHO_REPLY | V4_ECHO_REQUEST | 13..=18)),
        ICMPV6 => kind.is_none_or(|kind| kind < 128),
        _ => false,
    }
}

fn is_one_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast(),
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast(),
    }
}

/// Writes the packet that tells the sender of `about` what went wrong with it, from the router `from`.
///
/// Returns the packet's length, which is [`error_len`]; or 0, if there must be no such packet, `from` is of another
/// family or the buffer is shorter.
pub fn write_error(buffer: &mut [u8], from: IpAddr, about: &Packet<'_>, error: Error) -> usize {
    let Some(len) = error_len(about) else { return 0 };
    let Some(buffer) = buffer.get_mut(..len) else { return 0 };
    let is_v6 = about.is_v6();
    let header = Header::new(from, about.source, if is_v6 { ICMPV6 } else { ICMP });
    let header_len = header.len();
    if header.write(buffer, len - header_len) == 0 {
        return 0;
    }
    let message = &mut buffer[header_len..];
    let (kind, code, rest) = error.message(is_v6);
    message[..4].copy_from_slice(&[kind, code, 0, 0]);
    message[4..HEADER_LEN].copy_from_slice(&rest.to_be_bytes());
    let quoted = message.len() - HEADER_LEN;
    message[HEADER_LEN..].copy_from_slice(&about.bytes[..quoted]);
    seal(message, from, about.source);
    len
}

/// Writes the checksum of an ICMP or ICMPv6 message; the addresses say which.
fn seal(message: &mut [u8], source: IpAddr, destination: IpAddr) {
    message[2..4].fill(0);
    let start = if source.is_ipv6() {
        checksum::pseudo_header(source, destination, ICMPV6, message.len())
    } else {
        checksum::Sum::ZERO
    };
    let sum = start.bytes(message).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

/// Which way an [`Echo`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EchoKind {
    /// A question.
    Request,
    /// Its answer.
    Reply,
}

/// A ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Question or answer.
    pub kind: EchoKind,
    /// Which program asked.
    pub ident: u16,
    /// Which of its questions.
    pub sequence: u16,
    /// What is to be sent back.
    pub data: &'a [u8],
}

impl<'a> Echo<'a> {
    /// Reads an echo from a whole packet whose checksum is right.
    #[must_use]
    pub fn parse(packet: &Packet<'a>) -> Option<Self> {
        let message = message(packet)?;
        let kind = match (packet.protocol, message[0]) {
            (ICMP, V4_ECHO_REQUEST) | (ICMPV6, V6_ECHO_REQUEST) => EchoKind::Request,
            (ICMP, V4_ECHO_REPLY) | (ICMPV6, V6_ECHO_REPLY) => EchoKind::Reply,
            _ => return None,
        };
        Self::parse_message(kind, message)
    }

    /// Reads the fields of an echo message, header and data, without looking at type or checksum.
    #[must_use]
    pub fn parse_message(kind: EchoKind, message: &'a [u8]) -> Option<Self> {
        let (header, data) = message.split_first_chunk::<HEADER_LEN>()?;
        Some(Self {
            kind,
            ident: u16::from_be_bytes([header[4], header[5]]),
            sequence: u16::from_be_bytes([header[6], header[7]]),
            data,
        })
    }

    /// Length of the message: ICMP header and data.
    #[must_use]
    pub const fn message_len(&self) -> usize {
        HEADER_LEN + self.data.len()
    }

    /// Writes the message, checksum included, to `message`, whose length is [`Echo::message_len`].
    ///
    /// Does nothing if it is another. The addresses say the family, and stand in ICMPv6's checksum.
    pub fn write_message(&self, message: &mut [u8], source: IpAddr, destination: IpAddr) {
        if message.len() != self.message_len() {
            return;
        }
        let kind = match (self.kind, source.is_ipv6()) {
            (EchoKind::Request, false) => V4_ECHO_REQUEST,
            (EchoKind::Reply, false) => V4_ECHO_REPLY,
            (EchoKind::Request, true) => V6_ECHO_REQUEST,
            (EchoKind::Reply, true) => V6_ECHO_REPLY,
        };
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        message[4..6].copy_from_slice(&self.ident.to_be_bytes());
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        message[HEADER_LEN..].copy_from_slice(self.data);
        seal(message, source, destination);
    }
}

/// Changes the identifier of an echo message in place, and its checksum. Does nothing if the message is cut short.
pub fn set_echo_ident(message: &mut [u8], ident: u16, source: IpAddr, destination: IpAddr) {
    if message.len() >= HEADER_LEN {
        message[4..6].copy_from_slice(&ident.to_be_bytes());
        seal(message, source, destination);
    }
}

/// The payload of an ICMP or ICMPv6 packet, if it is a whole message with a right checksum.
fn message<'a>(packet: &Packet<'a>) -> Option<&'a [u8]> {
    if packet.fragment.is_some() || packet.payload.len() < HEADER_LEN {
        return None;
    }
    let is_icmp = matches!((packet.protocol, packet.is_v6()), (ICMP, false) | (ICMPV6, true));
    (is_icmp && packet.is_payload_intact()).then_some(packet.payload)
}

/// An error message that came from elsewhere: what went wrong, and the start of the packet that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// What went wrong.
    pub error: Error,
    /// The sender of the packet.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// What `transport` is.
    pub protocol: u8,
    /// The start of its payload: at least 8 bytes, so ports can be read.
    pub transport: &'a [u8],
}

impl<'a> Report<'a> {
    /// Reads an error message. `None` for all other ICMP, for kinds that [`Error`] has not, and for one that quotes
    /// too little to say which flow it is about.
    #[must_use]
    pub fn parse(packet: &Packet<'a>) -> Option<Self> {
        let message = message(packet)?;
        let (header, quoted) = message.split_first_chunk::<HEADER_LEN>()?;
        let number = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let error = Error::from_message(packet.is_v6(), header[0], header[1], number)?;
        let (source, destination, protocol, transport) = quote(quoted)?;
        Some(Self {
            error,
            source,
            destination,
            protocol,
            transport,
        })
    }
}

/// Reads the start of a packet that an error quotes: it is cut, so its lengths say nothing.
fn quote(quoted: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    let (source, destination, protocol, header_len) = match quoted.first()? >> 4 {
        4 => {
            let header = quoted.first_chunk::<V4_HEADER_LEN>()?;
            let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
            if is_later_fragment {
                return None;
            }
            let source: [u8; 4] = *header[12..].first_chunk()?;
            let destination: [u8; 4] = *header[16..].first_chunk()?;
            let header_len = usize::from(header[0] & 0x0f) * 4;
            (
                source.into(),
                destination.into(),
                header[9],
                header_len.max(V4_HEADER_LEN),
            )
        }
        6 => {
            let header = quoted.first_chunk::<V6_HEADER_LEN>()?;
            let source: [u8; 16] = *header[8..].first_chunk()?;
            let destination: [u8; 16] = *header[24..].first_chunk()?;
            (source.into(), destination.into(), header[6], V6_HEADER_LEN)
        }
        _ => return None,
    };
    let transport = quoted.get(header_len..)?;
    (transport.len() >= 8).then_some((source, destination, protocol, transport))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::{UDP, header};
    use proptest::prelude::*;

    fn udp(source: &str, destination: &str, len: usize) -> Vec<u8> {
        let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
        let header = Header::new(source, destination, UDP);
        let mut bytes = vec![0; header.len() + 8 + len];
        header.write(&mut bytes, 8 + len);
        header::write_udp(&mut bytes[header.len()..], (source, 1000), (destination, 53));
        bytes
    }

    const ERRORS: [Error; 8] = [
        Error::NetworkUnreachable,
        Error::HostUnreachable,
        Error::ProtocolUnreachable,
        Error::PortUnreachable,
        Error::Prohibited,
        Error::TooBig { mtu: 1_400 },
        Error::HopLimitExceeded,
        Error::ReassemblyTimeExceeded,
    ];

    #[test]
    fn every_error_is_read_back_as_it_was_written() {
        for (client, server, router) in [
            ("10.0.0.2", "192.0.2.1", "10.0.0.1"),
            ("fd00::2", "2001:db8::1", "fd00::1"),
        ] {
            for (len, error) in [0, 3, 20, 2_000]
                .into_iter()
                .flat_map(|len| ERRORS.map(|error| (len, error)))
            {
                let bytes = udp(client, server, len);
                let about = Packet::parse(&bytes).unwrap();
                let mut buffer = [0; MAX_ERROR_LEN];
                let written = write_error(&mut buffer, router.parse().unwrap(), &about, error);
                assert_eq!(Some(written), error_len(&about));
                let packet = Packet::parse(&buffer[..written]).unwrap();
                assert_eq!(
                    (packet.source.to_string(), packet.destination.to_string()),
                    (router.into(), client.into())
                );
                assert!(packet.is_payload_intact());
                let report = Report::parse(&packet).unwrap();
                assert_eq!((report.error, report.protocol), (error, UDP));
                assert_eq!((report.source, report.destination), (about.source, about.destination));
                assert_eq!(report.transport[..4], [3, 232, 0, 53]);
                assert_eq!(Echo::parse(&packet), None);
                // No error about an error.
                assert_eq!(error_len(&packet), None);
            }
        }
    }

    #[test]
    fn no_error_answers_a_packet_that_is_not_from_one_host_to_one_host() {
        for (source, destination) in [
            ("10.0.0.2", "224.0.0.1"),
            ("10.0.0.2", "255.255.255.255"),
            ("0.0.0.0", "192.0.2.1"),
            ("fd00::2", "ff02::1"),
            ("::", "2001:db8::1"),
        ] {
            let bytes = udp(source, destination, 9);
            assert_eq!(
                error_len(&Packet::parse(&bytes).unwrap()),
                None,
                "{source} {destination}"
            );
        }
    }

    #[test]
    fn an_echo_is_read_back_as_it_was_written() {
        for (source, destination) in [("10.0.0.2", "192.0.2.1"), ("fd00::2", "2001:db8::1")] {
            for kind in [EchoKind::Request, EchoKind::Reply] {
                let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
                let header = Header::new(source, destination, if source.is_ipv6() { ICMPV6 } else { ICMP });
                let echo = Echo {
                    kind,
                    ident: 7,
                    sequence: 9,
                    data: b"hello",
                };
                let mut bytes = vec![0; header.len() + echo.message_len()];
                header.write(&mut bytes, echo.message_len());
                echo.write_message(&mut bytes[header.len()..], source, destination);
                assert_eq!(Echo::parse(&Packet::parse(&bytes).unwrap()), Some(echo));
                *bytes.last_mut().unwrap() ^= 1;
                assert_eq!(Echo::parse(&Packet::parse(&bytes).unwrap()), None);
            }
        }
    }

    proptest! {
        #[test]
        fn hostile_messages_never_panic(mut payload in proptest::collection::vec(any::<u8>(), 0..120), v6: bool, kind in 0u8..16, code in 0u8..16) {
            let (source, destination): (IpAddr, IpAddr) = if v6 {
                ("fd00::2".parse().unwrap(), "fd00::1".parse().unwrap())
            } else {
                ([10, 0, 0, 2].into(), [10, 0, 0, 1].into())
            };
            let header = Header::new(source, destination, if v6 { ICMPV6 } else { ICMP });
            let mut bytes = vec![0; header.len()];
            header.write(&mut bytes, payload.len());
            if payload.len() >= HEADER_LEN {
                payload[..2].copy_from_slice(&[kind, code]);
                if let Some(first) = payload.get_mut(8) {
                    *first = if v6 { 0x60 } else { 0x45 };
                }
                seal(&mut payload, source, destination);
            }
            bytes.extend_from_slice(&payload);
            let packet = Packet::parse(&bytes).unwrap();
            let _ = (Report::parse(&packet), Echo::parse(&packet));
            let mut buffer = [0; MAX_ERROR_LEN];
            let written = write_error(&mut buffer, destination, &packet, Error::PortUnreachable);
            prop_assert_eq!(written, error_len(&packet).unwrap_or(0));
        }
    }
}
