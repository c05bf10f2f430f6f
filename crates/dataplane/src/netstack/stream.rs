//! A TCP flow: the client's connection ends here, and goes on as a socket of this process.
//!
//! ```text
//!   client ═ segments ═ Connection ═ readable ══► write ═ socket ═ server
//!                                  ◄═ spare ═════ read
//! ```
//!
//! The socket is watched edge-triggered: one call to epoll in a flow's life, however often its windows close and
//! open. What an edge said is kept in the flow until the socket says `EAGAIN`; where a flow stops for another reason,
//! its buffer full or its turn over, the flag stays, and so nothing is missed.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{Shutdown, shutdown, sockopt},
};

use super::{
    counters::Tally,
    flows::Key,
    output::Output,
    sys,
    tcp::{self, Connection, End, Flags, Segment},
};
use crate::{
    engine::Peer,
    ip::{self, Packet, header::Header, icmp},
    time::Time,
};

/// Most bytes that a flow reads from its socket in one turn, and about the most that it sends to its client.
const TURN_LEN: usize = 128 * 1024;

/// Most bytes of payload that one segment of the connection's carries before it is cut: one run of datagrams.
const MOST: usize = 64 * 1024;

/// How much a flow reads at first; a read that is filled makes the next one larger.
const LEAST_READ: usize = 4 * 1024;

/// How long a flow waits for memory that other flows of its peer hold.
const MEMORY_PAUSE: Duration = Duration::from_millis(20);

/// What a flow may hold although its peer's share of memory is used up: enough to go on slowly.
const LEAST_BUFFER: usize = 16 * 1024;

/// One flow.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Connection,
    /// `None` once both directions outside are done.
    socket: Option<OwnedFd>,
    /// The client's SYN, as long as the outside is being dialled.
    syn: Option<Box<[u8]>>,
    is_readable: bool,
    is_writable: bool,
    /// The socket said that its end, or an error, has come or will come: a short read does not mean that it is empty.
    is_ending: bool,
    has_read_all: bool,
    has_written_all: bool,
    /// The server has reset its connection. The client is reset once it has what the server sent before.
    is_broken: bool,
    /// Bytes of buffers as they are booked to the peer.
    pub(super) booked: usize,
    /// Until when the outside may be dialled.
    dial_until: Time,
    /// How much to ask of the socket: much of a fast one, so that reads are few, and little of one that says little, so
    /// that a flow costs what it holds.
    read_len: usize,
    /// When to look whether there is memory again.
    retry_at: Option<Time>,
}

/// What comes after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The flow waits for an event.
    Wait,
    /// The flow has more to do.
    Again,
    /// The flow is over.
    Gone,
}

impl Stream {
    /// A new flow, whose server is being dialled by this socket.
    pub(super) fn open(socket: OwnedFd, connection: Connection, syn: &Packet<'_>, dial_until: Time) -> Self {
        Self {
            connection,
            socket: Some(socket),
            syn: Some(syn.bytes.into()),
            is_readable: false,
            is_writable: false,
            is_ending: false,
            has_read_all: false,
            has_written_all: false,
            is_broken: false,
            booked: 0,
            dial_until,
            read_len: LEAST_READ,
            retry_at: None,
        }
    }

    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    pub(super) fn is_dialling(&self) -> bool {
        self.syn.is_some()
    }

    /// Whether a SYN begins a new flow in this one's place.
    pub(super) fn may_be_replaced_by(&self, segment: &Segment<'_>) -> bool {
        self.connection.may_be_replaced_by(segment)
    }

    /// Takes a segment of the client's; `room` is what the peer may buffer more. False: it was dropped.
    pub(super) fn handle_segment(&mut self, now: Time, segment: &Segment<'_>, room: usize) -> bool {
        // Without memory the client repeats itself, which is slow but bounded.
        if room == 0 && !segment.payload.is_empty() && self.booked > LEAST_BUFFER {
            return false;
        }
        self.connection.handle_segment(now, segment);
        true
    }

    /// Follows a smaller path to the client.
    pub(super) fn set_path_mtu(&mut self, now: Time, mtu: u32, ip_header: usize) {
        let headers = u32::try_from(ip_header + tcp::HEADER_LEN).unwrap_or(60);
        let mss = u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
        self.connection.set_mss(now, mss);
    }

    /// Takes what epoll said of the socket.
    pub(super) fn handle_event(&mut self, events: EventFlags) {
        let ending = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        self.is_ending |= events.intersects(ending);
        self.is_readable |= events.intersects(EventFlags::IN | ending);
        self.is_writable |= events.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
    }

