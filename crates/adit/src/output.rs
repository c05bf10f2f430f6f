//! Writes data to standard output.

use std::io::{self, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zeroize::Zeroizing;

use crate::failure;

/// Writes bytes and flushes them.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(failure::output)
}

/// Writes a line of text.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Fails as writing would if the reader has gone, for who has nothing to write for long.
pub(crate) fn is_read() -> anyhow::Result<()> {
    let stdout = io::stdout();
    // The writing end of a pipe without a reader is in error, and a socket hung up, asked for or not.
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) if fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {
            Err(failure::output(io::ErrorKind::BrokenPipe.into()))
        }
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(failure::output(error.into())),
    }
}

/// Writes a line that holds a key, and leaves no copy of it in memory that we own.
pub(crate) fn secret_line(text: &str) -> anyhow::Result<()> {
    let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    // Past the buffer of `io::stdout`, which is never wiped.
    let stdout = io::stdout();
    let mut rest = line.as_slice();
    while !rest.is_empty() {
        match rustix::io::write(&stdout, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failure::output(error.into())),
        }
    }
    Ok(())
}
