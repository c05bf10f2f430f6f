//! The sockets that a forwarder listens on.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::DnsError;

/// TCP connections that wait to be accepted.
const TCP_BACKLOG: i32 = 128;

/// Ports tried until UDP and TCP have the same.
const BIND_ATTEMPTS: usize = 16;

/// A UDP socket and a TCP listener on the same port.
pub(super) struct Sockets {
    pub(super) address: SocketAddr,
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// Binds both. Port 0 takes one that is free for both.
pub(super) fn bind(wanted: SocketAddr) -> Result<Sockets, DnsError> {
    let mut attempts = if wanted.port() == 0 { BIND_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match try_bind(wanted) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            other => {
                return other.map_err(|cause| DnsError::Bind { address: wanted, cause });
            }
        }
    }
}

fn try_bind(wanted: SocketAddr) -> io::Result<Sockets> {
    let udp = UdpSocket::from(open(SocketType::DGRAM, wanted)?);
    let address = udp.local_addr()?;
    let tcp = TcpListener::from(open(SocketType::STREAM, address)?);
    rustix::net::listen(&tcp, TCP_BACKLOG)?;
    Ok(Sockets { address, udp, tcp })
}

/// A bound socket that does not block. The address need not be usable yet: one that an interface was given a moment
/// ago is first checked for a twin on the link.
fn open(kind: SocketType, address: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        // All addresses are those of IPv4 too, whatever `bindv6only` says.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}
