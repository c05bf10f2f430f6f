//! Datagrams in: opened in place, in batches of one session.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
};

use super::{Engine, Routes, index::Entry};
use crate::{
    buffer::{Inbox, MAX_SEGMENTS, Outbox},
    inner::source_and_len,
    message::{DATA_HEADER_LEN, Message},
    peer::{Endpoint, Peer},
    session::Session,
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

/// An authentic data message whose packet lies open in its slot.
#[derive(Clone, Copy, Debug, Default)]
struct Opened {
    counter: u64,
    start: usize,
    len: usize,
    /// Not received before.
    new: bool,
}

/// Messages of one session that came one after the other.
struct Batch {
    sender: Option<Sender>,
    opened: [Opened; MAX_SEGMENTS],
    count: usize,
    /// Length of the datagrams that were opened.
    bytes: u64,
}

/// The session that a data message names.
struct Sender {
    index: u32,
    peer: Arc<Peer>,
    session: Arc<Session>,
}

impl Engine {
    /// Opens what was received. Inner packets that are authentic, new, and from an address of their peer's are
    /// delivered in order, cut to their own length; all else is counted. Answers, and packets that waited for a
    /// session, are laid into the outbox, which is then to be sealed.
    pub fn open(
        &self,
        now: Time,
        inbox: &mut Inbox,
        outbox: &mut Outbox,
        mut deliver: impl FnMut(&Arc<Peer>, &mut [u8]),
    ) {
        let mut batch = Batch {
            sender: None,
            opened: [Opened::default(); MAX_SEGMENTS],
            count: 0,
            bytes: 0,
        };
        let mut routes = None;
        for slot in inbox.filled_mut() {
            let origin = Origin {
                source: slot.source,
                local: slot.local,
            };
            let (segment, len) = (slot.segment.max(1), slot.len.min(slot.data.len()));
            let mut finish = |batch: &mut Batch, data: &mut [u8], outbox: &mut Outbox| {
                self.finish(now, batch, data, &origin, &mut routes, outbox, &mut deliver);
            };
            for start in (0..len).step_by(segment) {
                let end = len.min(start + segment);
                let datagram = &mut slot.data[start..end];
                if let Some(Message::Data(index)) = Message::parse(datagram) {
                    if batch.count == MAX_SEGMENTS || batch.sender.as_ref().is_none_or(|sender| sender.index != index) {
                        finish(&mut batch, &mut slot.data, outbox);
                    }
                    self.open_data(now, index, &mut batch, &mut slot.data[start..end], start);
                } else {
                    finish(&mut batch, &mut slot.data, outbox);
                    // A handshake may end a session.
                    batch.sender = None;
                    self.handle_handshake(now, &slot.data[start..end], &origin, outbox);
                }
            }
            finish(&mut batch, &mut slot.data, outbox);
        }
    }

    fn handle_handshake(&self, now: Time, datagram: &[u8], origin: &Origin, outbox: &mut Outbox) {
        match Message::parse(datagram) {
            Some(Message::Initiation(message)) => self.handle_initiation(now, message, origin, outbox),
            Some(Message::Response(message)) => self.handle_response(now, message, origin, outbox),
            Some(Message::CookieReply(message)) => self.handle_cookie_reply(now, message),
            Some(Message::Data(_)) | None => self.tally.malformed_datagrams.bump(),
        }
    }

    /// Opens one data message, which begins at `start` of its slot, and adds it to the batch.
    fn open_data(&self, now: Time, index: u32, batch: &mut Batch, datagram: &mut [u8], start: usize) {
        if batch.sender.as_ref().is_none_or(|sender| sender.index != index) {
            batch.sender = match self.index.get(index) {
                Some(Entry::Session(peer, session)) => Some(Sender { index, peer, session }),
                Some(Entry::Handshake(_)) | None => None,
            };
        }
        let Some(Sender { peer, session, .. }) = &batch.sender else {
            return self.tally.unknown_index.bump();
        };
        if !session.may_receive(now) {
            return self.tally.expired_session.bump();
        }
        if peer.is_removed() {
            return self.tally.removed_peer.bump();
        }
        let bytes = datagram.len() as u64;
        let Some((counter, packet)) = session.open(datagram) else {
            return self.tally.forged_data.bump();
        };
        batch.opened[batch.count] = Opened {
            counter,
            start: start + DATA_HEADER_LEN,
            len: packet.len(),
            new: false,
        };
        batch.count += 1;
        batch.bytes += bytes;
    }

    /// Checks a batch for repetitions, does what follows from having heard of the peer, and delivers the packets.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one loop, which is only here to keep functions short"
    )]
    fn finish(
        &self,
        now: Time,
        batch: &mut Batch,
        data: &mut [u8],
        origin: &Origin,
        routes: &mut Option<Routes>,
        outbox: &mut Outbox,
        deliver: &mut impl FnMut(&Arc<Peer>, &mut [u8]),
    ) {
        let opened = &mut batch.opened[..std::mem::take(&mut batch.count)];
        let mut bytes = std::mem::take(&mut batch.bytes);
        let Some(Sender { peer, session, .. }) = batch.sender.as_ref().filter(|_| !opened.is_empty()) else {
            return;
        };
        let (mut messages, mut packets) = (0, 0);
        let mut window = session.window();
        for opened in opened.iter_mut() {
            opened.new = window.accept(opened.counter);
            if opened.new {
                messages += 1;
                packets += usize::from(opened.len > 0);
            } else {
                bytes -= (opened.len + crate::message::DATA_OVERHEAD) as u64;
            }
        }
        drop(window);
        self.tally.replayed_data.add(opened.len() - messages);
        if messages == 0 {
            return;
        }
        peer.rx_bytes.fetch_add(bytes, Ordering::Relaxed);
        peer.move_to(origin.endpoint());
        if !session.is_confirmed() {
            self.confirm(now, peer, session, outbox);
        }
        self.renew_on_receive(now, peer, session, outbox);
        peer.timers.any_received(now);
        peer.timers.data_received(now, packets);
        self.queue.schedule(peer);
        if packets > 0 {
            let routes = routes.get_or_insert_with(|| self.routes());
            self.deliver(peer, opened, data, routes, deliver);
        }
    }

    fn deliver(
        &self,
        peer: &Arc<Peer>,
        opened: &[Opened],
        data: &mut [u8],
        routes: &Routes,
        deliver: &mut impl FnMut(&Arc<Peer>, &mut [u8]),
    ) {
        // Packets that follow each other mostly come from one address.
        let mut allowed = None;
        for &Opened { start, len, .. } in opened.iter().filter(|opened| opened.new && opened.len > 0) {
            let packet = &mut data[start..start + len];
            let Some((source, len)) = source_and_len(packet) else {
                self.tally.malformed_packets.bump();
                continue;
            };
            if allowed != Some(source) {
                if !routes.peer_for(source).is_some_and(|owner| Arc::ptr_eq(owner, peer)) {
                    self.tally.spoofed_sources.bump();
                    continue;
                }
                allowed = Some(source);
            }
            deliver(peer, &mut packet[..len]);
        }
    }

    /// The initiator has sent its first packet, so that this host may send too.
    fn confirm(&self, now: Time, peer: &Arc<Peer>, session: &Arc<Session>, outbox: &mut Outbox) {
        let mut state = peer.lock();
        let mut confirmed = false;
        let gone = peer.change_sessions(|sessions| confirmed = sessions.confirm(session));
        self.index.remove(gone.iter().map(|session| session.local_index));
        session.confirm();
        if confirmed {
            self.handshake_complete(now, peer, &mut state);
            self.send_staged(now, peer, &mut state, outbox);
        }
    }
}
