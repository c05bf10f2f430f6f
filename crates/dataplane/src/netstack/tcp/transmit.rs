//! What a connection sends, and when it wants to be called again.

use std::time::Duration;

use super::{
    connection::{Connection, End, Phase},
    header::Header,
    segment::{Flags, Options, Timestamps},
};
use crate::time::Time;

/// How long our SYN waits for an answer at first (RFC 6298 2.1).
const SYN_TIMEOUT: Duration = Duration::from_secs(1);

/// For how long nothing must happen before buffers are given back.
const IDLE: Duration = Duration::from_secs(1);

impl Connection {
    /// Gives out the segments that are due. `emit` takes a header and up to `most` bytes of payload in two pieces, or
    /// says false if it has no room; then the rest waits for the next call. A payload longer than
    /// [`Header::segment_size`] is several segments; with `most` of zero there is one a call of `emit`.
    pub fn poll_transmit(&mut self, now: Time, most: usize, emit: &mut impl FnMut(&Header, (&[u8], &[u8])) -> bool) {
        match self.phase {
            Phase::Dialling | Phase::Closed(_) => {}
            Phase::Resetting(end) => self.transmit_reset(end, emit),
            Phase::SynReceived => {
                if self.transmit_stray_reset(emit) {
                    self.transmit_syn(now, emit);
                }
            }
            Phase::Open | Phase::TimeWait(_) => {
                if self.acks.is_due(now) && self.receiver.has_blocks() && !self.transmit_ack(now, emit) {
                    return;
                }
                let most = u32::try_from(most).unwrap_or(u32::MAX >> 1);
                if !self.transmit_data(now, most, emit) || !self.transmit_question(now, emit) {
                    return;
                }
                while self.acks.is_due(now) || self.receiver.window_update_due(self.sender.mss) {
                    if !self.transmit_ack(now, emit) {
                        return;
                    }
                }
                self.sender.arm_persist(now);
            }
        }
    }

    fn transmit_reset(&mut self, end: End, emit: &mut impl FnMut(&Header, (&[u8], &[u8])) -> bool) {
        let seq = if self.syn.sent == 0 {
            super::Seq(0)
        } else {
            self.sender.next
        };
        let ack = self.receiver.next();
        let header = Header {
            seq,
            ack,
            flags: Flags::RST | Flags::ACK,
            ..Header::default()
        };
        if emit(&header, (&[], &[])) {
            self.phase = Phase::Closed(end);
        }
    }

    fn transmit_stray_reset(&mut self, emit: &mut impl FnMut(&Header, (&[u8], &[u8])) -> bool) -> bool {
        let Some(seq) = self.stray_reset else { return true };
        let sent = emit(
            &Header {
                seq,
                flags: Flags::RST,
                ..Header::default()
            },
            (&[], &[]),
        );
        if sent {
            self.stray_reset = None;
        }
        sent
    }

    fn transmit_syn(&mut self, now: Time, emit: &mut impl FnMut(&Header, (&[u8], &[u8])) -> bool) {
        if !self.syn.due {
            return;
        }
        let options = Options {
            mss: Some(self.config.mss),
            window_scale: self.client_scale.map(|_| self.config.window_scale()),
            sack_permitted: self.sender.sack,
            timestamps: self.timestamps(now),
            ..Options::default()
        };
        let header = Header {
            seq: self.iss,
            ack: self.receiver.next(),
            flags: Flags::SYN | Flags::ACK,
            window: self.receiver.tell_first_window(),
            options,
            segment_size: 0,
        };
        if !emit(&header, (&[], &[])) {
            return;
        }
        let syn = &mut self.syn;
        if syn.sent == 0 {
            syn.first_sent_at = now;
        }
        syn.again_at = Some(now + SYN_TIMEOUT * (1 << syn.sent.min(5)));
        syn.sent = syn.sent.saturating_add(1);
        syn.due = false;
        self.acks.sent(false);
    }

    /// Sends data until there is none, or no room for it; false if `emit` has no room.
    fn transmit_data(&mut self, now: Time, most: u32, emit: &mut impl FnMut(&Header, (&[u8], &[u8])) -> bool) -> bool {
        let clock = self.clock(now);
        let size = self.sender.mss - if self.timestamps { 12 } else { 0 };
        while let Some(plan) = self.sender.plan(now, size, most) {
            let mut flags = Flags::ACK;
            if plan.push && plan.len > 0 {
                flags = flags | Flags::PSH;
            }
            if plan.fin {
                flags = flags | Flags::FIN;
            }
            let mut header = self.header(now);
            header.seq = plan.seq;
            header.flags = flags;
            header.segment_size = size as usize;
            let offset = plan.seq.since(self.sender.base) as usize;
            if !emit(&header, self.sender.ring.slices(offset, plan.len as usize)) {
                return false;
            }
            self.sender.sent(now, &plan, clock);
            self.told(true);
            self.active_at = now;
        }
        if !self.sender.paced {
            self.sender.ran_dry();
        }
        true
    }

