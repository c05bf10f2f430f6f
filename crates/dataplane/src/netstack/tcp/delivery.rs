//! How fast data arrives: one rate sample an acknowledgement (draft-cheng-iccrg-delivery-rate-estimation).

use std::time::Duration;

use crate::time::Time;

/// What each segment remembers of the moment it was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    delivered: u64,
    delivered_at: Time,
    first_sent_at: Time,
    app_limited: bool,
}

/// What an acknowledgement tells about the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Bytes a second; `None` if the time was too short to mean anything.
    pub(super) rate: Option<u64>,
    /// How much had been delivered when the newest of the delivered segments was sent.
    pub(super) prior_delivered: u64,
    /// Whether it was sent while there was not enough to send, so that the rate says little about the path.
    pub(super) app_limited: bool,
}

/// The meter of one connection.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    delivered: u64,
    delivered_at: Time,
    first_sent_at: Time,
    /// Until so much is delivered, samples are limited by the application.
    app_limited_until: u64,
    newest: Option<(Mark, Time)>,
}

impl Delivery {
    /// Bytes delivered since the start.
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Marks a segment that is sent, the first of a flight if `idle`.
    pub(super) fn mark(&mut self, now: Time, idle: bool, app_limited: bool) -> Mark {
        if idle {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        Mark {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            app_limited: app_limited || self.app_limited_until > self.delivered,
        }
    }

    /// Notes that the sender ran out of data with `in_flight` bytes on the way.
    pub(super) fn ran_dry(&mut self, in_flight: u32) {
        self.app_limited_until = (self.delivered + u64::from(in_flight)).max(1);
    }

    /// Notes that `len` bytes, sent at `sent_at`, were delivered.
    pub(super) fn delivered_segment(&mut self, now: Time, mark: &Mark, sent_at: Time, len: u32) {
        self.delivered += u64::from(len);
        self.delivered_at = now;
        if self
            .newest
            .is_none_or(|(newest, at)| (mark.delivered, sent_at) >= (newest.delivered, at))
        {
            self.newest = Some((*mark, sent_at));
            self.first_sent_at = sent_at;
        }
    }

    /// The sample of one acknowledgement, after all of its segments; `None` if it delivered nothing.
    pub(super) fn sample(&mut self, min_rtt: Duration) -> Option<Sample> {
        let (mark, sent_at) = self.newest.take()?;
        let sending = sent_at - mark.first_sent_at;
        let acknowledging = self.delivered_at - mark.delivered_at;
        let interval = sending.max(acknowledging);
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let bytes = self.delivered - mark.delivered;
        let rate = (interval >= min_rtt && nanos > 0).then(|| rate(bytes, nanos));
        Some(Sample {
            rate,
            prior_delivered: mark.delivered,
            app_limited: mark.app_limited,
        })
    }
}

/// Bytes a second, for `bytes` in `nanos`.
fn rate(bytes: u64, nanos: u64) -> u64 {
    u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(nanos)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_is_measured_whatever_the_acknowledgements_do() {
        let ms = |n: u64| Time::from_nanos(n * 1_000_000);
        let mut delivery = Delivery::default();
        // One segment of 1,000 bytes a millisecond, 10 ms there and back, acknowledged in pairs.
        let mut sent = Vec::new();
        let mut last = None;
        for n in 0..40_u64 {
            if n >= 10 && n % 2 == 1 {
                for i in [n - 11, n - 10] {
                    if let Some((mark, at)) = sent.get(usize::try_from(i).expect("small")) {
                        delivery.delivered_segment(ms(n), mark, *at, 1000);
                    }
                }
                last = delivery.sample(Duration::from_millis(10));
            }
            sent.push((delivery.mark(ms(n), n == 0, false), ms(n)));
        }
        let rate = last.and_then(|sample| sample.rate).expect("a rate");
        assert!((900_000..=1_100_000).contains(&rate), "{rate}");
        assert_eq!(delivery.sample(Duration::ZERO), None);
    }

    #[test]
    fn samples_shorter_than_a_round_trip_say_no_rate() {
        let mut delivery = Delivery::default();
        let mark = delivery.mark(Time::ZERO, true, false);
        delivery.ran_dry(5);
        let limited = delivery.mark(Time::ZERO, false, false);
        delivery.delivered_segment(Time::from_nanos(5), &mark, Time::ZERO, 100);
        assert_eq!(
            delivery.sample(Duration::from_nanos(6)).and_then(|sample| sample.rate),
            None
        );
        delivery.delivered_segment(Time::from_nanos(10), &limited, Time::ZERO, 100);
        let sample = delivery.sample(Duration::from_nanos(6)).expect("a sample");
        assert_eq!((sample.rate, sample.app_limited), (Some(20_000_000_000), true));
    }
}
