//! The last end of a lease's gateway: should its own clock be held up, the kernel ends its process.

use std::time::Duration;

use anyhow::Context as _;
use linux::deadline::Deadline;

/// How long after its time a gateway may take to go by itself.
const MARGIN: Duration = Duration::from_secs(5);

/// The kernel's limit of this process, which nothing but the process's end takes back.
#[derive(Debug)]
pub(crate) struct Limit(Deadline);

impl Limit {
    /// Sets it for a gateway that is to end when this machine has run for `due`. To be called before the first thread is
    /// started.
    pub(crate) fn behind(due: Duration) -> anyhow::Result<Self> {
        let deadline = Deadline::set(due + MARGIN).context("cannot have the kernel end this process in time")?;
        Ok(Self(deadline))
    }

    /// The gateway is to end at another time.
    pub(crate) fn follow(&self, due: Duration) -> anyhow::Result<()> {
        self.0
            .move_to(due + MARGIN)
            .context("cannot have the kernel end this process at another time")
    }
}
