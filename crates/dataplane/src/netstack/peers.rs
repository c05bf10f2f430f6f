//! What each peer uses, and whose turn it is: one peer cannot starve another.

use std::collections::{HashMap, VecDeque};

use super::{
    config::{Limits, SHARE},
    reassembly::Reassembler,
};
use crate::time::Time;

/// Flows of a peer that are kept for strays after their sockets were closed; they cost no descriptor and little memory.
const MAX_STRAYS: usize = 8_192;

/// What a flow is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP or ICMPv6 echo.
    Echo,
}

/// Why a peer may have no further flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The limit of the flow's kind is reached.
    Kind,
    /// Too many TCP flows are being dialled.
    HalfOpen,
    /// The peer has its share of all flows.
    Share,
}

/// All peers that have, or had, flows.
#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: HashMap<u32, Account>,
    /// Peers with flows that want a turn, in their order.
    waiting: VecDeque<u32>,
    flows: usize,
    buffered: usize,
    /// Bytes of all peers' unfinished packets.
    unfinished: usize,
}

/// One peer's use.
#[derive(Debug, Default)]
struct Account {
    tcp: usize,
    half_open: usize,
    udp: usize,
    echo: usize,
    buffered: usize,
    /// Flows that are only kept for strays.
    strays: usize,
    reassembler: Option<Reassembler>,
    /// Whether an alarm is set for the reassembler.
    alarm: bool,
    /// Flows that want a turn, in their order.
    turns: VecDeque<u64>,
}

impl Account {
    fn count(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Tcp => &mut self.tcp,
            Kind::Udp => &mut self.udp,
            Kind::Echo => &mut self.echo,
        }
    }

    fn flows(&self) -> usize {
        self.tcp + self.udp + self.echo
    }
}

impl Peers {
    /// Counts a new flow, a TCP flow as one that is being dialled. `capacity` is what all peers together may have.
    pub(super) fn open(&mut self, peer: u32, kind: Kind, limits: &Limits, capacity: usize) -> Result<(), Refusal> {
        let free = capacity.saturating_sub(self.flows);
        let account = self.peers.entry(peer).or_default();
        let limit = match kind {
            Kind::Tcp => limits.tcp,
            Kind::Udp => limits.udp,
            Kind::Echo => limits.echo,
        };
        if *account.count(kind) >= limit {
            return Err(Refusal::Kind);
        }
        if kind == Kind::Tcp && account.half_open >= limits.half_open {
            return Err(Refusal::HalfOpen);
        }
        if account.flows() >= free.saturating_mul(SHARE) {
            return Err(Refusal::Share);
        }
        *account.count(kind) += 1;
        account.half_open += usize::from(kind == Kind::Tcp);
        self.flows += 1;
        Ok(())
    }

    /// A TCP flow is no longer being dialled.
    pub(super) fn dialled(&mut self, peer: u32) {
        if let Some(account) = self.peers.get_mut(&peer) {
            account.half_open = account.half_open.saturating_sub(1);
        }
    }

    /// A flow is gone.
    pub(super) fn close(&mut self, peer: u32, kind: Kind) {
        if let Some(account) = self.peers.get_mut(&peer) {
            let count = account.count(kind);
            *count = count.saturating_sub(1);
            self.flows = self.flows.saturating_sub(1);
        }
    }

    /// A flow's socket is closed, and the flow only kept for strays. False: too many are, and it is to end.
    pub(super) fn linger(&mut self, peer: u32) -> bool {
        let Some(account) = self.peers.get_mut(&peer).filter(|account| account.strays < MAX_STRAYS) else {
            return false;
        };
        account.strays += 1;
        self.close(peer, Kind::Tcp);
        true
    }

    /// A flow is no longer kept for strays.
    pub(super) fn strays_over(&mut self, peer: u32) {
        if let Some(account) = self.peers.get_mut(&peer) {
            account.strays = account.strays.saturating_sub(1);
        }
    }

    /// Books that a flow's buffers went from `before` to `after` bytes.
    pub(super) fn buffered(&mut self, peer: u32, before: usize, after: usize) {
        if before == after {
            return;
        }
        let book = |sum: usize| (sum + after).saturating_sub(before);
        self.buffered = book(self.buffered);
        if let Some(account) = self.peers.get_mut(&peer) {
            account.buffered = book(account.buffered);
        }
    }

    /// Bytes that this peer's flows may buffer beyond what they do; zero if its share is used up.
    pub(super) fn buffer_room(&self, peer: u32, limits: &Limits) -> usize {
        let free = limits.buffer_bytes.saturating_sub(self.buffered);
        let held = self.peers.get(&peer).map_or(0, |account| account.buffered);
        free.saturating_mul(SHARE).saturating_sub(held).min(free)
    }

    /// Lets the peer's reassembler do something, within the peer's share of memory. True beside the result: the caller
    /// has to set an alarm for it.
    pub(super) fn reassemble<R>(
        &mut self,
        peer: u32,
        limits: &Limits,
        act: impl FnOnce(&mut Reassembler) -> R,
    ) -> (R, bool) {
        let account = self.peers.entry(peer).or_default();
        let alarm = !std::mem::replace(&mut account.alarm, true);
        let reassembler = account.reassembler.get_or_insert_with(Reassembler::default);
        let before = reassembler.held();
        let free = limits.reassembly_bytes_all.saturating_sub(self.unfinished);
        let share = free.saturating_mul(SHARE).min(free + before);
        reassembler.set_limit(share.min(limits.reassembly_bytes));
        let result = act(reassembler);
        self.unfinished = (self.unfinished + reassembler.held()).saturating_sub(before);
        (result, alarm)
    }

