//! When a request is sent again. Pure: the caller says what happened and when, and gives the randomness.

use std::time::{Duration, Instant};

/// Longest wait before the first repeat; it doubles with each.
const BASE: Duration = Duration::from_secs(1);

/// Longest wait that is chosen here. What the service asks for may be longer.
const CAP: Duration = Duration::from_secs(30);

/// Codes of what another operation holds up: it was not done, and may be done soon. *ARM: throttling; Compute, Network and
/// Container Instances: error codes.*
const HELD_UP: [&str; 6] = [
    "AnotherOperationInProgress",
    "ContainerGroupTransitioning",
    "OperationPreempted",
    "ReferencedResourceNotProvisioned",
    "RetryableError",
    "RetryableErrorDueToAnotherOperation",
];

/// Whether a code says that another operation holds the request up.
pub(crate) fn is_held_up(code: &str) -> bool {
    HELD_UP.iter().any(|held_up| held_up.eq_ignore_ascii_case(code))
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'e> {
    /// An answer came.
    Answered {
        /// The status of HTTP.
        status: u16,
        /// The code of the error, if it is one and was read.
        code: Option<&'e str>,
        /// What the service asks to wait.
        retry_after: Option<Duration>,
    },
    /// No connection came about: it was not sent.
    Unsent,
    /// It was sent, and no answer came: whether it was done cannot be told.
    Lost,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take the answer, or the want of one, as it is.
    Accept,
    /// Get a fresh token, then send it again.
    Renew,
    /// Send it again after this time.
    Wait(Duration),
}

/// The repeats of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    deadline: Instant,
    is_repeatable: bool,
    repeats: u32,
    was_renewed: bool,
    is_unclear: bool,
}

impl Retry {
    /// For a request that may be sent until `deadline`, and that may be sent again after an answer was lost only if it
    /// `is_repeatable`.
    pub fn new(deadline: Instant, is_repeatable: bool) -> Self {
        Self {
            deadline,
            is_repeatable,
            repeats: 0,
            was_renewed: false,
            is_unclear: false,
        }
    }

    /// Whether an attempt may have been carried out though its answer says nothing of it: what a later answer finds may be its
    /// doing.
    pub fn is_unclear(&self) -> bool {
        self.is_unclear
    }

    /// Says what to do after `event`. `random` is any number: the wait is a fraction of the longest by it (full jitter).
    pub fn handle(&mut self, now: Instant, event: Event<'_>, random: u32) -> Action {
        let (may_repeat, asked) = match event {
            Event::Unsent => (true, None),
            Event::Lost => (self.unclear(), None),
            Event::Answered {
                status,
                code,
                retry_after,
            } => match status {
                401 if !self.was_renewed => {
                    self.was_renewed = true;
                    return Action::Renew;
                }
                // It was not done.
                429 => (true, retry_after),
                409 | 412 if code.is_some_and(is_held_up) => (true, retry_after),
                408 | 500 | 502 | 503 | 504 => (self.unclear(), retry_after),
                _ => return Action::Accept,
            },
        };
        let wait = self.wait(asked, random);
        let is_in_time = now.checked_add(wait).is_some_and(|then| then < self.deadline);
        if !may_repeat || !is_in_time {
            return Action::Accept;
        }
        self.repeats += 1;
        Action::Wait(wait)
    }

    /// Notes that it may have been done, and says whether it may be sent again.
    fn unclear(&mut self) -> bool {
        self.is_unclear = true;
        self.is_repeatable
    }

