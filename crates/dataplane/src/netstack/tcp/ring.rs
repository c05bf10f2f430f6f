//! A ring of bytes that grows with what it holds and costs nothing when it holds nothing.

/// The smallest storage that is allocated.
const SMALLEST: usize = 4096;

/// The first storage for somebody who asks for much.
const FIRST: usize = 16 * 1024;

/// Bytes of one direction. Offsets count from the oldest byte.
///
/// Beyond its end a ring may hold bytes that came too early; [`write_at`](Self::write_at) puts them there and
/// [`extend`](Self::extend) takes them in once the gap before them is filled.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Empty, or a power of two long.
    bytes: Vec<u8>,
    head: usize,
    len: usize,
}

impl Ring {
    /// How many bytes it holds.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How many bytes it could hold without growing.
    pub(super) const fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Grows until `len` bytes fit.
    pub(super) fn reserve(&mut self, len: usize) {
        if len <= self.capacity() {
            return;
        }
        let mut bytes = vec![0; len.next_power_of_two().max(SMALLEST)];
        let (tail, start) = self.bytes.split_at(self.head);
        bytes[..start.len()].copy_from_slice(start);
        bytes[start.len()..start.len() + tail.len()].copy_from_slice(tail);
        self.bytes = bytes;
        self.head = 0;
    }

    /// Makes room for some of `len` more bytes: doubles a storage that is nearly full, so that a trickle keeps a small
    /// one whatever it asks for.
    pub(super) fn make_room(&mut self, len: usize) {
        let free = self.capacity() - self.len;
        if free < len && free <= self.capacity() / 4 {
            self.reserve((self.len + len).min((2 * self.capacity()).max(FIRST)));
        }
    }

    /// Gives the storage back if nothing is held.
    pub(super) fn release(&mut self) {
        if self.len == 0 {
            self.rewind();
            self.bytes = Vec::new();
        }
    }

    /// Goes on at the start of the storage, which is warm in the cache. Only for an empty ring without early bytes.
    pub(super) fn rewind(&mut self) {
        if self.len == 0 {
            self.head = 0;
        }
    }

    /// Up to `len` bytes from `offset` on, in two pieces where the ring wraps.
    pub(super) fn slices(&self, offset: usize, len: usize) -> (&[u8], &[u8]) {
        let len = len.min(self.len.saturating_sub(offset));
        if len == 0 {
            return (&[], &[]);
        }
        let start = self.index(offset);
        let first = len.min(self.capacity() - start);
        (&self.bytes[start..start + first], &self.bytes[..len - first])
    }

    /// The storage behind the last byte, at most `len` bytes of it, in two pieces where the ring wraps.
    pub(super) fn spare(&mut self, len: usize) -> (&mut [u8], &mut [u8]) {
        let len = len.min(self.capacity() - self.len);
        if len == 0 {
            return (&mut [], &mut []);
        }
        let start = self.index(self.len);
        let first = len.min(self.capacity() - start);
        let (low, high) = self.bytes.split_at_mut(start);
        (&mut high[..first], &mut low[..len - first])
    }

    /// Writes `data` at `offset`, be it behind the end; what does not fit into the storage is left out.
    pub(super) fn write_at(&mut self, offset: usize, data: &[u8]) {
        let data = &data[..data.len().min(self.capacity().saturating_sub(offset))];
        if data.is_empty() {
            return;
        }
        let start = self.index(offset);
        let (first, second) = data.split_at(data.len().min(self.capacity() - start));
        self.bytes[start..start + first.len()].copy_from_slice(first);
        self.bytes[..second.len()].copy_from_slice(second);
    }

    /// Takes in `len` bytes that were written behind the end.
    pub(super) fn extend(&mut self, len: usize) {
        self.len = (self.len + len).min(self.capacity());
    }

    /// Drops the oldest `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        let len = len.min(self.len);
        if len > 0 {
            self.head = self.index(len);
            self.len -= len;
        }
    }

    fn index(&self, offset: usize) -> usize {
        (self.head + offset) & (self.capacity() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn held(ring: &Ring) -> Vec<u8> {
        let (first, second) = ring.slices(0, usize::MAX);
        [first, second].concat()
    }

    #[test]
    fn a_ring_behaves_as_a_queue() {
        let mut ring = Ring::default();
        let mut model = VecDeque::new();
        let mut next = 0_u8;
        for round in 0..2000_usize {
            let len = round * 7919 % 6000;
            ring.reserve((ring.len() + len).min(20_000));
            let (first, second) = ring.spare(len);
            let room = first.len() + second.len();
            for byte in first.iter_mut().chain(second) {
                *byte = next;
                model.push_back(next);
                next = next.wrapping_add(1);
            }
            ring.extend(room);
            let gone = (round * 104_729 % 6100).min(model.len());
            model.drain(..gone);
            ring.consume(gone);
            assert_eq!(ring.len(), model.len());
            let offset = model.len() / 3;
            let (first, second) = ring.slices(offset, 1000);
            assert!(first.iter().chain(second).eq(model.iter().skip(offset).take(1000)));
        }
    }

    #[test]
    fn early_bytes_survive_growth() {
        let mut ring = Ring::default();
        ring.reserve(1);
        ring.extend(4000);
        ring.consume(4000);
        ring.write_at(50, b"world");
        ring.write_at(96, b"across the edge");
        ring.reserve(5000);
        ring.write_at(0, &[b'.'; 50]);
        ring.write_at(55, &[b'.'; 41]);
        ring.extend(111);
        let text = String::from_utf8(held(&ring)).expect("text");
        assert_eq!(
            text,
            format!("{}world{}across the edge", ".".repeat(50), ".".repeat(41))
        );
    }

    #[test]
    fn a_trickle_keeps_a_small_ring_and_a_stream_gets_a_large_one() {
        let mut ring = Ring::default();
        for _ in 0..100_000 {
            ring.make_room(65_536);
            ring.extend(100);
            ring.consume(100);
        }
        assert_eq!(ring.capacity(), FIRST);
        while ring.len() < 1_000_000 {
            ring.make_room(65_536);
            let (first, second) = ring.spare(65_536);
            let len = first.len() + second.len();
            assert!(len > 0);
            ring.extend(len);
        }
        assert!(ring.capacity() <= 2 << 20);
    }

    #[test]
    fn an_empty_ring_gives_its_storage_back() {
        let mut ring = Ring::default();
        assert_eq!(ring.slices(0, 10), (&[][..], &[][..]));
        ring.consume(3);
        ring.write_at(0, b"nowhere");
        ring.reserve(10);
        ring.extend(10);
        ring.release();
        assert_eq!(ring.capacity(), SMALLEST);
        ring.consume(10);
        ring.release();
        assert_eq!(ring.capacity(), 0);
    }
}
