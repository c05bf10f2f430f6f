//! The system calls on datagrams that take more than one at a time.
#![allow(
    unsafe_code,
    reason = "recvmmsg, sendmmsg and socket options have no safe wrapper that takes many datagrams"
)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use rustix::io::Errno;

use super::control::{Control, Name};

/// Most datagrams, or groups of datagrams, that one call moves.
pub(crate) const BATCH: usize = 16;

/// What the kernel says about one received datagram.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    /// Bytes in the buffer.
    pub(crate) len: usize,
    /// Whether the buffer was too small.
    pub(super) truncated: bool,
    pub(super) name: Name,
    pub(super) control: Control,
}

impl Received {
    pub(crate) const EMPTY: Self = Self {
        len: 0,
        truncated: false,
        name: Name::EMPTY,
        control: Control::EMPTY,
    };

    /// The length of each datagram, but for the last, if the kernel joined several.
    pub(crate) fn segment(&self) -> Option<usize> {
        self.control.read().1
    }
}

/// A datagram to send, or several of equal length with a control message that says so.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) data: &'a [u8],
    pub(super) name: Name,
    pub(super) control: Control,
}

/// Receives what waits, up to one datagram a buffer, and says how many.
pub(crate) fn receive<'a>(
    socket: BorrowedFd<'_>,
    buffers: impl Iterator<Item = &'a mut [u8]>,
    received: &mut [Received; BATCH],
) -> Result<usize, Errno> {
    let mut vectors = [libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; BATCH];
    let mut headers = [empty_header(); BATCH];
    let mut count = 0;
    let places = vectors.iter_mut().zip(headers.iter_mut()).zip(received.iter_mut());
    for (buffer, ((vector, header), received)) in buffers.zip(places) {
        vector.iov_base = buffer.as_mut_ptr().cast();
        vector.iov_len = buffer.len();
        header.msg_hdr.msg_name = received.name.bytes.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = Name::EMPTY.len;
        header.msg_hdr.msg_control = received.control.bytes.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = received.control.bytes.len() as _;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: each of the first `count` headers points to a vector, a name and a control buffer that live in
    // this frame or in `received`, with their lengths, and each vector to a buffer that the caller lent
    // exclusively; nothing else reads or writes them during the call, and the kernel keeps no pointer.
    let done = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let done = usize::try_from(done).map_err(|_| last_error())?;
    for (received, header) in received.iter_mut().zip(&headers[..done]) {
        received.len = header.msg_len as usize;
        received.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        received.name.len = header.msg_hdr.msg_namelen;
        #[allow(clippy::unnecessary_cast, reason = "the C libraries disagree on the type")]
        {
            received.control.len = header.msg_hdr.msg_controllen as usize;
        }
    }
    Ok(done)
}

/// Sends the messages in order until one fails, and says how many went; an error is the first one's.
pub(super) fn send(socket: BorrowedFd<'_>, messages: &[Message<'_>]) -> Result<usize, Errno> {
    let mut vectors = [libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; BATCH];
    let mut headers = [empty_header(); BATCH];
    let mut count = 0;
    for ((vector, header), message) in vectors.iter_mut().zip(headers.iter_mut()).zip(messages) {
        vector.iov_base = message.data.as_ptr().cast_mut().cast();
        vector.iov_len = message.data.len();
        if message.name.len > 0 {
            header.msg_hdr.msg_name = message.name.bytes.as_ptr().cast_mut().cast();
        }
        header.msg_hdr.msg_namelen = message.name.len;
        header.msg_hdr.msg_control = message.control.bytes.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_controllen = message.control.len as _;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: each of the first `count` headers points to a vector in this frame and to a name, control
    // messages and data that `messages` borrows, with their lengths. sendmmsg only reads them (but for
    // `msg_len` in the headers, which are ours), and the kernel keeps no pointer.
    let done = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _) };
    usize::try_from(done).map_err(|_| last_error())
}

/// Sets a socket option that is an `int`.
pub(super) fn set_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer is to a live `int`, and the length is an `int`'s.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: a header of zeroes is valid: null pointers with lengths of zero.
    unsafe { std::mem::zeroed() }
}
