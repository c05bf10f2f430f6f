//! The Internet checksum (RFC 1071), eight bytes at a time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A running ones' complement sum.
///
/// The sum is kept in the machine's own byte order, which the ones' complement sum does not mind (RFC 1071,
/// section 2 (B)), and is turned once, at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// An empty sum.
    pub const ZERO: Self = Self(0);

    /// Adds bytes. Every piece of a sum but the last must have an even length.
    #[must_use]
    pub fn bytes(self, data: &[u8]) -> Self {
        let mut sum = u128::from(self.0);
        let mut blocks = data.chunks_exact(32);
        for block in &mut blocks {
            // Four words a turn: the carries of the four adds overlap.
            let (words, _) = block.as_chunks::<8>();
            sum += u128::from(u64::from_ne_bytes(words[0]));
            sum += u128::from(u64::from_ne_bytes(words[1]));
            sum += u128::from(u64::from_ne_bytes(words[2]));
            sum += u128::from(u64::from_ne_bytes(words[3]));
        }
        let (words, rest) = blocks.remainder().as_chunks::<8>();
        for word in words {
            sum += u128::from(u64::from_ne_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum += u128::from(u64::from_ne_bytes(last));
        // 2^64 is 1 modulo 2^16 - 1, so the halves may be added; a fold to 32 bits leaves room for the next piece.
        let low = u64::try_from(sum & u128::from(u64::MAX)).unwrap_or_default();
        let high = u64::try_from(sum >> 64).unwrap_or_default();
        Self((low >> 32) + (low & 0xffff_ffff) + high)
    }

    /// Adds a number of 16 bits, as it stands in a header.
    #[must_use]
    pub fn number(self, number: u16) -> Self {
        Self(self.0 + u64::from(number.to_be()))
    }

    /// The checksum as a header carries it: the sum's complement.
    #[must_use]
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !u16::try_from(sum).unwrap_or_default().to_be()
    }

    /// Whether the bytes summed, their checksum among them, are intact.
    #[must_use]
    pub fn is_intact(self) -> bool {
        self.finish() == 0
    }
}

/// The checksum of these bytes.
#[must_use]
pub fn of(data: &[u8]) -> u16 {
    Sum::ZERO.bytes(data).finish()
}

/// The sum of the pseudo header before a transport header and payload of `len` bytes (RFC 9293, 3.1; RFC 8200, 8.1).
///
/// Addresses of two families have no pseudo header; the sum is then that of the rest.
#[must_use]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Sum {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => pseudo_header_v4(source, destination, protocol, len),
        (IpAddr::V6(source), IpAddr::V6(destination)) => pseudo_header_v6(source, destination, protocol, len),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => tail(Sum::ZERO, protocol, len),
    }
}

/// [`pseudo_header`] of IPv4.
#[must_use]
pub fn pseudo_header_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: usize) -> Sum {
    tail(
        Sum::ZERO.bytes(&source.octets()).bytes(&destination.octets()),
        protocol,
        len,
    )
}

/// [`pseudo_header`] of IPv6.
#[must_use]
pub fn pseudo_header_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: usize) -> Sum {
    tail(
        Sum::ZERO.bytes(&source.octets()).bytes(&destination.octets()),
        protocol,
        len,
    )
}

fn tail(sum: Sum, protocol: u8, len: usize) -> Sum {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    sum.bytes(&len.to_be_bytes()).number(u16::from(protocol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 by the letter.
    fn slow(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn the_longest_packet_of_ones_does_not_overflow() {
        let data = vec![0xff; 65_535];
        assert_eq!(of(&data), slow(&data));
        let mut sum = Sum::ZERO;
        for _ in 0..100 {
            sum = sum.bytes(&data[..65_534]);
        }
        assert_eq!(sum.finish(), 0);
    }

    proptest! {
        #[test]
        fn the_fast_sum_equals_the_slow_one(data in proptest::collection::vec(any::<u8>(), 0..2_000), cut in 0usize..1_000) {
            prop_assert_eq!(of(&data), slow(&data));
            let cut = (cut * 2).min(data.len() & !1);
            prop_assert_eq!(Sum::ZERO.bytes(&data[..cut]).bytes(&data[cut..]).finish(), slow(&data));
        }

        #[test]
        fn bytes_with_their_checksum_are_intact(mut data in proptest::collection::vec(any::<u8>(), 2..200)) {
            data[..2].fill(0);
            let checksum = of(&data);
            data[..2].copy_from_slice(&checksum.to_be_bytes());
            prop_assert!(Sum::ZERO.bytes(&data).is_intact());
        }
    }
}
