//! Waits for a fact, with a limit.

use std::time::{Duration, Instant};

/// How long to let others run between two looks.
const PAUSE: Duration = Duration::from_millis(3);

/// Asks `fact` again and again until it gives a value, and gives it back.
///
/// # Panics
///
/// If there is none after `limit`, stretched by [`crate::slowness`]; the message names `what` was waited for.
#[track_caller]
pub fn wait_until<T>(what: &str, limit: Duration, mut fact: impl FnMut() -> Option<T>) -> T {
    let limit = crate::pace::stretched(limit);
    let start = Instant::now();
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(crate::pace::stretched(PAUSE));
    }
}
