//! System calls for many datagrams at once, and for ICMP.
#![allow(unsafe_code, reason = "std has neither sendmmsg nor recvmmsg nor ICMP sockets")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, FromRawFd as _};

/// How many datagrams a call carries.
const COUNT: usize = 64;

/// Room for datagrams of one length.
pub(super) struct Batch {
    bytes: Vec<u8>,
    len: usize,
}

impl Batch {
    pub(super) fn new(len: usize) -> Self {
        Self {
            bytes: vec![0x5a; len * COUNT],
            len,
        }
    }

    /// Sends all to where the socket is connected; gives how many the kernel took.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.call(|messages, count| {
            // SAFETY: `messages` points to `count` headers, which `call` keeps alive.
            unsafe { libc::sendmmsg(socket.as_raw_fd(), messages, count, 0) }
        })
    }

    /// Waits for one, takes as many as there are; gives how many.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.call(|messages, count| {
            // SAFETY: as above, and no time limit is passed.
            unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    messages,
                    count,
                    libc::MSG_WAITFORONE,
                    std::ptr::null_mut(),
                )
            }
        })
    }

    fn call(&mut self, call: impl FnOnce(*mut libc::mmsghdr, u32) -> i32) -> io::Result<usize> {
        let mut pieces: Vec<_> = self
            .bytes
            .chunks_exact_mut(self.len)
            .map(|bytes| libc::iovec {
                iov_base: bytes.as_mut_ptr().cast(),
                iov_len: bytes.len(),
            })
            .collect();
        let mut messages: Vec<_> = pieces
            .iter_mut()
            .map(|piece| {
                // SAFETY: a header of zeros is one without address, data and control.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = piece;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let count = u32::try_from(messages.len()).expect("few messages");
        usize::try_from(call(messages.as_mut_ptr(), count)).map_err(|_| io::Error::last_os_error())
    }
}

/// A raw ICMP socket, to be used by the calls of a UDP socket that read and write. It reads IPv4 headers too.
pub(super) fn icmp() -> io::Result<UdpSocket> {
    // SAFETY: takes three numbers; the descriptor is checked and owned at once.
    unsafe {
        let descriptor = libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMP);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(UdpSocket::from_raw_fd(descriptor))
    }
}

/// A socket that gets a copy of every frame of its network namespace, and waits for one no longer than a tenth of a second.
pub(crate) fn packet_socket() -> io::Result<std::os::fd::OwnedFd> {
    let every_protocol = i32::from(u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be());
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, every_protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    let socket = unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) };
    let limit = libc::timeval {
        tv_sec: 0,
        tv_usec: 100_000,
    };
    let room: i32 = 64 << 20;
    for (option, value, len) in [
        (libc::SO_RCVTIMEO, (&raw const limit).cast(), size_of::<libc::timeval>()),
        (libc::SO_RCVBUFFORCE, (&raw const room).cast(), size_of::<i32>()),
    ] {
        let len = libc::socklen_t::try_from(len).unwrap_or_default();
        // SAFETY: `value` points to `len` bytes that live until the call is over.
        if unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, len) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(socket)
}

/// Receives the beginning of a frame.
pub(crate) fn receive(socket: &std::os::fd::OwnedFd, frame: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is as long as it says.
    let len = unsafe { libc::recv(socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}
