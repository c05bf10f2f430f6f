//! Sends batches of datagrams, and copes with what the network and the kernel refuse.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    Tally,
    control::{Control, Name},
    socket::{Family, Socket},
    sys::{self, BATCH, Message},
};
use crate::buffer::{MAX_RUN_LEN, MAX_SEGMENTS, Run};

/// How long one call may wait, in all, for a full socket. Waiting lets the TUN's queue push back on the senders.
/// A link that has not taken half a send buffer by then is so slow that dropping is right, as any other queue
/// would; and a stop never waits longer than this.
const PATIENCE: Duration = Duration::from_millis(20);

/// What one system call sends to one destination: a datagram, or a group of equal ones.
#[derive(Clone, Copy)]
struct Piece<'a> {
    data: &'a [u8],
    segment: usize,
    name: Name,
    source: Option<IpAddr>,
}

impl<'a> Piece<'a> {
    const EMPTY: Self = Self {
        data: &[],
        segment: 1,
        name: Name::EMPTY,
        source: None,
    };

    fn is_group(&self) -> bool {
        self.data.len() > self.segment
    }

    fn datagrams(&self) -> usize {
        self.data.len().div_ceil(self.segment)
    }

    fn message(&self) -> Message<'a> {
        let mut control = Control::EMPTY;
        if let Some(source) = self.source {
            control.push_source(source);
        }
        if let (true, Ok(segment)) = (self.is_group(), u16::try_from(self.segment)) {
            control.push_segment(segment);
        }
        Message {
            data: self.data,
            name: self.name,
            control,
        }
    }
}

/// Sends all runs whose destination is of this family.
pub(super) fn send(family: Family, socket: Option<&Socket>, runs: &[Run], tally: &Tally) {
    let mut ours = runs
        .iter()
        .filter(|run| !run.data().is_empty() && is_of(family, run.destination))
        .peekable();
    if ours.peek().is_none() {
        return;
    }
    let Some(socket) = socket else {
        ours.for_each(|run| tally.unreachable.add(run.data().len().div_ceil(run.segment.max(1))));
        return;
    };
    let mut sender = Sender {
        socket,
        tally,
        gives_up: None,
    };
    let (mut pieces, mut filled) = ([Piece::EMPTY; BATCH], 0);
    for run in ours {
        let segment = run.segment.clamp(1, run.data().len());
        let name = Name::new(canonical(run.destination));
        let source = run.local.filter(|local| local.is_ipv4() == (family == Family::V4));
        for data in run.data().chunks(piece_len(socket, run.data().len(), segment)) {
            pieces[filled] = Piece {
                data,
                segment,
                name,
                source,
            };
            filled += 1;
            if filled == BATCH {
                sender.send(&pieces);
                filled = 0;
            }
        }
    }
    sender.send(&pieces[..filled]);
}

/// One call's work on one socket.
struct Sender<'a> {
    socket: &'a Socket,
    tally: &'a Tally,
    gives_up: Option<Instant>,
}

impl Sender<'_> {
    fn send(&mut self, pieces: &[Piece<'_>]) {
        let mut messages = [Message {
            data: &[],
            name: Name::EMPTY,
            control: Control::EMPTY,
        }; BATCH];
        for (message, piece) in messages.iter_mut().zip(pieces) {
            *message = piece.message();
        }
        let mut done = 0;
        while done < pieces.len() {
            match sys::send(self.socket.as_fd(), &messages[done..pieces.len()]) {
                Ok(sent) => done += sent.max(1),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.wait() => {}
                Err(error) => {
                    self.recover(&pieces[done], error);
                    done += 1;
                }
            }
        }
    }

    /// Sends a piece that was refused in another way, or counts it as dropped.
    fn recover(&mut self, piece: &Piece<'_>, error: Errno) {
        // An ICMP message about an earlier datagram fails the next call, which then was not carried out.
        if error == Errno::CONNREFUSED && self.attempt(piece).is_ok() {
            return;
        }
        if piece.source.is_some() && is_about_source(error) {
            // The address that the peer was heard at may have gone, and the peer be reachable from another.
            if self.attempt(&Piece { source: None, ..*piece }).is_ok() {
                self.tally.source_lost.add(piece.datagrams());
                return;
            }
        }
        if piece.is_group() && is_about_group(error) {
            self.send_ungrouped(piece, error);
            return;
        }
        self.tally.dropped(error, piece.datagrams());
    }

    /// Sends the datagrams of a refused group one by one, and remembers the refusal if that was the remedy.
    fn send_ungrouped(&mut self, piece: &Piece<'_>, error: Errno) {
        let mut remedied = false;
        for data in piece.data.chunks(piece.segment) {
            let single = Piece { data, ..*piece };
            match self.attempt(&single) {
                Ok(()) => remedied = true,
                Err(error) => self.recover(&single, error),
            }
        }
        if remedied {
            // EIO: the interface cannot checksum what it cuts, so no length will do. Otherwise the datagrams are
            // longer than this path takes whole, and shorter ones may go on in groups.
            self.socket
                .stop_grouping(if error == Errno::IO { 0 } else { piece.segment });
        }
    }

    fn attempt(&mut self, piece: &Piece<'_>) -> Result<(), Errno> {
        loop {
            match sys::send(self.socket.as_fd(), &[piece.message()]) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.wait() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the socket has room; false if it had none in time.
    fn wait(&mut self) -> bool {
        let gives_up = *self.gives_up.get_or_insert_with(|| Instant::now() + PATIENCE);
        let left = gives_up.saturating_duration_since(Instant::now());
        let Ok(timeout) = Timespec::try_from(left) else {
            return false;
        };
        let mut fds = [PollFd::new(self.socket, PollFlags::OUT)];
        !left.is_zero()
            && match poll(&mut fds, Some(&timeout)) {
                Ok(ready) => ready > 0,
                Err(error) => error == Errno::INTR,
            }
    }
}

/// Length of the pieces of a run of `len` bytes that go in one call each.
fn piece_len(socket: &Socket, len: usize, segment: usize) -> usize {
    if len == segment || !socket.groups_next(segment) {
        return segment;
    }
    segment * (MAX_RUN_LEN / segment).clamp(1, MAX_SEGMENTS)
}

/// An IPv4 address in IPv6's clothes goes out of the IPv4 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

fn is_of(family: Family, destination: SocketAddr) -> bool {
    canonical(destination).is_ipv4() == (family == Family::V4)
}

fn is_about_source(error: Errno) -> bool {
    matches!(
        error,
        Errno::INVAL | Errno::ADDRNOTAVAIL | Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NODEV | Errno::NETDOWN
    )
}

fn is_about_group(error: Errno) -> bool {
    matches!(error, Errno::IO | Errno::INVAL | Errno::MSGSIZE | Errno::OPNOTSUPP)
}
