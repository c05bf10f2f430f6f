//! Packets out: laid end to end in runs, then sealed in place.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Engine,
    handshakes::{Attempt, handshake_is_recent},
};
use crate::{
    buffer::{MAX_RUN_LEN, Outbox, Sealing},
    message::{DATA_HEADER_LEN, DATA_OVERHEAD, padded},
    peer::{MAX_STAGED_PACKETS, Peer, State},
    session::Opener,
    time::Time,
};

/// What became of a packet that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the sender of a packet that goes nowhere may want to be told"]
pub enum Sent {
    /// It lies in the outbox.
    Laid,
    /// It waits for a handshake, which was begun.
    Staged,
    /// It was dropped: nobody knows where the peer is, or the peer was removed.
    Unreachable,
    /// It was dropped: no datagram can hold it.
    TooLong,
}

impl Engine {
    /// Lays one packet of `len` bytes, which `fill` writes, into the peer's open run. The memory that `fill` gets has
    /// arbitrary content.
    ///
    /// If there is no session, the packet is kept and a handshake begins; the oldest go when there are too many.
    pub fn send(
        &self,
        now: Time,
        peer: &Arc<Peer>,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
        outbox: &mut Outbox,
    ) -> Sent {
        let padded = padded(len, self.mtu.load(Ordering::Relaxed));
        let found = outbox.find(peer.id(), padded + DATA_OVERHEAD).map_or_else(
            || self.begin_run(now, peer, padded + DATA_OVERHEAD, outbox),
            |run| Ok(Some(run)),
        );
        match found {
            Ok(Some(run)) => {
                let message = outbox.extend(run, padded + DATA_OVERHEAD);
                let packet = &mut message[DATA_HEADER_LEN..DATA_HEADER_LEN + padded];
                fill(&mut packet[..len]);
                packet[len..].fill(0);
                Sent::Laid
            }
            Ok(None) => {
                let mut packet = vec![0; len].into_boxed_slice();
                fill(&mut packet);
                self.stage(now, peer, packet, outbox)
            }
            Err(dropped) => dropped,
        }
    }

    /// Opens a run for a message of `len` bytes. `Ok(None)`: there is no session to send with.
    fn begin_run(&self, now: Time, peer: &Arc<Peer>, len: usize, outbox: &mut Outbox) -> Result<Option<usize>, Sent> {
        if len > MAX_RUN_LEN {
            self.tally.oversized_packets.one();
            return Err(Sent::TooLong);
        }
        if peer.is_removed() {
            self.tally.removed_peer.one();
            return Err(Sent::Unreachable);
        }
        let Some(endpoint) = peer.place() else {
            self.tally.no_endpoint.one();
            return Err(Sent::Unreachable);
        };
        let Some(session) = peer.current().filter(|session| session.sealer.is_usable(now)) else {
            return Ok(None);
        };
        let sealing = Sealing {
            peer: Arc::clone(peer),
            sealer: session.sealer,
        };
        Ok(Some(outbox.open_for(sealing, endpoint.address, endpoint.local, len)))
    }

    /// Keeps a packet until there is a session, and begins the handshake.
    fn stage(&self, now: Time, peer: &Arc<Peer>, packet: Box<[u8]>, outbox: &mut Outbox) -> Sent {
        let mut state = peer.lock();
        if state.staged.len() >= MAX_STAGED_PACKETS {
            state.staged.pop_front();
            self.tally.unsent_packets.one();
        }
        state.staged.push_back(packet);
        self.send_staged(now, peer, &mut state, outbox);
        Sent::Staged
    }

    /// Lays out the packets that waited, or begins a handshake if there is nothing to seal them with.
    pub(super) fn send_staged(&self, now: Time, peer: &Arc<Peer>, state: &mut State, outbox: &mut Outbox) {
        if state.staged.is_empty() {
            return;
        }
        let session = peer.current().filter(|session| session.sealer.is_usable(now));
        let (Some(session), Some(endpoint)) = (session, peer.place()) else {
            return self.initiate(now, peer, state, Attempt::First, outbox);
        };
        let mtu = self.mtu.load(Ordering::Relaxed);
        for packet in state.staged.drain(..) {
            let padded = padded(packet.len(), mtu);
            let len = padded + DATA_OVERHEAD;
            let run = outbox.find(peer.id(), len).unwrap_or_else(|| {
                let sealing = Sealing {
                    peer: Arc::clone(peer),
                    sealer: Arc::clone(&session.sealer),
                };
                outbox.open_for(sealing, endpoint.address, endpoint.local, len)
            });
            let message = outbox.extend(run, len);
            let (text, padding) = message[DATA_HEADER_LEN..DATA_HEADER_LEN + padded].split_at_mut(packet.len());
            text.copy_from_slice(&packet);
            padding.fill(0);
        }
    }

    /// Sends an empty packet, or those that wait, which say as much.
    pub(super) fn send_keepalive(&self, now: Time, peer: &Arc<Peer>, state: &mut State, outbox: &mut Outbox) {
        if state.staged.is_empty() {
            state.staged.push_back(Box::default());
        }
        self.send_staged(now, peer, state, outbox);
    }

    /// Seals all packets that were laid into the outbox. Its runs are then ready to be sent.
    ///
    /// To be called after [`Engine::send`], [`Engine::open`], [`Engine::apply`] and [`Engine::handle_timeout`], all of
    /// which may lay packets.
    pub fn seal(&self, now: Time, outbox: &mut Outbox) {
        let mut stale = Vec::new();
        outbox.seal_each(|Sealing { peer, sealer }, run, segment| {
            if !sealer.seal(run, segment) {
                sealer.disable();
                self.tally.unsent_packets.add(run.len().div_ceil(segment));
                return false;
            }
            peer.tx_bytes.fetch_add(run.len() as u64, Ordering::Relaxed);
            peer.timers.any_sent(now);
            if segment > DATA_OVERHEAD {
                // A keepalive may end a run, and be all of one.
                let last = usize::from(run.len() % segment > DATA_OVERHEAD);
                self.traffic.sent.add(run.len() / segment + last);
                peer.timers.data_sent(now, || self.jitter(now, peer));
            }
            self.queue.schedule(peer);
            if sealer.is_stale(now) && !handshake_is_recent(now, peer) {
                stale.push(Arc::clone(peer));
            }
            true
        });
        for peer in stale {
            let mut state = peer.lock();
            self.initiate(now, &peer, &mut state, Attempt::First, outbox);
        }
    }

    /// Begins a handshake because a session was received with that is about to end.
    pub(super) fn renew_on_receive(&self, now: Time, peer: &Arc<Peer>, opener: &Arc<Opener>, outbox: &mut Outbox) {
        let is_current = || {
            peer.current()
                .is_some_and(|current| Arc::ptr_eq(&current.opener, opener))
        };
        if opener.is_stale(now) && is_current() && !peer.sent_last_minute_handshake.swap(true, Ordering::Relaxed) {
            let mut state = peer.lock();
            self.initiate(now, peer, &mut state, Attempt::First, outbox);
        }
    }
}
