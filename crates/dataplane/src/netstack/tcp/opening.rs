//! A connection that we open (RFC 9293 3.5), until its SYN is answered.

use std::time::Duration;

use super::{
    Seq,
    config::Config,
    connection::{Connection, clock, clock_offset},
    header::Header,
    segment::{Flags, Options, Segment, Timestamps},
};
use crate::time::Time;

/// How long the SYN waits for an answer at first (RFC 6298 2.1).
const SYN_TIMEOUT: Duration = Duration::from_secs(1);

/// How often that is doubled.
const MAX_DOUBLINGS: u8 = 5;

/// A SYN on its way. Pure, as [`Connection`] is.
#[derive(Debug)]
pub struct Opening {
    config: Config,
    isn: u32,
    sent: u8,
    first_sent_at: Time,
    /// When it goes out, again or at first.
    due: Time,
}

/// What a segment means for a connection that is being opened.
#[derive(Debug)]
pub enum Opened {
    /// Nothing.
    Waiting,
    /// Nobody listens.
    Refused,
    /// It is open.
    Connection(Box<Connection>),
}

impl Opening {
    /// Begins to open a connection. `isn` is our first sequence number, which shall be hard to guess (RFC 6528).
    pub fn new(now: Time, config: &Config, isn: u32) -> Self {
        Self {
            config: *config,
            isn,
            sent: 0,
            first_sent_at: now,
            due: now,
        }
    }

    /// Gives out the SYN if it is due.
    pub fn poll_transmit(&mut self, now: Time, emit: impl FnOnce(&Header)) {
        if now < self.due {
            return;
        }
        let options = Options {
            mss: Some(self.config.mss),
            window_scale: Some(self.config.window_scale()),
            sack_permitted: true,
            timestamps: Some(Timestamps {
                value: clock(now, clock_offset(self.isn)),
                echo: 0,
            }),
            ..Options::default()
        };
        emit(&Header {
            seq: Seq(self.isn),
            flags: Flags::SYN,
            window: u16::try_from(self.config.receive_initial.min(self.config.receive_max)).unwrap_or(u16::MAX),
            options,
            ..Header::default()
        });
        if self.sent == 0 {
            self.first_sent_at = now;
        }
        self.due = now + SYN_TIMEOUT * (1 << self.sent.min(MAX_DOUBLINGS));
        self.sent = self.sent.saturating_add(1);
    }

    /// When to call [`poll_transmit`](Self::poll_transmit), if nothing happens before.
    pub fn poll_timeout(&self) -> Time {
        self.due
    }

    /// Takes one segment (RFC 9293 3.10.7.3).
    pub fn handle_segment(&self, now: Time, segment: &Segment<'_>) -> Opened {
        let is_answer = self.sent > 0 && segment.has(Flags::ACK) && segment.ack == Seq(self.isn) + 1;
        if !is_answer {
            return Opened::Waiting;
        }
        if segment.has(Flags::RST) {
            return Opened::Refused;
        }
        if !segment.has(Flags::SYN) {
            return Opened::Waiting;
        }
        // Whose answer it is that was asked twice nobody knows (Karn's algorithm).
        let rtt = (self.sent == 1).then(|| now - self.first_sent_at);
        Opened::Connection(Box::new(Connection::opened(now, &self.config, self.isn, segment, rtt)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISN: u32 = u32::MAX;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn sent() -> Opening {
        let mut opening = Opening::new(at(0), &Config::ipv4(1_420), ISN);
        let mut seen = None;
        opening.poll_transmit(at(0), |header| seen = Some(*header));
        let header = seen.unwrap();
        assert_eq!((header.seq, header.flags, header.ack), (Seq(ISN), Flags::SYN, Seq(0)));
        assert!(header.options.mss == Some(1_380) && header.options.timestamps.is_some());
        opening
    }

    fn segment(flags: Flags, ack: u32) -> Segment<'static> {
        Segment {
            source_port: 1,
            destination_port: 2,
            seq: Seq(7),
            ack: Seq(ack),
            flags,
            window: 1_000,
            options: Options::default(),
            payload: &[],
        }
    }

    #[test]
    fn only_the_answer_to_its_syn_opens_or_ends_it() {
        // (flags, acknowledged, what becomes of it)
        for (flags, ack, expected) in [
            (Flags::SYN | Flags::ACK, 0, "Connection"),
            (Flags::SYN | Flags::ACK, 1, "Waiting"),
            (Flags::SYN | Flags::ACK, ISN, "Waiting"),
            (Flags::SYN, 0, "Waiting"),
            (Flags::ACK, 0, "Waiting"),
            (Flags::RST, 0, "Waiting"),
            (Flags::RST | Flags::ACK, 1, "Waiting"),
            (Flags::RST | Flags::ACK, 0, "Refused"),
        ] {
            let opened = format!("{:?}", sent().handle_segment(at(10), &segment(flags, ack)));
            assert!(opened.starts_with(expected), "{flags:?} {ack}: {opened}");
        }
        let unsent = Opening::new(at(0), &Config::ipv4(1_420), ISN);
        let early = unsent.handle_segment(at(0), &segment(Flags::SYN | Flags::ACK, 0));
        assert!(matches!(early, Opened::Waiting));
    }

    #[test]
    fn its_syn_goes_out_again_and_ever_more_seldom() {
        let mut opening = sent();
        for due in [1_000, 3_000, 7_000, 15_000, 31_000, 63_000, 95_000] {
            assert_eq!(opening.poll_timeout(), at(due));
            opening.poll_transmit(at(due - 1), |_| panic!("too early"));
            let mut count = 0;
            opening.poll_transmit(at(due), |_| count += 1);
            assert_eq!(count, 1);
        }
    }
}
