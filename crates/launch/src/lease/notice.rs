//! What people are told of a lease, as it happens.

use serde::{Deserialize, Serialize};

use super::State;
use crate::Moment;

/// Something that happened with a lease. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    pub at: Moment,
    /// What.
    pub kind: Kind,
    /// In a sentence, for people.
    pub message: String,
    /// Where the lease was in its life then.
    pub state: State,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody asked for the lease.
    Requested,
    /// The place makes the gateway.
    Provisioning,
    /// The place has made it, and it starts.
    Configuring,
    /// It answers.
    Ready,
    /// A peer's first handshake.
    Handshake,
    /// It lives longer.
    Extended,
    /// Another peer may connect.
    PeerAdded,
    /// A peer may connect no more.
    PeerRemoved,
    /// A configuration that the gateway made was handed over.
    HandedOver,
    /// The gateway does not answer.
    Unreachable,
    /// It answers again.
    Reachable,
    /// The gateway has another key or address than before: configurations have to be taken again.
    Rekeyed,
    /// A step failed and is tried again.
    Retry,
    /// It could not be set up.
    Failed,
    /// Its gateway has gone by itself.
    Lost,
    /// The place removes it.
    Removing,
    /// Nothing of it is left.
    Removed,
}

impl Kind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Provisioning => "provisioning",
            Self::Configuring => "configuring",
            Self::Ready => "ready",
            Self::Handshake => "handshake",
            Self::Extended => "extended",
            Self::PeerAdded => "peer_added",
            Self::PeerRemoved => "peer_removed",
            Self::HandedOver => "handed_over",
            Self::Unreachable => "unreachable",
            Self::Reachable => "reachable",
            Self::Rekeyed => "rekeyed",
            Self::Retry => "retry",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }
}
