//! Takes packets of peers to flows, and makes the flows.
//!
//! ```text
//!   deliver ──► a flow has it ──► the flow
//!      └─────► else: set aside ──► settle ──► new flow, other peer, own answer, error
//! ```
//!
//! What belongs to a flow is handled while the batch is opened; all else is set aside until the batch is through, when
//! answers may be laid down.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::{event::epoll, io::Errno};

use super::{
    Config, Protocol,
    counters::Tally,
    datagrams::Datagrams,
    flows::{Flows, Key},
    output::Output,
    peers::{Kind, Peers, Refusal},
    policy::is_possible_source,
    reassembly::Outcome,
    route::{self, Route},
    stream::{self, Next, Stream},
    tcp::{self, Connection, Flags, Segment},
    timers::{Alarm, Timers},
};
use crate::{
    engine::Peer,
    ip::{
        self, Packet, UDP_HEADER_LEN,
        header::Header,
        icmp::{self, Echo, EchoKind, Report},
    },
    time::Time,
};

/// Descriptors that are no flow's: of this process's other parts.
const RESERVED_DESCRIPTORS: usize = 256;

/// What a flow is made of.
#[derive(Debug)]
enum Body {
    Stream(Box<Stream>),
    Datagrams(Datagrams),
}

/// One flow of one peer.
#[derive(Debug)]
struct Flow {
    key: Key,
    peer: Arc<Peer>,
    kind: Kind,
    body: Body,
    /// Whether it waits for its turn.
    is_queued: bool,
    /// The earliest alarm that is set.
    alarm: Option<Time>,
}

/// All flows, and the way of packets to them.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) config: Config,
    tally: Arc<Tally>,
    epoll: Arc<OwnedFd>,
    flows: Flows<Flow>,
    peers: Peers,
    timers: Timers,
    /// Packets that no flow has, end to end, and whose they are.
    aside: Vec<u8>,
    aside_list: Vec<(Arc<Peer>, usize)>,
    scratch: Box<[u8]>,
    secret: RandomState,
    /// How many flows the descriptors allow.
    capacity: usize,
}

impl Switch {
    pub(super) fn new(config: Config, tally: Arc<Tally>, epoll: Arc<OwnedFd>, descriptors: usize) -> Self {
        let capacity = config.limits.flows.unwrap_or(usize::MAX);
        Self {
            config,
            tally,
            epoll,
            flows: Flows::new(),
            peers: Peers::default(),
            timers: Timers::default(),
            aside: Vec::new(),
            aside_list: Vec::new(),
            scratch: vec![0; 1 << 16].into_boxed_slice(),
            secret: RandomState::new(),
            capacity: capacity.min(descriptors.saturating_sub(RESERVED_DESCRIPTORS)).max(1),
        }
    }

