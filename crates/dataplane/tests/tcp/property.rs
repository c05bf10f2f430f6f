//! What holds whatever happens: streams stay whole, and nothing that a client sends breaks an invariant.

use std::time::Duration;

use dataplane::{
    netstack::tcp::{
        Block, Config, Connection, End, Flags, MAX_HEADER_LEN, Options, SackBlocks, Segment, Seq, Timestamps,
    },
    time::Time,
};
use proptest::prelude::*;

use crate::{
    endpoint::{Application, Server, byte},
    link::{Link, Path},
};

fn path() -> impl Strategy<Value = Path> {
    let chance = || prop_oneof![Just(0_u64), Just(3_000), Just(30_000), Just(300_000)];
    let rate = prop_oneof![Just(0_u64), Just(200_000), Just(30_000_000)];
    (0_u64..60_000, rate, 5_000_u64..200_000, chance(), chance(), chance()).prop_map(
        |(delay, rate, queue, loss, duplication, reordering)| Path {
            rate,
            queue,
            loss,
            duplication,
            reordering,
            ..Path::new(Duration::from_micros(delay))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn streams_arrive_whole_and_in_order_or_the_connection_is_reset(
        seed in any::<u64>(),
        (there, back) in (path(), path()),
        sizes in (0_u64..150_000, 0_u64..150_000),
        read_rate in prop_oneof![Just(u64::MAX), Just(100_000_u64)],
        most in prop_oneof![Just(0_usize), Just(20_000)],
        outage in prop_oneof![Just(0_u64), Just(5), Just(1_000)],
    ) {
        let mut link = Link::new(seed, there, back);
        let [mut first, second] = [Application::new(sizes.0), Application::new(sizes.1)];
        first.read_rate = read_rate;
        let rtt = there.delay + back.delay;
        let config = Config { time_wait: Duration::from_secs(100), ..Config::ipv4(1420) };
        let [mut a, mut b] = Server::pair(config, link.now, rtt, [first, second]);
        a.most = most;
        link.now = link.now + rtt;
        if outage > 0 {
            link.run(&mut a, &mut b, Duration::from_millis(200), |_, _, _| false);
            let lossy = (link.path(0).loss, link.path(1).loss);
            (link.path(0).loss, link.path(1).loss) = (1_000_000, 1_000_000);
            link.run(&mut a, &mut b, Duration::from_secs(outage), |_, _, _| false);
            (link.path(0).loss, link.path(1).loss) = lossy;
        }
        link.run(&mut a, &mut b, Duration::from_secs(3000), |_, a, b| a.is_done() && b.is_done());
        let ends = [&a, &b].map(|end| end.connection.as_ref().and_then(Connection::end));
        if ends.contains(&Some(End::TimedOut)) || ends.contains(&Some(End::Reset)) {
            prop_assert!(outage > 100 || there.loss.max(back.loss) > 100_000, "{:?}", ends);
        } else {
            prop_assert!(a.is_done() && b.is_done(), "{:?}", ends);
            prop_assert_eq!((a.application.read, b.application.read), (sizes.1, sizes.0));
        }
    }
}

/// What happens to a connection in the test below.
#[derive(Clone, Debug)]
enum Event {
    Segment {
        flags: u8,
        seq: u32,
        ack: u32,
        window: u16,
        len: usize,
        sack: Vec<(u32, u32)>,
        clock: Option<(u32, u32)>,
    },
    Bytes(Vec<u8>),
    Write(usize),
    Read(usize),
    Wait(u64),
    Finish,
    Abort,
    Dialled,
    Mss(u16),
    NoRoom,
}

fn near() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => 0_u32..30_000,
        3 => 0_u32..3,
        1 => any::<u32>(),
        1 => (0_u32..10_000).prop_map(|back| 0_u32.wrapping_sub(back)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let flags = prop_oneof![10 => Just(0x10_u8), 5 => Just(0x18), 1 => Just(0x11), 1 => any::<u8>()];
    let window = prop_oneof![Just(0_u16), Just(5), Just(3000), any::<u16>()];
    let sack = prop::collection::vec((near(), near()), 0..4);
    let clock = prop::option::of((0_u32..1000, any::<u32>()));
    let segment = (
        flags,
        near(),
        near(),
        window,
        prop_oneof![Just(0_usize), 1..3000_usize],
        sack,
        clock,
    )
        .prop_map(|(flags, seq, ack, window, len, sack, clock)| Event::Segment {
            flags,
            seq,
            ack,
            window,
            len,
            sack,
            clock,
        });
    prop_oneof![
        30 => segment,
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Event::Bytes),
        5 => (0_usize..20_000).prop_map(Event::Write),
        5 => (0_usize..100_000).prop_map(Event::Read),
        5 => (0_u64..3_000_000).prop_map(Event::Wait),
        1 => (0_u64..300_000_000).prop_map(Event::Wait),
        1 => Just(Event::Finish),
        1 => Just(Event::Abort),
        3 => Just(Event::Dialled),
        1 => any::<u16>().prop_map(Event::Mss),
        2 => Just(Event::NoRoom),
    ]
}

/// A connection under attack, and what is known about it.
struct Victim {
    now: Time,
    connection: Connection,
    iss: Seq,
    irs: Seq,
    written: u64,
    /// The highest acknowledgement and the right edge of the window that it has told.
    told: (Seq, Seq),
    finished: bool,
}

impl Victim {
    fn transmit(&mut self, room: usize) {
        let (iss, written, finished) = (self.iss, self.written, self.finished);
        let (mut left, mut bytes, mut told) = (room, [0; MAX_HEADER_LEN], self.told);
        self.connection
            .poll_transmit(self.now, 5000, &mut |header, (first, second)| {
                if left == 0 {
                    return false;
                }
                left -= 1;
                assert!(header.write(1, 2, &mut bytes) <= MAX_HEADER_LEN);
                assert!(header.segment_size + header.len() <= 1400, "fits through the tunnel");
                let len = first.len() + second.len();
                if header.flags.contains(Flags::RST) {
                    assert_eq!(len, 0);
                    return true;
                }
                if !header.flags.contains(Flags::SYN) && len > 0 {
                    let at = u64::from(header.seq.since(iss + 1));
                    assert!(at + len as u64 <= written, "only what was written is sent");
                    for (index, &found) in first.iter().chain(second).enumerate() {
                        assert_eq!(found, byte(at + index as u64));
                    }
                }
                assert!(!header.flags.contains(Flags::FIN) || finished);
                assert!(!header.ack.is_before(told.0), "acknowledgements do not move back");
                if !header.flags.contains(Flags::SYN) {
                    told = (header.ack, told.1);
                }
                true
            });
        self.told = told;
    }

    fn happen(&mut self, event: &Event) {
        let Self { now, connection, .. } = self;
        match event {
            Event::Segment {
                flags,
                seq,
                ack,
                window,
                len,
                sack,
                clock,
            } => {
                let mut blocks = SackBlocks::default();
                for &(start, end) in sack {
                    let block: Block = (self.iss + start, self.iss + end);
                    blocks.push(block);
                }
                let payload = vec![7; *len];
                let segment = Segment {
                    source_port: 1,
                    destination_port: 2,
                    seq: self.irs + *seq,
                    ack: self.iss + *ack,
                    flags: Flags(*flags),
                    window: *window,
                    options: Options {
                        sack: blocks,
                        timestamps: clock.map(|(value, echo)| Timestamps { value, echo }),
                        ..Options::default()
                    },
                    payload: &payload,
                };
                connection.handle_segment(*now, &segment);
                let _ = connection.may_be_replaced_by(&segment);
            }
            Event::Bytes(bytes) => {
                if let Some(segment) = Segment::parse(bytes) {
                    connection.handle_segment(*now, &segment);
                }
            }
            Event::Write(len) => {
                if !self.finished {
                    let data: Vec<u8> = (0..*len as u64).map(|index| byte(self.written + index)).collect();
                    self.written += connection.write(&data) as u64;
                }
            }
            Event::Read(len) => connection.consume(*now, *len),
            Event::Wait(micros) => *now = *now + Duration::from_micros(*micros),
            Event::Finish => {
                connection.finish();
                self.finished = true;
            }
            Event::Abort => connection.abort(),
            Event::Dialled => connection.dialled(),
            Event::Mss(mss) => connection.set_mss(*now, *mss),
            Event::NoRoom => {}
        }
        let room = if matches!(event, Event::NoRoom) { 0 } else { usize::MAX };
        for _ in 0..4 {
            self.connection.handle_timeout(self.now);
            self.transmit(room);
        }
        let (first, second) = self.connection.readable();
        assert!(first.len() + second.len() <= 6 * 1024 * 1024);
        assert!(self.connection.memory() <= 17 * 1024 * 1024);
        if !matches!(event, Event::NoRoom) {
            let due = self.connection.poll_timeout();
            assert!(
                due.is_none_or(|due| due > self.now),
                "a timeout stays due: {due:?} at {:?}",
                self.now
            );
        }
        let _ = (
            self.connection.state(),
            self.connection.end(),
            self.connection.is_read_finished(),
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_a_client_sends_breaks_a_connection(
        options in (any::<bool>(), any::<bool>(), prop::option::of(any::<u8>()), prop::option::of(any::<u16>())),
        (iss, irs) in (any::<u32>(), any::<u32>()),
        opens in prop::bool::weighted(0.9),
        events in prop::collection::vec(event(), 0..120),
    ) {
        let (sack_permitted, clocks, window_scale, mss) = options;
        let syn = Segment {
            source_port: 1,
            destination_port: 2,
            seq: Seq(irs),
            ack: Seq(0),
            flags: Flags::SYN,
            window: 20_000,
            options: Options {
                mss,
                window_scale,
                sack_permitted,
                timestamps: clocks.then_some(Timestamps { value: 1, echo: 0 }),
                ..Options::default()
            },
            payload: &[],
        };
        let now = Time::from_nanos(1_000_000);
        let connection = Connection::accept(now, &Config::ipv4(1420), iss, &syn);
        let (iss, irs) = (Seq(iss), Seq(irs));
        let mut victim = Victim { now, connection, iss, irs, written: 0, told: (irs, irs), finished: false };
        if opens {
            victim.happen(&Event::Dialled);
            let (sack, clock) = (Vec::new(), clocks.then_some((1, 0)));
            victim.happen(&Event::Segment { flags: 0x10, seq: 1, ack: 1, window: 20_000, len: 0, sack, clock });
        }
        for event in &events {
            victim.happen(event);
        }
    }
}
