//! Socket addresses and control messages (`cmsg(3)`) as the kernel lays them out, in safe code.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of a `sockaddr_in6`, the larger of the two addresses.
pub(super) const NAME_LEN: usize = size_of::<libc::sockaddr_in6>();

/// Room for the control messages of one datagram: a packet info and a segment size.
pub(super) const CONTROL_LEN: usize = 128;

/// Bytes of a `cmsghdr`: length, level, type.
const HEADER_LEN: usize = size_of::<libc::cmsghdr>();

/// What each control message is padded to: the alignment of `cmsghdr`.
const ALIGN: usize = size_of::<usize>();

/// A socket address as the kernel reads and writes it.
#[derive(Clone, Copy)]
#[repr(C, align(4))]
pub(super) struct Name {
    pub(super) bytes: [u8; NAME_LEN],
    pub(super) len: u32,
}

impl Name {
    /// No address yet, with room for either family.
    #[allow(clippy::cast_possible_truncation, reason = "28 bytes")]
    pub(super) const EMPTY: Self = Self {
        bytes: [0; NAME_LEN],
        len: NAME_LEN as u32,
    };

    /// No address: the one that the socket is connected to.
    pub(super) const NONE: Self = Self {
        bytes: [0; NAME_LEN],
        len: 0,
    };

    /// Lays an address out.
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut name = Self::EMPTY;
        let bytes = &mut name.bytes;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[0..2].copy_from_slice(&family(libc::AF_INET));
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                name.len = 16;
            }
            SocketAddr::V6(v6) => {
                bytes[0..2].copy_from_slice(&family(libc::AF_INET6));
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            }
        }
        name
    }

    /// The address, or `None` if it is of another family.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let bytes = &self.bytes;
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        if bytes[0..2] == family(libc::AF_INET) {
            let ip = Ipv4Addr::from(array::<4>(&bytes[4..])?);
            return Some(SocketAddrV4::new(ip, port).into());
        }
        if bytes[0..2] == family(libc::AF_INET6) {
            let ip = Ipv6Addr::from(array::<16>(&bytes[8..])?);
            let scope = u32::from_ne_bytes(array::<4>(&bytes[24..])?);
            return Some(SocketAddrV6::new(ip, port, 0, scope).into());
        }
        None
    }
}

/// The control messages of one datagram.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control {
    pub(super) bytes: [u8; CONTROL_LEN],
    pub(super) len: usize,
}

impl Control {
    /// No control messages.
    pub(super) const EMPTY: Self = Self {
        bytes: [0; CONTROL_LEN],
        len: 0,
    };

    /// Says which address of this host to send from.
    pub(super) fn push_source(&mut self, source: IpAddr) {
        match source {
            IpAddr::V4(v4) => {
                // struct in_pktinfo: interface, source (ipi_spec_dst), unused.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&v4.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(v6) => {
                // struct in6_pktinfo: source, interface.
                let mut info = [0; 20];
                info[..16].copy_from_slice(&v6.octets());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    /// Has the kernel cut the data into datagrams of this length.
    pub(super) fn push_segment(&mut self, segment: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let at = self.len;
        let header = &mut self.bytes[at..at + HEADER_LEN + data.len()];
        header[..ALIGN].copy_from_slice(&(HEADER_LEN + data.len()).to_ne_bytes());
        header[ALIGN..ALIGN + 4].copy_from_slice(&level.to_ne_bytes());
        header[ALIGN + 4..ALIGN + 8].copy_from_slice(&kind.to_ne_bytes());
        header[HEADER_LEN..].copy_from_slice(data);
        self.len = at + HEADER_LEN + data.len().next_multiple_of(ALIGN);
    }

    /// What came with a datagram: this host's address that it came to, and the length of the datagrams that
    /// `UDP_GRO` joined.
    pub(super) fn read(&self) -> (Option<IpAddr>, Option<usize>) {
        let (mut local, mut segment) = (None, None);
        let mut rest = &self.bytes[..self.len.min(CONTROL_LEN)];
        while let Some((level, kind, data, next)) = split_first(rest) {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    local = data
                        .get(4..)
                        .and_then(array::<4>)
                        .map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    local = array::<16>(data).map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    segment = array::<4>(data).and_then(|size| usize::try_from(i32::from_ne_bytes(size)).ok());
                }
                _ => {}
            }
            rest = next;
        }
        (
            local.filter(|ip| !ip.is_unspecified() && !ip.is_multicast()),
            segment.filter(|size| *size > 0),
        )
    }
}

/// The first control message: level, type, data, and what follows it.
fn split_first(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(array(bytes)?);
    let level = i32::from_ne_bytes(array(bytes.get(ALIGN..)?)?);
    let kind = i32::from_ne_bytes(array(bytes.get(ALIGN + 4..)?)?);
    let data = bytes.get(HEADER_LEN..len)?;
    let next = bytes.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
    Some((level, kind, data, next))
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk::<N>().copied()
}

#[allow(clippy::cast_possible_truncation, reason = "AF_INET and AF_INET6 are 2 and 10")]
fn family(family: i32) -> [u8; 2] {
    (family as u16).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_as_it_was_laid_out() {
        for address in ["192.0.2.7:51820", "[2001:db8::7]:443", "[fe80::1%3]:9"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(Name::new(address).address(), Some(address));
        }
        assert_eq!(Name::EMPTY.address(), None);
    }

    #[test]
    fn control_messages_are_read_back_as_they_were_laid_out() {
        for source in ["192.0.2.7", "2001:db8::7"] {
            let source: IpAddr = source.parse().unwrap();
            let mut control = Control::EMPTY;
            control.push_source(source);
            control.push_segment(1452);
            control.push(libc::SOL_UDP, libc::UDP_GRO, &1452_i32.to_ne_bytes());
            assert_eq!(control.read(), (Some(source), Some(1452)));
            assert_eq!(control.len % ALIGN, 0);
        }
    }

    #[test]
    fn control_messages_of_any_shape_are_read_without_panic() {
        let mut control = Control {
            bytes: [0xff; CONTROL_LEN],
            len: CONTROL_LEN,
        };
        assert_eq!(control.read(), (None, None));
        for len in 0..=CONTROL_LEN + 1 {
            control.len = len;
            for claimed in 0..64_usize {
                control.bytes[..ALIGN].copy_from_slice(&claimed.to_ne_bytes());
                control.read();
            }
        }
    }
}