    /// The alarm rang: lets the peer's reassembler do something, and says when it wants to be called next.
    pub(super) fn reassembly_alarm<R>(
        &mut self,
        peer: u32,
        act: impl FnOnce(&mut Reassembler) -> R,
    ) -> Option<(R, Option<Time>)> {
        let account = self.peers.get_mut(&peer)?;
        let reassembler = account.reassembler.as_mut()?;
        let before = reassembler.held();
        let result = act(reassembler);
        self.unfinished = (self.unfinished + reassembler.held()).saturating_sub(before);
        let next = reassembler.poll_timeout();
        account.alarm = next.is_some();
        Some((result, next))
    }

    /// Lets a flow have a turn, after those that wait already.
    pub(super) fn queue(&mut self, peer: u32, flow: u64) {
        let account = self.peers.entry(peer).or_default();
        if account.turns.is_empty() {
            self.waiting.push_back(peer);
        }
        account.turns.push_back(flow);
    }

    /// The next flow: peers take turns, and among a peer's flows the flows.
    pub(super) fn next_turn(&mut self) -> Option<u64> {
        loop {
            let peer = self.waiting.pop_front()?;
            let Some(account) = self.peers.get_mut(&peer) else {
                continue;
            };
            let Some(flow) = account.turns.pop_front() else {
                continue;
            };
            if !account.turns.is_empty() {
                self.waiting.push_back(peer);
            }
            return Some(flow);
        }
    }

    /// Whether a flow wants a turn.
    pub(super) fn has_turns(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Forgets a peer that is gone and has no flows.
    pub(super) fn forget(&mut self, peer: u32) {
        if self
            .peers
            .get(&peer)
            .is_some_and(|account| account.flows() + account.strays == 0)
            && let Some(account) = self.peers.remove(&peer)
        {
            let held = account.reassembler.map_or(0, |reassembler| reassembler.held());
            self.unfinished = self.unfinished.saturating_sub(held);
            self.waiting.retain(|&waiting| waiting != peer);
        }
    }

    /// The ids of all peers known here.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.peers.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_alone_gets_four_fifths_and_leaves_the_rest_to_others() {
        let limits = Limits {
            half_open: usize::MAX,
            ..Limits::default()
        };
        let mut peers = Peers::default();
        let fill = |peers: &mut Peers, peer| {
            (0..)
                .take_while(|_| peers.open(peer, Kind::Tcp, &limits, 1_000).is_ok())
                .count()
        };
        assert_eq!(fill(&mut peers, 1), 800);
        assert_eq!(fill(&mut peers, 2), 160);
        assert_eq!(fill(&mut peers, 3), 32);
        peers.close(1, Kind::Tcp);
        assert_eq!(peers.open(1, Kind::Tcp, &limits, 1_000), Err(Refusal::Share));
        assert_eq!(fill(&mut peers, 4), 8);
    }

    #[test]
    fn each_kind_of_flow_has_its_limit() {
        let limits = Limits {
            tcp: 3,
            half_open: 2,
            udp: 1,
            echo: 0,
            ..Limits::default()
        };
        let mut peers = Peers::default();
        for (kind, result) in [
            (Kind::Tcp, Ok(())),
            (Kind::Tcp, Ok(())),
            (Kind::Tcp, Err(Refusal::HalfOpen)),
            (Kind::Udp, Ok(())),
            (Kind::Udp, Err(Refusal::Kind)),
            (Kind::Echo, Err(Refusal::Kind)),
        ] {
            assert_eq!(peers.open(7, kind, &limits, 1_000), result, "{kind:?}");
        }
        peers.dialled(7);
        assert_eq!(peers.open(7, Kind::Tcp, &limits, 1_000), Ok(()));
        peers.dialled(7);
        assert_eq!(peers.open(7, Kind::Tcp, &limits, 1_000), Err(Refusal::Kind));
    }

    #[test]
    fn peers_take_turns_however_many_flows_one_has() {
        let mut peers = Peers::default();
        for flow in 10..14 {
            peers.queue(1, flow);
        }
        peers.queue(2, 20);
        peers.queue(2, 21);
        let turns: Vec<u64> = std::iter::from_fn(|| peers.next_turn()).collect();
        assert_eq!(turns, [10, 20, 11, 21, 12, 13]);
        assert!(!peers.has_turns());
    }

    #[test]
    fn memory_is_shared_as_flows_are() {
        let limits = Limits {
            buffer_bytes: 1_000,
            ..Limits::default()
        };
        let mut peers = Peers::default();
        for peer in [1, 2] {
            peers.open(peer, Kind::Tcp, &limits, 1_000).unwrap();
        }
        assert_eq!(peers.buffer_room(1, &limits), 1_000);
        peers.buffered(1, 0, 800);
        assert_eq!((peers.buffer_room(1, &limits), peers.buffer_room(2, &limits)), (0, 200));
        peers.buffered(1, 800, 100);
        assert_eq!(peers.buffer_room(1, &limits), 900);
    }
}
