//! Lines for whoever reads the log of a daemon: standard error, one line a fact, no key in any of them.

use std::io::{self, Write as _};

/// Writes a line.
pub(crate) fn line(line: &str) {
    // A daemon goes on without its log.
    let _unread = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a text of several lines, such as a QR code.
pub(crate) fn block(text: &str) {
    let _unread = io::stderr().lock().write_all(text.as_bytes());
}
