//! What acknowledgements and silence do to the sending half.

use std::time::Duration;

use super::{
    Seq,
    congestion::Ack,
    delivery::Sample,
    segment::Segment,
    send::{Alarm, Sender},
};
use crate::time::Time;

/// How many timeouts must have passed before a peer is given up: the clock runs on while a machine sleeps.
const FEWEST_TIMEOUTS: u32 = 3;

/// What an acknowledgement was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// Fine, new or not.
    Good,
    /// Of something that was never sent, or absurdly old (RFC 5961 5).
    Impossible,
}

/// What one acknowledgement did, on its way through the steps.
struct Progress {
    una: Seq,
    delivered: u64,
    in_flight: u32,
    rtt: Option<Duration>,
    repeated: bool,
}

impl Sender {
    /// Takes the acknowledgement, the window and the blocks of a segment. `echo` is how long ago our clock showed what
    /// it echoes, and whether that was before the first retransmission after a timeout.
    pub(super) fn acknowledge(
        &mut self,
        now: Time,
        segment: &Segment<'_>,
        scale: u8,
        echo: Option<Echo>,
    ) -> Acknowledged {
        let ack = segment.ack;
        if ack.is_after(self.next) || ack.is_before(self.una - self.window_max.max(0xffff)) {
            return Acknowledged::Impossible;
        }
        if ack.is_before(self.una) {
            return Acknowledged::Good;
        }
        let window_moved = self.take_window(segment, scale);
        if ack != self.una || !self.is_outstanding() || self.window == 0 {
            self.unanswered_since = None;
        }
        let mut progress = Progress {
            una: self.una,
            delivered: self.delivery.delivered(),
            in_flight: self.in_flight(),
            rtt: None,
            repeated: false,
        };
        let blocks = if self.sack {
            segment.options.sack.as_slice()
        } else {
            &[]
        };
        if ack == self.una && blocks.is_empty() {
            if !self.sack && !window_moved && segment.is_empty() && self.is_outstanding() {
                self.duplicate(now);
            }
            return Acknowledged::Good;
        }
        self.take_delivered(now, ack, blocks, &mut progress);
        if self.una == progress.una && self.delivery.delivered() == progress.delivered && !progress.repeated {
            return Acknowledged::Good;
        }
        self.conclude(now, echo, &progress);
        Acknowledged::Good
    }

    fn take_window(&mut self, segment: &Segment<'_>, scale: u8) -> bool {
        let (seq, ack) = self.window_seen;
        if segment.seq.is_before(seq) || (segment.seq == seq && segment.ack.is_before(ack)) {
            return false;
        }
        let window = u32::from(segment.window) << scale;
        let moved = window != self.window;
        self.window = window;
        self.window_max = self.window_max.max(window);
        self.window_seen = (segment.seq, segment.ack);
        if moved && self.alarm.is_some_and(|(alarm, _)| alarm == Alarm::Persist) {
            self.alarm = None;
            self.rtt.end_backoff();
        }
        moved
    }

    fn take_delivered(&mut self, now: Time, ack: Seq, blocks: &[(Seq, Seq)], progress: &mut Progress) {
        let (una, next, min_rtt) = (self.una, self.next, self.rtt.min());
        let Self {
            board,
            recovery,
            delivery,
            ..
        } = self;
        recovery.begin_arrivals();
        let mut newest: Option<Time> = None;
        let mut delivered = |sent: &super::scoreboard::Sent| {
            delivery.delivered_segment(now, &sent.mark, sent.sent_at, sent.len);
            recovery.arrived(now, sent, min_rtt);
            if !sent.retransmitted {
                newest = newest.max(Some(sent.sent_at));
            }
        };
        board.acknowledge(ack, &mut delivered);
        for (index, &(start, end)) in blocks.iter().enumerate() {
            let repeated = index == 0 && is_repetition(blocks, ack);
            if repeated {
                progress.repeated = start.is_before(end);
            } else if start.is_before(end) && !end.is_after(next) && end.is_after(ack) {
                board.hold((start.max(ack), end), &mut delivered);
            }
        }
        progress.rtt = newest.map(|sent_at| now - sent_at);
        if progress.repeated {
            self.recovery.repeated(ack, next);
        }
        let advance = ack.since(una);
        if advance > 0 {
            self.una = ack;
            let data = ack.min(self.data_end()).since(self.base);
            self.ring.consume(data as usize);
            self.base = self.base + data;
            if self.ring.len() == 0 {
                self.ring.rewind();
            }
        }
    }

    /// Draws the conclusions once all pieces are taken: round trip, losses, congestion, alarms.
    fn conclude(&mut self, now: Time, echo: Option<Echo>, progress: &Progress) {
        let advanced = self.una != progress.una;
        let rtt = progress.rtt.or(echo.filter(|_| advanced).map(|echo| echo.age));
        if let Some(rtt) = rtt {
            self.rtt.sample(now, rtt);
        }
        if advanced {
            self.timeout_from = now;
            self.undo_timeout(echo);
        }
        // The peer holds what it does not acknowledge: it has dropped it.
        if self.board.held().first().is_some_and(|&(start, _)| start == self.una) {
            self.board.distrust();
        }
        if self.recovery.probe_repaired(self.una, progress.repeated) && self.recovery.point().is_none() {
            self.congestion.on_recovery(self.in_flight(), self.delivery.delivered());
            self.congestion.on_recovered();
        }
        let lost = self.find_losses(now, advanced);
        if advanced {
            self.recovery.advanced();
        }
        if self.recovery.ends(self.una) {
            self.congestion.on_recovered();
            self.undo = None;
        }
        let min_rtt = self.rtt.min();
        if let Some(sample) = self.delivery.sample(min_rtt) {
            self.tell_congestion(now, progress, lost, sample);
        }
        if self.alarm.is_none_or(|(alarm, _)| alarm != Alarm::Reordering) {
            self.arm(now);
        }
    }

