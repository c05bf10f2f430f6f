//! Says what follows from an error of Azure's.

use azure::{ArmError, Kind, ServiceError};

use crate::place::{Fault, FaultKind};

/// What follows from it: Azure's code and message, and what a person can do. What is not there counts as refused: only who asks
/// knows whether a gateway has gone.
pub(super) fn fault(error: &ArmError) -> Fault {
    let kind = kind(error.kind());
    let code = match error {
        ArmError::Service { error, .. } => code(error),
        ArmError::Credential(_) => "azure_sign_in".to_owned(),
        ArmError::Unreachable { .. } => "azure_unreachable".to_owned(),
        ArmError::Unclear { .. } | ArmError::Overdue(_) => "azure_silent".to_owned(),
        ArmError::Unreadable { .. } => "azure_unreadable".to_owned(),
        ArmError::Untold(_) => "azure_untold".to_owned(),
    };
    Fault::new(kind, &code, error.to_string()).with_remedy(error.remedy().unwrap_or_default())
}

/// The same of an operation that has failed.
pub(super) fn of_operation(error: &ServiceError) -> Fault {
    Fault::new(kind(error.kind()), &code(error), error.to_string()).with_remedy(error.remedy().unwrap_or_default())
}

/// A fault of our own, in a word for programs.
pub(super) fn refused(code: &str, message: impl Into<String>, remedy: &str) -> Fault {
    Fault::new(FaultKind::Refused, code, message).with_remedy(remedy)
}

fn kind(kind: Kind) -> FaultKind {
    match kind {
        // Something else is under way: it may be tried again.
        Kind::Transient | Kind::Conflict => FaultKind::Unclear,
        Kind::Denied | Kind::Refused | Kind::NotFound => FaultKind::Refused,
    }
}

fn code(error: &ServiceError) -> String {
    match error.cause() {
        ("", _) => format!("azure_status_{}", error.status),
        (code, _) => code.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azures_code_and_message_come_with_what_to_do() {
        let read = |status, body: &str| ArmError::Service {
            error: Box::new(ServiceError::read(status, body.as_bytes(), None)),
            maybe_done: false,
        };
        for (status, body, kind, code, word) in [
            (
                409,
                r#"{"error":{"code":"QuotaExceeded","message":"No cores."}}"#,
                FaultKind::Refused,
                "QuotaExceeded",
                "quota",
            ),
            (
                403,
                r#"{"error":{"code":"AuthorizationFailed","message":"No."}}"#,
                FaultKind::Refused,
                "AuthorizationFailed",
                "az role assignment",
            ),
            (
                404,
                r#"{"error":{"code":"ResourceGroupNotFound","message":"No group."}}"#,
                FaultKind::Refused,
                "ResourceGroupNotFound",
                "az group create",
            ),
            (
                409,
                r#"{"error":{"code":"Conflict","message":"Busy."}}"#,
                FaultKind::Unclear,
                "Conflict",
                "",
            ),
            (502, "", FaultKind::Unclear, "azure_status_502", ""),
        ] {
            let fault = fault(&read(status, body));
            assert_eq!((fault.kind, fault.code.as_str()), (kind, code));
            assert!(fault.remedy.contains(word), "{fault:?}");
        }
    }
}
