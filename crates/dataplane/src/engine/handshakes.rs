//! Handshake messages in and out: *WireGuard whitepaper 5.3 and 5.4*.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use wg::PrivateKey;
use zeroize::Zeroize as _;

use super::{Engine, RefusalCause, index::Entry, open::Origin};
use crate::{
    buffer::Outbox,
    handshake::{Initiation, Initiator, Received, Timestamp, TransportKeys},
    message::{COOKIE_REPLY_LEN, CookieReplyFields, INITIATION_LEN, RESPONSE_LEN, ResponseFields},
    peer::{Endpoint, Identity, Peer, State},
    session::{Role, Session},
    time::Time,
    timers::{INITIATIONS_PER_SECOND, REKEY_TIMEOUT, ZERO_KEYS_AFTER},
};

/// Why an initiation is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    Again,
}

impl Engine {
    /// Begins a handshake, unless one was begun just before.
    pub(super) fn initiate(&self, now: Time, peer: &Arc<Peer>, state: &mut State, why: Attempt, outbox: &mut Outbox) {
        if why == Attempt::First {
            state.handshake_attempts = 0;
        }
        if peer.is_removed() || handshake_is_recent(now, peer) {
            return;
        }
        let (Some(identity), Some(endpoint)) = (state.identity.clone(), peer.place()) else {
            return;
        };
        let Some(static_static) = &state.static_static else {
            return;
        };
        let initiator = Initiator {
            identity: &identity.keys,
            responder: peer.public_key(),
            static_static,
        };
        let ephemeral = self.ephemeral();
        let timestamp = tai64n(self.wall(now));
        let index = self.index.insert(self.random, Entry::Handshake(Arc::clone(peer)));
        let created = Initiation::create(&initiator, &ephemeral, index, &timestamp);
        let old = state.initiation.take().map(|initiation| initiation.local_index);
        let Some((initiation, mut message)) = created else {
            self.index.remove(old.into_iter().chain([index]));
            return;
        };
        self.index.remove(old);
        state.initiation = Some(Box::new(initiation));
        state.jar.sign(now, &mut message);
        self.sent_handshake(now, peer, &message, outbox, endpoint);
        peer.timers
            .retransmit_handshake
            .set(now + REKEY_TIMEOUT + self.jitter(now, peer));
        self.queue.schedule(peer);
    }

    fn sent_handshake(&self, now: Time, peer: &Arc<Peer>, message: &[u8], outbox: &mut Outbox, endpoint: Endpoint) {
        peer.set_last_sent_handshake(Some(now));
        peer.tx_bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        outbox.push(endpoint.address, endpoint.local, message);
        peer.timers.any_sent(now);
    }

    fn ephemeral(&self) -> PrivateKey {
        let mut bytes = [0; 32];
        (self.random)(&mut bytes);
        let key = PrivateKey::from_random(bytes);
        bytes.zeroize();
        key
    }

    /// Whether a handshake message deserves Diffie-Hellman. If not, counts why, and answers with a cookie if it may
    /// come from where it says.
    pub(super) fn admit(
        &self,
        now: Time,
        identity: &Identity,
        message: &[u8],
        origin: &Origin,
        outbox: &mut Outbox,
    ) -> bool {
        let checker = &identity.checker;
        if !checker.check_mac1(message) {
            self.tally.wrong_mac1.one();
            self.refusals.note(origin.source, RefusalCause::WrongMac1, None);
            return false;
        }
        if !self.guard().load.add(now) {
            return true;
        }
        if !checker.check_mac2(now, message, origin.source, self.random) {
            let reply = checker.reply(now, message, origin.source, self.random);
            outbox.push(origin.source, origin.local, &reply);
            self.tally.cookies_sent.one();
            return false;
        }
        let allowed = self.guard().limiter.allow(now, origin.source);
        if !allowed {
            self.tally.rate_limited.one();
            self.refusals.note(origin.source, RefusalCause::RateLimited, None);
        }
        allowed
    }

    fn refuse_forged(&self, origin: &Origin) {
        self.tally.forged_handshakes.one();
        self.refusals.note(origin.source, RefusalCause::Forged, None);
    }

