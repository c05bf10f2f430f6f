//! What a socket's packets carry besides their data, and by which interface they come and go.
#![allow(unsafe_code, reason = "rustix knows neither SO_MARK nor SO_BINDTODEVICE")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// Marks what the socket sends, for policy routing; 0 is no mark. It needs `NET_ADMIN`.
///
/// # Errors
///
/// What the kernel says.
pub fn set_mark(socket: BorrowedFd<'_>, mark: u32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<u32>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed, and the pointer is to a value of that length that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            (&raw const mark).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets the socket's packets come and go by this interface alone. Before Linux 5.7 it needs `NET_RAW`.
///
/// # Errors
///
/// What the kernel says.
pub fn bind_to_device(socket: BorrowedFd<'_>, interface: &str) -> io::Result<()> {
    let length = libc::socklen_t::try_from(interface.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed, and the pointer is to a text of that length that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            interface.as_ptr().cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
