//! Packets of no flow: new flows, answers of the gateway's own, ways to other peers, errors.

use std::{hash::BuildHasher, net::SocketAddr, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use rustix::io::Errno;
use wg::access::Service;

use super::{
    Body, Switch,
    arrive::{is_udp_intact, key, parse_udp, port},
    queue,
};
use crate::{
    engine::Peer,
    ip::{
        self, Packet,
        header::Header,
        icmp::{self, Echo, EchoKind, Report},
    },
    netstack::{
        Protocol, Reserved, access,
        datagrams::Datagrams,
        flows::Key,
        output::Output,
        peers::Kind,
        reassembly::{Outcome, REASSEMBLY_TIMEOUT},
        route::{self, Route},
        server::Server,
        stream::{self, Stream},
        sys,
        tcp::{self, Connection, Flags, Segment},
        timers::Alarm,
    },
    time::Time,
};

impl Switch {
    /// Deals with the packets that were set aside.
    pub(in crate::netstack) fn settle(&mut self, out: &mut Output<'_>) {
        let mut aside = std::mem::take(&mut self.aside);
        let mut list = std::mem::take(&mut self.aside_list);
        let mut start = 0;
        for (peer, end) in list.drain(..) {
            if let Ok(packet) = Packet::parse(&aside[start..end]) {
                self.settle_one(&peer, &packet, out);
            }
            start = end;
        }
        aside.clear();
        (self.aside, self.aside_list) = (aside, list);
    }

    fn settle_one(&mut self, peer: &Arc<Peer>, packet: &Packet<'_>, out: &mut Output<'_>) {
        let route = route::find(&self.config, &self.rules, out.engine, peer, packet.destination);
        if packet.hop_limit <= 1 && matches!(route, Route::Outside | Route::Peer(_)) {
            self.tally.hop_limit_exceeded.one();
            return self.refuse(peer, packet, icmp::Error::HopLimitExceeded, out);
        }
        match route {
            Route::Own | Route::Outside => {}
            Route::Peer(other) => {
                return if self.exchanges.permit(&self.rules, out.now, [peer, &other], packet) {
                    self.forward(peer, &other, packet, out)
                } else {
                    self.prohibit(peer, packet, out)
                };
            }
            Route::Nowhere => return self.tally.bad_destination.one(),
            Route::NoPeer => {
                self.tally.no_peer.one();
                return self.refuse(peer, packet, icmp::Error::HostUnreachable, out);
            }
            Route::Prohibited => return self.prohibit(peer, packet, out),
        }
        let Some(fragment) = packet.fragment else {
            return self.settle_whole(peer, packet, &route, out);
        };
        let ((whole, rejected, evicted), needs_alarm) =
            self.peers.reassemble(peer.id(), &self.config.limits, |reassembler| {
                let (whole, rejected) = match reassembler.add(out.now, packet, fragment) {
                    Outcome::Whole(bytes) => (Some(bytes.to_vec()), false),
                    Outcome::Waiting => (None, false),
                    Outcome::Rejected => (None, true),
                };
                (whole, rejected, reassembler.take_evicted())
            });
        self.tally.fragments_rejected.add(rejected.into());
        self.tally.fragments_evicted.add(evicted);
        if needs_alarm {
            self.timers
                .set(out.now + REASSEMBLY_TIMEOUT, Alarm::Reassembly(peer.id()));
        }
        if let Some(Ok(packet)) = whole.as_deref().map(Packet::parse) {
            // Its sender has cut it, so this host may, too.
            let packet = Packet {
                dont_fragment: false,
                ..packet
            };
            self.settle_whole(peer, &packet, &route, out);
        }
    }

    /// Answers from the gateway, or as the destination if the gateway has no address of the family.
    pub(super) fn refuse(&self, peer: &Arc<Peer>, packet: &Packet<'_>, error: icmp::Error, out: &mut Output<'_>) {
        let from = self
            .config
            .own_address(packet.destination)
            .unwrap_or(packet.destination);
        out.error(peer, from, packet, error);
    }

    fn prohibit(&self, peer: &Arc<Peer>, packet: &Packet<'_>, out: &mut Output<'_>) {
        self.tally.prohibited.one();
        self.refuse(peer, packet, icmp::Error::Prohibited, out);
        // Not all clients mind ICMP while they connect; all mind a reset.
        if packet.protocol == ip::TCP
            && packet.fragment.is_none()
            && let Some(segment) = Segment::parse(packet.payload)
        {
            reset(peer, packet, &segment, out);
        }
    }

    fn forward(&self, peer: &Arc<Peer>, other: &Arc<Peer>, packet: &Packet<'_>, out: &mut Output<'_>) {
        let len = packet.bytes.len();
        if len > out.mtu {
            self.tally.too_big.one();
            let mtu = u32::try_from(out.mtu).unwrap_or(u32::MAX);
            return self.refuse(peer, packet, icmp::Error::TooBig { mtu }, out);
        }
        self.tally.forwarded.one();
        out.packet(other, len, |buffer| {
            buffer.copy_from_slice(packet.bytes);
            ip::header::decrease_hop_limit(buffer);
        });
    }

    fn settle_whole(&mut self, peer: &Arc<Peer>, packet: &Packet<'_>, route: &Route, out: &mut Output<'_>) {
        let is_own = matches!(route, Route::Own);
        if !is_own && !self.may_reach(peer, packet) {
            return self.prohibit(peer, packet, out);
        }
        match packet.protocol {
            ip::TCP => match Segment::parse(packet.payload) {
                Some(segment) => self.settle_segment(peer, packet, &segment, is_own, out),
                None => self.tally.malformed.one(),
            },
            ip::UDP => match parse_udp(packet) {
                Some((source, destination, payload)) => {
                    let key = key(peer, packet, source, destination);
                    self.settle_udp(peer, packet, &key, payload, is_own, out);
                }
                None => self.tally.malformed.one(),
            },
            ip::ICMP | ip::ICMPV6 => match Echo::parse(packet) {
                Some(echo) if echo.kind == EchoKind::Request => self.settle_echo(peer, packet, echo, is_own, out),
                _ => self.settle_report(peer, packet, out.now),
            },
            _ => {
                self.tally.unsupported.one();
                self.refuse(peer, packet, icmp::Error::ProtocolUnreachable, out);
            }
        }
    }

    /// Whether the peer's own rules let a whole packet go outside. Errors about flows that there are may always.
    fn may_reach(&self, peer: &Peer, packet: &Packet<'_>) -> bool {
        let is_error = || Report::parse(packet).is_some();
        let service = access::service(packet);
        self.rules.permits(peer, packet.destination, service) || (service == Service::Icmp && is_error())
    }

    fn settle_segment(
        &mut self,
        peer: &Arc<Peer>,
        packet: &Packet<'_>,
        segment: &Segment<'_>,
        is_own: bool,
        out: &mut Output<'_>,
    ) {
        if !packet.is_payload_intact() {
            return self.tally.bad_checksum.one();
        }
        let key = key(peer, packet, segment.source_port, segment.destination_port);
        if let Some(token) = self.flows.find(&key) {
            let replaces = self.flows.get_mut(token).is_some_and(|flow| match &flow.body {
                Body::Stream(stream) => stream.may_be_replaced_by(segment),
                Body::Datagrams(_) => false,
            });
            if !replaces {
                self.pass_segment(out.now, &key, packet, segment);
                return;
            }
            self.remove(token);
        }
        let is_first = segment.flags.0 & (Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN).0 == Flags::SYN.0;
        if !is_first {
            self.tally.no_flow.one();
            return reset(peer, packet, segment, out);
        }
        let Some(target) = self.target(&key, is_own) else {
            self.tally.tcp_refused.one();
            return reset(peer, packet, segment, out);
        };
        if !self.admit(peer, Kind::Tcp) {
            return;
        }
        let until = out.now + self.config.timeouts.dial;
        let connection = Connection::accept(out.now, &self.tcp_config(&key), self.isn(out.now, &key), segment);
        match target.dial() {
            Ok(socket) => {
                let stream = Stream::open(socket, connection, packet, until);
                self.insert(key, peer, Kind::Tcp, Body::Stream(Box::new(stream)), out.now);
            }
            Err(error) => {
                self.discharge(peer, Kind::Tcp, true);
                if stream::refuse(error, &key, peer, Some(packet.bytes), out, &self.tally) {
                    reset(peer, packet, segment, out);
                }
            }
        }
    }

    /// The connection's settings, its buffers no larger than an eighth of what the peer may still have.
    fn tcp_config(&self, key: &Key) -> tcp::Config {
        let mtu = u16::try_from(self.config.mtu).unwrap_or(u16::MAX);
        let mut config = if key.is_v6() {
            tcp::Config::ipv6(mtu)
        } else {
            tcp::Config::ipv4(mtu)
        };
        let room = self.peers.buffer_room(key.peer, &self.config.limits) / 8;
        let room = u32::try_from(room).unwrap_or(u32::MAX).max(64 * 1024);
        config.receive_max = config.receive_max.min(room);
        config.receive_initial = config.receive_initial.min(room);
        config.send_max = config.send_max.min(room);
        config
    }

    /// A sequence number that nobody outside can guess, and that goes on where an earlier flow ended (RFC 6528).
    fn isn(&self, now: Time, key: &Key) -> u32 {
        let offset = self.secret.hash_one(key) & u64::from(u32::MAX);
        let clock = (now.as_nanos() / 4_000) & u64::from(u32::MAX);
        u32::try_from((offset + clock) & u64::from(u32::MAX)).unwrap_or_default()
    }

    /// What a TCP flow is to connect to; `None` if nothing is there.
    fn target(&self, key: &Key, is_own: bool) -> Option<Target> {
        match self.reserved(key) {
            Some(reserved) => (reserved.port == key.server.port()).then(|| Target::Local(reserved.socket.clone())),
            None => self.server(key, Protocol::Tcp, is_own).map(Target::Server),
        }
    }

    /// The reserved service, if a flow goes to its address.
    fn reserved(&self, key: &Key) -> Option<&Reserved> {
        let reserved = self.config.reserved.as_ref();
        reserved.filter(|reserved| reserved.address == key.server.ip())
    }

    /// Where a flow goes: its destination, or the service behind one of the gateway's own ports.
    fn server(&self, key: &Key, protocol: Protocol, is_own: bool) -> Option<Server> {
        if self.reserved(key).is_some() {
            None
        } else if is_own {
            let service = self.config.services.get(&(protocol, key.server.port()))?;
            Some(Server::service(*service, key.peer))
        } else {
            Some(Server::outside(key.server))
        }
    }

    fn settle_udp(
        &mut self,
        peer: &Arc<Peer>,
        packet: &Packet<'_>,
        key: &Key,
        payload: &[u8],
        is_own: bool,
        out: &mut Output<'_>,
    ) {
        if self.pass_datagram(out.now, key, packet, payload) {
            return;
        }
        if !is_udp_intact(packet) {
            return self.tally.bad_checksum.one();
        }
        let server = match self.server(key, Protocol::Udp, is_own) {
            Some(server) if key.server.port() != 0 => server,
            _ => {
                self.tally.unreachable.one();
                return self.refuse(peer, packet, icmp::Error::PortUnreachable, out);
            }
        };
        if self.admit(peer, Kind::Udp) {
            let opened = Datagrams::open_udp(out.now, server);
            self.begin_datagrams(peer, packet, key, payload, (Kind::Udp, opened), out);
        }
    }

    fn settle_echo(
        &mut self,
        peer: &Arc<Peer>,
        packet: &Packet<'_>,
        echo: Echo<'_>,
        is_own: bool,
        out: &mut Output<'_>,
    ) {
        let key = key(peer, packet, echo.ident, 0);
        if is_own {
            let header = Header::new(packet.destination, packet.source, packet.protocol);
            let Some(message) = self.mailbox.scratch().get_mut(..echo.message_len()) else {
                return;
            };
            let reply = Echo {
                kind: EchoKind::Reply,
                ..echo
            };
            reply.write_message(message, packet.destination, packet.source);
            return out.datagram(peer, &header, message);
        }
        if self.pass_datagram(out.now, &key, packet, packet.payload) || !self.admit(peer, Kind::Echo) {
            return;
        }
        let opened = Datagrams::open_echo(out.now, packet.destination);
        self.begin_datagrams(peer, packet, &key, packet.payload, (Kind::Echo, opened), out);
    }

    /// Begins a flow with its first datagram, or says why there is none.
    fn begin_datagrams(
        &mut self,
        peer: &Arc<Peer>,
        packet: &Packet<'_>,
        key: &Key,
        payload: &[u8],
        (kind, opened): (Kind, Result<Datagrams, Errno>),
        out: &mut Output<'_>,
    ) {
        match opened {
            Ok(datagrams) => {
                self.insert(*key, peer, kind, Body::Datagrams(datagrams), out.now);
                self.pass_datagram(out.now, key, packet, payload);
            }
            Err(error) => {
                self.discharge(peer, kind, false);
                let Some(told) = sys::explain(error, None) else {
                    return self.tally.system_limit.one();
                };
                if kind == Kind::Echo && told == icmp::Error::Prohibited {
                    self.tally.echo_denied.one();
                } else {
                    self.tally.unreachable.one();
                }
                self.refuse(peer, packet, told, out);
            }
        }
    }

    /// An ICMP error of the client's own: one that concerns a flow is the path's length.
    fn settle_report(&mut self, peer: &Arc<Peer>, packet: &Packet<'_>, now: Time) {
        let Some(report) = Report::parse(packet) else {
            return self.tally.unsupported.one();
        };
        let ports = (port(report.transport, 0), port(report.transport, 2));
        let key = Key {
            peer: peer.id(),
            protocol: report.protocol,
            client: SocketAddr::new(report.destination, ports.1),
            server: SocketAddr::new(report.source, ports.0),
        };
        let Some(token) = self.flows.find(&key) else {
            return self.tally.no_flow.one();
        };
        let Some(flow) = self.flows.get_mut(token) else { return };
        if let (Body::Stream(stream), icmp::Error::TooBig { mtu }) = (&mut flow.body, report.error) {
            let ip_header = if key.is_v6() {
                ip::V6_HEADER_LEN
            } else {
                ip::V4_HEADER_LEN
            };
            stream.set_path_mtu(now, mtu, ip_header);
            queue(flow, token, &mut self.peers);
        }
    }
}

/// The other end of a TCP flow.
enum Target {
    Server(Server),
    /// A socket in the file system.
    Local(PathBuf),
}

impl Target {
    fn dial(&self) -> Result<OwnedFd, Errno> {
        match self {
            Self::Server(server) => sys::dial(server.address, server.source),
            Self::Local(socket) => sys::dial_local(socket),
        }
    }
}

/// Resets what a segment belongs to, if anything.
fn reset(peer: &Arc<Peer>, packet: &Packet<'_>, segment: &Segment<'_>, out: &mut Output<'_>) {
    if let Some(header) = tcp::Header::reset_for(segment) {
        let key = key(peer, packet, segment.source_port, segment.destination_port);
        stream::emit_one(&key, peer, &header, &[], &[], out);
    }
}