    fn tell_congestion(&mut self, now: Time, progress: &Progress, lost: u32, sample: Sample) {
        let total = self.delivery.delivered();
        let delivered = u32::try_from(total - progress.delivered).unwrap_or(u32::MAX);
        let in_flight = self.in_flight();
        let (prior_in_flight, rtt) = (progress.in_flight, progress.rtt);
        self.congestion.on_ack(&Ack {
            now,
            delivered,
            total,
            lost,
            prior_in_flight,
            in_flight,
            rtt,
            sample,
        });
    }

    /// Looks for losses and begins to repair them; tells how many bytes are newly lost.
    pub(super) fn find_losses(&mut self, now: Time, advanced: bool) -> u32 {
        let mut lost = 0;
        self.alarm = self.alarm.filter(|(alarm, _)| *alarm != Alarm::Reordering);
        if self.sack {
            let round_trips = (self.rtt.min(), self.rtt.smoothed().unwrap_or_default());
            let (bytes, again) = self.recovery.detect(now, &mut self.board, round_trips, self.mss);
            lost = bytes;
            self.alarm = again.map(|due| (Alarm::Reordering, due)).or(self.alarm);
        } else if advanced && self.recovery.point().is_some_and(|point| self.una.is_before(point)) {
            // A partial acknowledgement means that the next segment is lost too (RFC 6582 3.2).
            lost = self.lose_first();
        }
        if lost > 0 {
            self.begin_recovery();
        }
        lost
    }

    fn begin_recovery(&mut self) {
        if self.recovery.point().is_none() {
            self.recovery.begin(self.next);
            self.congestion.on_recovery(self.in_flight(), self.delivery.delivered());
            self.push_through = true;
        }
    }

    fn lose_first(&mut self) -> u32 {
        use super::scoreboard::Verdict::{Lost, Stop};
        let una = self.una;
        self.board.give_up(|sent| if sent.seq == una { Lost } else { Stop })
    }

    fn duplicate(&mut self, now: Time) {
        if self.recovery.duplicate() && self.lose_first() > 0 {
            self.begin_recovery();
            self.timeout_from = now;
            self.arm(now);
        }
    }

    /// Takes a timeout back if the answer is older than the retransmission (RFC 3522).
    fn undo_timeout(&mut self, echo: Option<Echo>) {
        let Some(clock) = self.undo.take() else { return };
        if echo.is_some_and(|echo| echo.clock.wrapping_sub(clock).cast_signed() < 0) {
            self.board.restore();
            if self.recovery.ends(self.next) {
                self.congestion.on_recovered();
            }
        }
    }

    /// Acts on the alarm if it is due. False if the peer is given up.
    pub(super) fn handle_alarm(&mut self, now: Time, give_up: Duration) -> bool {
        let Some((alarm, due)) = self.alarm else { return true };
        if now < due {
            return true;
        }
        self.alarm = None;
        match alarm {
            Alarm::Reordering => {
                self.find_losses(now, false);
                if self.alarm.is_none() {
                    self.arm(now);
                }
            }
            Alarm::Probe => {
                self.probe_due = true;
                self.alarm = Some((Alarm::Timeout, self.timeout_from.max(now) + self.rtt.timeout()));
            }
            Alarm::Timeout | Alarm::Persist => {
                let silent = self.unanswered_since.is_some_and(|since| now - since >= give_up);
                if silent && self.rtt.backoff() >= FEWEST_TIMEOUTS {
                    return false;
                }
                self.rtt.back_off();
                if alarm == Alarm::Timeout {
                    self.time_out(now)
                } else {
                    self.persist(now)
                }
            }
        }
        true
    }

    fn time_out(&mut self, now: Time) {
        if self.board.held().first().is_some_and(|&(start, _)| start == self.una) {
            self.board.distrust();
        }
        self.unanswered_since.get_or_insert(now);
        self.recovery.time_out(now, &mut self.board);
        self.recovery.begin(self.next);
        self.congestion.on_timeout();
        self.undo = None;
        self.probe_due = false;
        self.push_through = true;
        self.timeout_from = now;
        self.arm(now);
    }

    fn persist(&mut self, now: Time) {
        self.push_through = true;
        self.window_probe_due = (self.una + self.window).since(self.next) == 0;
        self.unanswered_since.get_or_insert(now);
        self.arm_persist(now);
    }
}

/// What the peer's echo of our clock says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Echo {
    pub(super) clock: u32,
    pub(super) age: Duration,
}

/// Whether the first block tells a repetition (RFC 2883 4).
fn is_repetition(blocks: &[(Seq, Seq)], ack: Seq) -> bool {
    match blocks {
        [(start, _), ..] if start.is_before(ack) => true,
        [(start, end), (outer_start, outer_end), ..] => !start.is_before(*outer_start) && !end.is_after(*outer_end),
        _ => false,
    }
}
