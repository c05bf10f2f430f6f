//! Why a blob was not read or written, and what would mend it.

use azure_core::error::ErrorKind;

use super::Location;
use crate::credential::CredentialError;

/// What a caller does differently for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such blob.
    NoBlob,
    /// There is no container for it.
    NoContainer,
    /// It is another than the one that was to be replaced.
    Changed,
    /// We may not.
    Denied,
    /// Nobody answers, or not now: it may be tried again.
    Transient,
    /// Anything else that Azure refuses.
    Refused,
}

/// A blob was not read, or perhaps not written. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {message}")]
pub struct BlobError {
    /// What it is.
    pub fault: Fault,
    /// Azure's own word for it, such as `AuthenticationFailed`; `None` if it gave none.
    pub code: Option<String>,
    location: String,
    message: String,
}

/// What this crate's own sending gives to the layers above, which carry it back as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// There is no token.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// No answer.
    #[error("it cannot be reached: {0}")]
    Unanswered(String),
    /// A request that cannot be made.
    #[error("{0}")]
    Unsendable(String),
}

impl BlobError {
    pub(super) fn new(error: &azure_core::Error, location: &Location) -> Self {
        let (fault, code, message) = match (error.kind(), error.downcast_ref::<WireError>()) {
            (ErrorKind::HttpResponse { status, error_code, .. }, _) => {
                let code = error_code.as_deref().map(printable);
                let status = u16::from(*status);
                let fault = fault(status, code.as_deref());
                let word = code.clone().unwrap_or_default();
                (fault, code, format!("Azure answers {status} {word}{}", remedy(fault)))
            }
            (_, Some(WireError::Credential(error))) => {
                let fault = match error {
                    CredentialError::Unreachable { .. } => Fault::Transient,
                    CredentialError::Unknown(_)
                    | CredentialError::Absent { .. }
                    | CredentialError::Refused { .. }
                    | CredentialError::Nothing(_) => Fault::Denied,
                };
                (fault, None, error.to_string())
            }
            (_, Some(WireError::Unanswered(_))) | (ErrorKind::Io | ErrorKind::Connection, None) => {
                (Fault::Transient, None, printable(&error.to_string()))
            }
            (_, Some(WireError::Unsendable(_)) | None) => (Fault::Refused, None, printable(&error.to_string())),
        };
        Self {
            fault,
            code,
            location: location.to_string(),
            message,
        }
    }

    pub(super) fn untagged(location: &Location) -> Self {
        Self {
            fault: Fault::Refused,
            code: None,
            location: location.to_string(),
            message: "it has no ETag: whoever answers is no blob storage".to_owned(),
        }
    }

    /// Whether it may work later.
    pub fn is_transient(&self) -> bool {
        self.fault == Fault::Transient
    }
}

fn fault(status: u16, code: Option<&str>) -> Fault {
    match (status, code) {
        (404, Some("ContainerNotFound")) => Fault::NoContainer,
        (404, Some("BlobNotFound")) => Fault::NoBlob,
        // Somebody between here and Azure, or another account: nothing is known of the blob.
        (404, _) => Fault::Refused,
        (409, Some("BlobAlreadyExists")) | (412, _) => Fault::Changed,
        (401 | 403, _) => Fault::Denied,
        (409, Some("ContainerBeingDeleted" | "BlobBeingRehydrated")) | (408 | 429 | 500 | 502..=504, _) => {
            Fault::Transient
        }
        _ => Fault::Refused,
    }
}

fn remedy(fault: Fault) -> &'static str {
    match fault {
        Fault::NoContainer => ": there is no such container; make it, for it is not made here",
        Fault::Denied => {
            ": check the key or signature in AZURE_STORAGE_CONNECTION_STRING (a signature needs read, write, create and \
             delete of blobs), or give the identity the role `Storage Blob Data Contributor` on the container"
        }
        Fault::NoBlob | Fault::Changed | Fault::Transient | Fault::Refused => "",
    }
}

/// One line, and not a long one.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_azure_answers_is_told_apart() {
        for (status, code, expected) in [
            (404, Some("BlobNotFound"), Fault::NoBlob),
            (404, Some("ContainerNotFound"), Fault::NoContainer),
            (404, Some("ResourceNotFound"), Fault::Refused),
            (404, None, Fault::Refused),
            (409, Some("BlobAlreadyExists"), Fault::Changed),
            (409, Some("ContainerBeingDeleted"), Fault::Transient),
            (409, Some("LeaseIdMissing"), Fault::Refused),
            (412, Some("ConditionNotMet"), Fault::Changed),
            (401, None, Fault::Denied),
            (403, Some("AuthenticationFailed"), Fault::Denied),
            (400, Some("InvalidUri"), Fault::Refused),
            (429, None, Fault::Transient),
            (500, Some("InternalError"), Fault::Transient),
            (503, Some("ServerBusy"), Fault::Transient),
        ] {
            assert_eq!(fault(status, code), expected, "{status} {code:?}");
        }
    }
}
