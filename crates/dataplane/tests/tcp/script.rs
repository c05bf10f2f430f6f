//! A client that follows a script, for what no well-behaved stack does.

use std::time::Duration;

use dataplane::{
    netstack::tcp::{Block, Config, Connection, End, Flags, Options, SackBlocks, Segment, Seq, State, Timestamps},
    time::Time,
};

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const FIN: u8 = 0x11;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x18;
pub(crate) const SYN_ACK: u8 = SYN | ACK;
pub(crate) const RST_ACK: u8 = RST | ACK;

/// One line of a script. Positions count from each side's SYN, which is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A segment from the client: flags, position, acknowledgement, bytes of data.
    In(u8, u32, u32, usize),
    /// The same with a window.
    Win(u8, u32, u32, usize, u16),
    /// An acknowledgement with one selective block.
    Sack(u32, (u32, u32)),
    /// A segment with a client's clock.
    Clock(u8, u32, u32, usize, u32),
    /// A segment from us: flags, position, acknowledgement, bytes of data.
    Out(u8, u32, u32, usize),
    /// Nothing from us.
    Quiet,
    /// Time goes by, in milliseconds; each timeout is served.
    Wait(u64),
    /// The outside connection stands.
    Dialled,
    /// The outside writes so many bytes.
    Write(usize),
    /// The outside reads everything and finds so many bytes.
    Read(usize),
    /// The outside has no more.
    Finish,
    /// The outside is gone.
    Abort,
    /// The path has become smaller.
    Mss(u16),
    /// What the connection shall say of itself.
    Is(State),
    /// How it shall have ended.
    Ended(End),
    /// Everything that goes out until here is of no interest.
    Skip,
}

/// A connection and what it has sent.
pub(crate) struct Stage {
    pub(crate) now: Time,
    irs: Seq,
    iss: Seq,
    options: Options,
    window: u16,
    pub(crate) connection: Option<Connection>,
    config: Config,
    sent: std::collections::VecDeque<(Flags, u32, u32, usize, Options)>,
}

impl Stage {
    pub(crate) fn new(options: Options, config: Config) -> Self {
        Self {
            now: Time::from_nanos(77_000_000_000),
            irs: Seq(u32::MAX - 100),
            iss: Seq(u32::MAX - 300),
            options,
            window: 60_000,
            connection: None,
            config,
            sent: std::collections::VecDeque::new(),
        }
    }

    fn segment(&mut self, flags: u8, seq: u32, ack: u32, len: usize, options: Options) {
        let payload = vec![b'x'; len];
        let segment = Segment {
            source_port: 1,
            destination_port: 2,
            seq: self.irs + seq,
            ack: self.iss + ack,
            flags: Flags(flags),
            window: self.window,
            options,
            payload: &payload,
        };
        match &mut self.connection {
            Some(connection) => connection.handle_segment(self.now, &segment),
            None => self.connection = Some(Connection::accept(self.now, &self.config, self.iss.0, &segment)),
        }
        self.transmit();
    }

    fn transmit(&mut self) {
        let (iss, irs, sent) = (self.iss, self.irs, &mut self.sent);
        if let Some(connection) = &mut self.connection {
            connection.poll_transmit(self.now, 0, &mut |header, (first, second)| {
                let seq = header.seq.0.wrapping_sub(iss.0);
                let ack = header.ack.0.wrapping_sub(irs.0);
                sent.push_back((header.flags, seq, ack, first.len() + second.len(), header.options));
                true
            });
        }
    }

    fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(due) = self
            .connection
            .as_ref()
            .and_then(Connection::poll_timeout)
            .filter(|due| *due <= end)
        {
            self.now = self.now.max(due);
            if let Some(connection) = &mut self.connection {
                connection.handle_timeout(self.now);
            }
            self.transmit();
        }
        self.now = end;
    }

    pub(crate) fn play(&mut self, story: &str, steps: &[Step]) {
        for (index, step) in steps.iter().enumerate() {
            self.step(&format!("{story}, step {index}: {step:?}"), *step);
        }
    }

    fn step(&mut self, story: &str, step: Step) {
        let options = if self.connection.is_none() {
            self.options
        } else {
            Options::default()
        };
        match step {
            Step::In(flags, seq, ack, len) => self.segment(flags, seq, ack, len, options),
            Step::Win(flags, seq, ack, len, window) => {
                self.window = window;
                self.segment(flags, seq, ack, len, options);
            }
            Step::Sack(ack, (start, end)) => {
                let block: Block = (self.iss + start, self.iss + end);
                let mut sack = SackBlocks::default();
                sack.push(block);
                let seq = self.connection.as_ref().map_or(0, |_| 1);
                self.segment(ACK, seq, ack, 0, Options { sack, ..options });
            }
            Step::Clock(flags, seq, ack, len, value) => {
                let timestamps = Some(Timestamps { value, echo: 0 });
                self.segment(flags, seq, ack, len, Options { timestamps, ..options });
            }
            Step::Out(flags, seq, ack, len) => {
                let Some((found, found_seq, found_ack, found_len, _)) = self.sent.pop_front() else {
                    panic!("{story}: nothing was sent")
                };
                let found_ack = if found.contains(Flags::ACK) { found_ack } else { ack };
                assert_eq!(
                    (found, found_seq, found_ack, found_len),
                    (Flags(flags), seq, ack, len),
                    "{story}"
                );
            }
            Step::Quiet => assert!(self.sent.is_empty(), "{story}: {:?}", self.sent),
            Step::Skip => self.sent.clear(),
            Step::Wait(millis) => self.wait(millis),
            Step::Is(state) => assert_eq!(self.connection.as_ref().map(Connection::state), Some(state), "{story}"),
            Step::Ended(end) => {
                let connection = self.connection.as_ref();
                assert!(connection.is_some_and(Connection::is_closed), "{story}");
                assert_eq!(connection.and_then(Connection::end), Some(end), "{story}");
            }
            Step::Dialled => self.outside(story, |connection, _| connection.dialled()),
            Step::Write(len) => self.outside(story, |connection, _| {
                assert_eq!(connection.write(&vec![b'y'; len]), len, "{story}");
            }),
            Step::Read(len) => self.outside(story, |connection, now| {
                let (first, second) = connection.readable();
                assert_eq!(first.len() + second.len(), len, "{story}");
                assert!(first.iter().chain(second).all(|&byte| byte == b'x'));
                connection.consume(now, len);
            }),
            Step::Finish => self.outside(story, |connection, _| connection.finish()),
            Step::Abort => self.outside(story, |connection, _| connection.abort()),
            Step::Mss(mss) => self.outside(story, |connection, now| connection.set_mss(now, mss)),
        }
    }

    fn outside(&mut self, story: &str, act: impl FnOnce(&mut Connection, Time)) {
        let Some(connection) = &mut self.connection else {
            panic!("{story}: no connection")
        };
        act(connection, self.now);
        self.transmit();
    }

    /// The options of the newest segment.
    pub(crate) fn last_options(&self) -> Options {
        self.sent.back().map(|sent| sent.4).unwrap_or_default()
    }
}

/// A client with nothing but the segment size.
pub(crate) fn plain() -> Options {
    Options {
        mss: Some(1000),
        ..Options::default()
    }
}

/// A client with selective acknowledgements.
pub(crate) fn selective() -> Options {
    Options {
        sack_permitted: true,
        ..plain()
    }
}
