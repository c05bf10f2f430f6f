//! The four messages as they lie on the wire: *WireGuard whitepaper 5.4*.
//!
//! ```text
//!  0        1..4    4         8         12                                        length
//! ┌──────┬───────┬─────────┬─────────┬──────────────────────────────────────────┐
//! │ 1    │ 0 0 0 │ sender  │ ephemeral 32 │ static 48 │ timestamp 28 │ mac1 │ mac2 │ 148
//! │ 2    │ 0 0 0 │ sender  │ receiver│ ephemeral 32 │ empty 16 │ mac1 │ mac2 │        92
//! │ 3    │ 0 0 0 │ receiver│ nonce 24 │ sealed cookie 32 │                           64
//! │ 4    │ 0 0 0 │ receiver│ counter 8 │ sealed packet, padded … │ tag 16 │           32 + n
//! └──────┴───────┴─────────┴─────────┴──────────────────────────────────────────┘
//! ```

use wg::key::KEY_LEN;

/// Length of an authentication tag, of mac1 and of mac2.
pub(crate) const TAG_LEN: usize = 16;
/// Length of a TAI64N timestamp.
pub(crate) const TIMESTAMP_LEN: usize = 12;
/// Length of the nonce in a cookie reply.
pub(crate) const COOKIE_NONCE_LEN: usize = 24;
/// Length of a cookie.
pub(crate) const COOKIE_LEN: usize = 16;

/// First byte of a handshake initiation.
pub(crate) const INITIATION: u8 = 1;
/// First byte of a handshake response.
pub(crate) const RESPONSE: u8 = 2;
/// First byte of a cookie reply.
pub(crate) const COOKIE_REPLY: u8 = 3;
/// First byte of a data message.
pub(crate) const DATA: u8 = 4;

/// Length of a handshake initiation.
pub(crate) const INITIATION_LEN: usize = 148;
/// Length of a handshake response.
pub(crate) const RESPONSE_LEN: usize = 92;
/// Length of a cookie reply.
pub(crate) const COOKIE_REPLY_LEN: usize = 64;
/// Length of what stands before the sealed packet in a data message.
pub(crate) const DATA_HEADER_LEN: usize = 16;
/// Length that a data message adds to the packet in it. A keepalive has just this length.
pub(crate) const DATA_OVERHEAD: usize = DATA_HEADER_LEN + TAG_LEN;
/// Length of mac1 and mac2 together, at the end of both handshake messages.
pub(crate) const MACS_LEN: usize = 2 * TAG_LEN;

/// A datagram that has the length and the first bytes of a message; nothing else about it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Initiation(&'a [u8; INITIATION_LEN]),
    Response(&'a [u8; RESPONSE_LEN]),
    CookieReply(&'a [u8; COOKIE_REPLY_LEN]),
    /// The receiver's index; the rest is read when the session is found.
    Data(u32),
}

impl<'a> Message<'a> {
    /// Tells messages apart by type and length. `None`: not a WireGuard message.
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (&[kind, 0, 0, 0], _) = datagram.split_first_chunk::<4>()? else {
            return None;
        };
        match kind {
            INITIATION => datagram.try_into().ok().map(Self::Initiation),
            RESPONSE => datagram.try_into().ok().map(Self::Response),
            COOKIE_REPLY => datagram.try_into().ok().map(Self::CookieReply),
            DATA if datagram.len() >= DATA_OVERHEAD => Some(Self::Data(u32_at(datagram, 4))),
            _ => None,
        }
    }
}

/// Reads the little-endian number at `offset`, which the caller knows to be inside.
pub(crate) fn u32_at(message: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(*array_at(message, offset))
}

/// The `N` bytes at `offset`, which the caller knows to be inside.
pub(crate) fn array_at<const N: usize>(message: &[u8], offset: usize) -> &[u8; N] {
    message[offset..]
        .first_chunk()
        .expect("messages are parsed by their length")
}

/// A handshake initiation's fields.
pub(crate) struct InitiationFields<'a> {
    pub(crate) sender: u32,
    pub(crate) ephemeral: &'a [u8; KEY_LEN],
    pub(crate) sealed_static: &'a [u8; KEY_LEN + TAG_LEN],
    pub(crate) sealed_timestamp: &'a [u8; TIMESTAMP_LEN + TAG_LEN],
}

impl<'a> InitiationFields<'a> {
    pub(crate) fn of(message: &'a [u8; INITIATION_LEN]) -> Self {
        Self {
            sender: u32_at(message, 4),
            ephemeral: array_at(message, 8),
            sealed_static: array_at(message, 40),
            sealed_timestamp: array_at(message, 88),
        }
    }

    /// Lays the fields out as a message whose macs are still zero.
    pub(crate) fn write(&self) -> [u8; INITIATION_LEN] {
        let mut message = [0; INITIATION_LEN];
        message[0] = INITIATION;
        message[4..8].copy_from_slice(&self.sender.to_le_bytes());
        message[8..40].copy_from_slice(self.ephemeral);
        message[40..88].copy_from_slice(self.sealed_static);
        message[88..116].copy_from_slice(self.sealed_timestamp);
        message
    }
}

