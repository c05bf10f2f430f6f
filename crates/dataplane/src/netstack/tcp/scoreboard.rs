//! What is on its way and what has arrived out of order (RFC 2018, RFC 6675 3).

use std::collections::VecDeque;

use super::{Seq, delivery::Mark, ranges::Ranges, segment::Block};
use crate::time::Time;

/// A stretch that was sent at once and is neither acknowledged nor selectively acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) seq: Seq,
    pub(super) len: u32,
    pub(super) sent_at: Time,
    pub(super) mark: Mark,
    pub(super) retransmitted: bool,
    /// Given up, and not sent again yet.
    pub(super) lost: bool,
}

impl Sent {
    /// The position behind the last byte.
    pub(super) fn end(&self) -> Seq {
        self.seq + self.len
    }
}

/// The stretches between what is acknowledged and what was sent, in order. What the peer holds out of order is only a
/// set of ranges, so that work on an acknowledgement grows with the holes, not with the window.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    queue: VecDeque<Sent>,
    held: Ranges,
    in_flight: u32,
    lost: u32,
    /// No stretch before this one is lost.
    lost_from: Seq,
}

impl Scoreboard {
    /// Bytes that are on their way.
    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Bytes that are lost and wait to be sent again.
    pub(super) const fn lost(&self) -> u32 {
        self.lost
    }

    /// The stretches in order.
    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.queue.iter()
    }

    /// The first stretch.
    pub(super) fn first(&self) -> Option<&Sent> {
        self.queue.front()
    }

    /// The last stretch.
    pub(super) fn last(&self) -> Option<&Sent> {
        self.queue.back()
    }

    /// Adds a new stretch behind the last.
    pub(super) fn push(&mut self, sent: Sent) {
        self.in_flight += sent.len;
        self.queue.push_back(sent);
    }

    /// Removes what lies before `una` and shows each piece of it.
    pub(super) fn acknowledge(&mut self, una: Seq, mut delivered: impl FnMut(&Sent)) {
        while let Some(first) = self.queue.front_mut() {
            if !first.end().is_after(una) {
                let sent = *first;
                self.queue.pop_front();
                self.forget(&sent);
                delivered(&sent);
                continue;
            }
            let len = una.since(first.seq);
            if len > 0 {
                let piece = Sent { len, ..*first };
                first.seq = una;
                first.len -= len;
                self.forget(&piece);
                delivered(&piece);
            }
            break;
        }
        self.held.remove_before(una);
    }

    /// Removes what the peer holds in `block`, which lies within what was sent, and shows each piece that is new.
    pub(super) fn hold(&mut self, block: Block, mut delivered: impl FnMut(&Sent)) {
        if !self.held.has_room_for(block) {
            return;
        }
        let mut rest = block;
        while let Some((start, end)) = self.held.gap(rest) {
            self.remove(start, end, &mut delivered);
            rest.0 = end;
        }
        self.held.insert(block);
    }

    fn remove(&mut self, start: Seq, end: Seq, delivered: &mut impl FnMut(&Sent)) {
        self.split(start);
        self.split(end);
        let from = self.find(start);
        while let Some(sent) = self.queue.get(from).copied().filter(|sent| sent.seq.is_before(end)) {
            self.queue.remove(from);
            self.forget(&sent);
            delivered(&sent);
        }
    }

    /// The index of the first stretch that ends after `seq`.
    fn find(&self, seq: Seq) -> usize {
        self.queue.partition_point(|sent| !sent.end().is_after(seq))
    }

    /// Makes `seq` a border between stretches.
    fn split(&mut self, seq: Seq) {
        let at = self.find(seq);
        let Some(sent) = self.queue.get_mut(at) else { return };
        if !sent.seq.is_before(seq) {
            return;
        }
        let mut second = *sent;
        sent.len = seq.since(sent.seq);
        second.seq = seq;
        second.len -= sent.len;
        self.queue.insert(at + 1, second);
    }

    fn forget(&mut self, sent: &Sent) {
        if sent.lost {
            self.lost -= sent.len;
        } else {
            self.in_flight -= sent.len;
        }
    }

    /// Gives up stretches for which `judge` says so and tells how many bytes; ends where it says stop.
    pub(super) fn give_up(&mut self, mut judge: impl FnMut(&Sent) -> Verdict) -> u32 {
        let mut sum = 0;
        for sent in self.queue.iter_mut().filter(|sent| !sent.lost) {
            match judge(sent) {
                Verdict::Stop => break,
                Verdict::Keep => {}
                Verdict::Lost => {
                    sent.lost = true;
                    if self.lost + sum == 0 || sent.seq.is_before(self.lost_from) {
                        self.lost_from = sent.seq;
                    }
                    sum += sent.len;
                }
            }
        }
        self.lost += sum;
        self.in_flight -= sum;
        sum
    }

    /// The first lost stretch.
    pub(super) fn first_lost(&self) -> Option<&Sent> {
        if self.lost == 0 {
            return None;
        }
        self.queue.range(self.find(self.lost_from)..).find(|sent| sent.lost)
    }

    /// Notes that the stretch of `len` bytes at `seq` was sent again; the rest of a longer one stays as it is.
    pub(super) fn sent_again(&mut self, seq: Seq, len: u32, now: Time, mark: Mark) {
        self.split(seq);
        self.split(seq + len);
        let at = self.find(seq);
        let Some(sent) = self.queue.get_mut(at) else { return };
        if sent.lost {
            self.lost -= sent.len;
            self.in_flight += sent.len;
            self.lost_from = sent.end();
        }
        *sent = Sent {
            sent_at: now,
            mark,
            retransmitted: true,
            lost: false,
            ..*sent
        };
    }

    /// Takes back losses whose stretches were not sent again, for they were only late.
    pub(super) fn restore(&mut self) {
        for sent in &mut self.queue {
            sent.lost = false;
        }
        self.in_flight += self.lost;
        self.lost = 0;
    }

    /// Takes what the peer holds as lost: it has the right to drop it (RFC 2018 8), and has done so if it holds what it
    /// does not acknowledge.
    pub(super) fn distrust(&mut self) {
        for &(start, end) in self.held.as_slice() {
            let at = self.find(start);
            let (len, mark) = (end.since(start), Mark::default());
            let sent = Sent {
                seq: start,
                len,
                sent_at: Time::ZERO,
                mark,
                retransmitted: true,
                lost: true,
            };
            self.queue.insert(at, sent);
            self.lost_from = if self.lost == 0 {
                start
            } else {
                self.lost_from.min(start)
            };
            self.lost += len;
        }
        self.held.clear();
    }

    /// What the peer holds out of order.
    pub(super) fn held(&self) -> &[Block] {
        self.held.as_slice()
    }

    /// Gives memory back while nothing is on its way.
    pub(super) fn release(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
            self.held.clear();
        }
    }
}

