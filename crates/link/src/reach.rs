//! Whether a member answers, and where it is looked for if it does not.
//!
//! Pure: `now` is an argument. WireGuard itself follows a member whose address changes as long as that sends; what is here
//! is for the others: a member that was restarted, or that moved while this host was behind NAT.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::members::Versions;

/// How often a member is asked what is new. It keeps mappings of NAT open, and a member's new address known.
pub(crate) const INTERVAL: Duration = Duration::from_secs(3);

/// How long an answer may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);

/// How soon a member is asked again that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// After how many questions without an answer a member counts as away.
const MISSES: u32 = 2;

/// How soon each address is tried again: WireGuard sends no second handshake before (*REKEY_TIMEOUT*).
const STEP: Duration = Duration::from_secs(5);

/// What is known of the way to one member.
#[derive(Debug)]
pub(crate) struct Reach {
    due: Instant,
    is_asking: bool,
    /// Whether something became new while it was asked.
    is_late: bool,
    /// Questions in a row that had no answer.
    misses: u32,
    heard: Option<Instant>,
    /// What the member knows, as it said last.
    pub(crate) known: Versions,
    /// Which address is tried, and since when.
    tried: usize,
    since: Option<Instant>,
}

impl Reach {
    /// A member that nobody has asked yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            due: now,
            is_asking: false,
            is_late: false,
            misses: 0,
            heard: None,
            known: Versions::new(),
            tried: 0,
            since: None,
        }
    }

    /// Whether it is to be asked; then it counts as asked.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        if self.is_asking || now < self.due {
            return false;
        }
        self.is_asking = true;
        self.is_late = false;
        true
    }

    /// Asks it as soon as it may be: there is something new.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.due = now;
        self.is_late = self.is_asking;
    }

    /// When it is to be asked.
    pub(crate) fn due(&self) -> Option<Instant> {
        (!self.is_asking).then_some(self.due)
    }

    /// It answered.
    pub(crate) fn succeed(&mut self, known: Versions, now: Instant) {
        self.is_asking = false;
        self.due = if self.is_late { now } else { now + INTERVAL };
        self.misses = 0;
        self.heard = Some(now);
        self.known = known;
        self.since = None;
    }

    /// It did not answer. Gives the address to try now, out of those where it may be, unless the one that is tried has its
    /// time.
    pub(crate) fn fail(
        &mut self,
        candidates: &[SocketAddr],
        current: Option<SocketAddr>,
        now: Instant,
    ) -> Option<SocketAddr> {
        self.is_asking = false;
        self.misses += 1;
        self.due = now + RETRY;
        if self.misses < MISSES && self.heard.is_some() {
            return None;
        }
        if candidates.is_empty() || self.since.is_some_and(|since| now < since + STEP) {
            return None;
        }
        self.since = Some(now);
        let next = (0..candidates.len()).find_map(|step| {
            let at = (self.tried + step) % candidates.len();
            (Some(candidates[at]) != current).then_some(at)
        })?;
        self.tried = next + 1;
        Some(candidates[next])
    }

    /// Whether it answers.
    pub(crate) fn is_up(&self) -> bool {
        self.heard.is_some() && self.misses < MISSES
    }

    /// How long ago it answered.
    pub(crate) fn silent_for(&self, now: Instant) -> Option<Duration> {
        self.heard.map(|heard| now.saturating_duration_since(heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_member_that_answers_is_asked_now_and_then() {
        let start = Instant::now();
        let mut reach = Reach::new(start);
        assert!(reach.begin(start));
        assert!(!reach.begin(start), "one question at a time");
        reach.succeed(Versions::new(), start);
        assert!(reach.is_up());
        assert_eq!(reach.due(), Some(start + INTERVAL));
        reach.hurry(start);
        assert!(reach.begin(start), "there is something new");
    }

    #[test]
    fn one_that_does_not_answer_is_looked_for_everywhere() {
        let start = Instant::now();
        let candidates = [address(1), address(2), address(3)];
        let mut reach = Reach::new(start);
        reach.succeed(Versions::new(), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        // (second, where it is now, what is tried)
        for (second, current, expected) in [
            (1, 1, None), // one loss is none
            (2, 1, Some(2)),
            (3, 2, None), // it has its time
            (7, 2, Some(3)),
            (12, 3, Some(1)),
            (17, 1, Some(2)),
        ] {
            let tried = reach.fail(&candidates, Some(address(current)), at(second));
            assert_eq!(tried, expected.map(address), "at {second} s");
        }
        assert!(!reach.is_up());
        assert_eq!(
            reach.fail(&[address(1)], Some(address(1)), at(30)),
            None,
            "there is no other"
        );
        reach.succeed(Versions::new(), at(31));
        assert!(reach.is_up());
    }
}
