//! What Azure says of a container group, and what follows from it. Pure.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    super::{INSTANCE, LEASE, fault::refused},
    requests::CONTAINER,
};
use crate::{
    node::{ERROR, FAULT},
    place::{Fault, FaultKind, Job},
};

/// How often a gateway may fail before it is ready, until it is given up.
const MOST_RESTARTS: u64 = 3;

/// The word for a group that failed, and says no more.
pub(super) const FAILED: &str = "group_failed";

/// A container group as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Whose it is: the tags of the launcher and of the lease.
    instance: String,
    lease: String,
    /// `Pending`, `Succeeded`, `Failed` and others.
    provisioning: String,
    /// The public address, once it has one.
    pub(super) address: Option<IpAddr>,
    /// How its container is.
    pub(super) container: Container,
    /// How often that was started anew.
    pub(super) restarts: u64,
    /// Whether somebody stopped the group.
    is_stopped: bool,
    /// What went wrong, the latest last: name and message.
    troubles: Vec<(String, String)>,
}

/// How the container of a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    /// It does not run yet, or not again yet.
    Waiting,
    /// It runs.
    Running,
    /// It has ended, with this code if that is told.
    Ended(Option<i64>),
}

impl View {
    pub(super) fn read(group: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tag = |name: &str| text(&group["tags"][name]);
        let properties = &group["properties"];
        let containers = properties["containers"].as_array();
        let own = containers.and_then(|all| all.iter().find(|container| container["name"] == CONTAINER));
        let view = own.map_or(&Value::Null, |own| &own["properties"]["instanceView"]);
        let state = &view["currentState"];
        let container = match state["state"].as_str().unwrap_or_default() {
            "Running" => Container::Running,
            "Terminated" => Container::Ended(state["exitCode"].as_i64()),
            _ => Container::Waiting,
        };
        let events = [&properties["instanceView"]["events"], &view["events"]];
        let events = events.into_iter().filter_map(Value::as_array).flatten();
        let troubles = events.filter_map(|event| {
            let name = text(&event["name"]);
            let is_trouble = event["type"] == "Warning" || name == "Failed" || name == "BackOff";
            is_trouble.then(|| (name, text(&event["message"])))
        });
        Self {
            instance: tag(INSTANCE),
            lease: tag(LEASE),
            provisioning: text(&properties["provisioningState"]),
            address: properties["ipAddress"]["ip"].as_str().and_then(|ip| ip.parse().ok()),
            container,
            restarts: view["restartCount"].as_u64().unwrap_or_default(),
            is_stopped: properties["instanceView"]["state"] == "Stopped",
            troubles: troubles.collect(),
        }
    }

    /// Whether it is of this lease of this launcher: another's is left alone.
    pub(super) fn is_of(&self, job: &Job) -> bool {
        self.instance == job.instance && self.lease == job.id.to_string()
    }

    /// Whether Azure is at it.
    pub(super) fn is_under_way(&self) -> bool {
        !["Succeeded", "Failed", "Canceled", "Unhealthy", "NotAccessible"].contains(&self.provisioning.as_str())
    }

    /// Whether Azure is at its removal.
    pub(super) fn is_going(&self) -> bool {
        self.provisioning == "Deleting"
    }

    /// Why no gateway will come of it; `None` while one may.
    pub(super) fn failure(&self, image: &str) -> Option<Fault> {
        let pull = self.troubles.iter().rev().find(|(_, message)| is_of_pull(message));
        if let (Container::Waiting, Some((_, message))) = (self.container, pull) {
            let said = format!("Azure cannot pull the image {image}: {}", short(message));
            return Some(refused(
                "image_not_pulled",
                said,
                "see that the image's name and tag are right, that its registry is reached from Azure, and that the place is \
                 configured with a user of the registry if not everybody may pull it",
            ));
        }
        let why = || match self.troubles.last() {
            Some((name, message)) => format!(": {name}: {}", short(message)),
            None => String::new(),
        };
        match self.provisioning.as_str() {
            "Failed" | "Canceled" | "Unhealthy" | "NotAccessible" => Some(refused(
                FAILED,
                format!("the container group is {}{}", self.provisioning, why()),
                "choose another size or region, or try again later",
            )),
            _ => None,
        }
    }

    /// Why its gateway is not there any more; `None` while it runs, or is started anew.
    pub(super) fn end(&self) -> Option<Fault> {
        let message = match self.container {
            _ if self.is_stopped => "somebody stopped its container group: its key went with it".to_owned(),
            Container::Ended(Some(0)) => "its container ended by itself, as it does at its time".to_owned(),
            Container::Ended(Some(code)) => format!("its container failed with the exit code {code}"),
            Container::Ended(None) => "its container ended".to_owned(),
            Container::Waiting | Container::Running => return None,
        };
        Some(Fault::new(FaultKind::Gone, "container_ended", message))
    }

    /// Whether it is of no use to wait on for a first word.
    pub(super) fn has_failed_often(&self) -> bool {
        self.restarts >= MOST_RESTARTS
    }
}

/// Why a gateway ended before it was ready, by what it said.
pub(super) fn ended(image: &str, log: &str) -> Fault {
    let lines = || log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let code = lines().find_map(|line| Some(line.split_once(FAULT)?.1.trim()));
    let is_code = |code: &&str| {
        (1..=40).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let code = code.filter(is_code).unwrap_or("gateway_ended");
    let error = lines().find_map(|line| Some(line.split_once(ERROR)?.1));
    let message = match error.or_else(|| lines().next()) {
        Some(said) => format!("the gateway ended right after its start: {}", short(said)),
        None => "the gateway ended right after its start, and said nothing".to_owned(),
    };
    refused(
        code,
        message,
        &format!(
            "see whether the image {image} is adit's, of this version, for x86-64: `docker run --rm {image} --version`"
        ),
    )
}

/// Whether an event's message is of an image that cannot be had.
fn is_of_pull(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "failed to pull image",
        "errimagepull",
        "imagepullbackoff",
        "pulling image \"",
        "manifest unknown",
    ]
    .iter()
    .any(|words| message.contains(words))
        && (message.contains("fail")
            || message.contains("err")
            || message.contains("back")
            || message.contains("unknown"))
}

fn short(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(300).collect()
}
