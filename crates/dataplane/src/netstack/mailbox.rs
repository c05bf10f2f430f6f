//! Where the datagrams of servers land: as many as wait, in one system call.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::udp::batch::{self, BATCH, Received};

/// Room for one datagram, or for several that the kernel joined.
const PLACE_LEN: usize = 1 << 16;

/// Buffers that all flows use in turn.
pub(super) struct Mailbox {
    places: Box<[u8]>,
    received: [Received; BATCH],
    filled: usize,
}

impl Mailbox {
    /// Its memory is the system's until something lands there.
    pub(super) fn new() -> Self {
        Self {
            places: vec![0; BATCH * PLACE_LEN].into_boxed_slice(),
            received: [Received::EMPTY; BATCH],
            filled: 0,
        }
    }

    /// A buffer of 64 KiB for other things; what was received is lost.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        self.filled = 0;
        &mut self.places[..PLACE_LEN]
    }

    /// Receives what waits at a connected socket, without waiting. True: all places are filled, so that more may wait.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.filled = 0;
        self.filled = batch::receive(socket, self.places.chunks_mut(PLACE_LEN), &mut self.received)?;
        Ok(self.filled == BATCH)
    }

    /// The datagrams of the last call, in order.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let places = self.places.chunks(PLACE_LEN).zip(&self.received).take(self.filled);
        places.flat_map(|(place, received)| {
            let bytes = &place[..received.len];
            let segment = received.segment().unwrap_or(bytes.len());
            // An empty datagram is one, too.
            let empty = bytes.is_empty().then_some(bytes);
            bytes.chunks(segment.max(1)).chain(empty)
        })
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}
