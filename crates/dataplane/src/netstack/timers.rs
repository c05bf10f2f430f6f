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
/// Whoever sets one keeps in mind which are set (see [`Armed`]), and sets another only if it is earlier than all of
/// them; when an alarm rings too early, it is set anew. So traffic that moves a due time back touches nothing here.
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

    /// Whether so many alarms are set that most must be of flows that are gone.
    pub(super) fn is_crowded(&self, flows: usize) -> bool {
        self.heap.len() > CROWD + 2 * DEPTH * flows
    }

    /// Forgets alarms that nobody waits for.
    pub(super) fn keep(&mut self, mut is_wanted: impl FnMut(Time, Alarm) -> bool) {
        self.heap.retain(|Reverse((due, alarm))| is_wanted(*due, *alarm));
    }
}

/// So many alarms are never too many.
const CROWD: usize = 4_096;

/// How many alarms of one flow are kept in mind: the pace, a delayed acknowledgement, a retransmission, a keepalive.
const DEPTH: usize = 4;

/// The alarms of one flow that are set: each is earlier than the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Armed {
    dues: [Time; DEPTH],
    len: usize,
}

impl Armed {
    /// Notes that the flow wants to be called at `due`; true if an alarm must be set for that.
    pub(super) fn arm(&mut self, due: Time) -> bool {
        if self.len > 0 && self.dues[self.len - 1] <= due {
            return false;
        }
        // With too many the earliest is forgotten, and means nothing when it rings.
        self.len = (self.len + 1).min(DEPTH);
        self.dues[self.len - 1] = due;
        true
    }

    /// Notes that an alarm rang; false if it was forgotten.
    pub(super) fn rang(&mut self, due: Time) -> bool {
        let is_earliest = self.len > 0 && self.dues[self.len - 1] == due;
        self.len -= usize::from(is_earliest);
        is_earliest
    }

    /// Whether an alarm is set to this time.
    pub(super) fn is_armed(&self, due: Time) -> bool {
        self.dues[..self.len].contains(&due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_flow_between_its_pace_and_its_keepalive_sets_few_alarms() {
        let (mut timers, mut armed) = (Timers::default(), Armed::default());
        let mut set = 0;
        // Every millisecond the flow is paced; its keepalive moves back with each.
        for millis in 0..10_000_u64 {
            let now = millis * 1_000_000;
            for due in [now + 300_000_000_000, now + 40_000_000, now + 500_000] {
                let due = Time::from_nanos(due);
                if armed.arm(due) {
                    timers.set(due, Alarm::Flow(1));
                    set += 1;
                }
            }
            while let Some((due, _)) = timers.pop(Time::from_nanos(now + 600_000)) {
                armed.rang(due);
            }
            assert!(timers.heap.len() <= DEPTH);
        }
        assert!(set < 10_300, "{set}");
    }

    #[test]
    fn alarms_of_flows_that_are_gone_are_forgotten_in_a_crowd() {
        let mut timers = Timers::default();
        for token in 0..10_000 {
            timers.set(Time::from_nanos(token), Alarm::Flow(token));
        }
        assert!(timers.is_crowded(10) && !timers.is_crowded(10_000));
        timers.keep(|_, alarm| matches!(alarm, Alarm::Flow(0..10)));
        assert_eq!(timers.heap.len(), 10);
        assert_eq!(timers.next_due(), Some(Time::ZERO));
    }

    proptest! {
        #[test]
        fn an_alarm_rings_no_later_than_any_that_was_wanted(wants in proptest::collection::vec((0u64..50, 1u64..100), 1..60)) {
            let (mut timers, mut armed) = (Timers::default(), Armed::default());
            let (mut now, mut wanted) = (0, None::<u64>);
            for (pause, delay) in wants {
                now += pause;
                while let Some((due, _)) = timers.pop(Time::from_nanos(now)) {
                    if armed.rang(due) && wanted.is_some_and(|wanted| wanted <= now) {
                        wanted = None;
                    } else if let Some(wanted) = wanted && armed.arm(Time::from_nanos(wanted)) {
                        timers.set(Time::from_nanos(wanted), Alarm::Flow(1));
                    }
                }
                prop_assert!(wanted.is_none_or(|wanted| wanted > now), "missed {wanted:?} at {now}");
                // The flow may change its mind either way.
                wanted = Some(now + delay);
                if armed.arm(Time::from_nanos(now + delay)) {
                    timers.set(Time::from_nanos(now + delay), Alarm::Flow(1));
                }
            }
        }
    }
}
