//! Spreads segments over time, so that a flight does not overrun the queues on its way.

use std::time::Duration;

use crate::time::Time;

/// How late a wake-up may come without costing rate.
const SLACK: Duration = Duration::from_millis(2);

/// The most that is sent at once, however fast the path.
const MAX_BURST: u64 = 256 * 1024;

/// How many full segments may always go at once: an initial window.
const FREE_SEGMENTS: u64 = 10;

/// The pacer of one connection: a clock that each segment moves on by the time it is worth.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    next: Time,
    /// Time for a batch worth waking up for.
    quantum: Duration,
}

impl Pacer {
    /// Whether a segment may go.
    pub(super) fn is_open(&self, now: Time) -> bool {
        self.next <= now
    }

    /// When the next batch may go.
    pub(super) fn release(&self) -> Time {
        self.next + self.quantum
    }

    /// Notes that `len` bytes went, to a path of `rate` bytes a second.
    pub(super) fn sent(&mut self, now: Time, len: u32, rate: u64, mss: u32) {
        let slack = u64::try_from(SLACK.as_millis()).unwrap_or(1);
        let burst = (rate.saturating_mul(slack) / 1000)
            .min(MAX_BURST)
            .max(FREE_SEGMENTS * u64::from(mss));
        let credit = worth(burst, rate);
        let earliest = Time::ZERO + (now - Time::ZERO).saturating_sub(credit);
        self.next = self.next.max(earliest) + worth(u64::from(len), rate);
        self.quantum = (credit / 4).min(SLACK / 4);
    }
}

/// The time that `bytes` take at `rate` bytes a second.
fn worth(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes pass in 100 ms when each wake-up comes `late` after it was asked for.
    fn passed(rate: u64, late: Duration) -> u64 {
        let mut pacer = Pacer::default();
        let start = Time::from_nanos(1_000_000_000);
        let (mut now, mut sum) = (start, 0);
        while now - start < Duration::from_millis(100) {
            while pacer.is_open(now) {
                pacer.sent(now, 1000, rate, 1000);
                sum += 1000;
            }
            now = pacer.release() + late;
        }
        sum
    }

    #[test]
    fn the_rate_is_kept_even_if_wake_ups_are_late() {
        for rate in [1_000_000, 40_000_000, 120_000_000] {
            for late in [0, 100, 1000] {
                let bytes = passed(rate, Duration::from_micros(late));
                let expected = rate / 10;
                assert!(bytes >= expected * 97 / 100, "{rate} {late}: {bytes}");
                assert!(
                    bytes <= expected * 103 / 100 + 2 * MAX_BURST.min(rate / 100) + 11_000,
                    "{rate} {late}: {bytes}"
                );
            }
        }
    }

    #[test]
    fn ten_segments_go_at_once_after_silence() {
        let mut pacer = Pacer::default();
        let now = Time::from_nanos(5_000_000_000);
        let mut count = 0;
        while pacer.is_open(now) {
            pacer.sent(now, 1000, 10_000, 1000);
            count += 1;
        }
        assert_eq!(count, 11);
    }
}