    /// When the flow wants a turn although nothing happens.
    pub(super) fn due(&self) -> Option<Time> {
        if self.is_dialling() {
            return Some(self.dial_until);
        }
        [self.retry_at, self.connection.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Moves what can be moved, in both directions. `room` is what the peer may buffer more.
    pub(super) fn turn(
        &mut self,
        key: &Key,
        peer: &Arc<Peer>,
        room: usize,
        out: &mut Output<'_>,
        tally: &Tally,
    ) -> Next {
        if self.is_dialling() && !self.dial(key, peer, out, tally) {
            return if self.connection.is_closed() {
                Next::Gone
            } else {
                Next::Wait
            };
        }
        if self.connection.poll_timeout().is_some_and(|due| due <= out.now) {
            self.connection.handle_timeout(out.now);
        }
        let mut more = self.push(out.now);
        more |= self.pull(out.now, room, tally);
        if self.is_broken && self.has_read_all && self.connection.is_write_drained() {
            self.connection.abort();
        }
        let has_sent_all = self.transmit(key, peer, out);
        if self.is_over() {
            return Next::Gone;
        }
        // A full batch is a reason to let others go first, not to wait.
        if more || !has_sent_all { Next::Again } else { Next::Wait }
    }

    /// Looks how dialling went; true if the flow goes on at once.
    fn dial(&mut self, key: &Key, peer: &Arc<Peer>, out: &mut Output<'_>, tally: &Tally) -> bool {
        if self.connection.is_closed() {
            // The client gave up.
            self.syn = None;
            return false;
        }
        let Some(socket) = &self.socket else { return false };
        if !self.is_writable && !self.is_ending {
            if out.now >= self.dial_until {
                self.give_up();
            }
            return false;
        }
        let result = sockopt::socket_error(socket).unwrap_or_else(Err);
        let syn = self.syn.take();
        match result {
            Ok(()) => {
                tally.tcp_opened.one();
                self.connection.dialled();
                true
            }
            Err(error) => {
                self.socket = None;
                if refuse(error, key, peer, syn.as_deref(), out, tally) {
                    self.connection.abort();
                    self.transmit(key, peer, out);
                } else {
                    self.give_up();
                }
                false
            }
        }
    }

    /// Ends the connection without a word.
    fn give_up(&mut self) {
        (self.syn, self.socket) = (None, None);
        self.connection.abort();
        self.connection.poll_transmit(Time::ZERO, 0, &mut |_, _| true);
    }

    /// Takes the client's data to the outside. True: there is more, and the socket takes it.
    fn push(&mut self, now: Time) -> bool {
        let Some(socket) = &self.socket else { return false };
        let mut written = 0;
        while self.is_writable && !self.has_written_all {
            let (first, second) = self.connection.readable();
            if first.is_empty() {
                break;
            }
            if written >= TURN_LEN {
                return true;
            }
            match sys::write_both(socket.as_fd(), first, second) {
                Ok(len) => {
                    written += len;
                    self.connection.consume(now, len);
                }
                Err(Errno::AGAIN) => self.is_writable = false,
                Err(Errno::INTR) => {}
                Err(_) => {
                    // What the server sent before it reset the connection may still be read.
                    (self.is_broken, self.has_written_all, self.is_writable) = (true, true, false);
                    (self.is_ending, self.is_readable) = (true, true);
                }
            }
        }
        if self.connection.is_read_finished() && !self.has_written_all {
            let _ = shutdown(socket, Shutdown::Write);
            self.has_written_all = true;
        }
        false
    }

    /// Takes the outside's data to the client's buffer. True: there is more, and the buffer has room.
    fn pull(&mut self, now: Time, room: usize, tally: &Tally) -> bool {
        self.retry_at = None;
        let mut read = 0;
        while self.is_readable && !self.has_read_all {
            let Some(socket) = &self.socket else { return false };
            let wanted = self.connection.write_room().min(self.read_len);
            if wanted == 0 {
                return false;
            }
            if room == 0 && self.booked > LEAST_BUFFER {
                tally.memory_limit.one();
                self.retry_at = Some(now + MEMORY_PAUSE);
                return false;
            }
            if read >= TURN_LEN {
                return true;
            }
            let (first, second) = self.connection.spare(wanted);
            let wanted = first.len() + second.len();
            match sys::read_both(socket.as_fd(), first, second) {
                Ok(0) => {
                    self.has_read_all = true;
                    // The write that failed has taken the error; the end is none that the server meant.
                    if !self.is_broken {
                        self.connection.finish();
                    }
                }
                Ok(len) => {
                    read += len;
                    self.connection.commit(len);
                    // Less than asked for is all there is; unless the end is there, which only a read of nothing shows.
                    self.is_readable = len == wanted || self.is_ending;
                    self.read_len = next_read_len(self.read_len, len);
                }
                Err(Errno::AGAIN) => self.is_readable = false,
                Err(Errno::INTR) => {}
                Err(_) => {
                    (self.is_broken, self.has_read_all, self.has_written_all) = (true, true, true);
                    self.socket = None;
                }
            }
        }
        false
    }

    /// Sends what the connection has to send; false if it has more than one turn's worth.
    fn transmit(&mut self, key: &Key, peer: &Arc<Peer>, out: &mut Output<'_>) -> bool {
        let (mut sent, mut is_all) = (0, true);
        let now = out.now;
        self.connection
            .poll_transmit(now, MOST, &mut |header, (first, second)| {
                if sent >= TURN_LEN {
                    is_all = false;
                    return false;
                }
                sent += first.len() + second.len();
                emit(key, peer, header, first, second, out);
                true
            });
        is_all
    }

    /// Closes what is done; true once nothing is left.
    fn is_over(&mut self) -> bool {
        if self.has_read_all && self.has_written_all {
            self.socket = None;
        }
        match self.connection.end().filter(|_| self.connection.is_closed()) {
            None => false,
            // All of the client's data is here; the outside may still have to take it.
            Some(End::Finished) => self.socket.is_none() || self.has_written_all,
            Some(End::Reset | End::Aborted | End::TimedOut) => {
                if let Some(socket) = self.socket.take() {
                    sys::reset_on_close(socket.as_fd());
                }
                true
            }
        }
    }

    /// Lets the client and the server know that the flow is cut.
    pub(super) fn cut(mut self, key: &Key, peer: &Arc<Peer>, out: &mut Output<'_>) {
        self.connection.abort();
        self.transmit(key, peer, out);
        if let Some(socket) = self.socket.take() {
            sys::reset_on_close(socket.as_fd());
        }
    }

    /// Whether all is done but for stray segments of the client's.
    pub(super) fn is_lingering(&self) -> bool {
        self.socket.is_none() && self.connection.state() == tcp::State::TimeWait
    }

    /// How much memory the flow's buffers take.
    pub(super) fn memory(&self) -> usize {
        self.connection.memory()
    }
}

/// How much to ask for after a read that brought `len` of `asked`.
fn next_read_len(asked: usize, len: usize) -> usize {
    if len >= asked {
        (asked * 4).min(MOST)
    } else if len < asked / 8 {
        (asked / 2).max(LEAST_READ)
    } else {
        asked
    }
}

/// Tells the client that its SYN came to nothing; true if that takes a reset, which is the caller's to send.
pub(super) fn refuse(
    error: Errno,
    key: &Key,
    peer: &Arc<Peer>,
    syn: Option<&[u8]>,
    out: &mut Output<'_>,
    tally: &Tally,
) -> bool {
    match error {
        Errno::CONNREFUSED | Errno::CONNRESET => {
            tally.tcp_refused.one();
            true
        }
        // As on a real network: nothing answers.
        Errno::TIMEDOUT => {
            tally.tcp_unreachable.one();
            false
        }
        error => {
            let Some(error) = sys::explain(error, None) else {
                tally.system_limit.one();
                return false;
            };
            tally.tcp_unreachable.one();
            if let Some(Ok(syn)) = syn.map(Packet::parse) {
                out.error(peer, key.server.ip(), &syn, error);
            }
            // A client that minds no ICMP would wait for long.
            error == icmp::Error::Prohibited
        }
    }
}

/// Lays down one segment, or several where the payload is longer than one takes.
fn emit(key: &Key, peer: &Arc<Peer>, header: &tcp::Header, first: &[u8], second: &[u8], out: &mut Output<'_>) {
    let total = first.len() + second.len();
    let size = if header.segment_size == 0 {
        total.max(1)
    } else {
        header.segment_size
    };
    let mut at = 0;
    loop {
        let end = (at + size).min(total);
        let mut segment = *header;
        segment.seq = header.seq + u32::try_from(at).unwrap_or_default();
        if end < total {
            segment.flags = Flags(header.flags.0 & !(Flags::FIN.0 | Flags::PSH.0));
        }
        let (a, b) = (first.len().min(at), first.len().min(end));
        let (c, d) = (at.saturating_sub(first.len()), end.saturating_sub(first.len()));
        emit_one(key, peer, &segment, &first[a..b], &second[c..d], out);
        at = end;
        if at >= total {
            return;
        }
    }
}

/// Lays down one segment.
pub(super) fn emit_one(
    key: &Key,
    peer: &Arc<Peer>,
    header: &tcp::Header,
    first: &[u8],
    second: &[u8],
    out: &mut Output<'_>,
) {
    let (source, destination) = (key.server.ip(), key.client.ip());
    let ip_header = Header::new(source, destination, ip::TCP);
    let tcp_len = header.len() + first.len() + second.len();
    out.packet(peer, ip_header.len() + tcp_len, |buffer| {
        let at = ip_header.write(buffer, tcp_len);
        let segment = &mut buffer[at..];
        if segment.len() != tcp_len {
            return;
        }
        let start = header.write(key.server.port(), key.client.port(), segment);
        segment[start..start + first.len()].copy_from_slice(first);
        segment[start + first.len()..].copy_from_slice(second);
        tcp::write_checksum(source, destination, segment);
    });
}
