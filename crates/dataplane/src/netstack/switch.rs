//! Takes packets of peers to flows, and makes the flows.
//!
//! ```text
//!   deliver ──► a flow has it ──► the flow
//!      └─────► else: set aside ──► settle ──► new flow, other peer, own answer, error
//! ```
//!
//! What belongs to a flow is handled while the batch is opened; all else is set aside until the batch is through, when
//! answers may be laid down.

mod arrive;
mod settle;

use std::{collections::HashSet, hash::RandomState, os::fd::OwnedFd, sync::Arc};

use rustix::event::epoll;
use wg::PublicKey;

use super::{
    Config,
    access::{self, Exchanges, Rules},
    counters::Tally,
    datagrams::Datagrams,
    flows::{Flows, Key},
    gather::Spare,
    mailbox::Mailbox,
    output::Output,
    peers::{Kind, Peers, Refusal},
    reassembly::Reassembler,
    route::{self, Route},
    stream::{Next, Stream},
    sys,
    timers::{Alarm, Armed, Timers},
};
use crate::{
    engine::Peer,
    ip::{Packet, icmp},
    time::Time,
};

/// Descriptors that are no flow's: of this process's other parts.
const RESERVED_DESCRIPTORS: usize = 256;

/// Most bytes that flows send in one round, about: a ping waits no longer than this takes, a millisecond or two.
const ROUND_LEN: usize = 512 * 1024;

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
    /// Whether it is only kept for strays, and counted as such.
    is_lingering: bool,
    /// The alarms that are set.
    armed: Armed,
}

/// All flows, and the way of packets to them.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) config: Config,
    rules: Rules,
    exchanges: Exchanges,
    tally: Arc<Tally>,
    epoll: Arc<OwnedFd>,
    flows: Flows<Flow>,
    peers: Peers,
    timers: Timers,
    /// Packets that no flow has, end to end, and whose they are.
    aside: Vec<u8>,
    aside_list: Vec<(Arc<Peer>, usize)>,
    mailbox: Mailbox,
    /// Flows with datagrams that wait for the end of the batch.
    gathering: Vec<u64>,
    spare: Spare,
    secret: RandomState,
    /// How many flows the descriptors allow.
    capacity: usize,
}

impl Switch {
    pub(super) fn new(
        config: Config,
        rules: Rules,
        tally: Arc<Tally>,
        epoll: Arc<OwnedFd>,
        descriptors: usize,
    ) -> Self {
        let capacity = config.limits.flows.unwrap_or(usize::MAX);
        Self {
            config,
            rules,
            exchanges: Exchanges::default(),
            tally,
            epoll,
            flows: Flows::new(),
            peers: Peers::default(),
            timers: Timers::default(),
            aside: Vec::new(),
            aside_list: Vec::new(),
            mailbox: Mailbox::new(),
            gathering: Vec::new(),
            spare: Spare::default(),
            secret: RandomState::new(),
            capacity: capacity.min(descriptors.saturating_sub(RESERVED_DESCRIPTORS)).max(1),
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
            is_lingering: false,
            armed: Armed::default(),
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
        if flow.is_lingering {
            self.peers.strays_over(key.peer);
        } else {
            self.discharge(&flow.peer, flow.kind, is_dialling);
        }
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
        // What is overdue comes up in the next round.
        let Some(due) = due.map(|due| due.max(now)) else { return };
        if !flow.armed.arm(due) {
            return;
        }
        self.timers.set(due, Alarm::Flow(token));
        if self.timers.is_crowded(self.flows.len()) {
            let flows = &mut self.flows;
            self.timers.keep(|due, alarm| match alarm {
                Alarm::Flow(token) => flows.get_mut(token).is_some_and(|flow| flow.armed.is_armed(due)),
                Alarm::Reassembly(_) => true,
            });
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
        if !flow.armed.rang(due) {
            return;
        }
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
        let mut quotes: Vec<Vec<u8>> = Vec::new();
        let expire = |reassembler: &mut Reassembler| reassembler.expire(out.now, |quote| quotes.push(quote.to_vec()));
        let Some((expired, next)) = self.peers.reassembly_alarm(peer, expire) else {
            return;
        };
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

    /// Gives memory back, if it is time.
    pub(super) fn rest(&mut self) {
        if self.flows.has_ebbed() {
            sys::give_memory_back();
        }
    }

    /// Whether a flow waits for its turn.
    pub(super) fn has_turns(&self) -> bool {
        self.peers.has_turns()
    }

    /// Gives up to `most` flows their turns: of each peer one, then of each peer the next. Stops early when much was sent.
    pub(super) fn take_turns(&mut self, most: usize, out: &mut Output<'_>) {
        let end = out.total + ROUND_LEN;
        for _ in 0..most {
            if out.total >= end {
                return;
            }
            let Some(token) = self.peers.next_turn() else { return };
            self.turn(token, out);
        }
    }

    fn turn(&mut self, token: u64, out: &mut Output<'_>) {
        let Some(flow) = self.flows.get_mut(token) else { return };
        flow.is_queued = false;
        let next = match &mut flow.body {
            Body::Datagrams(datagrams) => {
                if datagrams.turn(&flow.key, &flow.peer, &mut self.mailbox, out, &self.tally) {
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
                if !flow.is_lingering && stream.is_lingering() {
                    flow.is_lingering = self.peers.linger(flow.key.peer);
                    if flow.is_lingering { next } else { Next::Gone }
                } else {
                    next
                }
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
        self.check(|_| true, out);
    }

    /// Follows other access rules of these peers: flows that those forbid end.
    pub(super) fn check_access(&mut self, peers: &HashSet<PublicKey>, out: &mut Output<'_>) {
        self.check(|flow| peers.contains(flow.peer.public_key()), out);
    }

    /// Ends those of some flows that are forbidden.
    fn check(&mut self, which: impl Fn(&Flow) -> bool, out: &mut Output<'_>) {
        for token in self.flows.tokens() {
            let Some(flow) = self.flows.get_mut(token).filter(|flow| which(flow)) else {
                continue;
            };
            let (key, server) = (flow.key, flow.key.server.ip());
            let route = route::find(&self.config, &self.rules, out.engine, &flow.peer, server);
            let may_stay = match route {
                Route::Own => true,
                Route::Outside => self.rules.permits(&flow.peer, server, access::service_of(&key)),
                Route::Peer(_) | Route::Prohibited | Route::NoPeer | Route::Nowhere => false,
            };
            if !may_stay {
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