    /// Asks whether the client is there, or whether its window is open, with a segment that it must answer because it
    /// lies before the window.
    fn transmit_question(&mut self, now: Time, emit: &mut impl FnMut(&Header, (&[u8], &[u8])) -> bool) -> bool {
        if !self.ask && !self.sender.window_probe_due {
            return true;
        }
        let mut header = self.header(now);
        header.seq = self.sender.next - 1;
        let sent = emit(&header, (&[], &[]));
        if sent {
            self.ask = false;
            self.sender.window_probe_due = false;
            self.told(false);
        }
        sent
    }

    fn transmit_ack(&mut self, now: Time, emit: &mut impl FnMut(&Header, (&[u8], &[u8])) -> bool) -> bool {
        let mut header = self.header(now);
        if self.sender.sack {
            header.options.sack = self.receiver.sack_blocks(if self.timestamps { 3 } else { 4 });
        }
        let sent = emit(&header, (&[], &[]));
        if sent {
            self.told(false);
        }
        sent
    }

    fn told(&mut self, with_data: bool) {
        self.acks.sent(with_data);
        self.receiver.told(self.sender.mss);
        self.last_ack_sent = self.receiver.next();
    }

    /// The header of a segment without data.
    fn header(&self, now: Time) -> Header {
        Header {
            seq: self.sender.next,
            ack: self.receiver.next(),
            flags: Flags::ACK,
            window: self.receiver.window(self.sender.mss),
            options: Options {
                timestamps: self.timestamps(now),
                ..Options::default()
            },
            segment_size: 0,
        }
    }

    fn timestamps(&self, now: Time) -> Option<Timestamps> {
        self.timestamps.then(|| Timestamps {
            value: self.clock(now),
            echo: self.recent.0,
        })
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.phase {
            Phase::Dialling | Phase::Resetting(_) | Phase::Closed(_) => None,
            Phase::SynReceived => self.syn.again_at,
            Phase::TimeWait(until) => Some(until),
            Phase::Open => earliest([
                self.sender.alarm.map(|(_, due)| due),
                self.acks.deadline(),
                self.sender.paced.then(|| self.sender.pacer.release()),
                self.keepalive_due(),
                self.release_due(),
            ]),
        }
    }

    /// Does what is due by time; [`poll_transmit`](Self::poll_transmit) then sends what that asks for.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.phase {
            Phase::Dialling | Phase::Resetting(_) | Phase::Closed(_) => {}
            Phase::SynReceived => {
                if self.syn.again_at.is_some_and(|due| due <= now) {
                    self.syn.due = true;
                    if now - self.syn.first_sent_at >= self.config.syn_give_up {
                        self.phase = Phase::Resetting(End::TimedOut);
                    }
                }
            }
            Phase::TimeWait(until) => {
                if until <= now {
                    self.close(End::Finished);
                }
            }
            Phase::Open => {
                if !self.sender.handle_alarm(now, self.config.give_up) || !self.keep_alive(now) {
                    self.phase = Phase::Resetting(End::TimedOut);
                } else if self.release_due().is_some_and(|due| due <= now) {
                    self.memory_held = false;
                    self.sender.release();
                    self.receiver.release();
                }
            }
        }
    }

    fn keepalive_due(&self) -> Option<Time> {
        let keepalive = self.config.keepalive.filter(|_| !self.sender.is_outstanding())?;
        Some(if self.asked == 0 {
            self.heard_at + keepalive.idle
        } else {
            self.asked_at + keepalive.interval
        })
    }

    fn keep_alive(&mut self, now: Time) -> bool {
        if self.keepalive_due().is_none_or(|due| now < due) {
            return true;
        }
        self.ask = true;
        self.asked = self.asked.saturating_add(1);
        self.asked_at = now;
        self.config
            .keepalive
            .is_none_or(|keepalive| self.asked <= keepalive.probes)
    }

    fn release_due(&self) -> Option<Time> {
        let empty = self.sender.ring.len() == 0 && self.receiver.readable_len() == 0 && !self.receiver.has_gaps();
        (self.memory_held && empty && !self.sender.is_outstanding()).then(|| self.active_at + IDLE)
    }
}

fn earliest<const N: usize>(times: [Option<Time>; N]) -> Option<Time> {
    times.into_iter().flatten().min()
}
