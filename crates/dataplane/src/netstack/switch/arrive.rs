//! Packets of flows that exist: from the tunnel to the flow.

use std::{net::SocketAddr, sync::Arc};

use super::{Body, Switch, queue};
use crate::{
    engine::Peer,
    ip::{
        self, Packet, UDP_HEADER_LEN,
        icmp::{Echo, EchoKind},
    },
    netstack::{
        flows::Key,
        policy::is_possible_source,
        tcp::{Flags, Segment},
    },
    time::Time,
};

impl Switch {
    /// Takes one packet of a peer's, whose source the engine has checked.
    pub(in crate::netstack) fn deliver(&mut self, now: Time, peer: &Arc<Peer>, bytes: &[u8]) {
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(ip::Malformed::Checksum) => return self.tally.bad_checksum.one(),
            Err(_) => return self.tally.malformed.one(),
        };
        if !is_possible_source(packet.source) {
            return self.tally.bad_source.one();
        }
        if packet.fragment.is_some() || packet.hop_limit <= 1 || !self.pass(now, peer, &packet) {
            self.aside.extend_from_slice(packet.bytes);
            self.aside_list.push((Arc::clone(peer), self.aside.len()));
        }
    }

    /// Hands a packet to the flow that it belongs to; false if there is none, or if it takes more than that.
    fn pass(&mut self, now: Time, peer: &Arc<Peer>, packet: &Packet<'_>) -> bool {
        match packet.protocol {
            ip::TCP => {
                let Some(segment) = Segment::parse(packet.payload) else {
                    return false;
                };
                if segment.has(Flags::SYN) {
                    return false;
                }
                let key = key(peer, packet, segment.source_port, segment.destination_port);
                self.pass_segment(now, &key, packet, &segment)
            }
            ip::UDP => {
                let Some((source, destination, payload)) = parse_udp(packet) else {
                    return false;
                };
                let key = key(peer, packet, source, destination);
                self.pass_datagram(now, &key, packet, payload)
            }
            ip::ICMP | ip::ICMPV6 => {
                let Some(echo) = Echo::parse(packet).filter(|echo| echo.kind == EchoKind::Request) else {
                    return false;
                };
                self.pass_datagram(now, &key(peer, packet, echo.ident, 0), packet, packet.payload)
            }
            _ => false,
        }
    }

    pub(super) fn pass_segment(&mut self, now: Time, key: &Key, packet: &Packet<'_>, segment: &Segment<'_>) -> bool {
        let Some(token) = self.flows.find(key) else {
            return false;
        };
        let Some(flow) = self.flows.get_mut(token) else {
            return false;
        };
        let Body::Stream(stream) = &mut flow.body else {
            return false;
        };
        if !packet.is_payload_intact() {
            self.tally.bad_checksum.one();
            return true;
        }
        let room = self.peers.buffer_room(key.peer, &self.config.limits);
        if !stream.handle_segment(now, segment, room) {
            self.tally.memory_limit.one();
        }
        let memory = stream.memory();
        self.peers.buffered(key.peer, stream.booked, memory);
        stream.booked = memory;
        queue(flow, token, &mut self.peers);
        true
    }

    pub(super) fn pass_datagram(&mut self, now: Time, key: &Key, packet: &Packet<'_>, payload: &[u8]) -> bool {
        let Some(token) = self.flows.find(key) else {
            return false;
        };
        let Some(flow) = self.flows.get_mut(token) else {
            return false;
        };
        let Body::Datagrams(datagrams) = &mut flow.body else {
            return false;
        };
        if key.protocol == ip::UDP && !is_udp_intact(packet) {
            self.tally.bad_checksum.one();
        } else if datagrams.forward(now, packet, payload, &mut self.spare, &self.tally) {
            self.gathering.push(token);
        }
        true
    }

    /// Passes on the datagrams that were gathered since the batch began.
    pub(in crate::netstack) fn send_gathered(&mut self) {
        for token in self.gathering.drain(..) {
            let Some(flow) = self.flows.get_mut(token) else {
                continue;
            };
            if let Body::Datagrams(datagrams) = &mut flow.body
                && datagrams.send_gathered(&mut self.spare, &self.tally)
            {
                queue(flow, token, &mut self.peers);
            }
        }
    }
}

/// The flow that a packet is of.
pub(super) fn key(peer: &Peer, packet: &Packet<'_>, client_port: u16, server_port: u16) -> Key {
    Key {
        peer: peer.id(),
        protocol: packet.protocol,
        client: SocketAddr::new(packet.source, client_port),
        server: SocketAddr::new(packet.destination, server_port),
    }
}

/// A port, or another number of 16 bits, of a header; 0 if it is cut short.
pub(super) fn port(transport: &[u8], at: usize) -> u16 {
    transport
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// Ports and payload of a UDP packet; `None` if its length makes no sense.
pub(super) fn parse_udp<'a>(packet: &Packet<'a>) -> Option<(u16, u16, &'a [u8])> {
    let header = packet.payload.first_chunk::<UDP_HEADER_LEN>()?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = packet.payload.get(UDP_HEADER_LEN..len)?;
    Some((port(header, 0), port(header, 2), payload))
}

/// Whether the checksum is right; IPv4 allows none (RFC 768), IPv6 does not (RFC 8200, 8.1).
pub(super) fn is_udp_intact(packet: &Packet<'_>) -> bool {
    let len = usize::from(port(packet.payload, 4));
    match packet.payload.get(..len) {
        Some(datagram) if port(datagram, 6) != 0 => {
            ip::checksum::pseudo_header(packet.source, packet.destination, ip::UDP, len)
                .bytes(datagram)
                .is_intact()
        }
        Some(_) => !packet.is_v6(),
        None => false,
    }
}
