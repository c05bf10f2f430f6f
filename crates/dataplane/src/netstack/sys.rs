//! What flows ask of the kernel: sockets, and why a datagram did not arrive.
#![allow(
    unsafe_code,
    reason = "the error queue of a socket and some socket options have no safe wrapper"
)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    ptr,
};

use rustix::{
    io::Errno,
    net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt},
};

use crate::ip::icmp;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    }
}

/// Begins to connect a TCP socket, from `source` if that can be had.
pub(super) fn dial(server: SocketAddr, source: Option<Ipv4Addr>) -> Result<OwnedFd, Errno> {
    let socket = net::socket_with(family(server.ip()), SocketType::STREAM, FLAGS, Some(ipproto::TCP))?;
    leave_from(&socket, source);
    sockopt::set_tcp_nodelay(&socket, true)?;
    // A server that vanished is found out; a byte that was sent as urgent keeps its place in the stream.
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_socket_oobinline(&socket, true)?;
    match net::connect(&socket, &server) {
        Ok(()) => Ok(socket),
        // Where the next hop is on this very machine, it may have said no before connect() was done: TCP then keeps
        // the error for whoever asks, and tries again a second later.
        Err(Errno::INPROGRESS) => sockopt::socket_error(&socket)?.map(|()| socket),
        Err(error) => Err(error),
    }
}

/// Begins a connection to a socket in the file system. One at which too many wait refuses it, as one without a listener
/// does.
pub(super) fn dial_local(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    let connected = net::SocketAddrUnix::new(path).and_then(|address| net::connect(&socket, &address));
    connected.map(|()| socket).map_err(|_| Errno::CONNREFUSED)
}

/// Opens a UDP socket to one server, from `source` if that can be had, which tells errors and never fragments unless
/// told so.
pub(super) fn open_udp(server: SocketAddr, source: Option<Ipv4Addr>) -> Result<OwnedFd, Errno> {
    open_datagrams(server, source, ipproto::UDP)
}

/// Opens a ping socket to one host.
///
/// `EACCES` says that `net.ipv4.ping_group_range` leaves this process out.
pub(super) fn open_echo(host: IpAddr) -> Result<OwnedFd, Errno> {
    let protocol = if host.is_ipv4() { ipproto::ICMP } else { ipproto::ICMPV6 };
    open_datagrams(SocketAddr::new(host, 0), None, protocol)
}

fn open_datagrams(server: SocketAddr, source: Option<Ipv4Addr>, protocol: net::Protocol) -> Result<OwnedFd, Errno> {
    let socket = net::socket_with(family(server.ip()), SocketType::DGRAM, FLAGS, Some(protocol))?;
    if server.is_ipv4() {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
    } else {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
    }
    leave_from(&socket, source);
    net::connect(&socket, &server)?;
    Ok(socket)
}

/// Lets what the socket sends come from an address; where that is not this host's, the kernel's choice stays.
fn leave_from(socket: &OwnedFd, source: Option<Ipv4Addr>) {
    if let Some(source) = source {
        // The port is then chosen when it connects, among those that are free for this server.
        let _ = set_option(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
        let _ = net::bind(socket, &SocketAddr::new(source.into(), 0));
    }
}

/// Whether routers, and this host, must not fragment what the socket sends.
pub(super) fn set_dont_fragment(socket: BorrowedFd<'_>, is_v6: bool, dont: bool) -> Result<(), Errno> {
    if is_v6 {
        let mode = if dont {
            libc::IPV6_PMTUDISC_DO
        } else {
            libc::IPV6_PMTUDISC_DONT
        };
        return set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, mode);
    }
    let mode = if dont {
        libc::IP_PMTUDISC_DO
    } else {
        libc::IP_PMTUDISC_DONT
    };
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, mode)
}

/// Sets the hop limit of what the socket sends; `None` is the system's own.
pub(super) fn set_hop_limit(socket: BorrowedFd<'_>, is_v6: bool, limit: Option<u8>) -> Result<(), Errno> {
    let limit = limit.map_or(-1, i32::from);
    if is_v6 {
        return set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, limit);
    }
    set_option(socket, libc::IPPROTO_IP, libc::IP_TTL, limit)
}

/// The longest packet that the path of a connected socket takes, as far as the kernel knows.
pub(super) fn path_mtu(socket: BorrowedFd<'_>, is_v6: bool) -> Option<u32> {
    if is_v6 {
        sockopt::ipv6_mtu(socket).ok()
    } else {
        sockopt::ip_mtu(socket).ok()
    }
}

/// Lets the closing of a TCP socket reset the connection.
pub(super) fn reset_on_close(socket: BorrowedFd<'_>) {
    // It fails on a socket that has no connection any more, which needs no reset.
    let _ = sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
}

