//! What follows from the engine's errors, and what a person can do about them.

use docker::engine::CallError;

use crate::place::{Fault, FaultKind};

/// A fault of asking the engine, whatever was asked.
pub(super) fn fault(error: CallError) -> Fault {
    match error {
        CallError::Unreachable(_) => {
            let is_forbidden = error.to_string().contains("Permission denied");
            let remedy = if is_forbidden {
                "let this user talk to the engine: it has to be in the group of the engine's socket"
            } else {
                "start the engine, or name its socket in the configuration of the place"
            };
            Fault::new(FaultKind::Unclear, "engine_unreachable", error.to_string()).with_remedy(remedy)
        }
        CallError::Unclear(_) => Fault::new(FaultKind::Unclear, "engine_unclear", error.to_string()),
        CallError::Missing(message) => Fault::new(FaultKind::Gone, "container_gone", message),
        CallError::Conflict(message) => Fault::new(FaultKind::Unclear, "engine_busy", message),
        CallError::Failed(message) => Fault::new(FaultKind::Unclear, "engine_failed", message)
            .with_remedy("look at the engine's log; it is tried again"),
        CallError::Refused(message) => Fault::new(FaultKind::Refused, "engine_refused", message),
    }
}

/// A fault of making a container in `network`.
pub(super) fn of_creation(error: CallError, network: Option<&str>) -> Fault {
    match (error, network) {
        (CallError::Missing(message), Some(network)) if is_of_network(&message) => network_missing(message, network),
        (CallError::Missing(message), _) => Fault::new(FaultKind::Refused, "engine_refused", message),
        (error, _) => fault(error),
    }
}

fn is_of_network(message: &str) -> bool {
    message.contains("network") && message.contains("not found")
}

fn network_missing(message: String, network: &str) -> Fault {
    let remedy = format!("make it with `docker network create {network}`, or name another in the configuration");
    Fault::new(FaultKind::Refused, "network_missing", message).with_remedy(remedy)
}

/// A fault of starting a container that publishes `port` and is in `network`.
pub(super) fn of_start(error: CallError, port: Option<u16>, network: Option<&str>) -> Fault {
    // Docker 20.10 looks for the network no earlier.
    let error = match (error, network) {
        (CallError::Missing(message), Some(network)) if is_of_network(&message) => {
            return network_missing(message, network);
        }
        (error, _) => error,
    };
    let text = error.to_string().to_ascii_lowercase();
    let is_port = ["already allocated", "already in use", "failed to bind"]
        .iter()
        .any(|words| text.contains(words));
    match (error, port) {
        (CallError::Failed(_) | CallError::Conflict(_), Some(port)) if is_port => {
            let message = format!("UDP port {port} of this machine is taken");
            Fault::new(FaultKind::Refused, "port_taken", message)
                .with_remedy("ask for another port, or for none: then a free one is chosen")
        }
        // It chose one that somebody took before it; the next time it chooses another.
        (CallError::Failed(message), None) if is_port => Fault::new(FaultKind::Unclear, "port_taken", message),
        (CallError::Failed(message), _) if text.contains("device information") || text.contains("/dev/net/tun") => {
            let remedy = "load the kernel's module tun, or configure the place without NET_ADMIN";
            Fault::new(FaultKind::Refused, "device_missing", message).with_remedy(remedy)
        }
        // It could not be started before, and the engine removed it: the next step makes another.
        (CallError::Missing(message), _) => Fault::new(FaultKind::Unclear, "container_gone", message),
        (error, _) => fault(error),
    }
}

/// The image is not there.
pub(super) fn image_missing(image: &str, reason: Option<&str>) -> Fault {
    let because = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let own = if image == super::config::ADIT {
        ", or `cargo xtask image --load` in adit's sources"
    } else {
        ""
    };
    Fault::new(
        FaultKind::Refused,
        "image_missing",
        format!("the engine has no image `{image}`{because}"),
    )
    .with_remedy(format!("fetch it with `docker pull {image}`{own}"))
}

/// A container of this name is another's.
pub(super) fn name_taken(name: &str) -> Fault {
    Fault::new(
        FaultKind::Refused,
        "name_taken",
        format!("there is a container {name} that is not this lease's"),
    )
    .with_remedy(format!(
        "look what it is with `docker inspect {name}`, and remove or rename it"
    ))
}

/// The container is not there, or has ended.
pub(super) fn gone(name: &str, code: Option<i64>) -> Fault {
    let message = match code {
        None => format!("there is no container {name} any more: its time was over, or somebody removed it"),
        Some(code) => format!("the container {name} has ended with code {code}"),
    };
    Fault::new(FaultKind::Gone, "container_gone", message)
}

/// The gateway in the container does not answer yet.
pub(super) fn not_yet(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::NotYet, "starting", message)
}

/// Nobody knows where clients connect to.
pub(super) fn no_address(problem: String) -> Fault {
    Fault::new(FaultKind::Refused, "no_address", problem)
        .with_remedy("say in the configuration how clients reach this machine: a name or an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_failed_says_what_would_mend_it() {
        let failed = |text: &str| CallError::Failed(text.to_owned());
        let allocated = "driver failed programming external connectivity on endpoint adit-1: Bind for 0.0.0.0:51820 \
                         failed: port is already allocated";
        let in_use = "Error starting userland proxy: listen udp4 0.0.0.0:51820: bind: address already in use";
        let no_device = "error gathering device information while adding custom device \"/dev/net/tun\": no such file";
        for (error, port, kind, code) in [
            (failed(allocated), Some(51_820), FaultKind::Refused, "port_taken"),
            (failed(in_use), Some(51_820), FaultKind::Refused, "port_taken"),
            (failed(in_use), None, FaultKind::Unclear, "port_taken"),
            (failed(no_device), None, FaultKind::Refused, "device_missing"),
            (
                failed("no space left on device"),
                None,
                FaultKind::Unclear,
                "engine_failed",
            ),
            (
                CallError::Missing("No such container".to_owned()),
                None,
                FaultKind::Unclear,
                "container_gone",
            ),
            (
                CallError::Refused("no such executable".to_owned()),
                None,
                FaultKind::Refused,
                "engine_refused",
            ),
            (
                CallError::Unreachable("no socket".to_owned()),
                None,
                FaultKind::Unclear,
                "engine_unreachable",
            ),
        ] {
            let text = error.to_string();
            let fault = of_start(error, port, None);
            assert_eq!((fault.kind, fault.code.as_str()), (kind, code), "{text}");
        }
    }

    #[test]
    fn a_missing_network_is_named_whenever_the_engine_looks_for_it() {
        let missing = || CallError::Missing("network home not found".to_owned());
        for fault in [
            of_creation(missing(), Some("home")),
            of_start(missing(), None, Some("home")),
        ] {
            assert_eq!(
                (fault.kind, fault.code.as_str()),
                (FaultKind::Refused, "network_missing")
            );
            assert!(fault.remedy.contains("docker network create home"), "{}", fault.remedy);
        }
    }

    #[test]
    fn a_missing_image_comes_with_the_command_that_fetches_it() {
        let fault = image_missing("adit:latest", None);
        assert_eq!(fault.message, "the engine has no image `adit:latest`");
        assert!(fault.remedy.contains("cargo xtask image --load"), "{}", fault.remedy);
        let fault = image_missing("example/wireguard:1", Some("pull access denied"));
        assert_eq!(fault.remedy, "fetch it with `docker pull example/wireguard:1`");
        assert!(fault.message.ends_with("pull access denied"));
    }
}