/// A handshake response's fields.
pub(crate) struct ResponseFields<'a> {
    pub(crate) sender: u32,
    pub(crate) receiver: u32,
    pub(crate) ephemeral: &'a [u8; KEY_LEN],
    pub(crate) sealed_nothing: &'a [u8; TAG_LEN],
}

impl<'a> ResponseFields<'a> {
    pub(crate) fn of(message: &'a [u8; RESPONSE_LEN]) -> Self {
        Self {
            sender: u32_at(message, 4),
            receiver: u32_at(message, 8),
            ephemeral: array_at(message, 12),
            sealed_nothing: array_at(message, 44),
        }
    }

    /// Lays the fields out as a message whose macs are still zero.
    pub(crate) fn write(&self) -> [u8; RESPONSE_LEN] {
        let mut message = [0; RESPONSE_LEN];
        message[0] = RESPONSE;
        message[4..8].copy_from_slice(&self.sender.to_le_bytes());
        message[8..12].copy_from_slice(&self.receiver.to_le_bytes());
        message[12..44].copy_from_slice(self.ephemeral);
        message[44..60].copy_from_slice(self.sealed_nothing);
        message
    }
}

/// A cookie reply's fields.
pub(crate) struct CookieReplyFields<'a> {
    pub(crate) receiver: u32,
    pub(crate) nonce: &'a [u8; COOKIE_NONCE_LEN],
    pub(crate) sealed_cookie: &'a [u8; COOKIE_LEN + TAG_LEN],
}

impl<'a> CookieReplyFields<'a> {
    pub(crate) fn of(message: &'a [u8; COOKIE_REPLY_LEN]) -> Self {
        Self {
            receiver: u32_at(message, 4),
            nonce: array_at(message, 8),
            sealed_cookie: array_at(message, 32),
        }
    }

    pub(crate) fn write(&self) -> [u8; COOKIE_REPLY_LEN] {
        let mut message = [0; COOKIE_REPLY_LEN];
        message[0] = COOKIE_REPLY;
        message[4..8].copy_from_slice(&self.receiver.to_le_bytes());
        message[8..32].copy_from_slice(self.nonce);
        message[32..64].copy_from_slice(self.sealed_cookie);
        message
    }
}

/// Length of a packet of `len` bytes after padding: a multiple of 16, but no more than the MTU.
///
/// A packet longer than the MTU, which a plane should not bring, is not padded.
pub(crate) fn padded(len: usize, mtu: usize) -> usize {
    len.next_multiple_of(16).min(mtu).max(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_by_its_type_and_its_exact_length() {
        for (kind, len, known) in [
            (1, 148, true),
            (1, 147, false),
            (1, 149, false),
            (2, 92, true),
            (2, 148, false),
            (3, 64, true),
            (3, 63, false),
            (4, 31, false),
            (4, 32, true),
            (4, 65_535, true),
            (0, 148, false),
            (5, 148, false),
        ] {
            let mut datagram = vec![0; len];
            datagram[0] = kind;
            assert_eq!(Message::parse(&datagram).is_some(), known, "type {kind}, {len} bytes");
            datagram[2] = 1;
            assert_eq!(Message::parse(&datagram), None, "reserved bytes must be zero");
        }
        for len in 0..4 {
            assert_eq!(Message::parse(&[4, 0, 0, 0][..len]), None);
        }
    }

    #[test]
    fn fields_written_are_the_fields_read() {
        let message = InitiationFields {
            sender: 0x0403_0201,
            ephemeral: &[7; 32],
            sealed_static: &[8; 48],
            sealed_timestamp: &[9; 28],
        }
        .write();
        let fields = InitiationFields::of(&message);
        assert_eq!(
            (fields.sender, fields.ephemeral[31], fields.sealed_static[47]),
            (0x0403_0201, 7, 8)
        );
        assert_eq!(
            (&message[..8], fields.sealed_timestamp),
            (&[1, 0, 0, 0, 1, 2, 3, 4][..], &[9; 28])
        );

        let message = ResponseFields {
            sender: 1,
            receiver: 2,
            ephemeral: &[3; 32],
            sealed_nothing: &[4; 16],
        }
        .write();
        let fields = ResponseFields::of(&message);
        assert_eq!((fields.sender, fields.receiver), (1, 2));
        assert_eq!(
            (fields.ephemeral, fields.sealed_nothing, &message[60..]),
            (&[3; 32], &[4; 16], &[0; 32][..])
        );

        let message = CookieReplyFields {
            receiver: 1,
            nonce: &[2; 24],
            sealed_cookie: &[3; 32],
        }
        .write();
        let fields = CookieReplyFields::of(&message);
        assert_eq!(
            (fields.receiver, fields.nonce, fields.sealed_cookie),
            (1, &[2; 24], &[3; 32])
        );
    }

    #[test]
    fn padding_fills_sixteen_bytes_but_never_passes_the_mtu() {
        for (len, mtu, expected) in [
            (0, 1420, 0),
            (1, 1420, 16),
            (16, 1420, 16),
            (17, 1420, 32),
            (1409, 1420, 1420),
            (1420, 1420, 1420),
            (1500, 1420, 1500),
        ] {
            assert_eq!(padded(len, mtu), expected, "{len} bytes, MTU {mtu}");
        }
    }
}
