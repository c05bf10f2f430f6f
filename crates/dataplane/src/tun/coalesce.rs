//! Joins packets of one flow into super-packets, so that the kernel handles them at once: GRO, done here.
//!
//! Pure. Takes the packets of one batch in the order of their arrival, and says which belong together. What it joins,
//! the kernel can cut into the same packets again: joined are only packets of TCP with data and of UDP, whose headers
//! differ in nothing but lengths, checksums, sequence and PSH of the last, and whose checksums are right. The packets
//! of one flow stay in order.

use super::{
    split::{pseudo_header, put},
    vnet::{Gso, VNET_HDR_LEN, VnetHeader},
};
use crate::ip::{self, UDP_HEADER_LEN, V4_HEADER_LEN, V6_HEADER_LEN, checksum::Sum};

/// Most packets that become one: a `writev` then has few enough parts for the stack, and no kernel takes more
/// datagrams in one.
pub const MAX_JOINED: usize = 64;

/// Longest super-packet: the length field of IPv4 and of IPv6 less its header.
const MAX_LEN: usize = 65_535;

const TCP_HEADER_LEN: usize = 20;
const TCP_FLAGS: usize = 13;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

const BUCKETS: usize = 256;
const NONE: u16 = u16::MAX;

/// Which packets of a batch belong together; keeps its memory from batch to batch.
#[derive(Debug)]
pub struct Plan {
    groups: Vec<Group>,
    /// For each packet, the next of its group.
    next: Vec<u16>,
    /// The newest group of the flows with this hash.
    buckets: [u16; BUCKETS],
    /// Groups before this one take no more packets.
    floor: usize,
}

/// Packets that are written at once.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    first: u16,
    last: u16,
    count: u16,
    /// What the packets are, if more may join or have joined.
    flow: Option<Flow>,
    /// Whether more packets may join.
    open: bool,
    /// Whether the first packet's checksum was found right.
    verified: bool,
    /// Whether the identification of IPv4 stands still instead of counting.
    ident_stands: bool,
    /// Whether the last packet has PSH.
    pushed: bool,
    len: usize,
    next_sequence: u32,
}

/// Where a packet's parts are, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    gso: Gso,
    transport: usize,
    headers: usize,
    segment: usize,
}

/// What a packet is to this module.
enum Class {
    /// Data that may be joined.
    Data(Flow),
    /// A packet of a flow with the same hash, which none may overtake.
    Barrier,
    /// May belong to any flow.
    WideBarrier,
    /// Of no flow that is joined.
    Other,
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Plan {
    /// An empty plan.
    pub fn new() -> Self {
        Self {
            groups: Vec::new(),
            next: Vec::new(),
            buckets: [NONE; BUCKETS],
            floor: 0,
        }
    }

    /// Plans a batch, of at most 65,534 packets.
    pub fn make<P: AsRef<[u8]>>(&mut self, packets: &[P], kinds: Kinds) {
        self.groups.clear();
        self.next.clear();
        self.next.resize(packets.len(), NONE);
        self.buckets.fill(NONE);
        self.floor = 0;
        for at in 0..packets.len() {
            self.add(packets, at, kinds);
        }
    }

    /// The groups, in the order in which they are to be written.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The packets of a group, by their place in the batch.
    pub fn members(&self, group: &Group) -> impl Iterator<Item = usize> + '_ {
        let first = (group.first != NONE).then_some(group.first);
        std::iter::successors(first, |at| {
            self.next.get(usize::from(*at)).copied().filter(|next| *next != NONE)
        })
        .map(usize::from)
    }

    fn add<P: AsRef<[u8]>>(&mut self, packets: &[P], at: usize, kinds: Kinds) {
        let packet = packets[at].as_ref();
        let class = classify(packet, kinds);
        let bucket = match class {
            Class::Data(_) | Class::Barrier => Some(bucket(packet)),
            Class::WideBarrier | Class::Other => None,
        };
        if let (Class::Data(flow), Some(bucket)) = (&class, bucket) {
            let newest = usize::from(self.buckets[bucket]);
            if newest >= self.floor && newest < self.groups.len() && self.join(newest, packets, at, flow) {
                return;
            }
        }
        let number = narrow(self.groups.len());
        self.groups.push(Group::of(narrow(at), packet, class_flow(&class)));
        match (class, bucket) {
            (_, Some(bucket)) => self.buckets[bucket] = number,
            (Class::WideBarrier, None) => self.floor = self.groups.len(),
            _ => {}
        }
    }