    /// Answers an initiation.
    pub(super) fn handle_initiation(
        &self,
        now: Time,
        message: &[u8; INITIATION_LEN],
        origin: &Origin,
        outbox: &mut Outbox,
    ) {
        let Some(identity) = self.identity() else {
            return self.tally.no_identity.one();
        };
        if !self.admit(now, &identity, message, origin, outbox) {
            return;
        }
        let Some(received) = Received::consume(&identity.keys, message) else {
            return self.refuse_forged(origin);
        };
        let Some(peer) = self.peer(&received.initiator) else {
            self.tally.unknown_peers.one();
            return self.refusals.note(origin.source, RefusalCause::UnknownPeer, None);
        };
        let mut state = peer.lock();
        // The key may have been changed since it was read; this initiation was then made for the old one.
        let same = state
            .identity
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, &identity));
        let Some(static_static) = state.static_static.as_ref().filter(|_| same) else {
            return self.tally.forged_handshakes.one();
        };
        let Some((authentic, timestamp)) = received.authenticate(static_static) else {
            return self.refuse_forged(origin);
        };
        if timestamp <= state.latest_timestamp {
            self.tally.replayed_handshakes.one();
            let peer = Some(*peer.public_key());
            return self.refusals.note(origin.source, RefusalCause::Replayed, peer);
        }
        let between = Duration::from_secs(1) / INITIATIONS_PER_SECOND;
        if state.last_initiation_consumed.is_some_and(|last| now < last + between) {
            return self.tally.flooded_handshakes.one();
        }
        state.latest_timestamp = timestamp;
        state.last_initiation_consumed = Some(now);
        if peer.is_removed() {
            return self.tally.removed_peer.one();
        }
        let index = self.index.insert(self.random, Entry::Handshake(Arc::clone(&peer)));
        let answer = authentic.respond(&state.preshared_key, &self.ephemeral(), index);
        let Some((keys, mut response)) = answer else {
            self.index.remove([index]);
            return self.tally.forged_handshakes.one();
        };
        let session = Session::new(now, Role::Responder, index, &keys);
        self.index
            .replace(index, Entry::Session(Arc::clone(&peer), Arc::clone(&session.opener)));
        let gone = peer.change_sessions(|sessions| sessions.add_as_responder(session));
        self.index.remove(gone);
        state.jar.sign(now, &mut response);
        peer.rx_bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        peer.move_to(origin.endpoint());
        self.sent_handshake(now, &peer, &response, outbox, origin.endpoint());
        peer.timers.zero_keys.set(now + ZERO_KEYS_AFTER);
        peer.timers.any_received(now);
        self.queue.schedule(&peer);
    }

    /// Completes a handshake that this host began.
    pub(super) fn handle_response(
        &self,
        now: Time,
        message: &[u8; RESPONSE_LEN],
        origin: &Origin,
        outbox: &mut Outbox,
    ) {
        let Some(identity) = self.identity() else {
            return self.tally.no_identity.one();
        };
        if !self.admit(now, &identity, message, origin, outbox) {
            return;
        }
        let index = ResponseFields::of(message).receiver;
        let Some(Entry::Handshake(peer)) = self.index.get(index) else {
            return self.tally.unknown_index.one();
        };
        let mut state = peer.lock();
        let Some(keys) = finish(&state, index, message) else {
            return self.refuse_forged(origin);
        };
        if peer.is_removed() {
            return self.tally.removed_peer.one();
        }
        state.initiation = None;
        let session = Session::new(now, Role::Initiator, index, &keys);
        self.index
            .replace(index, Entry::Session(Arc::clone(&peer), Arc::clone(&session.opener)));
        let gone = peer.change_sessions(|sessions| sessions.add_as_initiator(session));
        self.index.remove(gone);
        peer.rx_bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        peer.move_to(origin.endpoint());
        peer.timers.zero_keys.set(now + ZERO_KEYS_AFTER);
        peer.timers.any_received(now);
        self.handshake_complete(now, &peer, &mut state);
        // The first packet tells the responder that it may send; if there is none, a keepalive does.
        self.send_keepalive(now, &peer, &mut state, outbox);
        self.queue.schedule(&peer);
    }

    /// Both ends are known to have the keys.
    pub(super) fn handshake_complete(&self, now: Time, peer: &Peer, state: &mut State) {
        peer.timers.retransmit_handshake.clear();
        state.handshake_attempts = 0;
        peer.sent_last_minute_handshake.store(false, Ordering::Relaxed);
        peer.set_latest_handshake(now);
    }

    /// Keeps a cookie for the next handshake message. Neither the endpoint nor a timer changes, since whoever saw our
    /// message can make a cookie reply.
    pub(super) fn handle_cookie_reply(&self, now: Time, message: &[u8; COOKIE_REPLY_LEN]) {
        let index = CookieReplyFields::of(message).receiver;
        let Some(Entry::Handshake(peer) | Entry::Session(peer, _)) = self.index.get(index) else {
            return self.tally.unknown_index.one();
        };
        if !peer.lock().jar.take(now, message) {
            self.tally.forged_cookies.one();
        }
    }
}

/// Whether a handshake message was sent so recently that another would only disturb it.
pub(super) fn handshake_is_recent(now: Time, peer: &Peer) -> bool {
    peer.last_sent_handshake()
        .is_some_and(|last| now < last + REKEY_TIMEOUT)
}

fn finish(state: &State, index: u32, message: &[u8; RESPONSE_LEN]) -> Option<TransportKeys> {
    let initiation = state
        .initiation
        .as_ref()
        .filter(|initiation| initiation.local_index == index)?;
    initiation.finish(&state.identity.as_ref()?.keys, &state.preshared_key, message)
}

/// TAI64N, cut to about 17 ms as the kernel does, so that it does not tell what this host's clock does meanwhile.
///
/// One step is less than the time between two initiations that are accepted, so that it grows with each.
fn tai64n(wall: SystemTime) -> Timestamp {
    const TAI64_EPOCH: u64 = 0x4000_0000_0000_000A;
    const GRANULARITY_NANOS: u32 = 1 << 24;
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = since.subsec_nanos() / GRANULARITY_NANOS * GRANULARITY_NANOS;
    let mut timestamp = Timestamp::default();
    timestamp[..8].copy_from_slice(&(TAI64_EPOCH + since.as_secs()).to_be_bytes());
    timestamp[8..].copy_from_slice(&nanos.to_be_bytes());
    timestamp
}
