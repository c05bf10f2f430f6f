//! The outside of a tunnel: UDP sockets of both families on one port, moving datagrams in batches.
//!
//! ```text
//!   Inbox ◄── recvmmsg, UDP_GRO ────┬─ IPv4 socket ─┐
//!                                   │               ├─ one port
//!   Runs ───► sendmmsg, UDP_SEGMENT ┴─ IPv6 socket ─┘
//! ```
//!
//! Threads that share the work have a pair of sockets each, a [`Lane`], on the same port (`SO_REUSEPORT`): the kernel
//! gives all datagrams of one sender to one of them.
//!
//! A datagram that cannot be sent is counted and dropped, as a network would: see [`Counters`].

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{event::epoll, io::Errno};

use crate::buffer::{Inbox, Run};

pub(crate) mod batch;
mod control;
mod counters;
mod receive;
mod send;
mod socket;
mod sys;
#[cfg(test)]
mod tests;

pub use counters::Counters;
use counters::Tally;
use socket::{Family, Socket};

/// How often a port that the kernel chose for one family is tried for the other.
const PORT_TRIES: usize = 64;

/// Which of the kernel's batching to use where it is found to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Sends equal datagrams to one destination in one call (`UDP_SEGMENT`, Linux 4.18).
    pub gso: bool,
    /// Receives equal datagrams of one source in one buffer (`UDP_GRO`, Linux 5.0).
    pub gro: bool,
}

impl Default for Offloads {
    fn default() -> Self {
        Self { gso: true, gro: true }
    }
}

/// UDP sockets of both families on one port. All methods may be called from several threads at once.
///
/// Dropping closes them.
#[derive(Debug)]
pub struct Sockets {
    bound: RwLock<Bound>,
    watchers: Mutex<Vec<Watcher>>,
    offloads: Offloads,
    tally: Tally,
}

#[derive(Debug)]
struct Bound {
    port: u16,
    fwmark: u32,
    /// One for each lane, at least one.
    pairs: Vec<Pair>,
}

/// The sockets of one lane.
#[derive(Debug)]
struct Pair {
    v4: Option<Socket>,
    v6: Option<Socket>,
    v6_first: AtomicBool,
}

#[derive(Debug)]
struct Watcher {
    lane: usize,
    epoll: Weak<OwnedFd>,
    data: u64,
}

impl Sockets {
    /// Binds a port, on all addresses of the calling thread's network namespace; 0 chooses a free one. `fwmark`
    /// marks what is sent (`SO_MARK`); 0 for no mark.
    ///
    /// A family that this host lacks is left out.
    ///
    /// # Errors
    /// The port is taken, the mark is not permitted, or the host has neither family.
    pub fn bind(port: u16, fwmark: u32) -> io::Result<Self> {
        Self::bind_with(port, fwmark, Offloads::default())
    }

    /// As [`Sockets::bind`], with a say in the kernel's batching.
    ///
    /// # Errors
    /// As [`Sockets::bind`].
    pub fn bind_with(port: u16, fwmark: u32, offloads: Offloads) -> io::Result<Self> {
        Self::bind_lanes(port, fwmark, offloads, 1)
    }

    /// As [`Sockets::bind_with`], with so many lanes, each of which has to be received from. Where the kernel lets no
    /// sockets share a port there is one: see [`Sockets::lanes`].
    ///
    /// # Errors
    /// As [`Sockets::bind`].
    pub fn bind_lanes(port: u16, fwmark: u32, offloads: Offloads, lanes: usize) -> io::Result<Self> {
        let mut bound = bind_pair(port, fwmark, |family, port| {
            Socket::open(family, port, fwmark, offloads)
        })?;
        if lanes > 1 && bound.share(lanes, offloads).is_err() {
            bound.pairs.truncate(1);
        }
        Ok(Self::new(bound, offloads))
    }

    fn new(bound: Bound, offloads: Offloads) -> Self {
        Self {
            bound: RwLock::new(bound),
            watchers: Mutex::default(),
            offloads,
            tally: Tally::default(),
        }
    }

    /// How many lanes there are, at least one.
    pub fn lanes(&self) -> usize {
        self.bound().pairs.len()
    }

