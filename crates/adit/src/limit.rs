//! The last end of a lease's gateway: should its own clock be held up, the kernel ends its process.

use std::time::Duration;

use anyhow::Context as _;
use linux::deadline::Deadline;

use crate::moment;

/// How long after its time a gateway may take to go by itself.
const MARGIN: Duration = Duration::from_secs(5);

/// The kernel's limit of this process, which nothing but the process's end takes back.
///
/// It does not count while the machine sleeps, when the gateway serves nobody: one whose time ends meanwhile goes by itself
/// once the machine is awake, and undoes what it has set up.
#[derive(Debug)]
pub(crate) struct Limit(Deadline);

impl Limit {
    /// Sets it for a gateway that is to end once so much time has passed since this machine was started, by the clock of
    /// [`moment::since_boot`]. To be called before the first thread is started.
    pub(crate) fn behind(due: Duration) -> anyhow::Result<Self> {
        let deadline = Deadline::set(left(due)).context("cannot have the kernel end this process in time")?;
        Ok(Self(deadline))
    }

    /// The gateway is to end at another time.
    pub(crate) fn follow(&self, due: Duration) -> anyhow::Result<()> {
        self.0
            .move_to(left(due))
            .context("cannot have the kernel end this process at another time")
    }
}

/// How long from this moment on the process may live at most.
fn left(due: Duration) -> Duration {
    due.saturating_sub(moment::since_boot()) + MARGIN
}
