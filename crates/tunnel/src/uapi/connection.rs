//! One connection to a tunnel's socket: requests in, replies out.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Instant,
};

use wg::uapi::{Incoming, Request, get_reply, set_reply};
use zeroize::Zeroizing;

use super::{Interface, zone_index};

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// Replies that wait to be read, in bytes, beyond which no further request is read.
const MAX_PENDING: usize = 64 * 1024;

/// A connection. The other end may send several requests, one after the other or all at once.
pub(super) struct Connection {
    stream: UnixStream,
    incoming: Incoming,
    /// Replies that are not written yet, and how much of the first is.
    replies: Vec<Zeroizing<String>>,
    written: usize,
    ended: bool,
    /// When a byte last went in or out.
    pub(super) active: Instant,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Ends,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            incoming: Incoming::new(),
            replies: Vec::new(),
            written: 0,
            ended: false,
            active: now,
        })
    }

    /// Whether requests are read.
    pub(super) fn wants_input(&self) -> bool {
        let pending: usize = self.replies.iter().map(|reply| reply.len()).sum();
        !self.ended && pending - self.written < MAX_PENDING
    }

    /// Whether replies wait to be written.
    pub(super) fn wants_output(&self) -> bool {
        !self.replies.is_empty()
    }

    /// Reads what has come, carries it out, and writes what can be written.
    pub(super) fn advance(&mut self, interface: &dyn Interface, now: Instant) -> Fate {
        let result = self.read(interface, now).and_then(|()| self.write(now));
        match result {
            Ok(()) if self.ended && self.replies.is_empty() => Fate::Ends,
            Ok(()) => Fate::Stays,
            Err(_) => Fate::Ends,
        }
    }

    fn read(&mut self, interface: &dyn Interface, now: Instant) -> io::Result<()> {
        let mut chunk = Zeroizing::new([0; CHUNK]);
        while self.wants_input() {
            let count = match self.stream.read(&mut *chunk) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.active = now;
            let requests = if count == 0 {
                self.ended = true;
                self.incoming.finish(&zone_index).into_iter().collect()
            } else {
                self.incoming.feed(&chunk[..count], &zone_index)
            };
            self.replies.extend(requests.into_iter().map(|request| match request {
                Ok(Request::Get) => get_reply(&interface.status()),
                Ok(Request::Set(update)) => Zeroizing::new(set_reply(interface.apply(&update))),
                Err(error) => Zeroizing::new(set_reply(Err(error.errno()))),
            }));
        }
        Ok(())
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        while let Some(reply) = self.replies.first() {
            match self.stream.write(&reply.as_bytes()[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.active = now;
            if self.written == reply.len() {
                self.replies.remove(0);
                self.written = 0;
            }
        }
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
