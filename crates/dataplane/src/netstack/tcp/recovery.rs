//! Finds out what was lost: RACK-TLP (RFC 8985), or duplicate acknowledgements where the peer has no selective ones.

use std::time::Duration;

use super::{
    Seq,
    scoreboard::{Scoreboard, Sent, Verdict},
};
use crate::time::Time;

/// How many duplicates mean a loss (RFC 5681 2, RFC 8985 3.3).
const DUP_THRESHOLD: u32 = 3;

/// The least time that a reordered segment is given: less is lost among batches.
const LEAST_REORDERING: Duration = Duration::from_micros(500);

/// For how many recoveries a wider reordering window is kept.
const WINDOW_PERSISTS: u8 = 16;

/// What the detector of one connection knows.
#[derive(Debug)]
pub(super) struct Recovery {
    /// When the most recently sent segment that has arrived was sent, where it ended, and how long it took.
    newest_sent_at: Time,
    newest_end: Seq,
    rtt: Duration,
    /// The highest position that has arrived, and that had arrived before the present acknowledgement.
    highest: Seq,
    highest_before: Seq,
    reordering_seen: bool,
    window_steps: u32,
    window_persists: u8,
    window_round: Option<Seq>,
    /// Until this is acknowledged a loss is being repaired.
    point: Option<Seq>,
    duplicates: u32,
    /// The end of the segment that probes for a lost tail, and whether it was new data.
    probe: Option<(Seq, bool)>,
}

impl Recovery {
    /// Knows nothing yet about a connection whose data begins at `start`.
    pub(super) fn new(start: Seq) -> Self {
        Self {
            newest_sent_at: Time::ZERO,
            newest_end: start,
            rtt: Duration::ZERO,
            highest: start,
            highest_before: start,
            reordering_seen: false,
            window_steps: 1,
            window_persists: WINDOW_PERSISTS,
            window_round: None,
            point: None,
            duplicates: 0,
            probe: None,
        }
    }

    /// Until where a loss is being repaired.
    pub(super) const fn point(&self) -> Option<Seq> {
        self.point
    }

    /// Begins to repair: all until `next` is in doubt.
    pub(super) const fn begin(&mut self, next: Seq) {
        self.point = Some(next);
    }

    /// Ends the repair if `una` says that all has arrived.
    pub(super) fn ends(&mut self, una: Seq) -> bool {
        if self.point.is_none_or(|point| una.is_before(point)) {
            return false;
        }
        self.point = None;
        if self.window_persists > 0 {
            self.window_persists -= 1;
        } else {
            self.window_steps = 1;
        }
        true
    }

    /// Notes that the arrivals of one acknowledgement follow, in no order.
    pub(super) const fn begin_arrivals(&mut self) {
        self.highest_before = self.highest;
    }

    /// Notes a stretch that has arrived (RFC 8985 6.2, steps 2 and 3).
    pub(super) fn arrived(&mut self, now: Time, sent: &Sent, min_rtt: Duration) {
        let end = sent.end();
        self.reordering_seen |= end.is_before(self.highest_before) && !sent.retransmitted;
        self.highest = self.highest.max(end);
        let rtt = now - sent.sent_at;
        if sent.retransmitted && rtt < min_rtt {
            // Its first transmission has arrived, not this one.
            return;
        }
        if newer(sent.sent_at, end, self.newest_sent_at, self.newest_end) {
            (self.newest_sent_at, self.newest_end, self.rtt) = (sent.sent_at, end, rtt);
        }
    }

    /// Notes that the peer got something twice (RFC 8985 6.2, step 4): it was only late.
    pub(super) fn repeated(&mut self, una: Seq, next: Seq) {
        if self.window_round.is_none_or(|round| !una.is_before(round)) {
            self.window_round = Some(next);
            self.window_steps = self.window_steps.saturating_add(1).min(16);
            self.window_persists = WINDOW_PERSISTS;
        }
    }

    fn reordering_window(&self, board: &Scoreboard, min_rtt: Duration, smoothed: Duration, mss: u32) -> Duration {
        if !self.reordering_seen && (self.point.is_some() || held_segments(board, mss) >= DUP_THRESHOLD) {
            return Duration::ZERO;
        }
        (min_rtt / 4 * self.window_steps).min(smoothed).max(LEAST_REORDERING)
    }

    /// Gives up what was sent so long before something that has arrived that it must be lost (RFC 8985 6.2, step 5).
    /// Tells how many bytes, and when to look again.
    pub(super) fn detect(
        &self,
        now: Time,
        board: &mut Scoreboard,
        (min_rtt, smoothed): (Duration, Duration),
        mss: u32,
    ) -> (u32, Option<Time>) {
        let patience = self.rtt + self.reordering_window(board, min_rtt, smoothed, mss);
        let mut again: Option<Time> = None;
        let lost = board.give_up(|sent| {
            if !newer(self.newest_sent_at, self.newest_end, sent.sent_at, sent.end()) {
                // Stretches that were sent once lie in the order of their sending.
                return if sent.retransmitted {
                    Verdict::Keep
                } else {
                    Verdict::Stop
                };
            }
            let due = sent.sent_at + patience;
            if due <= now {
                return Verdict::Lost;
            }
            again = Some(again.map_or(due, |again| again.max(due)));
            Verdict::Keep
        });
        (lost, again)
    }

    /// Gives up what a timeout says is lost: the first stretch, and all that had as much time (RFC 8985 6.3).
    pub(super) fn time_out(&mut self, now: Time, board: &mut Scoreboard) -> u32 {
        self.probe = None;
        self.duplicates = 0;
        let mut first = true;
        board.give_up(|sent| {
            let lost = first || sent.sent_at + self.rtt <= now;
            first = false;
            if lost { Verdict::Lost } else { Verdict::Keep }
        })
    }

    /// Counts a duplicate acknowledgement of a peer without selective ones; true if it means a loss (RFC 6582).
    pub(super) fn duplicate(&mut self) -> bool {
        self.duplicates = self.duplicates.saturating_add(1);
        self.duplicates == DUP_THRESHOLD && self.point.is_none()
    }

    /// How many duplicates came: each means that a segment has left the path.
    pub(super) const fn duplicates(&self) -> u32 {
        self.duplicates
    }

    /// Notes that data was acknowledged in order.
    pub(super) const fn advanced(&mut self) {
        self.duplicates = 0;
    }

    /// Notes a probe for a lost tail that ends at `end`, of new data or not.
    pub(super) const fn probed(&mut self, end: Seq, new_data: bool) {
        self.probe = Some((end, new_data));
    }

    /// Whether a probe is on its way.
    pub(super) const fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Ends a probe that `una` answers. True if the probe repaired a loss, unless the peer had it before
    /// (RFC 8985 7.4).
    pub(super) fn probe_repaired(&mut self, una: Seq, repeated: bool) -> bool {
        let Some((end, new_data)) = self.probe else {
            return false;
        };
        if una.is_before(end) {
            return false;
        }
        self.probe = None;
        !new_data && !repeated
    }
}

fn newer(a: Time, a_end: Seq, b: Time, b_end: Seq) -> bool {
    a > b || (a == b && a_end.is_after(b_end))
}

fn held_segments(board: &Scoreboard, mss: u32) -> u32 {
    board
        .held()
        .iter()
        .take(8)
        .map(|&(start, end)| end.since(start).div_ceil(mss))
        .sum()
}
