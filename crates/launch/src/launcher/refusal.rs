//! Why something that was asked of the launcher is not done.

use std::time::Duration;

use crate::{order::Invalid, place::Fault, store::StoreError};

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such lease, or it is another's.
    #[error("there is no such lease")]
    NotFound,
    /// The lease has no such peer.
    #[error("the lease has no peer of this name")]
    NoPeer,
    /// A value is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A limit is reached.
    #[error("{message}")]
    Limit {
        /// Which, and what to do.
        message: String,
        /// When it may be otherwise, if that is known.
        retry_after: Option<Duration>,
    },
    /// It does not fit what is there.
    #[error("{message}")]
    Conflict {
        /// A stable word for programs.
        code: &'static str,
        /// What is in its way.
        message: String,
    },
    /// The idempotency key belongs to another request.
    #[error("this idempotency key was used for another request; choose a new one")]
    KeyReused,
    /// Not yet.
    #[error("{message}")]
    NotReady {
        /// What it waits for.
        message: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// A configuration is handed over once.
    #[error(
        "the configuration was handed over already, and is kept nowhere; add a peer of another name, which gets a key of its own"
    )]
    AlreadyHandedOver,
    /// The lease is over.
    #[error("the lease is over; launch another one")]
    Over,
    /// The place could not do it.
    #[error(transparent)]
    Place(#[from] Fault),
    /// It cannot be kept, so it is not done.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The launcher is about to end.
    #[error("the launcher is about to end; ask again in a moment")]
    Stopping,
}
