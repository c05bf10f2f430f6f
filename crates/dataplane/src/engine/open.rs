//! Datagrams in: opened in place, in batches of one session.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
};

use super::{Engine, Routes, index::Entry};
use crate::{
    aead::Sealed,
    buffer::{Inbox, MAX_SEGMENTS, Outbox},
    inner::source_and_len,
    message::{DATA_HEADER_LEN, Message, TAG_LEN, array_at},
    peer::{Endpoint, Peer},
    session::Opener,
    time::Time,
};

/// Where a datagram came from, and to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) source: SocketAddr,
    pub(super) local: Option<IpAddr>,
}

impl Origin {
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.source,
            local: self.local,
        }
    }
}

/// The part of a slot that no packet was delivered from.
struct Rest<'a> {
    data: &'a mut [u8],
    /// Where it begins in the slot.
    start: usize,
}

impl<'a> Rest<'a> {
    /// The bytes between two places of the slot.
    fn at(&mut self, start: usize, end: usize) -> &mut [u8] {
        &mut self.data[start - self.start..end - self.start]
    }

    /// Opens messages in place.
    fn open(&mut self, opener: &Opener, messages: &mut [Sealed]) {
        for message in messages.iter_mut() {
            message.start -= self.start;
        }
        opener.open(self.data, messages);
        for message in messages {
            message.start += self.start;
        }
    }

    /// Gives bytes away for good, and all before them up.
    fn take(&mut self, start: usize, len: usize) -> &'a mut [u8] {
        let (_, data) = std::mem::take(&mut self.data).split_at_mut(start - self.start);
        let (taken, rest) = data.split_at_mut(len);
        (self.data, self.start) = (rest, start + len);
        taken
    }
}

/// Messages of one session that came one after the other, and are opened together.
struct Batch {
    sender: Option<Sender>,
    messages: [Sealed; MAX_SEGMENTS],
    count: usize,
}

/// The session that a data message names.
struct Sender {
    index: u32,
    peer: Arc<Peer>,
    opener: Arc<Opener>,
}

