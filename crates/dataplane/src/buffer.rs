//! Batches of datagrams: what was received, and what is to be sent.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{peer::Peer, session::Sealer};

/// Largest number of bytes that one receive slot or one run of datagrams holds.
pub const SLOT_LEN: usize = 65_536;

/// Largest number of datagrams that Linux takes in one `sendmsg` with `UDP_SEGMENT`.
pub const MAX_SEGMENTS: usize = 64;

/// Largest payload of one `sendmsg`: an IPv4 packet of 65,535 bytes less its headers.
pub const MAX_RUN_LEN: usize = 65_507;

/// Datagrams as `recvmmsg` brings them: each slot is one datagram, or several that `UDP_GRO` joined.
#[derive(Debug)]
pub struct Inbox {
    slots: Vec<Slot>,
    filled: usize,
}

/// One receive buffer of an [`Inbox`].
#[derive(Debug)]
pub struct Slot {
    /// Room for [`SLOT_LEN`] bytes.
    pub data: Box<[u8]>,
    /// Bytes received.
    pub len: usize,
    /// Length of each datagram in `data`, but for the last, which may be shorter. Never zero when `len` is not.
    pub segment: usize,
    /// The sender.
    pub source: SocketAddr,
    /// This host's address that the datagram came to, if known, so that the answer leaves from it.
    pub local: Option<IpAddr>,
}

impl Inbox {
    /// An inbox with this many slots of [`SLOT_LEN`] bytes.
    pub fn new(slots: usize) -> Self {
        let slot = || Slot {
            data: vec![0; SLOT_LEN].into_boxed_slice(),
            len: 0,
            segment: 0,
            source: SocketAddr::from(([0, 0, 0, 0], 0)),
            local: None,
        };
        Self {
            slots: (0..slots).map(|_| slot()).collect(),
            filled: 0,
        }
    }

    /// All slots, for the receiver to fill from the front; it then calls [`Inbox::set_filled`].
    pub fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// Says how many slots from the front hold something.
    pub fn set_filled(&mut self, filled: usize) {
        self.filled = filled.min(self.slots.len());
    }

    /// The slots that hold something.
    pub fn filled_mut(&mut self) -> &mut [Slot] {
        &mut self.slots[..self.filled]
    }

    /// Fills the next free slot with one datagram; false if none is free. For tests and simple transports.
    pub fn push(&mut self, source: SocketAddr, datagram: &[u8]) -> bool {
        let Some(slot) = self.slots.get_mut(self.filled) else {
            return false;
        };
        let len = datagram.len().min(SLOT_LEN);
        slot.data[..len].copy_from_slice(&datagram[..len]);
        (slot.len, slot.segment, slot.source, slot.local) = (len, len.max(1), source, None);
        self.filled += 1;
        true
    }

    /// Forgets what was received.
    pub fn clear(&mut self) {
        self.filled = 0;
    }
}

/// Datagrams of equal length to one destination, laid end to end; the last may be shorter.
///
/// ```text
///   ├── segment ──┼── segment ──┼─ rest ─┤
///   │ datagram 0  │ datagram 1  │ dgram 2│      at most MAX_SEGMENTS, at most MAX_RUN_LEN bytes
/// ```
#[derive(Debug)]
pub struct Run {
    /// Initialised memory, of which the first `len` bytes are in use: growing never clears it again.
    memory: Vec<u8>,
    len: usize,
    /// Length of each datagram but the last. Never zero.
    pub segment: usize,
    /// Where to.
    pub destination: SocketAddr,
    /// The address to send from, if the peer was heard there; else the kernel's choice.
    pub local: Option<IpAddr>,
    /// How many datagrams there are.
    count: usize,
    /// With what the datagrams are still to be sealed.
    sealing: Option<Sealing>,
}

/// Whose packets a run holds, and what to seal them with.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub(crate) peer: Arc<Peer>,
    pub(crate) sealer: Arc<Sealer>,
}

impl Run {
    /// A run of these datagrams.
    #[cfg(test)]
    pub(crate) fn of(destination: SocketAddr, local: Option<IpAddr>, segment: usize, memory: Vec<u8>) -> Self {
        let (len, count) = (memory.len(), memory.len().div_ceil(segment));
        Self {
            memory,
            len,
            segment,
            destination,
            local,
            count,
            sealing: None,
        }
    }

    /// The datagrams, end to end.
    pub fn data(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// The datagrams, one by one.
    pub fn datagrams(&self) -> std::slice::Chunks<'_, u8> {
        self.data().chunks(self.segment)
    }
}

impl Run {
    /// Makes room for one more datagram of `len` bytes, whose content is arbitrary, and returns it.
    fn grow(&mut self, len: usize) -> &mut [u8] {
        let start = self.len;
        self.len += len;
        self.count += 1;
        if self.memory.len() < self.len {
            self.memory.resize(self.len.max(2 * start), 0);
        }
        &mut self.memory[start..self.len]
    }

