//! Why there is no result.

use std::time::Duration;

use crate::{Kind, ServiceError, credential::CredentialError, operation::Untold};

/// This machine's TLS cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot set up HTTPS: {0}")]
pub struct SetUpError(pub(crate) String);

/// Why there is no result. Holds no token, no secret, and no URL.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArmError {
    /// Azure says so.
    #[error("{error}")]
    Service {
        /// What it says.
        error: Box<ServiceError>,
        /// Whether an attempt before, whose answer was lost, may have been carried out. Then a 412 or 404 may be its doing.
        maybe_done: bool,
    },
    /// There is no token.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// No connection came about: nothing was done.
    #[error("cannot reach {host}: {why}")]
    Unreachable {
        /// Resource Manager's.
        host: String,
        /// How it failed.
        why: String,
    },
    /// No answer came: whether it was done cannot be told.
    #[error("{host} gave no answer: {why}")]
    Unclear {
        /// Resource Manager's.
        host: String,
        /// How it failed.
        why: String,
    },
    /// An answer came, and cannot be read: it is too long, or not what it is to be. If it was a request to change something,
    /// that was done.
    #[error("the answer of {host} cannot be read: {why}")]
    Unreadable {
        /// Resource Manager's.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing tells how an operation ends.
    #[error(transparent)]
    Untold(#[from] Untold),
    /// An operation has not ended in the time it was given. It may go on.
    #[error("Azure has not finished after {} seconds", .0.as_secs())]
    Overdue(Duration),
}

impl ArmError {
    /// What a caller makes of it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service { error, .. } => error.kind(),
            Self::Credential(error) => error.kind(),
            Self::Unreachable { .. }
            | Self::Unclear { .. }
            | Self::Unreadable { .. }
            | Self::Overdue(_)
            | Self::Untold(_) => Kind::Transient,
        }
    }

    /// What the person does about it; `None` if that is not known, or said already.
    pub fn remedy(&self) -> Option<String> {
        self.service()?.remedy()
    }

    /// What Azure says, if it says anything.
    pub fn service(&self) -> Option<&ServiceError> {
        match self {
            Self::Service { error, .. } => Some(error),
            Self::Credential(_)
            | Self::Unreachable { .. }
            | Self::Unclear { .. }
            | Self::Unreadable { .. }
            | Self::Overdue(_)
            | Self::Untold(_) => None,
        }
    }
}