/// Whether an address is this host's own: a socket may be bound to it.
pub(super) fn is_this_host(address: IpAddr) -> bool {
    let may_bind = |address: IpAddr| -> Result<(), Errno> {
        let probe = net::socket_with(family(address), SocketType::DGRAM, FLAGS, Some(ipproto::UDP))?;
        net::bind(&probe, &SocketAddr::new(address, 0))
    };
    if may_bind(address).is_err() {
        return false;
    }
    // `ip_nonlocal_bind` lets every address be bound, those of the documentation (RFC 5737, RFC 3849) among them.
    let nobodys: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::new(198, 51, 100, 213).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xd5).into(),
    };
    may_bind(nobodys).is_err() || source_to(address) == Ok(address)
}

/// The address that packets to this one would leave from; connecting a UDP socket sends nothing.
fn source_to(address: IpAddr) -> Result<IpAddr, Errno> {
    let probe = net::socket_with(family(address), SocketType::DGRAM, FLAGS, Some(ipproto::UDP))?;
    net::connect(&probe, &SocketAddr::new(address, 9))?;
    Ok(SocketAddr::try_from(net::getsockname(&probe)?)?.ip())
}

fn set_option(socket: impl AsFd, level: i32, option: i32, value: i32) -> Result<(), Errno> {
    // SAFETY: the pointer is to a live `int`, and the length is an `int`'s.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4),
        )
    };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Reads into two buffers, one after the other.
pub(super) fn read_both(socket: BorrowedFd<'_>, first: &mut [u8], second: &mut [u8]) -> Result<usize, Errno> {
    if second.is_empty() {
        return rustix::io::read(socket, first);
    }
    rustix::io::readv(socket, &mut [io::IoSliceMut::new(first), io::IoSliceMut::new(second)])
}

/// Writes two buffers, one after the other; a closed connection is an error, not a signal.
pub(super) fn write_both(socket: BorrowedFd<'_>, first: &[u8], second: &[u8]) -> Result<usize, Errno> {
    if second.is_empty() {
        return net::send(socket, first, net::SendFlags::NOSIGNAL);
    }
    let parts = [io::IoSlice::new(first), io::IoSlice::new(second)];
    net::sendmsg(
        socket,
        &parts,
        &mut net::SendAncillaryBuffer::default(),
        net::SendFlags::NOSIGNAL,
    )
}

/// Why a datagram did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What to tell the sender.
    pub(super) error: icmp::Error,
    /// Which router or host said so.
    pub(super) reporter: Option<IpAddr>,
    /// How many bytes of the datagram came back.
    pub(super) quoted: usize,
}

/// Takes one error from the socket's queue; `None` if there is none. What came back of the datagram is in `quote`.
///
/// Errors that say nothing to a sender are passed over.
pub(super) fn next_trouble(socket: BorrowedFd<'_>, quote: &mut [u8]) -> Option<Trouble> {
    // The queue is finite, but the network fills it: a bound keeps one flow from holding the loop.
    for _ in 0..16 {
        let (quoted, report) = receive_error(socket, quote)?;
        if let Some((error, reporter)) = report.and_then(|report| report.explain()) {
            return Some(Trouble {
                error,
                reporter,
                quoted,
            });
        }
    }
    None
}

/// What the kernel says about one datagram, as it says it.
#[derive(Clone, Copy)]
struct Report {
    error: libc::sock_extended_err,
    reporter: Option<IpAddr>,
}

impl Report {
    fn explain(&self) -> Option<(icmp::Error, Option<IpAddr>)> {
        let Self { error, reporter } = *self;
        let explained = match error.ee_origin {
            libc::SO_EE_ORIGIN_ICMP => icmp::Error::from_message(false, error.ee_type, error.ee_code, error.ee_info),
            libc::SO_EE_ORIGIN_ICMP6 => icmp::Error::from_message(true, error.ee_type, error.ee_code, error.ee_info),
            libc::SO_EE_ORIGIN_LOCAL => {
                let errno = Errno::from_raw_os_error(i32::try_from(error.ee_errno).unwrap_or_default());
                explain(errno, Some(error.ee_info))
            }
            _ => None,
        };
        explained.map(|explained| (explained, reporter))
    }
}

/// What an error number of a socket tells the sender of a datagram or of a SYN; `None`: nothing.
pub(super) fn explain(errno: Errno, mtu: Option<u32>) -> Option<icmp::Error> {
    match errno {
        Errno::CONNREFUSED => Some(icmp::Error::PortUnreachable),
        // A link-local destination without its interface is invalid: there is no way to it.
        Errno::NETUNREACH | Errno::NETDOWN | Errno::INVAL | Errno::AFNOSUPPORT => Some(icmp::Error::NetworkUnreachable),
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Some(icmp::Error::HostUnreachable),
        Errno::NOPROTOOPT | Errno::PROTO => Some(icmp::Error::ProtocolUnreachable),
        Errno::ACCESS | Errno::PERM => Some(icmp::Error::Prohibited),
        Errno::MSGSIZE => mtu.map(|mtu| icmp::Error::TooBig { mtu }),
        _ => None,
    }
}