    /// One lane, by its number, from 0 on.
    pub fn lane(&self, number: usize) -> Lane<'_> {
        Lane { sockets: self, number }
    }

    /// The port that both sockets are bound to.
    pub fn port(&self) -> u16 {
        self.bound().port
    }

    /// The mark that what is sent carries; 0 for none.
    pub fn fwmark(&self) -> u32 {
        self.bound().fwmark
    }

    /// The kernel's batching as it is in use: what was asked for less what was found not to work.
    pub fn offloads(&self) -> Offloads {
        let bound = self.bound();
        let mut all = bound.sockets().map(Socket::offloads);
        let first = all.next().unwrap_or(Offloads { gso: false, gro: false });
        all.fold(first, |a, b| Offloads {
            gso: a.gso && b.gso,
            gro: a.gro && b.gro,
        })
    }

    /// What was dropped so far, by cause.
    pub fn counters(&self) -> Counters {
        self.tally.counters()
    }

    /// Changes the mark; 0 for none.
    ///
    /// # Errors
    /// The mark is not permitted. What is sent then carries the mark that it had.
    pub fn set_fwmark(&self, fwmark: u32) -> io::Result<()> {
        let mut bound = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        for socket in bound.sockets() {
            socket.set_fwmark(fwmark)?;
        }
        bound.fwmark = fwmark;
        Ok(())
    }

    /// Moves to another port, in the calling thread's network namespace; 0 chooses a free one. Whoever watches
    /// the sockets watches the new ones. The same port again changes nothing.
    ///
    /// # Errors
    /// As [`Sockets::bind`]; the sockets then stay as they were.
    pub fn rebind(&self, port: u16) -> io::Result<()> {
        let (fwmark, lanes) = {
            let bound = self.bound();
            if port != 0 && port == bound.port {
                return Ok(());
            }
            (bound.fwmark, bound.pairs.len())
        };
        let mut fresh = bind_pair(port, fwmark, |family, port| {
            Socket::open(family, port, fwmark, self.offloads)
        })?;
        fresh.share(lanes, self.offloads)?;
        let watchers = self.watchers();
        for watcher in watchers.iter() {
            if let (Some(epoll), Some(pair)) = (watcher.epoll.upgrade(), fresh.pairs.get(watcher.lane)) {
                add(&epoll, watcher.data, pair)?;
            }
        }
        // Closing the old sockets takes them out of each epoll.
        *self.bound.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// As [`Lane::watch`], of the first lane.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn watch(&self, epoll: &Arc<OwnedFd>, data: u64) -> io::Result<()> {
        self.lane(0).watch(epoll, data)
    }

    /// As [`Lane::receive`], of the first lane.
    ///
    /// # Errors
    /// Those that end a socket's life.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        self.lane(0).receive(inbox)
    }

    /// As [`Lane::send`], of the first lane.
    pub fn send(&self, runs: &[Run]) {
        self.lane(0).send(runs);
    }

    fn bound(&self) -> std::sync::RwLockReadGuard<'_, Bound> {
        self.bound.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one thread receives from and sends with: a socket of each family.
#[derive(Clone, Copy, Debug)]
pub struct Lane<'a> {
    sockets: &'a Sockets,
    number: usize,
}

impl Lane<'_> {
    /// Has `epoll` report, with this `data`, when something waits to be received, for as long as both live and
    /// through each [`Sockets::rebind`].
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn watch(self, epoll: &Arc<OwnedFd>, data: u64) -> io::Result<()> {
        let mut watchers = self.sockets.watchers();
        if let Some(pair) = self.sockets.bound().pairs.get(self.number) {
            add(epoll, data, pair)?;
        }
        watchers.retain(|watcher| watcher.epoll.strong_count() > 0);
        watchers.push(Watcher {
            lane: self.number,
            epoll: Arc::downgrade(epoll),
            data,
        });
        Ok(())
    }

    /// Fills the inbox, anew, with what waits on both sockets, and says how many slots hold something. Does not
    /// wait: zero if there is nothing.
    ///
    /// # Errors
    /// Those that end a socket's life. What the network reports is counted instead.
    pub fn receive(self, inbox: &mut Inbox) -> io::Result<usize> {
        inbox.clear();
        let bound = self.sockets.bound();
        let Some(pair) = bound.pairs.get(self.number) else {
            return Ok(0);
        };
        let mut filled = 0;
        // In turns, so that a flood over one family does not silence the other.
        let v6_first = pair.v6_first.fetch_xor(true, Ordering::Relaxed);
        let order = if v6_first {
            [&pair.v6, &pair.v4]
        } else {
            [&pair.v4, &pair.v6]
        };
        for socket in order.into_iter().flatten() {
            filled += receive::receive(socket, &mut inbox.slots_mut()[filled..], &self.sockets.tally)?;
        }
        inbox.set_filled(filled);
        Ok(filled)
    }

    /// Sends datagrams, those of one destination in order. May wait a few milliseconds if the network is slow.
    /// What cannot be sent is dropped and counted.
    pub fn send(self, runs: &[Run]) {
        if runs.is_empty() {
            return;
        }
        let bound = self.sockets.bound();
        if let Some(pair) = bound.pairs.get(self.number) {
            send::send(Family::V4, pair.v4.as_ref(), runs, &self.sockets.tally);
            send::send(Family::V6, pair.v6.as_ref(), runs, &self.sockets.tally);
        }
    }
}

