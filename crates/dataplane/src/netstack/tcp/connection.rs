//! The life of one connection (RFC 9293 3.3.2), from a client's SYN or from the answer to ours.

use std::time::Duration;

use super::{
    Seq,
    acknowledge::{Acknowledged, Echo},
    acks::Acks,
    config::{Config, SMALLEST_MSS},
    receive::Receiver,
    segment::{Flags, Segment},
    send::Sender,
};
use crate::time::Time;

/// How many answers to impossible segments go out (RFC 5961 7), in a time of [`CHALLENGE_WINDOW`].
const CHALLENGES: u8 = 10;
const CHALLENGE_WINDOW: Duration = Duration::from_secs(1);

/// Where a connection stands: RFC 9293 3.3.2, and [`Dialling`](Self::Dialling) before its SYN is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A SYN came; the outside connection is being made.
    Dialling,
    /// Our SYN is on its way.
    SynReceived,
    /// Both directions are open.
    Established,
    /// We have ended our direction, and the client has not acknowledged it.
    FinWait1,
    /// We have ended our direction.
    FinWait2,
    /// The client has ended its direction.
    CloseWait,
    /// Both ended at once, and the client has not acknowledged our end.
    Closing,
    /// Both have ended, the client first, and it has not acknowledged our end.
    LastAck,
    /// Both have ended, we first: stray segments are still answered.
    TimeWait,
    /// It is over.
    Closed,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both directions were closed in order.
    Finished,
    /// The client reset it.
    Reset,
    /// We reset it: [`Connection::abort`].
    Aborted,
    /// The client stayed silent for too long.
    TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Dialling,
    SynReceived,
    Open,
    TimeWait(Time),
    /// A reset goes out next.
    Resetting(End),
    Closed(End),
}

/// One connection between a client in the tunnel and us.
///
/// Pure: it reads no clock and opens no socket. Segments go in by [`handle_segment`](Self::handle_segment) and come out
/// of [`poll_transmit`](Self::poll_transmit), which shall be called after each batch of calls of the other methods;
/// [`poll_timeout`](Self::poll_timeout) says when to come back although nothing happened.
#[derive(Debug)]
pub struct Connection {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) irs: Seq,
    pub(super) iss: Seq,
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
    pub(super) acks: Acks,
    /// What the client's SYN offered and we took.
    pub(super) timestamps: bool,
    pub(super) client_scale: Option<u8>,
    /// The client's clock as we last echo it, and when that was seen.
    pub(super) recent: (u32, Time),
    pub(super) clock_offset: u32,
    pub(super) last_ack_sent: Seq,
    pub(super) syn: SynAck,
    challenges: (u8, Time),
    /// When the client was last heard, and how many questions it has left unanswered since.
    pub(super) heard_at: Time,
    pub(super) asked: u8,
    pub(super) asked_at: Time,
    pub(super) ask: bool,
    /// A reset for one bad acknowledgement of our SYN.
    pub(super) stray_reset: Option<Seq>,
    /// When the client acknowledged something or sent data, or we did.
    pub(super) active_at: Time,
    pub(super) memory_held: bool,
    /// Whether our FIN went out before the client's came.
    ended_first: bool,
}

/// The state of our SYN.
#[derive(Clone, Copy, Debug)]
pub(super) struct SynAck {
    pub(super) due: bool,
    pub(super) sent: u8,
    pub(super) first_sent_at: Time,
    pub(super) again_at: Option<Time>,
}

