//! The header that a TUN device with `IFF_VNET_HDR` puts before each packet (`struct virtio_net_hdr`).

/// Length of the header, in the machine's own byte order.
pub(super) const VNET_HDR_LEN: usize = 10;

/// The checksum is to be completed: the field holds the sum of the pseudo header only.
const F_NEEDS_CSUM: u8 = 1;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// Set beside a TCP kind: the first segment alone carries CWR.
const GSO_ECN: u8 = 0x80;

/// What a packet is to be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gso {
    /// Nothing: it is one packet.
    None,
    /// Segments of TCP.
    Tcp,
    /// Datagrams of UDP.
    Udp,
}

/// What the kernel and this program tell each other about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VnetHeader {
    pub(super) gso: Gso,
    /// Length of each segment's payload.
    pub(super) segment: u16,
    /// Length of all headers; the kernel says it only roughly.
    pub(super) header_len: u16,
    /// Where the checksummed part begins, and the checksum in it, if the checksum is to be completed.
    pub(super) checksum: Option<(u16, u16)>,
}

impl VnetHeader {
    /// The header of a packet that is whole.
    pub(super) const WHOLE: [u8; VNET_HDR_LEN] = [0; VNET_HDR_LEN];

    /// Reads the header; `None` if it is of an unknown kind.
    pub(super) fn read(bytes: &[u8; VNET_HDR_LEN]) -> Option<Self> {
        let number = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let gso = match bytes[1] & !GSO_ECN {
            GSO_NONE => Gso::None,
            GSO_TCPV4 | GSO_TCPV6 => Gso::Tcp,
            GSO_UDP_L4 => Gso::Udp,
            _ => return None,
        };
        let checksum = (bytes[0] & F_NEEDS_CSUM != 0).then(|| (number(6), number(8)));
        Some(Self {
            gso,
            segment: number(4),
            header_len: number(2),
            checksum,
        })
    }

    /// Lays the header out, for a packet of this family.
    pub(super) fn bytes(&self, is_v6: bool) -> [u8; VNET_HDR_LEN] {
        let mut bytes = [0; VNET_HDR_LEN];
        bytes[1] = match (self.gso, is_v6) {
            (Gso::None, _) => GSO_NONE,
            (Gso::Tcp, false) => GSO_TCPV4,
            (Gso::Tcp, true) => GSO_TCPV6,
            (Gso::Udp, _) => GSO_UDP_L4,
        };
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.segment.to_ne_bytes());
        if let Some((start, offset)) = self.checksum {
            bytes[0] = F_NEEDS_CSUM;
            bytes[6..8].copy_from_slice(&start.to_ne_bytes());
            bytes[8..10].copy_from_slice(&offset.to_ne_bytes());
        }
        bytes
    }
}
