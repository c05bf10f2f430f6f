//! The sending half: what may go out next, and what goes out again.

use std::time::Duration;

use super::{
    Seq,
    congestion::Controller,
    delivery::Delivery,
    pacer::Pacer,
    recovery::Recovery,
    ring::Ring,
    rtt::Rtt,
    scoreboard::{Scoreboard, Sent},
};
use crate::time::Time;

/// The least buffer: an initial window, and what an application writes meanwhile.
const SMALLEST_LIMIT: u32 = 128 * 1024;

/// The longest time that a peer delays an acknowledgement (RFC 8985 7.2).
const MAX_ACK_DELAY: Duration = Duration::from_millis(200);

/// The least time before a probe: less is lost among batches.
const LEAST_PROBE_TIMEOUT: Duration = Duration::from_millis(10);

/// What a sender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// A reordered segment's time is up.
    Reordering,
    /// The tail of a flight may be lost.
    Probe,
    /// Nothing was heard at all.
    Timeout,
    /// The peer's window is closed.
    Persist,
}

/// One segment, or several of equal size, that may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seq: Seq,
    /// Bytes of data.
    pub(super) len: u32,
    pub(super) fin: bool,
    /// Whether it is the last of what there is to send.
    pub(super) push: bool,
    pub(super) again: bool,
    pub(super) probe: bool,
}

/// The sending half of a connection.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) ring: Ring,
    /// The position of the ring's first byte.
    pub(super) base: Seq,
    /// The first position that is not acknowledged, and the first that was never sent.
    pub(super) una: Seq,
    pub(super) next: Seq,
    pub(super) window: u32,
    pub(super) window_max: u32,
    pub(super) window_seen: (Seq, Seq),
    pub(super) finishing: bool,
    /// The largest payload, options of the data segments included.
    pub(super) mss: u32,
    pub(super) limit: u32,
    pub(super) sack: bool,
    pub(super) board: Scoreboard,
    pub(super) recovery: Recovery,
    pub(super) rtt: Rtt,
    pub(super) delivery: Delivery,
    pub(super) congestion: Controller,
    pub(super) pacer: Pacer,
    pub(super) alarm: Option<(Alarm, Time)>,
    /// From when the retransmission timeout counts.
    pub(super) timeout_from: Time,
    /// Since when nothing that we sent was answered.
    pub(super) unanswered_since: Option<Time>,
    /// A probe shall go out whatever the windows say.
    pub(super) probe_due: bool,
    /// An empty segment shall ask for the window.
    pub(super) window_probe_due: bool,
    /// The next segment goes out whatever the congestion window says.
    pub(super) push_through: bool,
    /// The pacer held something back.
    pub(super) paced: bool,
    /// Our clock when the first retransmission after a timeout went out.
    pub(super) undo: Option<u32>,
}

impl Sender {
    /// A sender whose first byte of data is `start`.
    pub(super) fn new(now: Time, start: Seq, mss: u32, limit: u32, sack: bool) -> Self {
        Self {
            ring: Ring::default(),
            base: start,
            una: start,
            next: start,
            window: 0,
            window_max: 0,
            window_seen: (start, start),
            finishing: false,
            mss,
            limit,
            sack,
            board: Scoreboard::default(),
            recovery: Recovery::new(start),
            rtt: Rtt::default(),
            delivery: Delivery::default(),
            congestion: Controller::new(now, mss, start.0),
            pacer: Pacer::default(),
            alarm: None,
            timeout_from: now,
            unanswered_since: None,
            probe_due: false,
            window_probe_due: false,
            push_through: false,
            paced: false,
            undo: None,
        }
    }

    /// How much more the application may write. It follows the congestion window, so that what cannot be sent soon
    /// stays in the outside socket's buffer.
    pub(super) fn room(&self) -> usize {
        if self.finishing {
            return 0;
        }
        let limit = self
            .congestion
            .cwnd()
            .saturating_mul(2)
            .clamp(SMALLEST_LIMIT, self.limit.max(SMALLEST_LIMIT));
        let room = (limit as usize).saturating_sub(self.ring.len());
        // Small reads cost as much as large ones.
        if room < limit as usize / 8 { 0 } else { room }
    }

