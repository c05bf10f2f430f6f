//! Writes data to standard output.

use std::io::{self, Write as _};

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