    /// Never less than what the service asks for, and some more, so that all who wait do not come at once.
    fn wait(&self, asked: Option<Duration>, random: u32) -> Duration {
        let share = |most: Duration| most.mul_f64(f64::from(random) / f64::from(u32::MAX));
        let longest = BASE
            .saturating_mul(1_u32.checked_shl(self.repeats).unwrap_or(u32::MAX))
            .min(CAP);
        match asked {
            Some(asked) => asked.saturating_add(share(BASE.min(asked / 10))),
            None => share(longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn answered(status: u16, code: Option<&str>, retry_after: Option<u64>) -> Event<'_> {
        Event::Answered {
            status,
            code,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn what_is_sent_again_depends_on_whether_it_may_have_been_done() {
        use Action::{Accept, Renew, Wait};
        let (first, asked) = (Wait(SECOND), Wait(Duration::from_secs(7)));
        let busy = Some("RetryableErrorDueToAnotherOperation");
        // (event, for a PUT, for a POST, may it have been done?)
        for (event, put, post, is_unclear) in [
            (answered(200, None, None), Accept, Accept, false),
            (answered(202, None, Some(7)), Accept, Accept, false),
            (answered(400, Some("BadRequest"), None), Accept, Accept, false),
            (answered(404, Some("NotFound"), None), Accept, Accept, false),
            (answered(409, Some("SkuNotAvailable"), None), Accept, Accept, false),
            (
                answered(409, Some("AnotherOperationInProgress"), None),
                first,
                first,
                false,
            ),
            (
                answered(409, Some("anotheroperationinprogress"), Some(7)),
                asked,
                asked,
                false,
            ),
            (answered(412, None, None), Accept, Accept, false),
            (answered(429, busy, Some(7)), asked, asked, false),
            (answered(429, None, None), first, first, false),
            (answered(401, None, None), Renew, Renew, false),
            (answered(403, Some("AuthorizationFailed"), None), Accept, Accept, false),
            (answered(408, None, None), first, Accept, true),
            (answered(500, None, None), first, Accept, true),
            (answered(501, None, None), Accept, Accept, false),
            (answered(502, None, None), first, Accept, true),
            (answered(503, None, Some(7)), asked, Accept, true),
            (answered(504, None, None), first, Accept, true),
            (Event::Unsent, first, first, false),
            (Event::Lost, first, Accept, true),
        ] {
            let now = Instant::now();
            for (is_repeatable, expected) in [(true, put), (false, post)] {
                let mut retry = Retry::new(now + 60 * SECOND, is_repeatable);
                let random = if matches!(expected, Wait(wait) if wait == SECOND) {
                    u32::MAX
                } else {
                    0
                };
                assert_eq!(retry.handle(now, event, random), expected, "{event:?} {is_repeatable}");
                assert_eq!(retry.is_unclear(), is_unclear, "{event:?}");
            }
        }
    }

    #[test]
    fn a_token_is_renewed_once() {
        let now = Instant::now();
        let mut retry = Retry::new(now + 60 * SECOND, true);
        assert_eq!(retry.handle(now, answered(401, None, None), 0), Action::Renew);
        assert_eq!(retry.handle(now, answered(401, None, None), 0), Action::Accept);
    }

    #[test]
    fn a_wait_beyond_the_deadline_is_not_begun() {
        let now = Instant::now();
        let mut retry = Retry::new(now + 10 * SECOND, true);
        assert_eq!(retry.handle(now, answered(429, None, Some(10)), 0), Action::Accept);
        assert_eq!(
            retry.handle(now, answered(429, None, Some(9)), 0),
            Action::Wait(9 * SECOND)
        );
        assert_eq!(
            retry.handle(now, answered(429, None, Some(u64::MAX)), u32::MAX),
            Action::Accept
        );
    }

    proptest! {
        #[test]
        fn waits_grow_stay_within_bounds_and_end(randoms in proptest::collection::vec(any::<u32>(), 1..60), asked in proptest::option::of(0_u64..100)) {
            let start = Instant::now();
            let deadline = start + 600 * SECOND;
            let (mut now, mut retry) = (start, Retry::new(deadline, true));
            for (at, random) in randoms.into_iter().enumerate() {
                let Action::Wait(wait) = retry.handle(now, answered(503, None, asked), random) else { break };
                let doubled = SECOND * 2_u32.pow(u32::try_from(at.min(10)).unwrap());
                let least = Duration::from_secs(asked.unwrap_or(0));
                let most = asked.map_or(doubled.min(CAP), |asked| Duration::from_secs(asked) + SECOND);
                prop_assert!((least..=most).contains(&wait), "{wait:?} after {at} repeats");
                now += wait;
                prop_assert!(now < deadline);
            }
        }
    }
}
