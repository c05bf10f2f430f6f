//! One TCP header as it leaves: options in the order that receive offloads like, and checksums.

use std::net::IpAddr;

use super::{
    Seq,
    segment::{Flags, HEADER_LEN, Options, Segment},
};
use crate::ip::{TCP, checksum::pseudo_header};

/// The longest header, all options included.
pub const MAX_HEADER_LEN: usize = 60;

/// Everything of a TCP header but the ports and the checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The position of the first byte.
    pub seq: Seq,
    /// The next position that is waited for.
    pub ack: Seq,
    /// The control bits.
    pub flags: Flags,
    /// The window, scaled.
    pub window: u16,
    /// The options.
    pub options: Options,
    /// Where to cut a payload that is longer than one segment, in bytes. Each piece gets this header, its `seq`
    /// moved on; FIN and PSH belong to the last piece only.
    pub segment_size: usize,
}

impl Header {
    /// The header's length with its options.
    pub fn len(&self) -> usize {
        let options = &self.options;
        let sack = options.sack.as_slice().len();
        HEADER_LEN
            + usize::from(options.mss.is_some()) * 4
            + usize::from(options.window_scale.is_some()) * 4
            + usize::from(options.timestamps.is_some() || options.sack_permitted) * 4
            + usize::from(options.timestamps.is_some()) * 8
            + if sack > 0 { 4 + 8 * sack } else { 0 }
    }

    /// Always false: a header has 20 bytes at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the header with a checksum of zero to the start of `out` and tells its length.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than [`len`](Self::len).
    pub fn write(&self, source_port: u16, destination_port: u16, out: &mut [u8]) -> usize {
        let len = self.len();
        let words = u8::try_from(len / 4).unwrap_or(15);
        let mut writer = Writer {
            out: &mut out[..len],
            at: 0,
        };
        writer.put(source_port.to_be_bytes());
        writer.put(destination_port.to_be_bytes());
        writer.put(self.seq.0.to_be_bytes());
        writer.put(self.ack.0.to_be_bytes());
        writer.put([words << 4, self.flags.0]);
        writer.put(self.window.to_be_bytes());
        writer.put([0; 4]);
        self.write_options(&mut writer);
        len
    }

    fn write_options(&self, writer: &mut Writer<'_>) {
        let options = &self.options;
        if let Some(mss) = options.mss {
            writer.put([2, 4]);
            writer.put(mss.to_be_bytes());
        }
        match (options.sack_permitted, options.timestamps.is_some()) {
            (true, true) => writer.put([4, 2]),
            (true, false) => writer.put([1, 1, 4, 2]),
            (false, true) => writer.put([1, 1]),
            (false, false) => {}
        }
        if let Some(clocks) = options.timestamps {
            writer.put([8, 10]);
            writer.put(clocks.value.to_be_bytes());
            writer.put(clocks.echo.to_be_bytes());
        }
        if let Some(shift) = options.window_scale {
            writer.put([1, 3, 3, shift]);
        }
        let sack = options.sack.as_slice();
        if !sack.is_empty() {
            writer.put([1, 1, 5, u8::try_from(2 + 8 * sack.len()).unwrap_or(34)]);
            for (start, end) in sack {
                writer.put(start.0.to_be_bytes());
                writer.put(end.0.to_be_bytes());
            }
        }
    }

    /// The reset that answers a segment which belongs to no connection (RFC 9293 3.10.7.1); `None` to a reset.
    pub fn reset_for(segment: &Segment<'_>) -> Option<Self> {
        if segment.has(Flags::RST) {
            return None;
        }
        Some(if segment.has(Flags::ACK) {
            Self {
                seq: segment.ack,
                flags: Flags::RST,
                ..Self::default()
            }
        } else {
            Self {
                ack: segment.seq + segment.len(),
                flags: Flags::RST | Flags::ACK,
                ..Self::default()
            }
        })
    }
}

/// Puts the checksum into a whole segment, header and payload, whose checksum field is zero.
pub fn write_checksum(source: IpAddr, destination: IpAddr, segment: &mut [u8]) {
    let sum = checksum(source, destination, segment);
    if let Some(field) = segment.get_mut(16..18) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// The Internet checksum of a segment and its pseudo-header (RFC 9293 3.1, RFC 8200 8.1); zero if the segment
/// carries its right checksum already.
pub fn checksum(source: IpAddr, destination: IpAddr, segment: &[u8]) -> u16 {
    pseudo_header(source, destination, TCP, segment.len())
        .bytes(segment)
        .finish()
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.out[self.at..self.at + N].copy_from_slice(&bytes);
        self.at += N;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netstack::tcp::segment::{SackBlocks, Timestamps};

    #[test]
    fn what_is_written_is_read_back() {
        let mut sack = SackBlocks::default();
        let plain = Options::default();
        let clocks = Some(Timestamps {
            value: 7,
            echo: u32::MAX,
        });
        let syn = Options {
            mss: Some(1380),
            window_scale: Some(8),
            sack_permitted: true,
            ..plain
        };
        let mut cases = vec![
            plain,
            syn,
            Options {
                timestamps: clocks,
                ..syn
            },
            Options {
                timestamps: clocks,
                ..plain
            },
        ];
        for n in 0..4 {
            sack.push((Seq(n * 10), Seq(n * 10 + 5)));
            cases.push(Options { sack, ..plain });
            if n < 3 {
                cases.push(Options {
                    sack,
                    timestamps: clocks,
                    ..plain
                });
            }
        }
        for options in cases {
            let header = Header {
                seq: Seq(1),
                ack: Seq(u32::MAX),
                flags: Flags::ACK | Flags::PSH,
                window: 500,
                options,
                segment_size: 0,
            };
            let mut bytes = [0xaa; MAX_HEADER_LEN + 3];
            let len = header.write(80, 50_000, &mut bytes);
            assert!(len <= MAX_HEADER_LEN);
            let segment = Segment::parse(&bytes[..len + 3]).expect("a segment");
            assert_eq!((segment.source_port, segment.destination_port), (80, 50_000));
            assert_eq!(
                (segment.seq, segment.ack, segment.window),
                (header.seq, header.ack, 500)
            );
            assert_eq!(segment.flags, header.flags);
            assert_eq!(segment.options, options);
            assert_eq!(segment.payload, [0xaa; 3]);
        }
    }

    #[test]
    fn checksums_agree_with_smoltcp() {
        use smoltcp::wire::{IpAddress, TcpPacket};
        for (source, destination) in [("10.0.0.1", "192.0.2.7"), ("fd00::1", "2001:db8::ffff")] {
            let (source, destination): (IpAddr, IpAddr) =
                (source.parse().expect("address"), destination.parse().expect("address"));
            for len in 0..9 {
                let mut bytes = vec![0; HEADER_LEN];
                Header {
                    seq: Seq(99),
                    flags: Flags::ACK,
                    window: 5,
                    ..Header::default()
                }
                .write(1, 2, &mut bytes);
                bytes.extend((0..len).map(|n| 0xf0 | n));
                let mut theirs = bytes.clone();
                write_checksum(source, destination, &mut bytes);
                let (from, to) = (IpAddress::from(source), IpAddress::from(destination));
                TcpPacket::new_unchecked(&mut theirs).fill_checksum(&from, &to);
                assert_eq!(bytes, theirs);
                assert_eq!(checksum(source, destination, &bytes), 0);
            }
        }
    }
}
