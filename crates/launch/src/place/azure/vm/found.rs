//! Reads what is there at Azure.

use serde_json::Value;

use super::names;
use crate::place::{
    Job,
    azure::{INSTANCE, LEASE},
};

/// Whether a machine is the lease's own.
pub(super) fn is_of(machine: &Value, job: &Job) -> bool {
    let is = |tag: &str, value: &str| machine["tags"][tag] == value;
    is(INSTANCE, &job.instance) && is(LEASE, &job.id.to_string())
}

/// The word for how a resource is.
pub(super) fn state(resource: &Value) -> &'static str {
    let word = resource["properties"]["provisioningState"]
        .as_str()
        .unwrap_or("succeeded");
    ["succeeded", "failed", "canceled"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(word))
        .unwrap_or("running")
}

/// Whether a network has the subnet that machines are in.
pub(super) fn has_subnet(network: Option<&Value>) -> bool {
    let subnets = network.and_then(|network| network["properties"]["subnets"].as_array());
    subnets
        .into_iter()
        .flatten()
        .any(|subnet| subnet["name"] == names::SUBNET)
}

/// Whether a security group has these rules and no other.
pub(super) fn has_rules(group: Option<&Value>, wanted: &[Value]) -> bool {
    const MEMBERS: [&str; 8] = [
        "protocol",
        "direction",
        "access",
        "priority",
        "sourceAddressPrefix",
        "sourcePortRange",
        "destinationAddressPrefix",
        "destinationPortRange",
    ];
    let rules = group.and_then(|group| group["properties"]["securityRules"].as_array());
    let outline = |rules: &[Value]| {
        let mut outline: Vec<String> = rules
            .iter()
            .map(|rule| {
                MEMBERS
                    .map(|name| rule["properties"][name].to_string().to_ascii_lowercase())
                    .join(" ")
            })
            .collect();
        outline.sort();
        outline
    };
    rules.is_some_and(|rules| outline(rules) == outline(wanted))
}
