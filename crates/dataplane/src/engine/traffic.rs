//! What passed: counted once a batch of one peer's, not once a packet.

use crate::tally::Count;

/// Inner packets that passed since the engine was made, without keepalives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received from peers and delivered.
    pub received: u64,
    /// Sealed for peers.
    pub sent: u64,
}

/// [`Traffic`] while it is counted.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) received: Count,
    pub(super) sent: Count,
}

impl Passed {
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            received: self.received.value(),
            sent: self.sent.value(),
        }
    }
}
