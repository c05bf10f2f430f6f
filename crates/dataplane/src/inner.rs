//! What cryptokey routing needs to know of the packet inside a data message.

use std::net::IpAddr;

use crate::message::array_at;

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;

/// The source of an IP packet, and its own length, which the padding after it is no part of. `None`: it is neither
/// IPv4 nor IPv6, or says that it is shorter than its header or longer than what is there.
pub(crate) fn source_and_len(packet: &[u8]) -> Option<(IpAddr, usize)> {
    let (source, len, least) = match packet.first()? >> 4 {
        4 if packet.len() >= IPV4_HEADER_LEN => {
            let len = u16::from_be_bytes(*array_at(packet, 2)).into();
            (IpAddr::from(*array_at::<4>(packet, 12)), len, IPV4_HEADER_LEN)
        }
        6 if packet.len() >= IPV6_HEADER_LEN => {
            let payload = usize::from(u16::from_be_bytes(*array_at(packet, 4)));
            (
                IpAddr::from(*array_at::<16>(packet, 8)),
                IPV6_HEADER_LEN + payload,
                IPV6_HEADER_LEN,
            )
        }
        _ => return None,
    };
    (least..=packet.len()).contains(&len).then_some((source, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_as_long_as_it_says_if_that_can_be() {
        // First byte, length that the header says, bytes that are there, length that is found.
        for (first, says, there, found) in [
            (0x45, 20, 20, Some(20)),
            (0x45, 20, 32, Some(20)),
            (0x45, 33, 32, None),
            (0x45, 19, 32, None),
            (0x45, 0, 32, None),
            (0x45, 20, 19, None),
            (0x60, 0, 40, Some(40)),
            (0x60, 8, 64, Some(48)),
            (0x60, 25, 64, None),
            (0x60, 0, 39, None),
            (0x60, 65_535, 65_535, None),
            (0x50, 20, 64, None),
            (0x00, 20, 64, None),
        ] {
            let mut packet = vec![0; there];
            packet[0] = first;
            let at = if first >> 4 == 6 { 4 } else { 2 };
            packet[at..at + 2].copy_from_slice(&u16::to_be_bytes(says));
            let len = source_and_len(&packet).map(|(_, len)| len);
            assert_eq!(len, found, "{first:#x}, says {says}, {there} bytes");
        }
        assert_eq!(source_and_len(&[]), None);
    }

    #[test]
    fn the_source_is_read_from_its_place() {
        let mut packet = [0; 40];
        (packet[0], packet[3]) = (0x45, 40);
        packet[12..16].copy_from_slice(&[192, 0, 2, 7]);
        assert_eq!(source_and_len(&packet), Some(("192.0.2.7".parse().unwrap(), 40)));
        let mut packet = [0; 40];
        (packet[0], packet[8], packet[23]) = (0x60, 0xFD, 9);
        assert_eq!(source_and_len(&packet), Some(("fd00::9".parse().unwrap(), 40)));
    }
}
