//! Batches of datagrams: what was received, and what is to be sent.

use std::net::{IpAddr, SocketAddr};

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
}

impl Run {
    /// A run of these datagrams.
    #[cfg(test)]
    pub(crate) fn of(destination: SocketAddr, local: Option<IpAddr>, segment: usize, memory: Vec<u8>) -> Self {
        Self {
            len: memory.len(),
            memory,
            segment,
            destination,
            local,
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

/// Runs of datagrams that are to be sent, in this order.
///
/// Keeps its memory when cleared, so that a steady stream allocates nothing.
#[derive(Debug, Default)]
pub struct Outbox {
    runs: Vec<Run>,
    /// How many of `runs` are in use; the rest are spare memory.
    used: usize,
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be sent.
    pub fn runs(&self) -> &[Run] {
        &self.runs[..self.used]
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds one finished datagram as a run of its own.
    pub fn push(&mut self, destination: SocketAddr, local: Option<IpAddr>, datagram: &[u8]) {
        let run = self.open(destination, local, datagram.len());
        run.grow(datagram.len()).copy_from_slice(datagram);
    }

    /// Forgets all runs, and keeps their memory for the next.
    pub fn clear(&mut self) {
        self.used = 0;
        self.runs.truncate(MAX_SPARE_RUNS);
    }

    /// Begins a run.
    fn open(&mut self, destination: SocketAddr, local: Option<IpAddr>, segment: usize) -> &mut Run {
        let segment = segment.max(1);
        if self.used == self.runs.len() {
            self.runs.push(Run {
                memory: Vec::new(),
                len: 0,
                segment,
                destination,
                local,
            });
        }
        let run = &mut self.runs[self.used];
        (run.len, run.segment, run.destination, run.local) = (0, segment, destination, local);
        self.used += 1;
        run
    }
}

/// Largest number of cleared runs whose memory an [`Outbox`] keeps: 4 MiB if all were full.
const MAX_SPARE_RUNS: usize = 64;

impl Run {
    /// Makes room for `len` more bytes, whose content is arbitrary, and returns it.
    fn grow(&mut self, len: usize) -> &mut [u8] {
        let start = self.len;
        self.len += len;
        if self.memory.len() < self.len {
            self.memory.resize(self.len.max(2 * start), 0);
        }
        &mut self.memory[start..self.len]
    }
}