    /// Adds a packet to a group, if it follows on it.
    fn join<P: AsRef<[u8]>>(&mut self, number: usize, packets: &[P], at: usize, flow: &Flow) -> bool {
        let group = &mut self.groups[number];
        let first = packets[usize::from(group.first)].as_ref();
        let packet = packets[at].as_ref();
        let Some(ident_stands) = group.is_followed_by(first, packet, flow) else {
            return false;
        };
        if !group.verified {
            if !is_intact(first, flow) {
                group.open = false;
                return false;
            }
            group.verified = true;
        }
        if !is_intact(packet, flow) {
            return false;
        }
        let data = packet.len() - flow.headers;
        self.next[usize::from(group.last)] = narrow(at);
        (group.last, group.count, group.ident_stands) = (narrow(at), group.count + 1, ident_stands);
        group.len += data;
        group.next_sequence = group
            .next_sequence
            .wrapping_add(u32::try_from(data).unwrap_or_default());
        group.pushed = pushes(packet, flow);
        group.open = data == group.segment() && !group.pushed && group.count() < MAX_JOINED;
        true
    }
}

/// Which super-packets the device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// Those of TCP segments.
    pub tcp: bool,
    /// Those of UDP datagrams.
    pub udp: bool,
}

impl Kinds {
    /// Takes out the kind of a group that the device refused.
    pub(super) fn forbid(&mut self, group: &Group) {
        match group.flow.map(|flow| flow.gso) {
            Some(Gso::Udp) => self.udp = false,
            Some(Gso::Tcp | Gso::None) | None => self.tcp = false,
        }
    }
}

impl Group {
    fn of(at: u16, packet: &[u8], flow: Option<Flow>) -> Self {
        let mut group = Self {
            first: at,
            last: at,
            count: 1,
            flow,
            open: false,
            verified: false,
            ident_stands: false,
            pushed: false,
            len: packet.len(),
            next_sequence: 0,
        };
        if let Some(flow) = flow {
            group.pushed = pushes(packet, &flow);
            group.open = !group.pushed;
            let data = u32::try_from(flow.segment).unwrap_or_default();
            group.next_sequence = sequence(packet, &flow).wrapping_add(data);
        }
        group
    }

    /// How many packets it joins.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Length of all headers of each packet: what the packets after the first go without.
    pub(super) fn headers_len(&self) -> usize {
        self.flow.map_or(0, |flow| flow.headers)
    }

