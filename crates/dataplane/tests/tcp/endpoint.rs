//! Our connection with an application on its outside, as an end of the simulated link.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use dataplane::{
    netstack::tcp::{Config, Connection, Flags, Header, Options, Segment, Seq, State, Timestamps, write_checksum},
    time::Time,
};

use crate::link::Endpoint;

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 13, 13, 2);
pub(crate) const SERVER_PORT: u16 = 80;
pub(crate) const CLIENT_PORT: u16 = 50_000;

/// The byte at position `at` of every test's stream.
pub(crate) fn byte(at: u64) -> u8 {
    let at = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (at >> 56) as u8
}

/// What the outside of a connection does.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    /// How much it writes before it finishes; `u64::MAX` never ends.
    pub(crate) to_write: u64,
    pub(crate) written: u64,
    pub(crate) read: u64,
    /// How many bytes a second it reads.
    pub(crate) read_rate: u64,
    pub(crate) finishes: bool,
    /// When it writes first.
    pub(crate) starts_at: Time,
    finished: bool,
    pub(crate) read_finished: bool,
    /// Whether bytes are made and looked at; throughput tests need not.
    pub(crate) checks: bool,
}

impl Application {
    pub(crate) fn new(to_write: u64) -> Self {
        Self {
            to_write,
            written: 0,
            read: 0,
            read_rate: u64::MAX,
            starts_at: Time::ZERO,
            finishes: true,
            finished: false,
            read_finished: false,
            checks: true,
        }
    }
}

/// A connection and its application.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) isn: u32,
    pub(crate) connection: Option<Connection>,
    pub(crate) application: Application,
    pub(crate) dial_at: Option<Time>,
    pub(crate) most: usize,
    started: Option<Time>,
    read_at: Option<Time>,
    ports: (u16, u16),
    stray: Vec<Header>,
}

impl Server {
    pub(crate) fn new(config: Config, isn: u32, application: Application) -> Self {
        Self {
            config,
            isn,
            connection: None,
            application,
            dial_at: None,
            most: 0,
            started: None,
            read_at: None,
            ports: (SERVER_PORT, CLIENT_PORT),
            stray: Vec::new(),
        }
    }

    /// Two connections that face each other, as if each had accepted the other; established after `rtt`.
    pub(crate) fn pair(config: Config, now: Time, rtt: Duration, applications: [Application; 2]) -> [Self; 2] {
        let isns = [u32::MAX - 50_000, 77_777];
        let [first, second] = applications;
        let mut ends = [Self::new(config, isns[0], first), Self::new(config, isns[1], second)];
        let syn = |seq: u32, clock: u32, scale: u8| Segment {
            source_port: CLIENT_PORT,
            destination_port: SERVER_PORT,
            seq: Seq(seq),
            ack: Seq(0),
            flags: Flags::SYN,
            window: 0xffff,
            options: Options {
                mss: Some(config.mss),
                window_scale: Some(scale),
                sack_permitted: true,
                timestamps: Some(Timestamps { value: clock, echo: 0 }),
                ..Options::default()
            },
            payload: &[],
        };
        // What the clocks show, and how windows are scaled, is told by a connection that is thrown away.
        let clocks = isns.map(|isn| {
            let (mut clock, mut scale) = (0, 0);
            let mut connection = Connection::accept(now, &config, isn, &syn(0, 0, 0));
            connection.dialled();
            connection.poll_transmit(now, 0, &mut |header, _| {
                clock = header.options.timestamps.map_or(0, |clocks| clocks.value);
                scale = header.options.window_scale.unwrap_or(0);
                true
            });
            (clock, scale)
        });
        for (index, end) in ends.iter_mut().enumerate() {
            let (clock, scale) = clocks[1 - index];
            let mut segment = syn(isns[1 - index], clock, scale);
            let mut connection = Connection::accept(now, &config, isns[index], &segment);
            connection.dialled();
            connection.poll_transmit(now, 0, &mut |_, _| true);
            segment.seq = segment.seq + 1;
            segment.ack = Seq(isns[index]) + 1;
            segment.flags = Flags::ACK;
            segment.window = 0xff;
            connection.handle_segment(now + rtt, &segment);
            end.connection = Some(connection);
        }
        ends
    }

