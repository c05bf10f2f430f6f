//! What peers do when their alarms are due: *WireGuard whitepaper 6*.

use std::sync::Arc;

use super::{
    Engine,
    handshakes::{Attempt, handshake_is_recent},
};
use crate::{
    buffer::Outbox,
    peer::{Peer, Sessions},
    time::Time,
    timers::{MAX_HANDSHAKE_ATTEMPTS, REKEY_TIMEOUT, ZERO_KEYS_AFTER},
};

/// Peers that one call wakes, so that thousands at once do not hold up packets: a handshake costs about 0.1 ms.
const MAX_PEERS_A_CALL: usize = 32;

impl Engine {
    /// Does what is due: handshakes, keepalives, wiping old keys. [`Engine::poll_timeout`] says when to come again,
    /// which is at once if many are due.
    pub fn handle_timeout(&self, now: Time, outbox: &mut Outbox) {
        for _ in 0..MAX_PEERS_A_CALL {
            let Some(peer) = self.queue.pop_due(now) else { return };
            self.wake(now, &peer, outbox);
            self.queue.schedule(&peer);
        }
    }

    fn wake(&self, now: Time, peer: &Arc<Peer>, outbox: &mut Outbox) {
        let timers = &peer.timers;
        if peer.is_removed() {
            return timers.clear();
        }
        if timers.retransmit_handshake.take_due(now) {
            self.retransmit_handshake(now, peer, outbox);
        }
        if timers.new_handshake.take_due(now) {
            peer.forget_local();
            self.initiate(now, peer, &mut peer.lock(), Attempt::First, outbox);
        }
        if timers.send_keepalive.take_due(now) {
            self.send_keepalive(now, peer, &mut peer.lock(), outbox);
        }
        if timers.persistent_keepalive.take_due(now) && timers.persistent_interval_secs() != 0 {
            self.send_keepalive(now, peer, &mut peer.lock(), outbox);
        }
        if timers.zero_keys.take_due(now) {
            self.zero_keys(peer);
        }
    }

    /// Nobody answered an initiation: sends another, or gives up.
    fn retransmit_handshake(&self, now: Time, peer: &Arc<Peer>, outbox: &mut Outbox) {
        let mut state = peer.lock();
        if state.handshake_attempts > MAX_HANDSHAKE_ATTEMPTS {
            peer.timers.send_keepalive.clear();
            self.tally
                .unsent_packets
                .add(state.staged.iter().filter(|packet| !packet.is_empty()).count());
            state.staged.clear();
            if !peer.timers.zero_keys.is_set() {
                peer.timers.zero_keys.set(now + ZERO_KEYS_AFTER);
            }
            return;
        }
        if handshake_is_recent(now, peer) {
            // A response went out meanwhile. If the peer does not take it up, this host goes on trying.
            peer.timers
                .retransmit_handshake
                .set(now + REKEY_TIMEOUT + self.jitter(now, peer));
            return;
        }
        state.handshake_attempts += 1;
        peer.forget_local();
        self.initiate(now, peer, &mut state, Attempt::Again, outbox);
    }

    /// Forgets all keys that were agreed on with a peer.
    pub(super) fn zero_keys(&self, peer: &Peer) {
        let mut state = peer.lock();
        self.index
            .remove(state.initiation.take().map(|initiation| initiation.local_index));
        let gone = peer.change_sessions(|sessions| *sessions = Sessions::default());
        self.index.remove(gone);
    }
}