    /// Makes the first packet that of the whole group, and returns the header for the TUN.
    pub(super) fn finish(&self, first: &mut [u8]) -> [u8; VNET_HDR_LEN] {
        let Some(flow) = self.flow.filter(|_| self.count > 1) else {
            return VnetHeader::WHOLE;
        };
        let is_v6 = first[0] >> 4 == 6;
        if is_v6 {
            put(first, 4, self.len - V6_HEADER_LEN);
        } else {
            put(first, 2, self.len);
            put(first, 10, 0);
            let sum = Sum::ZERO.bytes(&first[..flow.transport]).finish();
            first[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let transport_len = self.len - flow.transport;
        let (protocol, offset) = match flow.gso {
            Gso::Udp => {
                put(first, flow.transport + 4, transport_len);
                (ip::UDP, 6)
            }
            Gso::Tcp | Gso::None => {
                if self.pushed {
                    first[flow.transport + TCP_FLAGS] |= PSH;
                }
                (ip::TCP, 16)
            }
        };
        let sum = !pseudo_header(first, protocol, transport_len).finish();
        let at = flow.transport + offset;
        first[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        let header = VnetHeader {
            gso: flow.gso,
            segment: narrow(flow.segment),
            header_len: narrow(flow.headers),
            checksum: Some((narrow(flow.transport), narrow(offset))),
        };
        header.bytes(is_v6)
    }

    fn segment(&self) -> usize {
        self.flow.map_or(0, |flow| flow.segment)
    }

    /// Whether a packet follows on the last, and then whether the group's identification stands still.
    fn is_followed_by(&self, first: &[u8], packet: &[u8], flow: &Flow) -> Option<bool> {
        let ours = self.flow?;
        let data = packet.len() - flow.headers;
        let same_shape = (ours.gso, ours.transport, ours.headers) == (flow.gso, flow.transport, flow.headers);
        if !self.open || !same_shape || data > ours.segment || self.len + data > MAX_LEN {
            return None;
        }
        let ident_stands = if first[0] >> 4 == 6 {
            if first[..4] != packet[..4] || first[6..V6_HEADER_LEN] != packet[6..V6_HEADER_LEN] {
                return None;
            }
            false
        } else {
            // All but length, identification and checksum.
            if first[..2] != packet[..2] || first[6..10] != packet[6..10] || first[12..20] != packet[12..20] {
                return None;
            }
            self.ident_of(first, packet)?
        };
        let same = match flow.gso {
            Gso::Udp => first[flow.transport..flow.transport + 4] == packet[flow.transport..flow.transport + 4],
            Gso::Tcp => self.is_next_segment(&first[flow.transport..], &packet[flow.transport..], flow),
            Gso::None => false,
        };
        same.then_some(ident_stands)
    }

    /// Whether the identification of IPv4 stands still (`true`) or counts; `None` if it does neither.
    ///
    /// It may stand still only where it means nothing: in packets that are not to be fragmented (RFC 6864).
    fn ident_of(&self, first: &[u8], packet: &[u8]) -> Option<bool> {
        let ident = |packet: &[u8]| u16::from_be_bytes([packet[4], packet[5]]);
        let counts = ident(packet) == ident(first).wrapping_add(self.count);
        let stands = ident(packet) == ident(first) && first[6] & 0x40 != 0;
        if self.count > 1 && stands != self.ident_stands || !(counts || stands) {
            return None;
        }
        Some(stands)
    }

    fn is_next_segment(&self, first: &[u8], packet: &[u8], flow: &Flow) -> bool {
        let options = TCP_HEADER_LEN..flow.headers - flow.transport;
        first[..4] == packet[..4]
            && u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]) == self.next_sequence
            && first[8..13] == packet[8..13]
            && first[TCP_FLAGS] | PSH == packet[TCP_FLAGS] | PSH
            && first[14..16] == packet[14..16]
            && first[18..20] == packet[18..20]
            && first[options.clone()] == packet[options]
    }
}

fn class_flow(class: &Class) -> Option<Flow> {
    match class {
        Class::Data(flow) => Some(*flow),
        Class::Barrier | Class::WideBarrier | Class::Other => None,
    }
}

fn classify(packet: &[u8], kinds: Kinds) -> Class {
    let (protocol, transport, len) = match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet.len() >= V4_HEADER_LEN => {
            let is_fragment = packet[6] & 0x3f != 0 || packet[7] != 0;
            if packet[0] & 0x0f != 5 || is_fragment {
                return Class::WideBarrier;
            }
            (
                packet[9],
                V4_HEADER_LEN,
                usize::from(u16::from_be_bytes([packet[2], packet[3]])),
            )
        }
        Some(6) if packet.len() >= V6_HEADER_LEN => {
            let len = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            (packet[6], V6_HEADER_LEN, V6_HEADER_LEN + len)
        }
        _ => return Class::Other,
    };
    let transport_len = packet.len() - transport;
    match protocol {
        ip::TCP if transport_len >= TCP_HEADER_LEN => {
            let header_len = usize::from(packet[transport + TCP_FLAGS - 1] >> 4) * 4;
            let headers = transport + header_len;
            let plain = packet[transport + TCP_FLAGS] & !(PSH | ECE) == ACK;
            let whole = len == packet.len() && header_len >= TCP_HEADER_LEN && headers < len;
            if !(kinds.tcp && plain && whole && is_header_intact(packet)) {
                return Class::Barrier;
            }
            Class::Data(Flow {
                gso: Gso::Tcp,
                transport,
                headers,
                segment: len - headers,
            })
        }
        ip::UDP if transport_len >= UDP_HEADER_LEN => {
            let headers = transport + UDP_HEADER_LEN;
            let udp_len = usize::from(u16::from_be_bytes([packet[transport + 4], packet[transport + 5]]));
            let has_checksum = packet[transport + 6..headers] != [0, 0];
            let whole = len == packet.len() && udp_len == transport_len && headers < len;
            if !(kinds.udp && has_checksum && whole && is_header_intact(packet)) {
                return Class::Barrier;
            }
            Class::Data(Flow {
                gso: Gso::Udp,
                transport,
                headers,
                segment: len - headers,
            })
        }
        ip::TCP | ip::UDP | ip::HOP_BY_HOP | ip::ROUTING | ip::FRAGMENT | ip::DESTINATION_OPTIONS => Class::WideBarrier,
        _ => Class::Other,
    }
}

/// Whether an IPv4 header's checksum is right; IPv6 has none.
fn is_header_intact(packet: &[u8]) -> bool {
    packet[0] >> 4 == 6 || Sum::ZERO.bytes(&packet[..V4_HEADER_LEN]).is_intact()
}

/// Whether the transport's checksum is right.
fn is_intact(packet: &[u8], flow: &Flow) -> bool {
    let protocol = if flow.gso == Gso::Udp { ip::UDP } else { ip::TCP };
    pseudo_header(packet, protocol, packet.len() - flow.transport)
        .bytes(&packet[flow.transport..])
        .is_intact()
}

/// Whether the sender wants what it has sent so far delivered at once.
fn pushes(packet: &[u8], flow: &Flow) -> bool {
    flow.gso == Gso::Tcp && packet[flow.transport + TCP_FLAGS] & PSH != 0
}

fn sequence(packet: &[u8], flow: &Flow) -> u32 {
    if flow.gso != Gso::Tcp {
        return 0;
    }
    let at = flow.transport + 4;
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// A hash of addresses, ports and protocol, of a packet with whole IP header and ports.
fn bucket(packet: &[u8]) -> usize {
    let (fields, protocol) = if packet[0] >> 4 == 6 {
        (&packet[8..44], packet[6])
    } else {
        (&packet[12..24], packet[9])
    };
    let mut hash = u32::from(protocol);
    for word in fields.as_chunks::<4>().0 {
        hash = (hash.rotate_left(5) ^ u32::from_ne_bytes(*word)).wrapping_mul(0x9e37_79b1);
    }
    (hash >> 24) as usize % BUCKETS
}

fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(NONE)
}