    /// Where the data ends: the position of the FIN.
    pub(super) fn data_end(&self) -> Seq {
        self.base + u32::try_from(self.ring.len()).unwrap_or(u32::MAX >> 1)
    }

    /// Whether our FIN was sent, or acknowledged.
    pub(super) fn fin_sent(&self) -> bool {
        self.finishing && self.next.is_after(self.data_end())
    }

    pub(super) fn fin_acknowledged(&self) -> bool {
        self.finishing && self.una.is_after(self.data_end())
    }

    /// Whether something is neither acknowledged nor known to be held.
    pub(super) fn is_outstanding(&self) -> bool {
        self.una != self.next
    }

    /// Whether data or a FIN waits to be sent for the first time.
    pub(super) fn has_unsent(&self) -> bool {
        let end = self.data_end();
        self.next.is_before(end) || (self.finishing && self.next == end)
    }

    /// Bytes on their way; a peer without selective acknowledgements tells of arrivals by duplicates.
    pub(super) fn in_flight(&self) -> u32 {
        let left = self.recovery.duplicates().saturating_mul(self.mss);
        self.board.in_flight().saturating_sub(left)
    }

    /// What may go out at `now` in segments of `size` bytes, `most` bytes at once.
    pub(super) fn plan(&mut self, now: Time, size: u32, most: u32) -> Option<Plan> {
        let size = size.max(1);
        let most = (most / size).max(1) * size;
        self.paced = false;
        if self.probe_due {
            let plan = self.plan_probe(size);
            self.probe_due = plan.is_some();
            if plan.is_some() {
                return plan;
            }
        }
        let in_flight = self.in_flight();
        let free = if self.push_through || in_flight == 0 {
            self.congestion.cwnd().saturating_sub(in_flight).max(size)
        } else {
            self.congestion.cwnd().saturating_sub(in_flight)
        };
        let mut plan = if let Some(lost) = self.board.first_lost() {
            let len = lost.len.min(size);
            (free >= len).then(|| self.cut(lost.seq, len, true))
        } else {
            self.plan_new(size, most, free)
        }?;
        if plan.len > 0 && !self.push_through && !self.pacer.is_open(now) {
            self.paced = true;
            return None;
        }
        plan.push = plan.seq + plan.len == self.data_end();
        Some(plan)
    }

    /// A stretch as data and FIN.
    fn cut(&self, seq: Seq, len: u32, again: bool) -> Plan {
        let end = self.data_end();
        let fin = self.finishing && (seq + len).is_after(end);
        Plan {
            seq,
            len: len - u32::from(fin),
            fin,
            push: false,
            again,
            probe: false,
        }
    }

    fn plan_new(&self, size: u32, most: u32, free: u32) -> Option<Plan> {
        let end = self.data_end();
        let unsent = end.since(self.next);
        let usable = (self.una + self.window).since(self.next);
        let mut len = unsent.min(most).min(usable).min(free);
        if len < unsent {
            let whole = len / size * size;
            if whole > 0 {
                len = whole;
            } else if !self.sends_fragment(len, usable) {
                // Silly windows are not filled (RFC 9293 3.8.6.2.1).
                return None;
            }
        }
        let fin = self.finishing && self.next + len == end && usable > len;
        (len > 0 || fin).then_some(Plan {
            seq: self.next,
            len,
            fin,
            push: false,
            again: false,
            probe: false,
        })
    }

    /// Whether to send a part of a segment because the peer's window holds no more.
    fn sends_fragment(&self, len: u32, usable: u32) -> bool {
        len > 0 && len == usable && (usable >= self.window_max / 2 || self.push_through)
    }

    /// New data if there is some, else the last stretch again (RFC 8985 7.3).
    fn plan_probe(&self, size: u32) -> Option<Plan> {
        let fresh = self.plan_new(size, size, size);
        let mut plan = match (fresh, self.board.last()) {
            (Some(fresh), _) => fresh,
            (None, Some(last)) => {
                let len = last.len.min(size);
                self.cut(last.end() - len, len, true)
            }
            (None, None) => return None,
        };
        plan.probe = true;
        plan.push = plan.seq + plan.len == self.data_end();
        Some(plan)
    }

