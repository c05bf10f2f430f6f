//! What time it is, and waiting: the one thing that tests put in another's place.

use std::{
    fmt::Debug,
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;

/// A clock.
#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time that never goes back, and may stand still while the machine sleeps.
    fn now(&self) -> Instant;

    /// The time of day.
    fn time_of_day(&self) -> SystemTime;

    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn time_of_day(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
