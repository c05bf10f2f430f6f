//! Several datagrams a call on a connected socket, for those who have sockets of their own.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::OnceLock,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};

pub(crate) use super::sys::{BATCH, Received, receive};
use super::{
    control::{Control, Name},
    socket::gso_is_broken,
    sys::{self, Message},
};

/// Whether this kernel cuts what one call sends into datagrams (`UDP_SEGMENT`). One that does not know the option would
/// send all as one datagram.
pub(crate) fn cuts() -> bool {
    static CUTS: OnceLock<bool> = OnceLock::new();
    *CUTS.get_or_init(|| {
        let families = [AddressFamily::INET, AddressFamily::INET6];
        let socket = families
            .into_iter()
            .find_map(|family| socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok());
        let knows =
            socket.is_some_and(|socket| sys::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok());
        knows && !gso_is_broken()
    })
}

/// Sends datagrams of `segment` bytes each, the last of which may be shorter, in one call: all, or none. Only where
/// [`cuts`] says so.
pub(crate) fn send_group(socket: BorrowedFd<'_>, data: &[u8], segment: u16) -> Result<(), Errno> {
    let mut control = Control::EMPTY;
    control.push_segment(segment);
    let message = Message {
        data,
        name: Name::NONE,
        control,
    };
    sys::send(socket, &[message]).map(|_| ())
}

/// Has the kernel join equal datagrams of one sender (`UDP_GRO`).
pub(crate) fn join(socket: BorrowedFd<'_>) -> std::io::Result<()> {
    sys::set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}
