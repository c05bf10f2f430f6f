//! A simulated network between two endpoints: delay, bandwidth, queue, loss, duplication, reordering; virtual time.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use dataplane::time::Time;

/// A seeded source of chance (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True in `per_million` of a million cases.
    pub(crate) fn is(&mut self, per_million: u64) -> bool {
        self.next() % 1_000_000 < per_million
    }
}

/// One direction of a link. Chances are per million segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) delay: Duration,
    /// Bytes a second; zero is without limit.
    pub(crate) rate: u64,
    /// Bytes that wait for the bandwidth at most.
    pub(crate) queue: u64,
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) reordering: u64,
    /// Arrivals wait for the next multiple of this time, as they do for a busy thread; zero is at once.
    pub(crate) lumps: Duration,
    /// The largest segment that passes, header included; larger ones vanish.
    pub(crate) largest: usize,
}

impl Path {
    /// A path without limits.
    pub(crate) fn new(delay: Duration) -> Self {
        Self {
            delay,
            rate: 0,
            queue: u64::MAX,
            loss: 0,
            duplication: 0,
            reordering: 0,
            lumps: Duration::ZERO,
            largest: usize::MAX,
        }
    }
}

/// What is at an end of the link.
pub(crate) trait Endpoint {
    fn receive(&mut self, now: Time, segment: &[u8]);
    /// What it sends, after each batch.
    fn transmit(&mut self, now: Time, send: &mut dyn FnMut(&[u8]));
    fn timeout(&self) -> Option<Time>;
}

/// Counts of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) bytes: u64,
    pub(crate) lost: u64,
    pub(crate) dropped: u64,
}

#[derive(Debug)]
struct Direction {
    path: Path,
    busy_until: Time,
    counts: Counts,
}

/// When a segment arrives, its number, the end it arrives at, and its bytes.
type Flying = (Time, u64, usize, Vec<u8>);

/// The link: index 0 is the direction from the first endpoint to the second.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) now: Time,
    chance: Chance,
    directions: [Direction; 2],
    order: u64,
    flying: BinaryHeap<Reverse<Flying>>,
    spare: Vec<Vec<u8>>,
}

impl Link {
    pub(crate) fn new(seed: u64, there: Path, back: Path) -> Self {
        let direction = |path| Direction {
            path,
            busy_until: Time::ZERO,
            counts: Counts::default(),
        };
        Self {
            now: Time::from_nanos(1_000_000_000),
            chance: Chance(seed),
            directions: [direction(there), direction(back)],
            order: 0,
            flying: BinaryHeap::new(),
            spare: Vec::new(),
        }
    }

    pub(crate) fn counts(&self, direction: usize) -> Counts {
        self.directions[direction].counts
    }

    pub(crate) fn path(&mut self, direction: usize) -> &mut Path {
        &mut self.directions[direction].path
    }

    fn send(&mut self, from: usize, segment: &[u8]) {
        let Self {
            now,
            chance,
            directions,
            ..
        } = self;
        let Direction {
            path,
            busy_until,
            counts,
        } = &mut directions[from];
        counts.sent += 1;
        counts.bytes += segment.len() as u64;
        if chance.is(path.loss) || segment.len() > path.largest {
            counts.lost += 1;
            return;
        }
        let mut leaves = *now;
        if path.rate > 0 {
            let waiting = (*busy_until - *now).as_nanos() * u128::from(path.rate) / 1_000_000_000;
            if waiting > u128::from(path.queue) {
                counts.dropped += 1;
                return;
            }
            let worth = Duration::from_nanos((segment.len() as u64 + 40) * 1_000_000_000 / path.rate);
            *busy_until = (*busy_until).max(*now) + worth;
            leaves = *busy_until;
        }
        let copies = 1 + u64::from(chance.is(path.duplication));
        for _ in 0..copies {
            let mut arrives = leaves + path.delay;
            if chance.is(path.reordering) {
                arrives = arrives + Duration::from_micros(chance.next() % 8_000);
            }
            let lumps = u64::try_from(path.lumps.as_nanos()).unwrap_or_default().max(1);
            arrives = Time::from_nanos(arrives.as_nanos().div_ceil(lumps) * lumps);
            let mut copy = self.spare.pop().unwrap_or_default();
            copy.clear();
            copy.extend_from_slice(segment);
            self.order += 1;
            self.flying.push(Reverse((arrives, self.order, 1 - from, copy)));
        }
    }

    /// Lets an end send.
    fn settle(&mut self, index: usize, end: &mut dyn Endpoint) {
        let now = self.now;
        let mut out = std::mem::take(&mut self.spare);
        let mut sent = Vec::new();
        end.transmit(now, &mut |segment| {
            let mut copy = out.pop().unwrap_or_default();
            copy.clear();
            copy.extend_from_slice(segment);
            sent.push(copy);
        });
        self.spare = out;
        for segment in sent {
            self.send(index, &segment);
            self.spare.push(segment);
        }
    }

    /// Runs until `done`, or until `limit` is over, or until nothing more will happen.
    pub(crate) fn run<A: Endpoint, B: Endpoint>(
        &mut self,
        a: &mut A,
        b: &mut B,
        limit: Duration,
        mut done: impl FnMut(Time, &mut A, &mut B) -> bool,
    ) -> Outcome {
        let end = self.now + limit;
        loop {
            self.settle(0, a);
            self.settle(1, b);
            if done(self.now, a, b) {
                return Outcome::Done;
            }
            let timeouts = [a.timeout(), b.timeout()].into_iter().flatten().min();
            let arrival = self.flying.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = timeouts.into_iter().chain(arrival).min() else {
                return Outcome::Quiet;
            };
            let next = next.max(self.now);
            if next > end {
                self.now = end;
                return Outcome::Late;
            }
            self.now = next;
            while self.flying.peek().is_some_and(|Reverse((at, ..))| *at <= next) {
                let Some(Reverse((_, _, to, segment))) = self.flying.pop() else {
                    break;
                };
                match to {
                    0 => a.receive(next, &segment),
                    _ => b.receive(next, &segment),
                }
                self.spare.push(segment);
            }
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Nothing moves any more.
    Quiet,
    /// The time was over.
    Late,
}
