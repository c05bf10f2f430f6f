//! What may be asked for: ceilings and limits.

use std::time::Duration;

/// Longest lifetime of a lease that any policy allows: what is meant for good is `adit serve`.
pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// What may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Longest lifetime, extensions included, from ready to the end.
    pub max_lifetime: Duration,
    /// Running leases of one user; `None` is any number.
    pub leases_per_user: Option<u32>,
    /// Running leases in all; `None` is any number.
    pub leases: Option<u32>,
    /// Minutes of leases that a user may ask for in 24 hours; `None` is any number.
    pub minutes_a_day: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_lifetime: Duration::from_secs(86_400),
            leases_per_user: Some(5),
            leases: Some(100),
            minutes_a_day: None,
        }
    }
}

impl Policy {
    /// The policy of who launches for himself: nothing is limited but by reason.
    pub fn own() -> Self {
        Self {
            max_lifetime: LONGEST,
            leases_per_user: None,
            leases: None,
            minutes_a_day: None,
        }
    }

    pub(crate) fn check_lifetime(&self, secs: u64) -> Result<(), String> {
        let most = self.max_lifetime.as_secs();
        if (1..=most).contains(&secs) {
            Ok(())
        } else {
            Err(format!("must be between 1 and {most} seconds"))
        }
    }
}
