//! Why a step on this machine did not succeed.

use std::io;

use crate::place::{Fault, FaultKind};

/// Nobody can tell at the moment.
pub(super) fn unclear(code: &str, message: String) -> Fault {
    Fault::new(FaultKind::Unclear, code, message)
}

/// A step of the start that failed: for good, unless this machine is short of something.
pub(super) fn cannot(what: &str, error: &io::Error) -> Fault {
    let message = format!("the gateway's process cannot {what}: {error}");
    let is_for_good = [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::NotFound,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::ReadOnlyFilesystem,
    ]
    .contains(&error.kind());
    if is_for_good {
        let remedy = "let the user that launches write in the runtime folder, or choose another one";
        Fault::new(FaultKind::Refused, "start_failed", message).with_remedy(remedy)
    } else {
        unclear("start_failed", message)
    }
}

/// What a person can do about a gateway that did not start, by the word that it gave.
pub(super) fn remedy(code: &str) -> &'static str {
    match code {
        "port_taken" => "ask for another port, or for none",
        "plane_unavailable" => "choose another plane; `auto` takes the first that works here",
        _ => "`adit doctor` says what works on this machine",
    }
}
