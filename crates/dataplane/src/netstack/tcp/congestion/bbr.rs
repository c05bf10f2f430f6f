//! BBR: sends at the rate at which the path delivers, and keeps little more on its way than the path holds.
//!
//! After draft-cardwell-iccrg-bbr-congestion-control-00 (version 1), whose names it keeps. It models the path by the
//! highest delivery rate of the last rounds and the shortest round trip of the last seconds. Loss alone does not slow
//! it down: on the radio links that people's phones hang on, loss says little about the queue.
//!
//! Beyond the draft: acknowledgements that come in lumps add to the window (draft-cardwell-iccrg-bbr-02 4.2.3.4), a
//! round trip below [`SHORTEST_RTT`] counts as that long, and probing for the round trip keeps half the window (also 02).

use std::time::Duration;

use super::Ack;
use crate::time::Time;

/// Doubles the rate each round: 2/ln 2.
const HIGH_GAIN: f64 = 2.885;
/// Empties the queue that startup made, in one round.
const DRAIN_GAIN: f64 = 1.0 / HIGH_GAIN;
/// Room for acknowledgements that come late or in lumps.
const CWND_GAIN: f64 = 2.0;
/// One round of probing for more, one of giving back, six of cruising.
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// A little less than the path takes, so that queues shrink.
const PACING_MARGIN: f64 = 0.99;
/// How many rounds a rate is believed.
const BTLBW_FILTER_LEN: usize = 10;
/// How long a round trip is believed.
const RTPROP_FILTER_LEN: Duration = Duration::from_secs(10);
/// How long a probe for the round trip lasts.
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);
/// A round trip below this is made of scheduling and batches more than of the path.
const SHORTEST_RTT: Duration = Duration::from_millis(1);
/// The window's least size, in segments.
const MIN_SEGMENTS: u32 = 4;
/// The window before anything is known, in segments (RFC 6928).
const INITIAL_SEGMENTS: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Startup,
    Drain,
    ProbeBw,
    ProbeRtt,
}

/// The controller of one connection.
#[derive(Debug)]
pub(in super::super) struct Bbr {
    mss: u32,
    mode: Mode,
    /// The highest rate in each of the last rounds.
    rates: [u64; BTLBW_FILTER_LEN],
    rt_prop: Option<Duration>,
    rt_prop_at: Time,
    probe_rtt_done_at: Option<Time>,
    slot: usize,
    slot_due: bool,
    round_started: bool,
    next_round_delivered: u64,
    full_rate: u64,
    full_rounds: u8,
    filled_pipe: bool,
    cycle: usize,
    cycle_at: Time,
    cwnd: u32,
    prior_cwnd: u32,
    pacing_rate: u64,
    recovering: bool,
    /// In the first round of a recovery one segment goes for each that arrives.
    conserving: bool,
    lumps: Lumps,
}

/// How far acknowledgements run ahead of the rate.
#[derive(Debug, Default)]
struct Lumps {
    since: Time,
    acknowledged: u64,
    /// The most in the present and the last span of five rounds.
    most: [u32; 2],
    span_rounds: u8,
}

impl Bbr {
    /// A controller for segments of `mss` bytes; `seed` spreads the phases of competing flows.
    pub(in super::super) fn new(now: Time, mss: u32, seed: u32) -> Self {
        let cycle = 2 + usize::try_from(seed % 6).unwrap_or_default();
        Self {
            mss,
            mode: Mode::Startup,
            rates: [0; BTLBW_FILTER_LEN],
            rt_prop: None,
            rt_prop_at: now,
            probe_rtt_done_at: None,
            slot: 0,
            slot_due: false,
            round_started: false,
            next_round_delivered: 0,
            full_rate: 0,
            full_rounds: 0,
            filled_pipe: false,
            cycle,
            cycle_at: now,
            cwnd: INITIAL_SEGMENTS * mss,
            prior_cwnd: 0,
            pacing_rate: 0,
            recovering: false,
            conserving: false,
            lumps: Lumps::default(),
        }
    }

    /// How many bytes may be on their way.
    pub(in super::super) const fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// Bytes a second; `None` while nothing is known.
    pub(in super::super) fn pacing_rate(&self) -> Option<u64> {
        (self.pacing_rate > 0).then_some(self.pacing_rate)
    }

    /// Whether the flow holds back on purpose, so that its rate says nothing about the path.
    pub(in super::super) fn holds_back(&self) -> bool {
        self.mode == Mode::ProbeRtt
    }

