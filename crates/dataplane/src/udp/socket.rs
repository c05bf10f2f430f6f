//! One UDP socket of one address family, set up for a tunnel's outside.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

use super::{Offloads, sys::set_option};

/// Bytes that the kernel may hold for us in each direction: 16 ms at 2 Gbit/s, which covers the time that a
/// thread is off its processor and adds no more delay than that. Without `CAP_NET_ADMIN` the kernel cuts it to
/// `net.core.rmem_max` and `wmem_max`, 208 KiB unless the administrator raised them.
const BUFFER_LEN: usize = 4 << 20;

/// After so many runs, what was refused is tried again: the path may be wider, or another. One refused call in so many
/// costs nothing, and a forged ICMP message about a narrow path does not slow a tunnel down for good.
const RETRY_AFTER: usize = 1024;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A bound socket, and what the kernel does for it.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    gso: bool,
    gro: bool,
    /// Datagrams of this length and longer are sent one by one, for they were refused in groups. Zero: all are.
    group_below: AtomicUsize,
    /// Runs that were sent one by one for that reason.
    ungrouped: AtomicUsize,
}

impl Socket {
    /// Opens a socket on this port of all addresses of the family; port 0 lets the kernel choose.
    pub(super) fn open(family: Family, port: u16, fwmark: u32, offloads: Offloads) -> io::Result<Self> {
        Self::open_with(family, port, fwmark, offloads, |_| Ok(()))
    }

    /// Opens a socket on a port that another of this user's shares: see [`Socket::share`].
    pub(super) fn open_shared(family: Family, port: u16, fwmark: u32, offloads: Offloads) -> io::Result<Self> {
        Self::open_with(family, port, fwmark, offloads, share)
    }

    fn open_with(
        family: Family,
        port: u16,
        fwmark: u32,
        offloads: Offloads,
        before_bind: fn(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let (domain, address) = match family {
            Family::V4 => (AddressFamily::INET, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
            Family::V6 => (AddressFamily::INET6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        };
        let fd = socket_with(
            domain,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        set_family_options(family, fd.as_fd())?;
        set_buffers(fd.as_fd());
        set_fwmark(fd.as_fd(), fwmark)?;
        let gso =
            offloads.gso && !gso_is_broken() && set_option(fd.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        let gro = offloads.gro && set_option(fd.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        before_bind(fd.as_fd())?;
        bind(&fd, &address)?;
        Ok(Self {
            fd,
            gso,
            gro,
            group_below: AtomicUsize::new(usize::MAX),
            ungrouped: AtomicUsize::new(0),
        })
    }

    /// Lets other sockets of this user have the port, too, and gives each its part of the senders.
    pub(super) fn share(&self) -> io::Result<()> {
        share(self.fd.as_fd())
    }

    /// The port that the socket is bound to.
    pub(super) fn port(&self) -> io::Result<u16> {
        let address = SocketAddr::try_from(getsockname(&self.fd)?)?;
        Ok(address.port())
    }

    /// Whether the next run, of several datagrams of this length, may be handed over in groups.
    pub(super) fn groups_next(&self, segment: usize) -> bool {
        if !self.gso || segment < self.group_below.load(Ordering::Relaxed) {
            return self.gso;
        }
        if self.ungrouped.fetch_add(1, Ordering::Relaxed) < RETRY_AFTER {
            return false;
        }
        self.ungrouped.store(0, Ordering::Relaxed);
        self.group_below.store(usize::MAX, Ordering::Relaxed);
        true
    }

    /// Remembers that groups of datagrams of this length, and longer, are refused.
    pub(super) fn stop_grouping(&self, from: usize) {
        self.group_below.fetch_min(from, Ordering::Relaxed);
    }

    /// What the kernel does for this socket.
    pub(super) fn offloads(&self) -> Offloads {
        Offloads {
            gso: self.gso && self.group_below.load(Ordering::Relaxed) > 0,
            gro: self.gro,
        }
    }

    /// Marks what the socket sends; 0 for no mark.
    pub(super) fn set_fwmark(&self, fwmark: u32) -> io::Result<()> {
        set_fwmark(self.fd.as_fd(), fwmark)
    }

    #[cfg(test)]
    pub(super) fn set_send_buffer(&self, len: usize) {
        sockopt::set_socket_send_buffer_size(&self.fd, len).unwrap();
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn share(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
}

fn set_family_options(family: Family, fd: BorrowedFd<'_>) -> io::Result<()> {
    // The kernel's WireGuard clears DF and sets `ignore_df`: an outer packet larger than the path is sent in
    // fragments, on either family, and a peer behind a narrow path works slowly instead of not at all. The
    // sockets' equivalent is IP_PMTUDISC_DONT.
    match family {
        Family::V4 => {
            set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
            set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
        }
        Family::V6 => {
            sockopt::set_ipv6_v6only(fd, true)?;
            set_option(
                fd,
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_DONT,
            )?;
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
        }
    }
}

/// Asks for large buffers and takes what is given: the size is a matter of speed only.
fn set_buffers(fd: BorrowedFd<'_>) {
    if sockopt::set_socket_recv_buffer_size_force(fd, BUFFER_LEN).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(fd, BUFFER_LEN);
    }
    if set_option(
        fd,
        libc::SOL_SOCKET,
        libc::SO_SNDBUFFORCE,
        BUFFER_LEN.try_into().unwrap_or(i32::MAX),
    )
    .is_err()
    {
        let _ = sockopt::set_socket_send_buffer_size(fd, BUFFER_LEN);
    }
}

fn set_fwmark(fd: BorrowedFd<'_>, fwmark: u32) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_MARK, fwmark.cast_signed()).or_else(|error| {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        if fwmark == 0 {
            // Without the capability no mark can have been set.
            return Ok(());
        }
        let why = format!("fwmark {fwmark:#x} needs the capability NET_ADMIN: add it, or leave FwMark out");
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    })
}

/// Whether this kernel spoils the headers of datagrams that it cuts from one call.
pub(super) fn gso_is_broken() -> bool {
    let system = rustix::system::uname();
    release_breaks_gso(&system.release().to_string_lossy())
}

/// Linux 7.0 to 7.1.4 spoil UDP headers when all segments of a call are equally long (Tailscale's 8b58bd6c6).
fn release_breaks_gso(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().ok());
    match (
        numbers.next().flatten(),
        numbers.next().flatten(),
        numbers.next().flatten(),
    ) {
        (Some(7), Some(0), _) => true,
        (Some(7), Some(1), patch) => patch.unwrap_or(0) <= 4,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_spoil_cut_datagrams_are_known_by_their_release() {
        for (release, broken) in [
            ("6.18.44-fc-v595", false),
            ("7.0.0-12-generic", true),
            ("7.0.9", true),
            ("7.1-rc3", true),
            ("7.1.4", true),
            ("7.1.5", false),
            ("7.10.1", false),
            ("7.2.0", false),
            ("17.0.1", false),
            ("", false),
        ] {
            assert_eq!(release_breaks_gso(release), broken, "{release}");
        }
    }
}
