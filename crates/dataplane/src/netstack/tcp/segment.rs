//! One TCP segment as it arrives: header, options and payload, without a copy.

use std::ops::BitOr;

use super::Seq;

/// The length of a TCP header without options.
pub const HEADER_LEN: usize = 20;

/// The control bits (RFC 9293 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender has no more data.
    pub const FIN: Self = Self(0x01);
    /// Opens a connection.
    pub const SYN: Self = Self(0x02);
    /// Ends a connection at once.
    pub const RST: Self = Self(0x04);
    /// The receiver should hand its data over.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number means something.
    pub const ACK: Self = Self(0x10);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A stretch of sequence numbers: from the first up to, not including, the second.
pub type Block = (Seq, Seq);

/// Selective acknowledgement blocks of one segment (RFC 2018), as many as fit into a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [Block; 4],
    len: u8,
}

impl SackBlocks {
    /// Adds a block; a fifth is left out.
    pub fn push(&mut self, block: Block) {
        if let Some(slot) = self.blocks.get_mut(usize::from(self.len)) {
            *slot = block;
            self.len += 1;
        }
    }

    /// The blocks in the order of the segment.
    pub fn as_slice(&self) -> &[Block] {
        self.blocks.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The timestamps option (RFC 7323 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// What the sender last heard of the receiver's clock.
    pub echo: u32,
}

/// The options that this implementation knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The largest payload that the sender takes; with SYN only.
    pub mss: Option<u16>,
    /// By how many bits the sender's windows are shifted; with SYN only.
    pub window_scale: Option<u8>,
    /// Whether the sender understands selective acknowledgements; with SYN only.
    pub sack_permitted: bool,
    /// The clocks.
    pub timestamps: Option<Timestamps>,
    /// What the sender holds beyond its acknowledgement number.
    pub sack: SackBlocks,
}

impl Options {
    /// Reads what can be read; a malformed option ends the list and spoils nothing before it.
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        while let [kind, rest @ ..] = bytes {
            match kind {
                0 => break,
                1 => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let Some(len) = rest.first().map(|&len| usize::from(len)) else {
                break;
            };
            let (Some(body), Some(next)) = (bytes.get(2..len), bytes.get(len..)) else {
                break;
            };
            options.take(*kind, body);
            bytes = next;
        }
        options
    }

    fn take(&mut self, kind: u8, body: &[u8]) {
        match (kind, body) {
            (2, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (3, &[shift]) => self.window_scale = Some(shift),
            (4, &[]) => self.sack_permitted = true,
            (5, blocks) => {
                for block in blocks.chunks_exact(8) {
                    if let (Some(start), Some(end)) = (word(block, 0), word(block, 4)) {
                        self.sack.push((Seq(start), Seq(end)));
                    }
                }
            }
            (8, clocks) if clocks.len() == 8 => {
                if let (Some(value), Some(echo)) = (word(clocks, 0), word(clocks, 4)) {
                    self.timestamps = Some(Timestamps { value, echo });
                }
            }
            _ => {}
        }
    }
}

/// A segment that arrived. Checksums are the caller's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// The position of the first byte, or of the SYN.
    pub seq: Seq,
    /// The next position that the sender waits for, if [`Flags::ACK`] is set.
    pub ack: Seq,
    /// The control bits.
    pub flags: Flags,
    /// The window, not scaled.
    pub window: u16,
    /// The options that were understood.
    pub options: Options,
    /// The data.
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads a segment, the payload of an IP packet; `None` if the header is cut short or its length wrong.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_LEN>()?;
        let header_len = usize::from(header[12] >> 4) * 4;
        let options = bytes.get(HEADER_LEN..header_len)?;
        Some(Self {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            seq: Seq(word(header, 4)?),
            ack: Seq(word(header, 8)?),
            flags: Flags(header[13]),
            window: u16::from_be_bytes([header[14], header[15]]),
            options: Options::parse(options),
            payload: bytes.get(header_len..)?,
        })
    }

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn has(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    /// How many sequence numbers the segment takes: its data, its SYN and its FIN.
    pub fn len(&self) -> u32 {
        let controls = u32::from(self.has(Flags::SYN)) + u32::from(self.has(Flags::FIN));
        u32::try_from(self.payload.len())
            .unwrap_or(u32::MAX)
            .saturating_add(controls)
    }

    /// Whether the segment takes no sequence number, as a bare acknowledgement does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_up_to_the_first_malformed_one() {
        let mss = Options {
            mss: Some(1460),
            ..Options::default()
        };
        let mut sack = SackBlocks::default();
        sack.push((Seq(1), Seq(2)));
        let cases: [(&[u8], Options); 12] = [
            (&[], Options::default()),
            (&[0, 2, 4, 5, 0xb4], Options::default()),
            (&[1, 1, 2, 4, 5, 0xb4], mss),
            (&[2, 4, 5, 0xb4, 3], mss),
            (&[2, 4, 5, 0xb4, 3, 0], mss),
            (&[2, 4, 5, 0xb4, 3, 1, 7], mss),
            (&[2, 4, 5, 0xb4, 8, 10, 1, 2], mss),
            (
                &[2, 5, 5, 0xb4, 9, 3, 3, 7],
                Options {
                    window_scale: Some(7),
                    ..Options::default()
                },
            ),
            (
                &[254, 4, 9, 9, 4, 2],
                Options {
                    sack_permitted: true,
                    ..Options::default()
                },
            ),
            (
                &[5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
                Options {
                    sack,
                    ..Options::default()
                },
            ),
            (&[5, 9, 0, 0, 0, 1, 0, 0, 0, 2], Options::default()),
            (
                &[8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
                Options {
                    timestamps: Some(Timestamps { value: 1, echo: 2 }),
                    ..Options::default()
                },
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Options::parse(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_header_that_lies_about_its_length_is_refused() {
        let mut bytes = [0; 24];
        // (data offset in words, bytes there, read?)
        for (offset, len, read) in [
            (5, 20, true),
            (5, 19, false),
            (4, 24, false),
            (6, 23, false),
            (6, 24, true),
        ] {
            bytes[12] = offset << 4;
            assert_eq!(Segment::parse(&bytes[..len]).is_some(), read, "{offset} {len}");
        }
    }

    #[test]
    fn five_sack_blocks_are_cut_to_four() {
        let mut blocks = SackBlocks::default();
        for n in 0..5 {
            blocks.push((Seq(n), Seq(n + 1)));
        }
        assert_eq!(blocks.as_slice().len(), 4);
    }
}