    /// Notes that a plan was carried out.
    pub(super) fn sent(&mut self, now: Time, plan: &Plan, clock: u32) {
        let len = plan.len + u32::from(plan.fin);
        let idle = self.board.in_flight() == 0;
        if idle && !self.is_outstanding() {
            self.congestion.on_restart(now);
            self.timeout_from = now;
        }
        let mark = self.delivery.mark(now, idle, self.congestion.holds_back());
        if plan.again {
            self.board.sent_again(plan.seq, len, now, mark);
            if self.rtt.is_backed_off() && self.undo.is_none() && plan.seq == self.una {
                self.undo = Some(clock);
            }
        } else {
            self.board.push(Sent {
                seq: plan.seq,
                len,
                sent_at: now,
                mark,
                retransmitted: false,
                lost: false,
            });
            self.next = plan.seq + len;
        }
        if plan.probe {
            self.probe_due = false;
            self.recovery.probed(plan.seq + len, !plan.again);
        }
        self.push_through = false;
        if let Some(rate) = self.congestion.pacing_rate() {
            self.pacer.sent(now, plan.len, rate, self.mss);
        }
        self.unanswered_since.get_or_insert(now);
        if self.alarm.is_none_or(|(alarm, _)| alarm != Alarm::Reordering) {
            self.arm(now);
        }
    }

    /// Notes that there was nothing more to send although more could have gone.
    pub(super) fn ran_dry(&mut self) {
        let in_flight = self.in_flight();
        let starved = !self.has_unsent() && self.board.lost() == 0 && self.room() > 0;
        if starved && in_flight < self.congestion.cwnd() {
            self.delivery.ran_dry(in_flight);
        }
    }

    /// Sets the alarm for what is outstanding: a probe first, then the timeout (RFC 8985 7.2, RFC 6298 5).
    pub(super) fn arm(&mut self, now: Time) {
        if !self.is_outstanding() {
            self.alarm = None;
            self.arm_persist(now);
            return;
        }
        let first = self.board.first().map_or(now, |first| first.sent_at);
        let timeout = self.timeout_from.max(first) + self.rtt.timeout();
        let may_probe = self.sack
            && self.recovery.point().is_none()
            && !self.recovery.is_probing()
            && !self.rtt.is_backed_off()
            && self.board.lost() == 0;
        self.alarm = match self.rtt.smoothed() {
            Some(smoothed) if may_probe => {
                let delay = if self.board.in_flight() <= self.mss {
                    MAX_ACK_DELAY
                } else {
                    Duration::ZERO
                };
                let probe = now + (smoothed * 2 + delay).max(LEAST_PROBE_TIMEOUT);
                Some(if probe < timeout {
                    (Alarm::Probe, probe)
                } else {
                    (Alarm::Timeout, timeout)
                })
            }
            _ => Some((Alarm::Timeout, timeout)),
        };
    }

    /// Sets the alarm for a closed window (RFC 9293 3.8.6.1).
    pub(super) fn arm_persist(&mut self, now: Time) {
        if self.alarm.is_none() && !self.is_outstanding() && self.has_unsent() && self.blocked_by_window() {
            self.alarm = Some((Alarm::Persist, now + self.rtt.timeout()));
        }
    }

    fn blocked_by_window(&self) -> bool {
        let usable = (self.una + self.window).since(self.next);
        let unsent = self.data_end().since(self.next);
        if unsent == 0 {
            usable == 0
        } else {
            usable < unsent.min(self.mss) && !self.sends_fragment(usable, usable)
        }
    }

    /// Follows a smaller path: what is larger than a segment can be and on its way is lost.
    pub(super) fn set_mss(&mut self, now: Time, mss: u32) {
        let old = self.mss;
        self.mss = mss;
        self.congestion.set_mss(mss);
        if mss < old && self.is_outstanding() {
            use super::scoreboard::Verdict::{Keep, Lost};
            self.board.give_up(|sent| if sent.len > mss { Lost } else { Keep });
            self.push_through = self.board.lost() > 0;
            self.timeout_from = now;
            self.arm(now);
        }
    }

    /// Gives memory back while nothing is held.
    pub(super) fn release(&mut self) {
        self.ring.release();
        self.board.release();
    }
}
