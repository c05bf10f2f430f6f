//! How fast the machine is on which the tests run.

use std::sync::OnceLock;
use std::time::Duration;

/// How many times longer than on hardware a test may take: `$ADIT_TEST_SLOW`, else 1. Every limit here is stretched by it.
#[must_use]
pub fn slowness() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    *FACTOR.get_or_init(|| {
        let value = std::env::var("ADIT_TEST_SLOW").ok();
        value
            .and_then(|text| text.parse().ok())
            .map_or(1, |factor: u32| factor.max(1))
    })
}

/// What is left of an amount, such as bytes or connections, on a slow machine: limits stretch and amounts shrink, so
/// that a test takes about as long as on hardware.
#[must_use]
pub fn amount(on_hardware: u64) -> u64 {
    let factor = u64::from(slowness());
    on_hardware.div_ceil(factor * factor)
}

/// `limit`, stretched.
pub(crate) fn stretched(limit: Duration) -> Duration {
    limit.saturating_mul(slowness())
}
