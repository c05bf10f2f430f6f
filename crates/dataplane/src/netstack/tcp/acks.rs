//! When to acknowledge (RFC 9293 3.8.6.3, RFC 5681 4.2).

use std::time::Duration;

use super::receive::Arrival;
use crate::time::Time;

/// How long a single segment waits for company.
const DELAY: Duration = Duration::from_millis(25);

/// How many data segments at a connection's start are acknowledged without delay, while the peer's window opens.
const QUICK: u8 = 16;

/// What is owed to the peer.
#[derive(Debug)]
pub(super) struct Acks {
    owed: u32,
    now: bool,
    /// How many equal acknowledgements shall go out, for a peer that must count them.
    repeats: u8,
    deadline: Option<Time>,
    quick: u8,
}

impl Acks {
    /// Owes nothing.
    pub(super) const fn new() -> Self {
        Self {
            owed: 0,
            now: false,
            repeats: 0,
            deadline: None,
            quick: QUICK,
        }
    }

    /// Notes that `len` bytes of data came.
    pub(super) fn arrived(&mut self, now: Time, len: u32, arrival: Arrival, mss: u32) {
        self.owed = self.owed.saturating_add(len);
        if arrival == Arrival::Urgent || self.owed >= 2 * mss {
            self.now = true;
        } else if self.quick > 0 {
            self.quick -= 1;
            self.now = true;
        } else if self.deadline.is_none() {
            self.deadline = Some(now + DELAY);
        }
    }

    /// Owes an acknowledgement at once.
    pub(super) const fn demand(&mut self) {
        self.now = true;
    }

    /// Owes one more equal acknowledgement to a peer without selective ones, which counts them.
    pub(super) const fn demand_repeat(&mut self) {
        self.now = true;
        self.repeats = self.repeats.saturating_add(1);
    }

    /// Whether an acknowledgement shall go out.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.now || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// When the next one falls due by time.
    pub(super) const fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Notes that a segment with an acknowledgement went out, with or without data.
    pub(super) const fn sent(&mut self, with_data: bool) {
        self.repeats = self.repeats.saturating_sub(1);
        self.now = self.repeats > 0;
        self.owed = 0;
        self.deadline = None;
        if with_data {
            // A conversation: its answers carry the acknowledgements.
            self.quick = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_segment_waits_two_do_not() {
        let mut acks = Acks::new();
        acks.sent(true);
        acks.arrived(Time::ZERO, 1000, Arrival::InOrder, 1000);
        assert!(!acks.is_due(Time::ZERO));
        assert!(acks.is_due(acks.deadline().expect("a deadline")));
        acks.arrived(Time::ZERO, 1000, Arrival::InOrder, 1000);
        assert!(acks.is_due(Time::ZERO));
        acks.sent(false);
        assert!(!acks.is_due(Time::ZERO) && acks.deadline().is_none());
        acks.arrived(Time::ZERO, 0, Arrival::Urgent, 1000);
        assert!(acks.is_due(Time::ZERO));
    }

    #[test]
    fn the_first_segments_do_not_wait() {
        let mut acks = Acks::new();
        for n in 0..20 {
            acks.arrived(Time::ZERO, 10, Arrival::InOrder, 1000);
            assert_eq!(acks.is_due(Time::ZERO), n < 16);
            acks.sent(false);
        }
    }

    #[test]
    fn repeats_are_counted() {
        let mut acks = Acks::new();
        for _ in 0..3 {
            acks.demand_repeat();
        }
        for due in [true, true, true, false] {
            assert_eq!(acks.is_due(Time::ZERO), due);
            acks.sent(false);
        }
    }
}
