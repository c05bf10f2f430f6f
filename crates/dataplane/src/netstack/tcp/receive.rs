//! The receiving half: reassembly, the window, and what selective acknowledgements tell.

use std::time::Duration;

use super::{
    Seq,
    ranges::Ranges,
    ring::Ring,
    segment::{Block, SackBlocks},
};
use crate::time::Time;

/// The shortest time over which consumption is measured: below it, scheduling and batches blur the round trip.
const SHORTEST_ROUND: Duration = Duration::from_millis(10);

/// What a segment's data was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The next in order, and nothing waited for it.
    InOrder,
    /// Something that shall be acknowledged at once: early, repeated, filling a gap, cut by the window, or the end.
    Urgent,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Receiver {
    /// Data in order, and behind its end the early data at its place.
    ring: Ring,
    /// The next position waited for; behind the FIN once that has come.
    next: Seq,
    /// The end of the window as the peer was told.
    edge: Seq,
    early: Ranges,
    /// Where the most recent early data began, the latest first.
    recent: [Seq; 3],
    repeated: Option<Block>,
    fin: Option<Seq>,
    finished: bool,
    limit: u32,
    max: u32,
    scale: u8,
    round_start: Time,
    round_consumed: u64,
}

impl Receiver {
    /// A receiver that waits for `next` and buffers `initial` bytes, later up to `max`.
    pub(super) fn new(now: Time, next: Seq, initial: u32, max: u32, scale: u8) -> Self {
        Self {
            ring: Ring::default(),
            next,
            edge: next,
            early: Ranges::default(),
            recent: [next; 3],
            repeated: None,
            fin: None,
            finished: false,
            limit: initial.min(max),
            max,
            scale,
            round_start: now,
            round_consumed: 0,
        }
    }

    /// The next position waited for.
    pub(super) const fn next(&self) -> Seq {
        self.next
    }

    /// Whether all data and the FIN have come.
    pub(super) const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether data came that cannot be read yet.
    pub(super) fn has_gaps(&self) -> bool {
        !self.early.as_slice().is_empty()
    }

    /// Data in order.
    pub(super) fn readable(&self) -> (&[u8], &[u8]) {
        self.ring.slices(0, self.ring.len())
    }

    /// How much data is in order.
    pub(super) const fn readable_len(&self) -> usize {
        self.ring.len()
    }

    /// How much of the window that was told is left.
    pub(super) const fn window_left(&self) -> u32 {
        self.edge.since(self.next)
    }

    /// Whether a segment touches the window at all (RFC 9293 3.4, 3.10.7.4). A full window still takes a segment at
    /// its edge, for the sake of its acknowledgement.
    pub(super) fn accepts(&self, seq: Seq, len: u32) -> bool {
        if seq == self.next {
            return true;
        }
        let end = seq + len;
        let starts_inside = !seq.is_before(self.next) && !seq.is_after(self.edge);
        let reaches_inside = len > 0 && seq.is_before(self.next) && end.is_after(self.next);
        starts_inside || reaches_inside
    }

    /// Takes the data and the FIN of a segment that [`accepts`](Self::accepts) let pass.
    pub(super) fn accept(&mut self, seq: Seq, payload: &[u8], fin: bool) -> Arrival {
        if self.finished {
            return Arrival::Urgent;
        }
        let payload_end = seq + u32::try_from(payload.len()).unwrap_or(u32::MAX >> 1);
        if fin && self.fin.is_none() && !payload_end.is_after(self.edge.max(self.next)) {
            self.accept_fin(payload_end);
        }
        let limit = self.fin.unwrap_or(self.edge).min(self.edge);
        let (start, end) = (seq.max(self.next), payload_end.min(limit));
        if seq.is_before(self.next) && !payload.is_empty() {
            self.repeated = Some((seq, payload_end.min(self.next)));
        }
        let in_order = start == self.next && seq == start && end == payload_end && !self.has_gaps();
        if start.is_before(end) {
            self.store(start, &payload[start.since(seq) as usize..end.since(seq) as usize]);
        }
        if self.fin == Some(self.next) {
            self.finished = true;
            self.next = self.next + 1;
        }
        if in_order && !self.finished {
            Arrival::InOrder
        } else {
            Arrival::Urgent
        }
    }

    fn accept_fin(&mut self, fin: Seq) {
        let beyond = self.early.as_slice().last().is_some_and(|&(_, end)| end.is_after(fin));
        if !beyond && !fin.is_before(self.next) {
            self.fin = Some(fin);
        }
    }