    /// Takes one packet of a peer's, whose source the engine has checked.
    pub(super) fn deliver(&mut self, now: Time, peer: &Arc<Peer>, bytes: &[u8]) {
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

    fn pass_segment(&mut self, now: Time, key: &Key, packet: &Packet<'_>, segment: &Segment<'_>) -> bool {
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

    fn pass_datagram(&mut self, now: Time, key: &Key, packet: &Packet<'_>, payload: &[u8]) -> bool {
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
        } else if datagrams.forward(now, packet, payload, &self.tally) {
            queue(flow, token, &mut self.peers);
        }
        true
    }

    /// Deals with the packets that were set aside.
    pub(super) fn settle(&mut self, out: &mut Output<'_>) {
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
        let route = route::find(&self.config, out.engine, peer, packet.destination);
        if packet.hop_limit <= 1 && matches!(route, Route::Outside | Route::Peer(_)) {
            self.tally.hop_limit_exceeded.one();
            return self.refuse(peer, packet, icmp::Error::HopLimitExceeded, out);
        }
        match route {
            Route::Own | Route::Outside => {}
            Route::Peer(other) => return self.forward(peer, &other, packet, out),
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
        let (reassembler, needs_alarm) = self.peers.reassembler(peer.id(), &self.config.limits);
        let outcome = reassembler.add(out.now, packet, fragment);
        let whole = match outcome {
            Outcome::Whole(bytes) => Some(bytes.to_vec()),
            Outcome::Waiting => None,
            Outcome::Rejected => {
                self.tally.fragments_rejected.one();
                None
            }
        };
        self.tally.fragments_evicted.add(reassembler.take_evicted());
        if needs_alarm {
            self.timers.set(
                out.now + super::reassembly::REASSEMBLY_TIMEOUT,
                Alarm::Reassembly(peer.id()),
            );
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
    fn refuse(&self, peer: &Arc<Peer>, packet: &Packet<'_>, error: icmp::Error, out: &mut Output<'_>) {
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
        let Some(server) = self.server(&key, Protocol::Tcp, is_own) else {
            self.tally.tcp_refused.one();
            return reset(peer, packet, segment, out);
        };
        if !self.admit(peer, Kind::Tcp) {
            return;
        }
        let until = out.now + self.config.timeouts.dial;
        let connection = Connection::accept(out.now, &self.tcp_config(&key), self.isn(out.now, &key), segment);
        match Stream::open(server, connection, packet, until) {
            Ok(stream) => self.insert(key, peer, Kind::Tcp, Body::Stream(Box::new(stream)), out.now),
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

    /// Where a flow goes: its destination, or the service behind one of the gateway's own ports.
    fn server(&self, key: &Key, protocol: Protocol, is_own: bool) -> Option<SocketAddr> {
        if is_own {
            self.config.services.get(&(protocol, key.server.port())).copied()
        } else {
            Some(key.server)
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
            let Some(message) = self.scratch.get_mut(..echo.message_len()) else {
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
                let Some(told) = super::sys::explain(error, None) else {
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

    /// Counts a new flow, or the reason why there is none.
    fn admit(&mut self, peer: &Arc<Peer>, kind: Kind) -> bool {
        match self.peers.open(peer.id(), kind, &self.config.limits, self.capacity) {
            Ok(()) => return true,
            Err(Refusal::HalfOpen) => self.tally.half_open_limit.one(),
            Err(Refusal::Share) => self.tally.share_limit.one(),
            Err(Refusal::Kind) => match kind {
                Kind::Tcp => self.tally.tcp_limit.one(),
                Kind::Udp => self.tally.udp_limit.one(),
                Kind::Echo => self.tally.echo_limit.one(),
            },
        }
        false
    }

    fn discharge(&mut self, peer: &Arc<Peer>, kind: Kind, is_dialling: bool) {
        if is_dialling {
            self.peers.dialled(peer.id());
        }
        self.peers.close(peer.id(), kind);
    }

    fn insert(&mut self, key: Key, peer: &Arc<Peer>, kind: Kind, body: Body, now: Time) {
        let flow = Flow {
            key,
            peer: Arc::clone(peer),
            kind,
            body,
            is_queued: false,
            alarm: None,
        };
        let token = self.flows.insert(key, flow);
        match kind {
            Kind::Tcp => self.tally.tcp_flows.one(),
            Kind::Udp => {
                self.tally.udp_flows.one();
                self.tally.udp_opened.one();
            }
            Kind::Echo => {
                self.tally.echo_flows.one();
                self.tally.echo_opened.one();
            }
        }
        let Some(flow) = self.flows.get_mut(token) else { return };
        let events = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        let (socket, events) = match &flow.body {
            Body::Stream(stream) => (stream.socket(), events | epoll::EventFlags::OUT),
            Body::Datagrams(datagrams) => (Some(datagrams.socket()), events),
        };
        let data = epoll::EventData::new_u64(token);
        let watched = socket.is_some_and(|socket| epoll::add(&self.epoll, socket, data, events).is_ok());
        if watched {
            self.set_alarm(token, now);
        } else {
            self.tally.system_limit.one();
            self.remove(token);
        }
    }

    fn remove(&mut self, token: u64) -> Option<Flow> {
        let key = self.flows.get_mut(token)?.key;
        let flow = self.flows.remove(token, &key)?;
        let mut is_dialling = false;
        if let Body::Stream(stream) = &flow.body {
            self.peers.buffered(key.peer, stream.booked, 0);
            is_dialling = stream.is_dialling();
        }
        self.discharge(&flow.peer, flow.kind, is_dialling);
        match flow.kind {
            Kind::Tcp => self.tally.tcp_flows.less(),
            Kind::Udp => self.tally.udp_flows.less(),
            Kind::Echo => self.tally.echo_flows.less(),
        }
        Some(flow)
    }

    /// Sets an alarm for the flow, unless an earlier one is set.
    fn set_alarm(&mut self, token: u64, now: Time) {
        let Some(flow) = self.flows.get_mut(token) else { return };
        let due = match &flow.body {
            Body::Stream(stream) => stream.due(),
            Body::Datagrams(datagrams) => Some(datagrams.due(&flow.key, &self.config.timeouts)),
        };
        let Some(due) = due else { return };
        if flow.alarm.is_none_or(|alarm| due < alarm) {
            flow.alarm = Some(due);
            self.timers.set(due.max(now), Alarm::Flow(token));
        }
    }

    /// Takes what epoll said of a flow's socket.
    pub(super) fn handle_event(&mut self, token: u64, events: epoll::EventFlags) {
        let Some(flow) = self.flows.get_mut(token) else { return };
        match &mut flow.body {
            Body::Stream(stream) => stream.handle_event(events),
            Body::Datagrams(datagrams) => {
                datagrams.is_readable |= events.contains(epoll::EventFlags::IN);
                datagrams.has_error |= events.contains(epoll::EventFlags::ERR);
            }
        }
        queue(flow, token, &mut self.peers);
    }

    /// When [`Switch::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.timers.next_due()
    }

    /// Does what is due by time.
    pub(super) fn handle_timeout(&mut self, out: &mut Output<'_>) {
        while let Some((due, alarm)) = self.timers.pop(out.now) {
            match alarm {
                Alarm::Flow(token) => self.ring(token, due, out.now),
                Alarm::Reassembly(peer) => self.expire_fragments(peer, out),
            }
        }
    }

    fn ring(&mut self, token: u64, due: Time, now: Time) {
        let Some(flow) = self.flows.get_mut(token) else { return };
        // Of several alarms the earliest counts; a later one was replaced by it.
        if flow.alarm.is_some_and(|alarm| alarm < due) {
            return;
        }
        flow.alarm = None;
        match &flow.body {
            Body::Stream(stream) => {
                if stream.due().is_some_and(|due| due <= now) {
                    queue(flow, token, &mut self.peers);
                } else {
                    self.set_alarm(token, now);
                }
            }
            Body::Datagrams(datagrams) => {
                if datagrams.due(&flow.key, &self.config.timeouts) <= now {
                    self.remove(token);
                } else {
                    self.set_alarm(token, now);
                }
            }
        }
    }

    fn expire_fragments(&mut self, peer: u32, out: &mut Output<'_>) {
        let Some((reassembler, alarm)) = self.peers.reassembly_alarm(peer) else {
            return;
        };
        let mut quotes: Vec<Vec<u8>> = Vec::new();
        let expired = reassembler.expire(out.now, |quote| quotes.push(quote.to_vec()));
        let next = reassembler.poll_timeout();
        *alarm = next.is_some();
        if let Some(next) = next {
            self.timers.set(next, Alarm::Reassembly(peer));
        }
        self.tally.fragments_timed_out.add(expired);
        for quote in quotes {
            if let Ok(about) = Packet::parse(&quote)
                && let Some(peer) = out.engine.peer_for(about.source).filter(|found| found.id() == peer)
            {
                self.refuse(&peer, &about, icmp::Error::ReassemblyTimeExceeded, out);
            }
        }
    }

    /// Whether a flow waits for its turn.
    pub(super) fn has_turns(&self) -> bool {
        self.peers.has_turns()
    }

    /// Gives up to `most` flows their turns: of each peer one, then of each peer the next.
    pub(super) fn take_turns(&mut self, most: usize, out: &mut Output<'_>) {
        for _ in 0..most {
            let Some(token) = self.peers.next_turn() else { return };
            self.turn(token, out);
        }
    }

    fn turn(&mut self, token: u64, out: &mut Output<'_>) {
        let Some(flow) = self.flows.get_mut(token) else { return };
        flow.is_queued = false;
        let next = match &mut flow.body {
            Body::Datagrams(datagrams) => {
                if datagrams.turn(&flow.key, &flow.peer, &mut self.scratch, out, &self.tally) {
                    Next::Again
                } else {
                    Next::Wait
                }
            }
            Body::Stream(stream) => {
                let room = self.peers.buffer_room(flow.key.peer, &self.config.limits);
                let was_dialling = stream.is_dialling();
                let next = stream.turn(&flow.key, &flow.peer, room, out, &self.tally);
                if was_dialling && !stream.is_dialling() {
                    self.peers.dialled(flow.key.peer);
                }
                let memory = stream.memory();
                self.peers.buffered(flow.key.peer, stream.booked, memory);
                stream.booked = memory;
                next
            }
        };
        match next {
            Next::Wait => self.set_alarm(token, out.now),
            Next::Again => {
                queue(flow, token, &mut self.peers);
                self.set_alarm(token, out.now);
            }
            Next::Gone => drop(self.remove(token)),
        }
    }

    /// Ends flows whose peer is gone, or has lost the address that the flow comes from.
    pub(super) fn sweep(&mut self, out: &mut Output<'_>) {
        for token in self.flows.tokens() {
            let Some(flow) = self.flows.get_mut(token) else {
                continue;
            };
            let owner = out.engine.peer_for(flow.key.client.ip());
            if !flow.peer.is_removed() && owner.is_some_and(|owner| owner.id() == flow.key.peer) {
                continue;
            }
            self.end(token, out);
        }
        for peer in self.peers.ids() {
            self.peers.forget(peer);
        }
    }

    /// Follows another configuration: flows that it forbids end.
    pub(super) fn configure(&mut self, config: Config, out: &mut Output<'_>) {
        self.config = config;
        for token in self.flows.tokens() {
            let Some(flow) = self.flows.get_mut(token) else {
                continue;
            };
            let route = route::find(&self.config, out.engine, &flow.peer, flow.key.server.ip());
            if !matches!(route, Route::Own | Route::Outside) {
                self.end(token, out);
            }
        }
    }

    /// Ends all flows.
    pub(super) fn end_all(&mut self, out: &mut Output<'_>) {
        for token in self.flows.tokens() {
            self.end(token, out);
        }
    }

    fn end(&mut self, token: u64, out: &mut Output<'_>) {
        let Some(flow) = self.remove(token) else { return };
        if let Body::Stream(stream) = flow.body {
            stream.cut(&flow.key, &flow.peer, out);
        }
    }
}

/// Lets a flow have a turn, if it does not wait for one already.
fn queue(flow: &mut Flow, token: u64, peers: &mut Peers) {
    if !flow.is_queued {
        flow.is_queued = true;
        peers.queue(flow.key.peer, token);
    }
}

fn key(peer: &Peer, packet: &Packet<'_>, client_port: u16, server_port: u16) -> Key {
    Key {
        peer: peer.id(),
        protocol: packet.protocol,
        client: SocketAddr::new(packet.source, client_port),
        server: SocketAddr::new(packet.destination, server_port),
    }
}

fn port(transport: &[u8], at: usize) -> u16 {
    transport
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// Ports and payload of a UDP packet; `None` if its length makes no sense.
fn parse_udp<'a>(packet: &Packet<'a>) -> Option<(u16, u16, &'a [u8])> {
    let header = packet.payload.first_chunk::<UDP_HEADER_LEN>()?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = packet.payload.get(UDP_HEADER_LEN..len)?;
    Some((port(header, 0), port(header, 2), payload))
}

/// Whether the checksum is right; IPv4 allows none (RFC 768), IPv6 does not (RFC 8200, 8.1).
fn is_udp_intact(packet: &Packet<'_>) -> bool {
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

/// Resets what a segment belongs to, if anything.
fn reset(peer: &Arc<Peer>, packet: &Packet<'_>, segment: &Segment<'_>, out: &mut Output<'_>) {
    if let Some(header) = tcp::Header::reset_for(segment) {
        let key = key(peer, packet, segment.source_port, segment.destination_port);
        stream::emit_one(&key, peer, &header, &[], &[], out);
    }
}
