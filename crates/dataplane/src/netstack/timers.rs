//! Due times, soonest first.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::time::Time;

/// What falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// Something of the flow with this token.
    Flow(u64),
    /// Unfinished packets of the peer with this id.
    Reassembly(u32),
}

/// A heap of alarms.
///
/// Whoever sets one keeps in mind the earliest that is set, and sets another only if it is earlier still; when an
/// alarm rings too early, it is set anew. So traffic that moves a due time back touches nothing here.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Time, Alarm)>>,
}

impl Timers {
    /// Lets an alarm ring at `due`.
    pub(super) fn set(&mut self, due: Time, alarm: Alarm) {
        self.heap.push(Reverse((due, alarm)));
    }

    /// When the next alarm rings.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// The next alarm that is due, and what it was set to.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Alarm)> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
