//! One connection to a socket: lines in, one line in reply to each out. Nothing here waits.

use std::{
    io,
    net::TcpStream,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Instant,
};

use rustix::{event::PollFlags, net::SendFlags};
use zeroize::Zeroizing;

use super::socket::Line;
use crate::control::Lines;

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// A connection of the gateway's own user, of root, or of its launcher.
#[derive(Debug)]
pub(super) struct Connection {
    stream: OwnedFd,
    /// Whether it is the launcher's, through the tunnel.
    pub(super) is_launchers: bool,
    lines: Lines,
    /// A line that was cut out already, while an earlier one was answered.
    waiting: Option<Line>,
    /// What is not written yet, and how much of it is.
    reply: Zeroizing<Vec<u8>>,
    written: usize,
    /// Nothing more comes, and what is answered is the last.
    ended: bool,
    active: Instant,
}

impl Connection {
    /// A connection with somebody who may ask; others are hung up on.
    pub(super) fn new(stream: UnixStream, longest: usize, now: Instant) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        if !peer.uid.is_root() && peer.uid != rustix::process::geteuid() {
            return None;
        }
        Some(Self::of(stream.into(), false, longest, now))
    }

    /// A connection of the launcher's.
    pub(super) fn of_launcher(stream: TcpStream, longest: usize, now: Instant) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        Some(Self::of(stream.into(), true, longest, now))
    }

    fn of(stream: OwnedFd, is_launchers: bool, longest: usize, now: Instant) -> Self {
        Self {
            stream,
            is_launchers,
            lines: Lines::new(longest),
            waiting: None,
            reply: Zeroizing::default(),
            written: 0,
            ended: false,
            active: now,
        }
    }

    /// When a byte last went in or out.
    pub(super) fn active(&self) -> Instant {
        self.active
    }

    /// Whether the last reply has been written.
    fn is_answered(&self) -> bool {
        self.written == self.reply.len()
    }

    pub(super) fn waits_for(&self) -> PollFlags {
        if !self.is_answered() {
            PollFlags::OUT
        } else if self.ended {
            // Writable at once: the next turn ends it.
            PollFlags::OUT
        } else {
            PollFlags::IN
        }
    }

    /// Whether there is a line that needs no more of the other end.
    pub(super) fn has_more(&self) -> bool {
        self.waiting.is_some() && self.is_answered()
    }

    /// Writes what waits; then the next line, if a whole one has come.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub(super) fn next_line(&mut self, now: Instant) -> io::Result<Option<Line>> {
        self.write(now)?;
        if !self.is_answered() {
            return Ok(None);
        }
        if self.waiting.is_none() {
            self.read(now)?;
        }
        let line = self.waiting.take();
        if line.is_none() && self.ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Whether another whole one is there already is known without reading.
        self.waiting = self.cut();
        Ok(line)
    }

    /// Answers the line that was given last.
    pub(super) fn reply(&mut self, reply: Zeroizing<Vec<u8>>, now: Instant) {
        self.reply = reply;
        self.written = 0;
        // What fails here fails at the next turn again.
        let _later = self.write(now);
    }

    /// Reads until there is a whole line, or nothing more has come.
    fn read(&mut self, now: Instant) -> io::Result<()> {
        let mut chunk = Zeroizing::new([0; CHUNK]);
        while !self.ended && self.waiting.is_none() {
            match rustix::io::read(&self.stream, &mut chunk[..]).map_err(io::Error::from) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.active = now;
                    self.lines.feed(&chunk[..count]);
                    self.waiting = self.cut();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn cut(&mut self) -> Option<Line> {
        match self.lines.next_line() {
            Ok(line) => line.map(Ok),
            Err(error) => {
                self.ended = true;
                self.lines = Lines::default();
                Some(Err(error))
            }
        }
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        while !self.is_answered() {
            let rest = &self.reply[self.written..];
            match rustix::net::send(&self.stream, rest, SendFlags::NOSIGNAL).map_err(io::Error::from) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    self.active = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
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