impl Bound {
    fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.pairs.iter().flat_map(Pair::sockets)
    }

    /// Binds as many pairs to the port as make `lanes` of them.
    ///
    /// The first pair was bound alone, so that a port that another program has is told; it shares from here on, with
    /// sockets of this user's only.
    fn share(&mut self, lanes: usize, offloads: Offloads) -> io::Result<()> {
        if self.pairs.len() >= lanes {
            return Ok(());
        }
        for socket in self.sockets() {
            socket.share()?;
        }
        let [first, ..] = &*self.pairs else { return Ok(()) };
        let families = (first.v4.is_some(), first.v6.is_some());
        let open = |family, wanted: bool| {
            let open = || Socket::open_shared(family, self.port, self.fwmark, offloads);
            wanted.then(open).transpose()
        };
        let mut more = Vec::new();
        for _ in self.pairs.len()..lanes {
            more.push(Pair::new(open(Family::V4, families.0)?, open(Family::V6, families.1)?));
        }
        self.pairs.extend(more);
        Ok(())
    }
}

impl Pair {
    fn new(v4: Option<Socket>, v6: Option<Socket>) -> Self {
        Self {
            v4,
            v6,
            v6_first: AtomicBool::new(false),
        }
    }

    fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.v4.iter().chain(&self.v6)
    }
}

fn add(epoll: &OwnedFd, data: u64, pair: &Pair) -> io::Result<()> {
    for socket in pair.sockets() {
        epoll::add(
            epoll,
            socket.as_fd(),
            epoll::EventData::new_u64(data),
            epoll::EventFlags::IN,
        )?;
    }
    Ok(())
}

/// Binds both families to one port.
fn bind_pair(port: u16, fwmark: u32, open: impl Fn(Family, u16) -> io::Result<Socket>) -> io::Result<Bound> {
    for _ in 0..PORT_TRIES {
        let v4 = unless_missing(open(Family::V4, port)).map_err(|error| explain(error, port))?;
        let chosen = match &v4 {
            Some(socket) => socket.port()?,
            None => port,
        };
        let v6 = match unless_missing(open(Family::V6, chosen)) {
            Ok(v6) => v6,
            Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => continue,
            Err(error) => return Err(explain(error, chosen)),
        };
        let Some(socket) = v4.as_ref().or(v6.as_ref()) else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this host has neither IPv4 nor IPv6",
            ));
        };
        return Ok(Bound {
            port: socket.port()?,
            fwmark,
            pairs: vec![Pair::new(v4, v6)],
        });
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "found no UDP port that is free for IPv4 and IPv6: name one",
    ))
}

/// `None` if the host lacks the family.
fn unless_missing(opened: io::Result<Socket>) -> io::Result<Option<Socket>> {
    let missing = [Errno::AFNOSUPPORT, Errno::PROTONOSUPPORT, Errno::ADDRNOTAVAIL].map(Errno::raw_os_error);
    match opened {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.raw_os_error().is_some_and(|code| missing.contains(&code)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says which port, and what would mend it.
fn explain(error: io::Error, port: u16) -> io::Error {
    let why = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ADDRINUSE) => format!("UDP port {port} is in use: stop what uses it or choose another port"),
        Some(Errno::ACCESS | Errno::PERM) => {
            format!("UDP port {port} is not permitted: choose a port from 1024, or add the capability NET_BIND_SERVICE")
        }
        _ => return error,
    };
    io::Error::new(error.kind(), why)
}