/// What becomes of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is lost.
    Lost,
    /// It may still arrive.
    Keep,
    /// So may it and all behind it.
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(seq: Seq, len: u32) -> Sent {
        let mark = Mark::default();
        Sent {
            seq,
            len,
            sent_at: Time::ZERO,
            mark,
            retransmitted: false,
            lost: false,
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u32),
        Acknowledge(u32),
        Hold(u32, u32),
        GiveUp(u32),
        Again(u32),
        Distrust,
        Restore,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_u32..30).prop_map(Step::Push),
            1 => (0_u32..60).prop_map(Step::Acknowledge),
            4 => (0_u32..300, 1_u32..40).prop_map(|(at, len)| Step::Hold(at, len)),
            2 => (0_u32..300).prop_map(Step::GiveUp),
            3 => (1_u32..20).prop_map(Step::Again),
            1 => Just(Step::Distrust),
            1 => Just(Step::Restore),
        ]
    }

    proptest! {
        #[test]
        fn every_byte_is_in_exactly_one_place(base in any::<u32>(), steps in prop::collection::vec(step(), 0..80)) {
            let mut board = Scoreboard::default();
            let (mut una, mut next) = (Seq(base), Seq(base));
            for step in steps {
                let mut delivered = 0;
                let before = next.since(una) - board.held().iter().map(|(start, end)| end.since(*start)).sum::<u32>();
                match step {
                    Step::Push(len) => {
                        board.push(sent(next, len));
                        next = next + len;
                        delivered -= i64::from(len);
                    }
                    Step::Acknowledge(len) => {
                        una = (una + len).min(next);
                        board.acknowledge(una, |sent| delivered += i64::from(sent.len));
                    }
                    Step::Hold(at, len) => {
                        let block = ((una + at).min(next), (una + at + len).min(next));
                        board.hold(block, |sent| delivered += i64::from(sent.len));
                    }
                    Step::GiveUp(at) => {
                        let border = una + at;
                        board.give_up(|sent| match sent.seq.is_before(border) {
                            true if sent.len % 3 == 0 => Verdict::Keep,
                            true => Verdict::Lost,
                            false => Verdict::Stop,
                        });
                    }
                    Step::Again(len) => {
                        if let Some(lost) = board.first_lost().copied() {
                            prop_assert!(board.iter().all(|sent| !sent.lost || !sent.seq.is_before(lost.seq)));
                            let before = board.lost();
                            board.sent_again(lost.seq, len.min(lost.len), Time::ZERO, Mark::default());
                            prop_assert_eq!(board.lost(), before - len.min(lost.len));
                        } else {
                            prop_assert_eq!(board.lost(), 0);
                        }
                    }
                    Step::Distrust => {
                        delivered -= board.held().iter().map(|(start, end)| i64::from(end.since(*start))).sum::<i64>();
                        board.distrust();
                    }
                    Step::Restore => board.restore(),
                }
                prop_assert_eq!(i64::from(board.in_flight() + board.lost()), i64::from(before) - delivered);
                let mut at = una;
                let mut held = board.held().iter().copied().peekable();
                for sent in board.iter() {
                    while let Some((_, end)) = held.next_if(|(start, _)| *start == at) {
                        at = end;
                    }
                    prop_assert_eq!(sent.seq, at);
                    prop_assert!(sent.len > 0);
                    at = sent.end();
                }
                if let Some((_, end)) = held.next_if(|(start, _)| *start == at) {
                    at = end;
                }
                prop_assert_eq!(at, next);
                let lost: u32 = board.iter().filter(|sent| sent.lost).map(|sent| sent.len).sum();
                prop_assert_eq!(board.lost(), lost);
            }
        }
    }
}
