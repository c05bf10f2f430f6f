//! How long the way there and back takes, and when to stop waiting (RFC 6298).

use std::time::Duration;

use crate::time::Time;

/// The timeout before anything was measured (RFC 6298 2.1).
const INITIAL_RTO: Duration = Duration::from_secs(1);

/// The least allowance for variation: a peer may delay its acknowledgement.
const MIN_VARIATION: Duration = Duration::from_millis(200);

/// The longest timeout (RFC 6298 2.5).
const MAX_RTO: Duration = Duration::from_secs(60);

/// How long the shortest round trip is believed.
const MIN_WINDOW: Duration = Duration::from_secs(10);

/// The estimator of one connection.
#[derive(Debug, Default)]
pub(super) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    min: Option<(Duration, Time)>,
    backoff: u32,
}

impl Rtt {
    /// Takes one measurement; ends a backoff.
    pub(super) fn sample(&mut self, now: Time, rtt: Duration) {
        self.backoff = 0;
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variation = rtt / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(rtt)) / 4;
                self.smoothed = Some((smoothed * 7 + rtt) / 8);
            }
        }
        if self.min.is_none_or(|(min, at)| rtt <= min || now - at > MIN_WINDOW) {
            self.min = Some((rtt, now));
        }
    }

    /// The smoothed round trip; none before the first measurement.
    pub(super) const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The shortest round trip of late.
    pub(super) fn min(&self) -> Duration {
        self.min.map_or(Duration::ZERO, |(min, _)| min)
    }

    /// The retransmission timeout, with backoff.
    pub(super) fn timeout(&self) -> Duration {
        let base = self
            .smoothed
            .map_or(INITIAL_RTO, |smoothed| smoothed + MIN_VARIATION.max(self.variation * 4));
        base.saturating_mul(1 << self.backoff.min(10)).min(MAX_RTO)
    }

    /// Doubles the timeout (RFC 6298 5.5).
    pub(super) const fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    /// Ends a backoff: the peer has answered.
    pub(super) const fn end_backoff(&mut self) {
        self.backoff = 0;
    }

    /// Whether a timeout went unanswered.
    pub(super) const fn is_backed_off(&self) -> bool {
        self.backoff > 0
    }

    /// How many timeouts went unanswered.
    pub(super) const fn backoff(&self) -> u32 {
        self.backoff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_rfc_6298() {
        let ms = Duration::from_millis;
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(), ms(1000));
        rtt.sample(Time::ZERO, ms(100));
        assert_eq!(rtt.timeout(), ms(300));
        rtt.sample(Time::ZERO, ms(500));
        assert_eq!(rtt.smoothed(), Some(ms(150)));
        assert_eq!(rtt.timeout(), ms(150) + ms(550));
        rtt.back_off();
        rtt.back_off();
        assert_eq!(rtt.timeout(), ms(2800));
        for _ in 0..100 {
            rtt.back_off();
        }
        assert_eq!(rtt.timeout(), MAX_RTO);
        rtt.sample(Time::ZERO, ms(20));
        assert!(rtt.timeout() < ms(1000));
        assert_eq!(rtt.min(), ms(20));
        rtt.sample(Time::ZERO + ms(10_001), ms(90));
        assert_eq!(rtt.min(), ms(90));
    }
}
