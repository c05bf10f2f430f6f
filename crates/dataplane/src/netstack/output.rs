//! What goes to peers: packets, datagrams in fragments, and ICMP errors.

use std::{net::IpAddr, sync::Arc};

use super::flows::Key;
use crate::{
    buffer::Outbox,
    engine::{Engine, Peer},
    ip::{
        self, Packet, UDP_HEADER_LEN,
        header::{Header, write_udp},
        icmp,
    },
    time::Time,
    udp::Sockets,
};

/// When this many bytes are laid down they are sealed and sent: enough for full runs, soon enough for the cache.
const FLUSH_LEN: usize = 192 * 1024;

/// The way to the peers during one round of the loop.
pub(super) struct Output<'a> {
    pub(super) engine: &'a Engine,
    pub(super) sockets: &'a Sockets,
    pub(super) outbox: &'a mut Outbox,
    pub(super) now: Time,
    /// Longest inner packet.
    pub(super) mtu: usize,
    /// The identification of the packet that was last sent in fragments.
    pub(super) ident: &'a mut u32,
    /// Bytes laid down since the last flush, and since the round began.
    pub(super) laid: usize,
    pub(super) total: usize,
}

impl Output<'_> {
    /// Lays down one packet, which `fill` writes.
    pub(super) fn packet(&mut self, peer: &Arc<Peer>, len: usize, fill: impl FnOnce(&mut [u8])) {
        // What cannot be sent is counted by the engine, and lost as on any network.
        let _ = self.engine.send(self.now, peer, len, fill, self.outbox);
        self.laid += len;
        self.total += len;
        if self.laid >= FLUSH_LEN {
            self.flush();
        }
    }

    /// Lays down a header and what follows it, in fragments if it is longer than the tunnel takes.
    pub(super) fn datagram(&mut self, peer: &Arc<Peer>, header: &Header, transport: &[u8]) {
        let len = header.len() + transport.len();
        if len <= self.mtu {
            self.packet(peer, len, |buffer| {
                let at = header.write(buffer, transport.len());
                if let Some(rest) = buffer.get_mut(at..at + transport.len()) {
                    rest.copy_from_slice(transport);
                }
            });
            return;
        }
        *self.ident = self.ident.wrapping_add(1);
        let ident = *self.ident;
        let piece_len = self.mtu.saturating_sub(header.fragment_len()) & !7;
        let (mut rest, mut offset) = (transport, 0);
        while !rest.is_empty() && piece_len > 0 {
            let (piece, after) = rest.split_at(piece_len.min(rest.len()));
            let Ok(place) = u16::try_from(offset) else { return };
            self.packet(peer, header.fragment_len() + piece.len(), |buffer| {
                let at = header.write_fragment(buffer, piece.len(), ident, place, !after.is_empty());
                if let Some(rest) = buffer.get_mut(at..at + piece.len()) {
                    rest.copy_from_slice(piece);
                }
            });
            (rest, offset) = (after, offset + piece.len());
        }
    }

    /// Lays down a datagram that a server sent to the client of the flow `key`.
    pub(super) fn udp(&mut self, peer: &Arc<Peer>, key: &Key, payload: &[u8]) {
        let (source, destination) = (key.server, key.client);
        let ends = ((source.ip(), source.port()), (destination.ip(), destination.port()));
        let header = Header::new(source.ip(), destination.ip(), ip::UDP);
        let transport_len = UDP_HEADER_LEN + payload.len();
        let len = header.len() + transport_len;
        if len > self.mtu {
            let mut transport = vec![0; transport_len];
            transport[UDP_HEADER_LEN..].copy_from_slice(payload);
            write_udp(&mut transport, ends.0, ends.1);
            return self.datagram(peer, &header, &transport);
        }
        self.packet(peer, len, |buffer| {
            let at = header.write(buffer, transport_len);
            if let Some(transport) = buffer.get_mut(at..at + transport_len) {
                transport[UDP_HEADER_LEN..].copy_from_slice(payload);
                write_udp(transport, ends.0, ends.1);
            }
        });
    }

    /// Tells the sender of `about` what went wrong with it, if such a packet may be told of.
    pub(super) fn error(&mut self, peer: &Arc<Peer>, from: IpAddr, about: &Packet<'_>, error: icmp::Error) {
        if let Some(len) = icmp::error_len(about)
            && len <= self.mtu
        {
            self.packet(peer, len, |buffer| {
                icmp::write_error(buffer, from, about, error);
            });
        }
    }

    /// Seals what was laid down, and sends it.
    pub(super) fn flush(&mut self) {
        self.engine.seal(self.now, self.outbox);
        if !self.outbox.is_empty() {
            self.sockets.send(self.outbox.runs());
            self.outbox.clear();
        }
        self.laid = 0;
    }
}
