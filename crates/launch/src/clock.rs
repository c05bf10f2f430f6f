//! The time by which leases live.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};

use crate::Moment;

/// Differences up to this are followed: a clock that is kept right by small steps.
const SMALL: u64 = 1_000;

/// Shows the system's time, but for steps of it: set forward or back while this runs, the system's clock ends no lease early
/// and lets none live longer.
#[derive(Clone)]
pub struct Clock {
    anchor: Arc<Mutex<Anchor>>,
    wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    elapsed: Arc<dyn Fn() -> Duration + Send + Sync>,
}

/// What the time was at a moment of the clock that nobody sets.
#[derive(Clone, Copy)]
struct Anchor {
    moment: Moment,
    elapsed: Duration,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

impl Clock {
    /// This machine's.
    pub fn system() -> Self {
        Self::of(SystemTime::now, since_boot)
    }

    /// A clock over two others: one that people set, and one that only goes on.
    pub fn of(
        wall: impl Fn() -> SystemTime + Send + Sync + 'static,
        elapsed: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let anchor = Anchor {
            moment: Moment::from_system(wall()),
            elapsed: elapsed(),
        };
        Self {
            anchor: Arc::new(Mutex::new(anchor)),
            wall: Arc::new(wall),
            elapsed: Arc::new(elapsed),
        }
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = (self.elapsed)();
        let ours = anchor.moment + elapsed.saturating_sub(anchor.elapsed);
        let shown = Moment::from_system((self.wall)());
        if shown.as_millis().abs_diff(ours.as_millis()) <= SMALL {
            // Never back: two moments in a row are in that order.
            let moment = ours.max(shown);
            *anchor = Anchor { moment, elapsed };
            return moment;
        }
        ours
    }
}

/// Time since this machine was started, by the clock that goes on while it sleeps.
pub(crate) fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        now.tv_sec.try_into().unwrap_or_default(),
        now.tv_nsec.try_into().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_step_of_the_systems_clock_changes_no_duration() {
        let wall = Arc::new(AtomicU64::new(1_000_000));
        let elapsed = Arc::new(AtomicU64::new(5_000));
        let clock = {
            let (wall, elapsed) = (Arc::clone(&wall), Arc::clone(&elapsed));
            let millis = |from: &AtomicU64| Duration::from_millis(from.load(Ordering::Relaxed));
            Clock::of(move || SystemTime::UNIX_EPOCH + millis(&wall), move || millis(&elapsed))
        };
        // (what the system's clock shows, what has elapsed, what is shown)
        for (shown, gone, expected) in [
            (1_000_000, 5_000, 1_000_000),
            (1_010_300, 15_000, 1_010_300),
            // Slower than it should be: never back.
            (1_011_000, 16_000, 1_011_300),
            (0, 26_000, 1_021_300),
            (9_000_000, 36_000, 1_031_300),
            (1_041_500, 46_000, 1_041_500),
        ] {
            wall.store(shown, Ordering::Relaxed);
            elapsed.store(gone, Ordering::Relaxed);
            assert_eq!(clock.now().as_millis(), expected);
        }
    }
}
