//! The side of a connection that looks to the outside socket: what came, and what shall go.

use super::connection::{Connection, Phase};
use crate::time::Time;

impl Connection {
    /// Data from the client, in order, in two pieces where the buffer wraps.
    pub fn readable(&self) -> (&[u8], &[u8]) {
        self.receiver.readable()
    }

    /// Drops `len` bytes of [`readable`](Self::readable) data that went to the outside.
    pub fn consume(&mut self, now: Time, len: usize) {
        let rtt = self.sender.rtt.smoothed().unwrap_or_default();
        self.receiver.consume(now, len, rtt);
    }

    /// Whether the client has ended its direction and all of its data was consumed: time to shut the outside socket
    /// down for writing.
    pub fn is_read_finished(&self) -> bool {
        self.receiver.is_finished() && self.receiver.readable_len() == 0
    }

    /// Whether the client has acknowledged everything that the outside wrote.
    pub fn is_write_drained(&self) -> bool {
        self.sender.ring.len() == 0
    }

    /// How many bytes the outside may write; zero while the buffer is as good as full.
    pub fn write_room(&self) -> usize {
        match self.phase {
            Phase::Dialling | Phase::SynReceived | Phase::Open => self.sender.room(),
            Phase::TimeWait(_) | Phase::Resetting(_) | Phase::Closed(_) => 0,
        }
    }

    /// Storage for some of `len` bytes from the outside, in two pieces where the buffer wraps: as much as a buffer has
    /// that grows by and by, some if there is [`write_room`](Self::write_room). What it holds is arbitrary.
    pub fn spare(&mut self, len: usize) -> (&mut [u8], &mut [u8]) {
        let len = len.min(self.write_room());
        self.sender.ring.make_room(len);
        self.memory_held = true;
        self.sender.ring.spare(len)
    }

    /// Takes `len` bytes that were written to [`spare`](Self::spare) storage.
    pub fn commit(&mut self, len: usize) {
        self.sender.ring.extend(len);
    }

    /// Copies as much of `data` as there is room for, and tells how much that was.
    pub fn write(&mut self, data: &[u8]) -> usize {
        let mut rest = data;
        loop {
            let (first, second) = self.spare(rest.len());
            let len = first.len() + second.len();
            if len == 0 {
                return data.len() - rest.len();
            }
            let (now, later) = rest.split_at(len);
            let (a, b) = now.split_at(first.len());
            first.copy_from_slice(a);
            second.copy_from_slice(b);
            self.commit(len);
            rest = later;
        }
    }

    /// Ends our direction once everything written has gone out: the outside has no more.
    pub fn finish(&mut self) {
        self.sender.finishing = true;
    }

    /// How much memory the buffers take, in bytes.
    pub fn memory(&self) -> usize {
        self.sender.ring.capacity() + self.receiver.memory()
    }
}
