//! Counts wrong tokens, by whence they come. Reads no clock.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::guests::Source;

/// Wrong tokens that a source may send in [`WINDOW`].
pub(super) const MOST: u32 = 10;

/// How long a wrong token counts, and how long a source is not listened to.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Sources that are remembered. With more the oldest is forgotten: a secret has 256 bits whatever is counted.
const MAX_SOURCES: usize = 4096;

/// Wrong tokens of late.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    sources: HashMap<Source, Tally>,
}

#[derive(Debug)]
struct Tally {
    since: Instant,
    count: u32,
}

impl Guesses {
    /// Whether a source has guessed so often that it is not listened to.
    pub(super) fn is_barred(&self, source: Source, now: Instant) -> bool {
        let tally = self.sources.get(&source).filter(|tally| tally.counts(now));
        tally.is_some_and(|tally| tally.count >= MOST)
    }

    /// Counts a wrong token. Says whether it is the one by which the source is barred.
    pub(super) fn note(&mut self, source: Source, now: Instant) -> bool {
        if !self.sources.contains_key(&source) && self.sources.len() >= MAX_SOURCES {
            self.make_room(now);
        }
        let fresh = Tally { since: now, count: 0 };
        let tally = self.sources.entry(source).or_insert(fresh);
        if !tally.counts(now) {
            *tally = Tally { since: now, count: 0 };
        }
        tally.count = tally.count.saturating_add(1);
        tally.count == MOST
    }

    fn make_room(&mut self, now: Instant) {
        self.sources.retain(|_, tally| tally.counts(now));
        if self.sources.len() >= MAX_SOURCES {
            let oldest = self.sources.iter().min_by_key(|(_, tally)| tally.since);
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                self.sources.remove(&oldest);
            }
        }
    }
}

impl Tally {
    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < WINDOW
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn who_guesses_too_often_is_barred_for_a_minute_and_others_are_not() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        for count in 1..=MOST {
            assert!(!guesses.is_barred(source(1), start));
            assert_eq!(guesses.note(source(1), start), count == MOST);
        }
        for (who, after, barred) in [(1, 0, true), (1, 59, true), (1, 60, false), (2, 0, false)] {
            let now = start + Duration::from_secs(after);
            assert_eq!(guesses.is_barred(source(who), now), barred, "{who} after {after} s");
        }
        // A minute later the count begins anew.
        guesses.note(source(1), start + WINDOW);
        assert!(!guesses.is_barred(source(1), start + WINDOW));
    }

    #[test]
    fn memory_is_bounded_and_the_latest_are_remembered() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        for number in 0..10_000 {
            guesses.note(source(number), start + Duration::from_millis(number.into()));
        }
        assert!(guesses.sources.len() <= MAX_SOURCES);
        assert!(guesses.sources.contains_key(&source(9_999)));
        assert!(!guesses.sources.contains_key(&source(0)));
    }
}