impl Engine {
    /// Opens what was received. Inner packets that are authentic, new, and from an address of their peer's are
    /// delivered in order, cut to their own length; all else is counted. Answers, and packets that waited for a
    /// session, are laid into the outbox, which is then to be sealed.
    ///
    /// The packets lie in the inbox and last as long as its borrow, so that a plane may gather and join them.
    pub fn open<'a>(
        &self,
        now: Time,
        inbox: &'a mut Inbox,
        outbox: &mut Outbox,
        mut deliver: impl FnMut(&Arc<Peer>, &'a mut [u8]),
    ) {
        let mut batch = Batch {
            sender: None,
            messages: [Sealed::default(); MAX_SEGMENTS],
            count: 0,
        };
        let mut routes = None;
        for slot in inbox.filled_mut() {
            let origin = Origin {
                source: slot.source,
                local: slot.local,
            };
            let (segment, len) = (slot.segment.max(1), slot.len.min(slot.data.len()));
            let mut rest = Rest {
                data: &mut slot.data[..len],
                start: 0,
            };
            let mut finish = |batch: &mut Batch, rest: &mut Rest<'a>, outbox: &mut Outbox| {
                self.finish(now, batch, rest, &origin, &mut routes, outbox, &mut deliver);
            };
            for start in (0..len).step_by(segment) {
                let end = len.min(start + segment);
                if let Some(Message::Data(index)) = Message::parse(rest.at(start, end)) {
                    if batch.count == MAX_SEGMENTS || batch.sender.as_ref().is_none_or(|sender| sender.index != index) {
                        finish(&mut batch, &mut rest, outbox);
                    }
                    self.gather(now, index, &mut batch, rest.at(start, end), start);
                } else {
                    finish(&mut batch, &mut rest, outbox);
                    // A handshake may end a session.
                    batch.sender = None;
                    self.handle_handshake(now, rest.at(start, end), &origin, outbox);
                }
            }
            finish(&mut batch, &mut rest, outbox);
        }
    }

    fn handle_handshake(&self, now: Time, datagram: &[u8], origin: &Origin, outbox: &mut Outbox) {
        match Message::parse(datagram) {
            Some(Message::Initiation(message)) => self.handle_initiation(now, message, origin, outbox),
            Some(Message::Response(message)) => self.handle_response(now, message, origin, outbox),
            Some(Message::CookieReply(message)) => self.handle_cookie_reply(now, message),
            Some(Message::Data(_)) | None => self.tally.malformed_datagrams.one(),
        }
    }

    /// Adds one data message, which begins at `start` of its slot, to the batch of its session.
    fn gather(&self, now: Time, index: u32, batch: &mut Batch, datagram: &[u8], start: usize) {
        if batch.sender.as_ref().is_none_or(|sender| sender.index != index) {
            batch.sender = match self.index.get(index) {
                Some(Entry::Session(peer, opener)) => Some(Sender { index, peer, opener }),
                Some(Entry::Handshake(_)) | None => None,
            };
        }
        let Some(Sender { peer, opener, .. }) = &batch.sender else {
            return self.tally.unknown_index.one();
        };
        if !opener.is_usable(now) {
            return self.tally.expired_session.one();
        }
        if peer.is_removed() {
            return self.tally.removed_peer.one();
        }
        batch.messages[batch.count] = Sealed {
            counter: u64::from_le_bytes(*array_at(datagram, 8)),
            start: start + DATA_HEADER_LEN,
            len: datagram.len() - DATA_HEADER_LEN,
            authentic: false,
        };
        batch.count += 1;
    }

    /// Opens a batch, checks it for repetitions, does what follows from having heard of the peer, and delivers the
    /// packets.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one loop, which is only here to keep functions short"
    )]
    fn finish<'a>(
        &self,
        now: Time,
        batch: &mut Batch,
        rest: &mut Rest<'a>,
        origin: &Origin,
        routes: &mut Option<Routes>,
        outbox: &mut Outbox,
        deliver: &mut impl FnMut(&Arc<Peer>, &'a mut [u8]),
    ) {
        let messages = &mut batch.messages[..std::mem::take(&mut batch.count)];
        let Some(Sender { peer, opener, .. }) = batch.sender.as_ref().filter(|_| !messages.is_empty()) else {
            return;
        };
        rest.open(opener, messages);
        let (mut taken, mut packets, mut bytes) = (0, 0, 0);
        let mut window = opener.window();
        for message in messages.iter_mut() {
            if !message.authentic {
                self.tally.forged_data.one();
                continue;
            }
            // What came before is not delivered again.
            message.authentic = window.accept(message.counter);
            if message.authentic {
                taken += 1;
                packets += usize::from(message.len > TAG_LEN);
                bytes += (DATA_HEADER_LEN + message.len) as u64;
            } else {
                self.tally.replayed_data.one();
            }
        }
        drop(window);
        if taken == 0 {
            return;
        }
        peer.rx_bytes.fetch_add(bytes, Ordering::Relaxed);
        peer.move_to(origin.endpoint());
        if !opener.is_confirmed() {
            self.confirm(now, peer, opener, outbox);
        }
        self.renew_on_receive(now, peer, opener, outbox);
        peer.timers.any_received(now);
        if packets > 0 {
            peer.timers.data_received(now);
        }
        self.queue.schedule(peer);
        if packets > 0 {
            let routes = routes.get_or_insert_with(|| self.routes());
            self.deliver(peer, messages, rest, routes, deliver);
        }
    }

    fn deliver<'a>(
        &self,
        peer: &Arc<Peer>,
        messages: &[Sealed],
        rest: &mut Rest<'a>,
        routes: &Routes,
        deliver: &mut impl FnMut(&Arc<Peer>, &'a mut [u8]),
    ) {
        // Packets that follow each other mostly come from one address.
        let (mut allowed, mut delivered) = (None, 0);
        let packets = messages
            .iter()
            .filter(|message| message.authentic && message.len > TAG_LEN);
        for &Sealed { start, len, .. } in packets {
            let Some((source, len)) = source_and_len(rest.at(start, start + len - TAG_LEN)) else {
                self.tally.malformed_packets.one();
                continue;
            };
            if allowed != Some(source) {
                if !routes.peer_for(source).is_some_and(|owner| Arc::ptr_eq(owner, peer)) {
                    self.tally.spoofed_sources.one();
                    continue;
                }
                allowed = Some(source);
            }
            deliver(peer, rest.take(start, len));
            delivered += 1;
        }
        self.traffic.received.add(delivered);
    }

    /// The initiator has sent its first packet, so that this host may send too.
    fn confirm(&self, now: Time, peer: &Arc<Peer>, opener: &Arc<Opener>, outbox: &mut Outbox) {
        let mut state = peer.lock();
        let mut confirmed = false;
        let gone = peer.change_sessions(|sessions| confirmed = sessions.confirm(opener));
        self.index.remove(gone);
        opener.confirm();
        if confirmed {
            self.handshake_complete(now, peer, &mut state);
            self.send_staged(now, peer, &mut state, outbox);
        }
    }
}