    fn store(&mut self, start: Seq, data: &[u8]) {
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX >> 1);
        let block = (start, start + len);
        let offset = self.ring.len() + start.since(self.next) as usize;
        if start != self.next {
            if self.early.gap(block).is_none() {
                self.repeated = Some(block);
                return;
            }
            if !self.early.insert(block) {
                return;
            }
            self.ring.reserve(offset + data.len());
            self.ring.write_at(offset, data);
            self.remember(start);
            return;
        }
        self.ring.reserve(offset + data.len());
        self.ring.write_at(offset, data);
        let mut end = block.1;
        if self.has_gaps() {
            self.early.insert(block);
            end = self.early.around(start).map_or(end, |(_, end)| end);
            self.early.remove_before(end);
        }
        self.ring.extend(end.since(self.next) as usize);
        self.next = end;
    }

    fn remember(&mut self, start: Seq) {
        let block = self.early.around(start);
        let at = self
            .recent
            .iter()
            .position(|&seq| self.early.around(seq) == block)
            .unwrap_or(self.recent.len() - 1);
        self.recent[..=at].rotate_right(1);
        self.recent[0] = start;
    }

    /// Notes that `len` bytes from `seq` on came again.
    pub(super) fn repeat(&mut self, seq: Seq, len: usize) {
        let end = (seq + u32::try_from(len).unwrap_or(u32::MAX >> 1)).min(self.next);
        if seq.is_before(end) {
            self.repeated = Some((seq, end));
        }
    }

    /// Whether there is something that only [`sack_blocks`](Self::sack_blocks) can tell.
    pub(super) fn has_blocks(&self) -> bool {
        self.repeated.is_some() || self.has_gaps()
    }

    /// The blocks for the next acknowledgement, at most `most`: what was repeated (RFC 2883), then the most recent
    /// arrival (RFC 2018 4), then others. The repetition is told once.
    pub(super) fn sack_blocks(&mut self, most: usize) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        let repeated = self.repeated.take();
        if let Some(block) = repeated {
            blocks.push(block);
        }
        let recent = self.recent.iter().filter_map(|&seq| self.early.around(seq));
        let first = usize::from(repeated.is_some());
        for block in recent.chain(self.early.as_slice().iter().copied().take(4)) {
            if blocks.as_slice().len() >= most {
                break;
            }
            if !blocks.as_slice()[first..].contains(&block) {
                blocks.push(block);
            }
        }
        blocks
    }

    /// Notes that a segment with the present [`window`](Self::window) went out.
    pub(super) fn told(&mut self, mss: u32) {
        self.edge = self.next_edge(mss);
    }

    /// The window field of our SYN, which is never scaled (RFC 7323 2.2), and notes that it is told.
    pub(super) fn tell_first_window(&mut self) -> u16 {
        let window = u16::try_from(self.limit).unwrap_or(u16::MAX);
        self.edge = self.edge.max(self.next + u32::from(window));
        window
    }

    /// The window field of the next acknowledgement.
    pub(super) fn window(&self, mss: u32) -> u16 {
        let window = self.next_edge(mss).since(self.next) >> self.scale;
        u16::try_from(window).unwrap_or(u16::MAX)
    }

    /// The end of the window that the next acknowledgement tells: it never moves back, and never by crumbs
    /// (RFC 9293 3.8.6.2.2).
    fn next_edge(&self, mss: u32) -> Seq {
        let edge = self.possible_edge();
        if edge.since(self.edge) >= mss.min(self.limit / 2) {
            edge
        } else {
            self.edge
        }
    }

    fn possible_edge(&self) -> Seq {
        let held = u32::try_from(self.ring.len()).unwrap_or(u32::MAX);
        let free = self.limit.saturating_sub(held).min(0xffff << self.scale);
        self.next + (free >> self.scale << self.scale)
    }

    /// Whether the window has opened so far that the peer shall hear of it at once.
    pub(super) fn window_update_due(&self, mss: u32) -> bool {
        let opened = self.next_edge(mss).since(self.edge);
        let nearly_closed = self.window_left() <= self.limit / 4;
        !self.finished && nearly_closed && opened > 0 && opened >= (self.limit / 4).min(2 * mss)
    }

    /// Drops `len` bytes that were read. The limit follows what is consumed in a round trip.
    pub(super) fn consume(&mut self, now: Time, len: usize, rtt: Duration) {
        let before = self.ring.len();
        self.ring.consume(len);
        let consumed = before - self.ring.len();
        if !self.has_gaps() {
            self.ring.rewind();
        }
        self.round_consumed += u64::try_from(consumed).unwrap_or_default();
        let round = rtt.max(SHORTEST_ROUND);
        let elapsed = now - self.round_start;
        if elapsed >= round {
            let share = round.as_secs_f64() / elapsed.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates; never negative"
            )]
            let wanted = (self.round_consumed as f64 * share * 3.0) as u32;
            self.limit = self.limit.max(wanted.min(self.max));
            self.round_start = now;
            self.round_consumed = 0;
        }
    }

    /// Gives memory back while nothing is held.
    pub(super) fn release(&mut self) {
        if !self.has_gaps() {
            self.ring.release();
            self.early.clear();
        }
    }

    /// How much memory the buffer takes.
    pub(super) const fn memory(&self) -> usize {
        self.ring.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Seq = Seq(u32::MAX - 5);

    fn receiver() -> Receiver {
        let mut receiver = Receiver::new(Time::ZERO, START, 1000, 1000, 0);
        receiver.told(10);
        receiver
    }

    fn text(receiver: &Receiver) -> String {
        let (first, second) = receiver.readable();
        String::from_utf8([first, second].concat()).expect("text")
    }

    #[test]
    fn segments_are_put_in_order() {
        // (segments as (position, data, FIN), what can be read, finished?)
        type Case = (&'static [(u32, &'static str, bool)], &'static str, bool);
        let cases: [Case; 10] = [
            (&[(0, "abc", false), (3, "def", false)], "abcdef", false),
            (&[(3, "def", false), (0, "abc", false)], "abcdef", false),
            (&[(3, "def", false)], "", false),
            (
                &[(6, "g", false), (2, "cdef", false), (0, "abcd", false)],
                "abcdefg",
                false,
            ),
            (&[(0, "abcd", false), (2, "cdef", false)], "abcdef", false),
            (&[(0, "abc", true)], "abc", true),
            (&[(3, "", true), (0, "abc", false)], "abc", true),
            (&[(0, "abc", true), (3, "xyz", false)], "abc", true),
            (&[(5, "f", false), (3, "", true), (0, "abcde", false)], "abcdef", false),
            (&[(2, "", true), (0, "abcd", false)], "ab", true),
        ];
        for (segments, expected, finished) in cases {
            let mut receiver = receiver();
            for &(at, data, fin) in segments {
                receiver.accept(START + at, data.as_bytes(), fin);
            }
            assert_eq!(text(&receiver), expected, "{segments:?}");
            assert_eq!(receiver.is_finished(), finished, "{segments:?}");
            let consumed = u32::try_from(expected.len()).expect("short") + u32::from(finished);
            assert_eq!(receiver.next(), START + consumed);
        }
    }

    #[test]
    fn data_beyond_the_window_is_cut_off() {
        let mut receiver = receiver();
        assert!(
            receiver.accepts(START + 1000, 1) && !receiver.accepts(START + 1001, 1) && !receiver.accepts(START - 1, 0)
        );
        receiver.accept(START, &[7; 1500], false);
        assert_eq!(receiver.readable_len(), 1000);
        assert_eq!(receiver.window(10), 0);
        receiver.consume(Time::ZERO, 9, Duration::ZERO);
        assert_eq!(receiver.window(10), 0, "no crumbs");
        receiver.consume(Time::ZERO, 491, Duration::ZERO);
        assert!(receiver.window_update_due(10));
        assert_eq!(receiver.window(10), 500);
    }

    #[test]
    fn blocks_tell_repetitions_first_then_the_latest() {
        let mut receiver = receiver();
        for at in [20, 60, 100, 140, 61] {
            receiver.accept(START + at, b"xx", false);
        }
        let block = |from: u32, to: u32| (START + from, START + to);
        let expected = [block(60, 63), block(140, 142), block(100, 102), block(20, 22)];
        assert_eq!(receiver.sack_blocks(3).as_slice(), &expected[..3]);
        assert_eq!(receiver.sack_blocks(4).as_slice(), expected);
        receiver.accept(START + 100, b"xx", false);
        assert_eq!(receiver.sack_blocks(2).as_slice(), [block(100, 102), block(60, 63)]);
        receiver.told(10);
        receiver.accept(START, &[0; 140], false);
        assert_eq!(receiver.readable_len(), 142);
        assert!(receiver.sack_blocks(4).as_slice().is_empty());
        receiver.accept(START + 3, b"xx", false);
        assert_eq!(receiver.sack_blocks(4).as_slice(), [block(3, 5)]);
    }

    #[test]
    fn the_limit_grows_with_consumption_and_memory_goes_when_idle() {
        let mut receiver = Receiver::new(Time::ZERO, START, 10_000, 1_000_000, 8);
        let mut now = Time::ZERO;
        for _ in 0..200 {
            receiver.told(1000);
            let window = receiver.window_left().min(50_000);
            receiver.accept(receiver.next(), &vec![0; window as usize], false);
            receiver.consume(now, window as usize, Duration::from_millis(20));
            now = now + Duration::from_millis(20);
        }
        receiver.told(1000);
        assert!(
            (100_000..=200_000).contains(&receiver.window_left()),
            "{}",
            receiver.window_left()
        );
        assert!(receiver.memory() > 0);
        receiver.release();
        assert_eq!(receiver.memory(), 0);
    }
}