/// Room for the control messages of one error: headers, `sock_extended_err` and the reporter's address, of two kinds.
#[repr(align(8))]
struct Control([u8; 256]);

fn receive_error(socket: BorrowedFd<'_>, quote: &mut [u8]) -> Option<(usize, Option<Report>)> {
    let mut control = Control([0; 256]);
    let mut vector = libc::iovec {
        iov_base: quote.as_mut_ptr().cast(),
        iov_len: quote.len(),
    };
    // SAFETY: a header of zeroes is valid: null pointers with lengths of zero.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: the header points to one vector over `quote` and to `control`, with their lengths; all live through the
    // call, nothing else uses them, and the kernel keeps no pointer.
    let got = unsafe {
        libc::recvmsg(
            socket.as_raw_fd(),
            &raw mut header,
            libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
        )
    };
    let got = usize::try_from(got).ok()?;
    #[allow(clippy::unnecessary_cast, reason = "the C libraries disagree on the type")]
    let len = header.msg_controllen as usize;
    Some((got.min(quote.len()), read_report(control.0.get(..len)?)))
}

/// Finds the error among control messages.
fn read_report(mut messages: &[u8]) -> Option<Report> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    while messages.len() >= HEADER {
        // SAFETY: the bytes are there, and any bytes are a `cmsghdr`, which is of integers; alignment is not assumed.
        let header: libc::cmsghdr = unsafe { ptr::read_unaligned(messages.as_ptr().cast()) };
        #[allow(clippy::unnecessary_cast, reason = "the C libraries disagree on the type")]
        let len = header.cmsg_len as usize;
        let body = messages.get(HEADER..len)?;
        match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => return read_error(body),
            _ => {}
        }
        messages = messages.get(len.next_multiple_of(align_of::<libc::cmsghdr>())..)?;
    }
    None
}

fn read_error(body: &[u8]) -> Option<Report> {
    let (error, address) = body.split_at_checked(size_of::<libc::sock_extended_err>())?;
    // SAFETY: the bytes are there, and any bytes are a `sock_extended_err`, which is of integers.
    let error: libc::sock_extended_err = unsafe { ptr::read_unaligned(error.as_ptr().cast()) };
    Some(Report {
        error,
        reporter: read_address(address),
    })
}

/// Reads a `sockaddr_in` or `sockaddr_in6`; `None` if it says nothing, as for errors that began here.
fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    if i32::from(family) == libc::AF_INET {
        let octets: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
        return Some(Ipv4Addr::from(octets).into());
    }
    if i32::from(family) == libc::AF_INET6 {
        let octets: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
        return Some(Ipv6Addr::from(octets).into());
    }
    None
}

/// Gives memory that was freed back to the system, which glibc does by itself only at the end of its heap.
pub(super) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and touches nothing but the allocator's free memory, under the allocator's locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Raises the limit of descriptors to what is allowed; returns it.
pub(super) fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    current
        .and_then(|current| usize::try_from(current).ok())
        .unwrap_or(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_host_and_a_test_network_is_not() {
        assert!(is_this_host(Ipv4Addr::LOCALHOST.into()));
        assert!(is_this_host(Ipv4Addr::new(127, 9, 9, 9).into()));
        assert!(!is_this_host(Ipv4Addr::new(198, 51, 100, 77).into()));
    }

    #[test]
    fn a_closed_port_is_reported_by_who_closed_it() {
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = open_udp(closed, None).unwrap();
        net::send(&socket, b"anybody?", net::SendFlags::empty()).unwrap();
        let mut quote = [0; 64];
        let trouble = next_trouble(socket.as_fd(), &mut quote).unwrap();
        let expected = Trouble {
            error: icmp::Error::PortUnreachable,
            reporter: Some(closed.ip()),
            quoted: b"anybody?".len(),
        };
        assert_eq!((trouble, &quote[..8]), (expected, &b"anybody?"[..]));
        assert_eq!(next_trouble(socket.as_fd(), &mut quote), None);
    }

    #[test]
    fn control_messages_of_any_shape_are_read_without_panic() {
        for fill in [0, 1, 16, 17, 0xff] {
            for len in 0..80 {
                let _ = read_report(&vec![fill; len]);
                let _ = read_error(&vec![fill; len]);
            }
        }
    }
}