impl Connection {
    /// Begins a connection with a client's SYN, which stays unanswered until [`dialled`](Self::dialled) or
    /// [`abort`](Self::abort). `isn` is our first sequence number, which shall be hard to guess (RFC 6528).
    pub fn accept(now: Time, config: &Config, isn: u32, syn: &Segment<'_>) -> Self {
        let iss = Seq(isn);
        let options = &syn.options;
        let scale = if options.window_scale.is_some() {
            config.window_scale()
        } else {
            0
        };
        let receive_max = if scale == 0 {
            config.receive_max.min(0xffff)
        } else {
            config.receive_max
        };
        let mss = options
            .mss
            .unwrap_or(config.default_mss)
            .clamp(SMALLEST_MSS, config.mss.max(SMALLEST_MSS));
        let mut sender = Sender::new(now, iss + 1, u32::from(mss), config.send_max, options.sack_permitted);
        sender.window = u32::from(syn.window);
        sender.window_max = sender.window;
        sender.window_seen = (syn.seq, iss);
        Self {
            config: *config,
            phase: Phase::Dialling,
            irs: syn.seq,
            iss,
            receiver: Receiver::new(now, syn.seq + 1, config.receive_initial, receive_max, scale),
            sender,
            acks: Acks::new(),
            timestamps: options.timestamps.is_some(),
            client_scale: options.window_scale.map(|scale| scale.min(14)),
            recent: (options.timestamps.unwrap_or_default().value, now),
            clock_offset: clock_offset(isn),
            last_ack_sent: syn.seq + 1,
            syn: SynAck {
                due: false,
                sent: 0,
                first_sent_at: now,
                again_at: None,
            },
            challenges: (0, now),
            heard_at: now,
            asked: 0,
            asked_at: now,
            ask: false,
            stray_reset: None,
            active_at: now,
            memory_held: false,
            ended_first: false,
        }
    }

    /// A connection that we opened, by the answer to our SYN, which offered all that we know. `rtt` is how long that took,
    /// if it is known.
    pub(super) fn opened(now: Time, config: &Config, isn: u32, syn_ack: &Segment<'_>, rtt: Option<Duration>) -> Self {
        let mut connection = Self::accept(now, config, isn, syn_ack);
        connection.phase = Phase::Open;
        connection.syn.sent = 1;
        connection.sender.window_seen = (syn_ack.seq, syn_ack.ack);
        // Our SYN has told it.
        connection.receiver.tell_first_window();
        if let Some(rtt) = rtt {
            connection.sender.rtt.sample(now, rtt);
            connection.sender.congestion.on_handshake(now, rtt);
        }
        connection.acks.demand();
        connection
    }

    /// Answers the SYN: the outside connection stands.
    pub fn dialled(&mut self) {
        if self.phase == Phase::Dialling {
            self.phase = Phase::SynReceived;
            self.syn.due = true;
        }
    }