    fn work(&mut self, now: Time) {
        let Some(connection) = &mut self.connection else { return };
        if self.dial_at.is_some_and(|at| at <= now) {
            self.dial_at = None;
            connection.dialled();
        }
        let application = &mut self.application;
        let start = *self.started.get_or_insert(now);
        let mut may_read = u64::MAX;
        if application.read_rate != u64::MAX {
            let elapsed = (now - start).as_nanos() * u128::from(application.read_rate) / 1_000_000_000;
            may_read = (elapsed as u64).saturating_sub(application.read);
        }
        let (first, second) = connection.readable();
        let readable = (first.len() + second.len()) as u64;
        let len = readable.min(may_read);
        if application.checks {
            for (index, &found) in first.iter().chain(second).take(len as usize).enumerate() {
                let at = application.read + index as u64;
                assert_eq!(found, byte(at), "byte {at} of the stream");
            }
        }
        application.read += len;
        connection.consume(now, len as usize);
        self.read_at = (readable > len).then(|| now + Duration::from_millis(2));
        application.read_finished |= connection.is_read_finished();
        while application.written < application.to_write && application.starts_at <= now {
            let room = connection.write_room();
            let want = (room as u64).min(application.to_write - application.written) as usize;
            let (first, second) = connection.spare(want);
            let len = first.len() + second.len();
            if application.checks {
                for (index, slot) in first.iter_mut().chain(second).enumerate() {
                    *slot = byte(application.written + index as u64);
                }
            }
            if len == 0 {
                break;
            }
            connection.commit(len);
            application.written += len as u64;
        }
        if application.written == application.to_write && application.finishes && !application.finished {
            application.finished = true;
            connection.finish();
        }
    }

    /// Whether the connection is over, or as good as, and everything was read.
    pub(crate) fn is_done(&self) -> bool {
        let over = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.is_closed() || connection.state() == State::TimeWait);
        over && self.application.read_finished
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_closed)
    }
}

impl Endpoint for Server {
    fn receive(&mut self, now: Time, bytes: &[u8]) {
        let Some(segment) = Segment::parse(bytes) else {
            panic!("a segment that cannot be read")
        };
        match &mut self.connection {
            // Who knows no connection answers with a reset.
            Some(connection) if connection.is_closed() => self.stray.extend(Header::reset_for(&segment)),
            Some(connection) => connection.handle_segment(now, &segment),
            None if segment.has(Flags::SYN) => {
                self.connection = Some(Connection::accept(now, &self.config, self.isn, &segment));
                self.dial_at = Some(now + Duration::from_millis(3));
            }
            None => {}
        }
    }

    fn transmit(&mut self, now: Time, send: &mut dyn FnMut(&[u8])) {
        self.work(now);
        let (most, (source, destination)) = (self.most, self.ports);
        for header in self.stray.drain(..) {
            emit(&header, (&[], &[]), source, destination, send);
        }
        let Some(connection) = &mut self.connection else { return };
        for _ in 0..4 {
            let due = connection.poll_timeout().is_some_and(|due| due <= now);
            if due {
                connection.handle_timeout(now);
            }
            connection.poll_transmit(now, most, &mut |header, payload| {
                emit(header, payload, source, destination, send);
                true
            });
            if !due {
                break;
            }
        }
        let due = connection.poll_timeout();
        assert!(
            due.is_none_or(|due| due > now),
            "a timeout stays due: {due:?} at {now:?}"
        );
    }

    fn timeout(&self) -> Option<Time> {
        let connection = self.connection.as_ref()?;
        [self.dial_at, self.read_at, connection.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Cuts what a connection emits into segments and writes them with checksums.
pub(crate) fn emit(
    header: &Header,
    (first, second): (&[u8], &[u8]),
    source: u16,
    destination: u16,
    send: &mut dyn FnMut(&[u8]),
) {
    let total = first.len() + second.len();
    let mut at = 0;
    let mut bytes = [0; 2048];
    loop {
        let len = (total - at).min(header.segment_size.max(1));
        let last = at + len == total;
        let mut header = *header;
        header.seq = header.seq + at as u32;
        if !last {
            header.flags = Flags(header.flags.0 & !(Flags::FIN.0 | Flags::PSH.0));
        }
        let head = header.write(source, destination, &mut bytes);
        let from_first = first.len().saturating_sub(at).min(len);
        let body = &mut bytes[head..head + len];
        body[..from_first].copy_from_slice(&first[at.min(first.len())..][..from_first]);
        body[from_first..]
            .copy_from_slice(&second[(at + from_first).saturating_sub(first.len())..][..len - from_first]);
        let bytes = &mut bytes[..head + len];
        write_checksum(IpAddr::V4(SERVER), IpAddr::V4(CLIENT), bytes);
        send(bytes);
        at += len;
        if last {
            return;
        }
    }
}

/// Several flows that share a link; the ports tell them apart.
pub(crate) struct Bundle(pub(crate) Vec<Server>);

impl Bundle {
    /// Gives each flow its ports.
    pub(crate) fn new(mut flows: Vec<Server>) -> Self {
        for (index, flow) in flows.iter_mut().enumerate() {
            flow.ports = (1000 + index as u16, 1000 + index as u16);
        }
        Self(flows)
    }
}

impl Endpoint for Bundle {
    fn receive(&mut self, now: Time, bytes: &[u8]) {
        let Some(segment) = Segment::parse(bytes) else {
            panic!("a segment that cannot be read")
        };
        self.0[usize::from(segment.source_port - 1000)].receive(now, bytes);
    }

    fn transmit(&mut self, now: Time, send: &mut dyn FnMut(&[u8])) {
        for flow in &mut self.0 {
            flow.transmit(now, send);
        }
    }

    fn timeout(&self) -> Option<Time> {
        self.0.iter().filter_map(Server::timeout).min()
    }
}
