//! What is wrong with a request or a reply.

use crate::KeyError;

/// Input/output error, as Linux numbers it.
pub const EIO: i32 = 5;
/// Invalid argument, as Linux numbers it.
pub const EINVAL: i32 = 22;
/// Protocol error, as Linux numbers it.
pub const EPROTO: i32 = 71;
/// Address already in use, as Linux numbers it.
pub const EADDRINUSE: i32 = 98;

/// A line that cannot be used. Shows no value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {key}{}{fault}", if key.is_empty() { "" } else { ": " })]
pub struct Error {
    /// Counted from 1, from the start of the request or reply.
    pub line: usize,
    /// What stands before the `=`, if it can be shown; else empty.
    pub key: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A request that begins neither with `get=1` nor with `set=1`.
    #[error("a request begins with `get=1` or `set=1`")]
    Operation,
    /// Something after `get=1` that is no blank line.
    #[error("a blank line follows `get=1`")]
    AfterGet,
    /// A line without `=`.
    #[error("a line is `key=value`")]
    NoEquals,
    /// A line longer than [`MAX_LINE`](super::MAX_LINE).
    #[error("a line has at most {} bytes", super::MAX_LINE)]
    LineTooLong,
    /// A request longer than [`MAX_REQUEST`](super::MAX_REQUEST).
    #[error("a request has at most {} bytes", super::MAX_REQUEST)]
    RequestTooLong,
    /// Bytes that are no UTF-8 text.
    #[error("not UTF-8 text")]
    NotText,
    /// A key that an interface does not have, or has only before the first `public_key`.
    #[error("not a key of an interface; keys of a peer follow its `public_key`")]
    NotOfInterface,
    /// A key that a peer does not have.
    #[error("not a key of a peer; keys of the interface come before the first `public_key`")]
    NotOfPeer,
    /// A value that is no WireGuard key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// A value that is no decimal number, or is too great.
    #[error("a decimal number from 0 to {max}")]
    Number {
        /// The greatest value that is possible.
        max: u64,
    },
    /// A flag that is not `true`.
    #[error("the only value is `true`")]
    NotTrue,
    /// A value that is no IP address with a port.
    #[error("an IP address and a port from 1 to 65535, such as 192.0.2.1:51820 or [2001:db8::1]:51820")]
    Endpoint,
    /// An interface after `%` that does not exist here.
    #[error("no such interface as the one after `%`")]
    Zone,
    /// A value that is no network.
    #[error("an IP address, `/` and a prefix length, such as 10.0.0.0/8 or fd00::/64")]
    Network,
    /// Another version of the protocol than 1.
    #[error("the only version is 1")]
    Version,
    /// A reply without its last line, `errno=…`.
    #[error("the reply ends before its `errno`")]
    Truncated,
    /// A reply that says no.
    #[error("the interface refused, with error {errno}")]
    Refused {
        /// The number of the error, not negative.
        errno: i32,
    },
}

impl Error {
    /// Builds an error; a key that is too long or strange to show is left out.
    pub(super) fn new(line: usize, key: &str, fault: Fault) -> Self {
        let plain = key.len() <= 32 && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        Self {
            line,
            key: if plain { key.to_owned() } else { String::new() },
            fault,
        }
    }

    /// The error's number for the reply's `errno`, not negative, as Linux numbers it.
    pub fn errno(&self) -> i32 {
        match self.fault {
            Fault::NoEquals | Fault::LineTooLong | Fault::RequestTooLong | Fault::NotText | Fault::Truncated => EPROTO,
            Fault::Refused { errno } => errno,
            Fault::Operation
            | Fault::AfterGet
            | Fault::NotOfInterface
            | Fault::NotOfPeer
            | Fault::Key(_)
            | Fault::Number { .. }
            | Fault::NotTrue
            | Fault::Endpoint
            | Fault::Zone
            | Fault::Network
            | Fault::Version => EINVAL,
        }
    }
}