    /// Ends the connection with a reset: the outside was refused, or has reset its connection. What was not sent is lost.
    /// It is closed once the reset has gone out.
    pub fn abort(&mut self) {
        match self.phase {
            Phase::Closed(_) | Phase::Resetting(_) => {}
            Phase::TimeWait(_) => self.close(End::Finished),
            Phase::Dialling | Phase::SynReceived | Phase::Open => self.phase = Phase::Resetting(End::Aborted),
        }
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Dialling => State::Dialling,
            Phase::SynReceived => State::SynReceived,
            Phase::TimeWait(_) => State::TimeWait,
            Phase::Closed(_) | Phase::Resetting(_) => State::Closed,
            Phase::Open => {
                let sender = &self.sender;
                match (
                    sender.fin_sent(),
                    sender.fin_acknowledged(),
                    self.receiver.is_finished(),
                ) {
                    (false, _, false) => State::Established,
                    (false, _, true) => State::CloseWait,
                    (true, false, false) => State::FinWait1,
                    (true, true, _) => State::FinWait2,
                    (true, false, true) if self.ended_first => State::Closing,
                    (true, false, true) => State::LastAck,
                }
            }
        }
    }

    /// Whether the connection is over and nothing is left to send. Data that came in order can still be read.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// How the connection ended, once it [`is_closed`](Self::is_closed); a reset of ours is known at once.
    pub fn end(&self) -> Option<End> {
        match self.phase {
            Phase::Closed(end) | Phase::Resetting(end) => Some(end),
            Phase::Dialling | Phase::SynReceived | Phase::Open | Phase::TimeWait(_) => None,
        }
    }

    /// Whether a SYN on the same four-tuple begins a new connection in this one's place (RFC 9293 3.10.7.4,
    /// RFC 6191): the caller then drops this object.
    pub fn may_be_replaced_by(&self, segment: &Segment<'_>) -> bool {
        if !segment.has(Flags::SYN) || segment.has(Flags::ACK) || segment.has(Flags::RST) {
            return false;
        }
        match self.phase {
            Phase::Closed(_) => true,
            Phase::Dialling => segment.seq != self.irs,
            Phase::TimeWait(_) => {
                let newer = segment.options.timestamps.filter(|_| self.timestamps);
                newer.is_some_and(|clocks| clocks.value.wrapping_sub(self.recent.0).cast_signed() > 0)
                    || segment.seq.is_after(self.receiver.next())
            }
            Phase::SynReceived | Phase::Open | Phase::Resetting(_) => false,
        }
    }

    /// Follows a smaller path MTU, from an ICMP message about this flow: `mss` is the largest segment without headers.
    /// A larger size than the present is ignored.
    pub fn set_mss(&mut self, now: Time, mss: u16) {
        let mss = u32::from(mss.max(SMALLEST_MSS));
        if mss < self.sender.mss {
            self.sender.set_mss(now, mss);
        }
    }

    /// Takes one segment from the client.
    pub fn handle_segment(&mut self, now: Time, segment: &Segment<'_>) {
        match self.phase {
            Phase::Dialling => self.segment_while_dialling(segment),
            Phase::SynReceived | Phase::Open | Phase::TimeWait(_) => self.segment_while_open(now, segment),
            Phase::Resetting(_) | Phase::Closed(_) => {}
        }
    }

    fn segment_while_dialling(&mut self, segment: &Segment<'_>) {
        if segment.has(Flags::RST) && segment.seq == self.receiver.next() {
            self.close(End::Reset);
        }
    }

    /// RFC 9293 3.10.7.4, step by step.
    fn segment_while_open(&mut self, now: Time, segment: &Segment<'_>) {
        if self.is_repeated_syn(segment) {
            self.syn.due = true;
            return;
        }
        if self.is_from_the_past(now, segment) || !self.receiver.accepts(segment.seq, segment.len()) {
            if !segment.has(Flags::RST) {
                self.answer_unacceptable(now, segment);
            }
            return;
        }
        if segment.has(Flags::RST) {
            if segment.seq == self.receiver.next() {
                self.close(End::Reset);
            } else {
                self.challenge(now);
            }
            return;
        }
        if segment.has(Flags::SYN) {
            self.challenge(now);
            return;
        }
        if !segment.has(Flags::ACK) {
            return;
        }
        if let (Some(clocks), false) = (segment.options.timestamps, segment.seq.is_after(self.last_ack_sent)) {
            self.recent = (clocks.value, now);
        }
        if self.phase == Phase::SynReceived && !self.establish(now, segment) {
            return;
        }
        let echo = self.echo(now, segment);
        if self
            .sender
            .acknowledge(now, segment, self.client_scale.unwrap_or(0), echo)
            == Acknowledged::Impossible
        {
            self.challenge(now);
            return;
        }
        self.heard_at = now;
        self.active_at = now;
        self.asked = 0;
        self.take_payload(now, segment);
        self.follow_ends(now, segment);
    }

    fn is_repeated_syn(&self, segment: &Segment<'_>) -> bool {
        self.phase == Phase::SynReceived && segment.flags.0 & 0x17 == Flags::SYN.0 && segment.seq == self.irs
    }

    /// Protection against wrapped sequence numbers (RFC 7323 5).
    fn is_from_the_past(&self, now: Time, segment: &Segment<'_>) -> bool {
        let (recent, at) = self.recent;
        self.timestamps
            && !segment.has(Flags::RST)
            && segment
                .options
                .timestamps
                .is_some_and(|clocks| clocks.value.wrapping_sub(recent).cast_signed() < 0)
            && now - at < Duration::from_secs(24 * 24 * 3600)
    }

    /// Old data is answered always: its first acknowledgement may be lost. Empty segments are answered as challenges are.
    fn answer_unacceptable(&mut self, now: Time, segment: &Segment<'_>) {
        if segment.is_empty() || segment.has(Flags::SYN) {
            self.challenge(now);
        } else {
            self.receiver.repeat(segment.seq, segment.payload.len());
            self.acks.demand();
            if let Phase::TimeWait(until) = &mut self.phase {
                *until = now + self.config.time_wait;
            }
        }
    }

    fn challenge(&mut self, now: Time) {
        let (count, since) = &mut self.challenges;
        if now - *since >= CHALLENGE_WINDOW {
            (*count, *since) = (0, now);
        }
        if *count < CHALLENGES {
            *count += 1;
            self.acks.demand();
        }
    }

    /// Takes the acknowledgement of our SYN.
    fn establish(&mut self, now: Time, segment: &Segment<'_>) -> bool {
        if segment.ack != self.iss + 1 || self.syn.sent == 0 {
            self.stray_reset = Some(segment.ack);
            return false;
        }
        self.phase = Phase::Open;
        let echo = self.echo(now, segment).map(|echo| echo.age);
        let rtt = if self.syn.sent == 1 {
            Some(now - self.syn.first_sent_at)
        } else {
            echo
        };
        if let Some(rtt) = rtt {
            self.sender.rtt.sample(now, rtt);
            self.sender.congestion.on_handshake(now, rtt);
        }
        self.syn.again_at = None;
        true
    }

    /// Our clock as the client's segment echoes it.
    fn echo(&self, now: Time, segment: &Segment<'_>) -> Option<Echo> {
        let clock = segment.options.timestamps.filter(|_| self.timestamps)?.echo;
        let age = self.clock(now).wrapping_sub(clock);
        (age < 1 << 20).then(|| Echo {
            clock,
            age: Duration::from_millis(u64::from(age)),
        })
    }

    /// Our timestamps' clock, in milliseconds.
    pub(super) fn clock(&self, now: Time) -> u32 {
        clock(now, self.clock_offset)
    }

    fn take_payload(&mut self, now: Time, segment: &Segment<'_>) {
        if segment.is_empty() {
            return;
        }
        if !self.receiver.is_finished() {
            self.ended_first = self.sender.fin_sent();
        }
        let gaps = self.receiver.has_gaps();
        let arrival = self
            .receiver
            .accept(segment.seq, segment.payload, segment.has(Flags::FIN));
        self.memory_held = true;
        let len = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        self.acks.arrived(now, len, arrival, self.sender.mss);
        if gaps && self.receiver.has_gaps() && !self.sender.sack {
            self.acks.demand_repeat();
        }
    }

    fn follow_ends(&mut self, now: Time, segment: &Segment<'_>) {
        if let Phase::TimeWait(until) = &mut self.phase {
            if segment.has(Flags::FIN) {
                *until = now + self.config.time_wait;
            }
        } else if self.receiver.is_finished() && self.sender.fin_acknowledged() {
            // Who waits for strays needs no buffers.
            self.sender.release();
            self.receiver.release();
            if self.ended_first {
                self.phase = Phase::TimeWait(now + self.config.time_wait);
            } else {
                self.close(End::Finished);
            }
        }
    }

    pub(super) fn close(&mut self, end: End) {
        let finished = matches!(self.phase, Phase::TimeWait(_));
        self.phase = Phase::Closed(if finished { End::Finished } else { end });
    }
}

/// What is added to the clock of a connection with this first sequence number: each has its own.
pub(super) fn clock_offset(isn: u32) -> u32 {
    isn.wrapping_mul(0x9e37_79b1)
}

/// The clock of a connection with this offset, in milliseconds.
pub(super) fn clock(now: Time, offset: u32) -> u32 {
    let millis = (now.as_nanos() / 1_000_000) & u64::from(u32::MAX);
    u32::try_from(millis).unwrap_or_default().wrapping_add(offset)
}