    /// Follows a change of the segment size.
    pub(in super::super) fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(self.min_cwnd());
    }

    /// Takes the round trip of the handshake.
    pub(in super::super) fn on_handshake(&mut self, now: Time, rtt: Duration) {
        self.rt_prop = Some(rtt);
        self.rt_prop_at = now;
        self.pacing_rate = scale(per_second(self.cwnd, rtt.max(SHORTEST_RTT)), HIGH_GAIN);
    }

    /// Notes that sending begins again after silence.
    pub(in super::super) fn on_restart(&mut self, now: Time) {
        if self.mode == Mode::ProbeBw && self.bandwidth() > 0 {
            self.pacing_rate = scale(self.bandwidth(), PACING_MARGIN);
        }
        // The silence was a probe for the round trip: the next measurement is as good as one.
        if now - self.rt_prop_at > RTPROP_FILTER_LEN {
            self.rt_prop_at = now;
            self.rt_prop = None;
        }
        self.lumps.since = now;
        self.lumps.acknowledged = 0;
    }

    /// Notes that segments were found lost.
    pub(in super::super) fn on_recovery(&mut self, in_flight: u32, delivered: u64) {
        self.save_cwnd();
        self.recovering = true;
        self.conserving = true;
        self.next_round_delivered = delivered;
        self.cwnd = in_flight.max(self.min_cwnd());
    }

    /// Notes that all that was on its way when the loss was found has arrived.
    pub(in super::super) fn on_recovered(&mut self) {
        self.recovering = false;
        self.conserving = false;
        self.cwnd = self.cwnd.max(self.prior_cwnd);
    }

    /// Notes that everything on its way is taken for lost.
    pub(in super::super) fn on_timeout(&mut self) {
        self.save_cwnd();
        self.recovering = true;
        self.full_rate = 0;
        self.full_rounds = 0;
        self.cwnd = self.mss;
    }

    fn save_cwnd(&mut self) {
        self.prior_cwnd = if self.recovering || self.mode == Mode::ProbeRtt {
            self.prior_cwnd.max(self.cwnd)
        } else {
            self.cwnd
        };
    }

    /// Takes what an acknowledgement told.
    pub(in super::super) fn on_ack(&mut self, ack: &Ack) {
        self.update_round(ack);
        self.update_lumps(ack);
        self.update_cycle(ack);
        self.check_full_pipe(ack);
        self.check_drain(ack);
        self.update_rt_prop(ack);
        self.set_pacing_rate();
        self.set_cwnd(ack);
    }

    fn update_round(&mut self, ack: &Ack) {
        self.round_started = false;
        if ack.delivered > 0 && ack.sample.prior_delivered >= self.next_round_delivered {
            self.next_round_delivered = ack.total;
            self.round_started = true;
            self.conserving = false;
            self.slot_due = true;
        }
        let Some(rate) = ack.sample.rate else { return };
        // Rounds without a sample that counts do not age what is known.
        if !ack.sample.app_limited || rate >= self.bandwidth() {
            if self.slot_due {
                self.slot_due = false;
                self.slot = (self.slot + 1) % BTLBW_FILTER_LEN;
                self.rates[self.slot] = 0;
            }
            self.rates[self.slot] = self.rates[self.slot].max(rate);
        }
    }

    fn update_lumps(&mut self, ack: &Ack) {
        let lumps = &mut self.lumps;
        if self.round_started {
            lumps.span_rounds += 1;
            if lumps.span_rounds >= 5 {
                lumps.span_rounds = 0;
                lumps.most = [0, lumps.most[0]];
            }
        }
        let bandwidth = self.rates.iter().copied().max().unwrap_or_default();
        let expected = bytes_in(bandwidth, ack.now - lumps.since);
        if lumps.acknowledged <= expected {
            lumps.since = ack.now;
            lumps.acknowledged = 0;
        }
        lumps.acknowledged += u64::from(ack.delivered);
        let expected = bytes_in(bandwidth, ack.now - lumps.since);
        let ahead = u32::try_from(lumps.acknowledged.saturating_sub(expected))
            .unwrap_or(u32::MAX)
            .min(self.cwnd);
        lumps.most[0] = lumps.most[0].max(ahead);
    }

    fn update_cycle(&mut self, ack: &Ack) {
        if self.mode != Mode::ProbeBw {
            return;
        }
        let long = ack.now - self.cycle_at > self.model_rtt();
        let over = match self.cycle {
            0 => long && (ack.lost > 0 || ack.prior_in_flight >= self.inflight(CYCLE[0])),
            1 => long || ack.prior_in_flight <= self.inflight(1.0),
            _ => long,
        };
        if over {
            self.cycle = (self.cycle + 1) % CYCLE.len();
            self.cycle_at = ack.now;
        }
    }

    fn check_full_pipe(&mut self, ack: &Ack) {
        if self.filled_pipe || !self.round_started || ack.sample.app_limited {
            return;
        }
        let bandwidth = self.bandwidth();
        if bandwidth >= self.full_rate.saturating_add(self.full_rate / 4) {
            self.full_rate = bandwidth;
            self.full_rounds = 0;
            return;
        }
        self.full_rounds += 1;
        self.filled_pipe = self.full_rounds >= 3;
    }

    fn check_drain(&mut self, ack: &Ack) {
        if self.mode == Mode::Startup && self.filled_pipe {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && ack.in_flight <= self.inflight(1.0) {
            self.enter_probe_bw(ack.now);
        }
    }

    fn enter_probe_bw(&mut self, now: Time) {
        self.mode = Mode::ProbeBw;
        self.cycle_at = now;
        if self.cycle < 2 {
            self.cycle = 2;
        }
    }

    fn update_rt_prop(&mut self, ack: &Ack) {
        let expired = ack.now - self.rt_prop_at > RTPROP_FILTER_LEN;
        if let Some(rtt) = ack.rtt
            && (expired || self.rt_prop.is_none_or(|least| rtt <= least))
        {
            self.rt_prop = Some(rtt);
            self.rt_prop_at = ack.now;
        }
        if expired && self.mode != Mode::ProbeRtt {
            self.save_cwnd();
            self.mode = Mode::ProbeRtt;
            self.probe_rtt_done_at = None;
        }
        if self.mode != Mode::ProbeRtt {
            return;
        }
        match self.probe_rtt_done_at {
            None if ack.in_flight <= self.probe_rtt_cwnd() => {
                self.probe_rtt_done_at = Some(ack.now + PROBE_RTT_DURATION.max(self.model_rtt()));
            }
            Some(done) if ack.now >= done => {
                self.rt_prop_at = ack.now;
                self.cwnd = self.cwnd.max(self.prior_cwnd);
                if self.filled_pipe {
                    self.enter_probe_bw(ack.now);
                } else {
                    self.mode = Mode::Startup;
                }
            }
            _ => {}
        }
    }

    fn set_pacing_rate(&mut self) {
        let bandwidth = self.bandwidth();
        if bandwidth == 0 {
            return;
        }
        let gain = match self.mode {
            Mode::Startup => HIGH_GAIN,
            Mode::Drain => DRAIN_GAIN,
            Mode::ProbeBw => CYCLE[self.cycle],
            Mode::ProbeRtt => 1.0,
        };
        let rate = scale(bandwidth, gain * PACING_MARGIN).max(1);
        if self.filled_pipe || rate > self.pacing_rate {
            self.pacing_rate = rate;
        }
    }

    fn set_cwnd(&mut self, ack: &Ack) {
        if ack.lost > 0 {
            self.cwnd = self.cwnd.saturating_sub(ack.lost).max(self.mss);
        }
        if self.conserving {
            self.cwnd = self.cwnd.max(ack.in_flight.saturating_add(ack.delivered));
        } else {
            let grown = self.cwnd.saturating_add(ack.delivered);
            let gain = if self.filled_pipe { CWND_GAIN } else { HIGH_GAIN };
            let target = self
                .inflight(gain)
                .saturating_add(self.lumps.most[0].max(self.lumps.most[1]));
            if self.filled_pipe {
                self.cwnd = grown.min(target);
            } else if self.cwnd < target || ack.total < u64::from(INITIAL_SEGMENTS * self.mss) {
                self.cwnd = grown;
            }
            self.cwnd = self.cwnd.max(self.min_cwnd());
        }
        if self.mode == Mode::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
    }

    fn bandwidth(&self) -> u64 {
        self.rates.iter().copied().max().unwrap_or_default()
    }

    fn model_rtt(&self) -> Duration {
        self.rt_prop.unwrap_or_default().max(SHORTEST_RTT)
    }

    /// What the path holds, times `gain`, with room for the lumps in which offloads send.
    fn inflight(&self, gain: f64) -> u32 {
        if self.bandwidth() == 0 || self.rt_prop.is_none() {
            return INITIAL_SEGMENTS * self.mss;
        }
        let bdp = scale(bytes_in(self.bandwidth(), self.model_rtt()), gain);
        u32::try_from(bdp).unwrap_or(u32::MAX).saturating_add(3 * self.mss)
    }

    fn probe_rtt_cwnd(&self) -> u32 {
        self.inflight(0.5).max(self.min_cwnd())
    }

    const fn min_cwnd(&self) -> u32 {
        MIN_SEGMENTS * self.mss
    }
}

fn per_second(bytes: u32, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

fn bytes_in(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rate that is off by one part in 2^53 is right; the cast back saturates"
)]
fn scale(value: u64, gain: f64) -> u64 {
    (value as f64 * gain) as u64
}