    /// Whether a datagram of the peer's may follow the others.
    fn takes(&self, peer: u32, len: usize) -> bool {
        self.sealing.as_ref().is_some_and(|sealing| sealing.peer.id() == peer)
            && len <= self.segment
            && self.len == self.count * self.segment
            && self.count < MAX_SEGMENTS
            && self.len + len <= MAX_RUN_LEN
    }
}

/// Runs of datagrams that are to be sent, in this order.
///
/// Packets of several peers may come in turn: each peer's go to its own open run, and stay in order. The memory is
/// kept when the outbox is cleared, so that a steady stream allocates nothing.
#[derive(Debug)]
pub struct Outbox {
    runs: Vec<Run>,
    /// How many of `runs` are in use; the rest are spare memory.
    used: usize,
    /// Runs from here on may still have to be sealed.
    sealed: usize,
    /// The newest run of each peer, by the last bits of its number. An entry that another peer overwrote, or that is
    /// left from an earlier batch, is known by the run itself.
    newest: Box<[usize; NEWEST]>,
}

/// Largest number of cleared runs whose memory an [`Outbox`] keeps: 4 MiB if all were full.
const MAX_SPARE_RUNS: usize = 64;

const NEWEST: usize = 256;

impl Default for Outbox {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            used: 0,
            sealed: 0,
            newest: Box::new([0; NEWEST]),
        }
    }
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be sent.
    ///
    /// # Panics
    ///
    /// If [`Engine::seal`](crate::engine::Engine::seal) was not called since packets were laid in: what is not sealed
    /// must not leave.
    pub fn runs(&self) -> &[Run] {
        assert!(
            self.runs[self.sealed..self.used]
                .iter()
                .all(|run| run.sealing.is_none()),
            "`Engine::seal` comes first"
        );
        &self.runs[..self.used]
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds one finished datagram as a run of its own.
    pub fn push(&mut self, destination: SocketAddr, local: Option<IpAddr>, datagram: &[u8]) {
        let run = self.open(destination, local, datagram.len());
        self.runs[run].grow(datagram.len()).copy_from_slice(datagram);
    }

    /// Forgets all runs, and keeps their memory for the next.
    pub fn clear(&mut self) {
        for run in &mut self.runs[self.sealed..self.used] {
            run.sealing = None;
        }
        (self.used, self.sealed) = (0, 0);
        self.runs.truncate(MAX_SPARE_RUNS);
    }

    /// Begins a run, and returns its number.
    fn open(&mut self, destination: SocketAddr, local: Option<IpAddr>, segment: usize) -> usize {
        let segment = segment.max(1);
        if let Some(run) = self.runs.get_mut(self.used) {
            (run.len, run.count, run.segment, run.destination, run.local) = (0, 0, segment, destination, local);
        } else {
            let memory = Vec::new();
            self.runs.push(Run {
                memory,
                len: 0,
                segment,
                destination,
                local,
                count: 0,
                sealing: None,
            });
        }
        self.used += 1;
        self.used - 1
    }

    /// Begins a run of datagrams that are to be sealed, each of `segment` bytes, and returns its number.
    pub(crate) fn open_for(
        &mut self,
        sealing: Sealing,
        destination: SocketAddr,
        local: Option<IpAddr>,
        segment: usize,
    ) -> usize {
        let peer = sealing.peer.id();
        let run = self.open(destination, local, segment);
        self.runs[run].sealing = Some(sealing);
        self.newest[newest(peer)] = run;
        run
    }

    /// The number of the peer's newest run, if a datagram of `len` bytes may be added to it.
    pub(crate) fn find(&self, peer: u32, len: usize) -> Option<usize> {
        let run = self.newest[newest(peer)];
        self.runs[..self.used]
            .get(run)
            .is_some_and(|found| found.takes(peer, len))
            .then_some(run)
    }

    /// Makes room for one more datagram in a run.
    pub(crate) fn extend(&mut self, run: usize, len: usize) -> &mut [u8] {
        self.runs[run].grow(len)
    }

    /// Has each run sealed that is still to be. A run for which `seal` returns false is taken out.
    pub(crate) fn seal_each(&mut self, mut seal: impl FnMut(&Sealing, &mut [u8], usize) -> bool) {
        while let Some(run) = self.runs[..self.used].get_mut(self.sealed) {
            let refused = run
                .sealing
                .take()
                .is_some_and(|sealing| !seal(&sealing, &mut run.memory[..run.len], run.segment));
            if refused {
                self.runs[self.sealed..self.used].rotate_left(1);
                self.used -= 1;
            } else {
                self.sealed += 1;
            }
        }
    }
}

fn newest(peer: u32) -> usize {
    peer as usize % NEWEST
}
