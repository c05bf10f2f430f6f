//! Removes what is older than it is to be kept: leases that are over, and rows of the audit.

use std::{sync::Arc, time::Duration};

use launch::Moment;

use crate::App;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(3_600);

const DAY: Duration = Duration::from_secs(86_400);

/// Leases that are removed in one transaction: requests wait for it.
const BATCH: usize = 500;

/// How long something is kept after it is over. `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Leases that are over, with their history.
    pub leases: Option<Duration>,
    /// Rows of the audit.
    pub audit: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            leases: Some(400 * DAY),
            audit: None,
        }
    }
}

/// Looks for ever.
pub(crate) async fn keep(app: Arc<App>) {
    loop {
        remove(&app).await;
        tokio::time::sleep(LOOK).await;
    }
}

/// Removes what is too old now.
pub(crate) async fn remove(app: &App) {
    let Retention { leases, audit } = app.config.retention;
    let now = app.launcher.now();
    if let Some(before) = leases.and_then(|kept| before(now, kept)) {
        let mut all = 0;
        loop {
            match app.launcher.forget(before, BATCH).await {
                Ok(removed) => {
                    all += removed;
                    if removed < BATCH {
                        break;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "old leases cannot be removed; it is tried again in an hour");
                    break;
                }
            }
        }
        if all > 0 {
            tracing::info!(leases = all, %before, "old leases were removed");
        }
    }
    if let Some(before) = audit.and_then(|kept| before(now, kept)) {
        match app.audit.prune(before).await {
            Ok(None) => {}
            Ok(Some(pruned)) => {
                tracing::info!(rows = pruned.rows, to = %pruned.to, %before, "old rows of the audit were removed");
            }
            Err(error) => tracing::error!(%error, "the audit cannot be pruned; it is tried again in an hour"),
        }
    }
}

/// From before when something is too old. Whole days (UTC), so that the audit has rows about it once a day at most.
fn before(now: Moment, kept: Duration) -> Option<Moment> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).ok();
    let (now, kept, day) = (now.as_millis(), millis(kept)?, millis(DAY)?);
    let before = now.checked_sub(kept)?;
    Some(Moment::from_millis(before - before % day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_days_goes_at_midnight() {
        // (now, kept for days, from before), in hours since 1970.
        for (now, days, expected) in [
            (24 * 500 + 7, 400, Some(24 * 100)),
            (24 * 500, 400, Some(24 * 100)),
            (24 * 500 - 1, 400, Some(24 * 99)),
            (24 * 399, 400, None),
        ] {
            let hours = |hours: u64| Moment::from_millis(hours * 3_600_000);
            assert_eq!(before(hours(now), days * DAY), expected.map(hours), "{now} {days}");
        }
    }
}
