//! The names of what is in the resource group.

use std::fmt::Write as _;

use azure::{RequestId, ResourceId};
use sha2::{Digest as _, Sha256};

use super::super::site::Site;
use crate::{LeaseId, place::Job};

pub(super) const COMPUTE: &str = "Microsoft.Compute";
pub(super) const NETWORK: &str = "Microsoft.Network";

/// The script's name on a machine.
const COMMAND: &str = "adit";

/// The subnet of the shared network.
pub(super) const SUBNET: &str = "default";

/// The kinds of what comes with a machine and may outlive it, in the order in which they can go.
pub(super) const BESIDE: [(&str, &str); 3] = [
    (NETWORK, "networkInterfaces"),
    (NETWORK, "publicIPAddresses"),
    (COMPUTE, "disks"),
];

pub(super) fn machine(site: &Site, lease: LeaseId) -> ResourceId {
    site.of_lease(COMPUTE, "virtualMachines", lease)
}

/// The script as a resource of the machine.
pub(super) fn command(machine: &ResourceId) -> ResourceId {
    machine.child("runCommands", COMMAND).expect("it is a name")
}

/// The network that all machines of a region share.
pub(super) fn network(site: &Site, region: &str) -> ResourceId {
    shared(site, "virtualNetworks", &format!("adit-{region}"))
}

/// The security group that all machines of a region with one port share.
pub(super) fn guard(site: &Site, region: &str, port: u16, with_ssh: bool) -> ResourceId {
    let ssh = if with_ssh { "-ssh" } else { "" };
    shared(site, "networkSecurityGroups", &format!("adit-{region}-udp-{port}{ssh}"))
}

fn shared(site: &Site, kind: &str, name: &str) -> ResourceId {
    site.resource(NETWORK, kind, name)
        .expect("regions are of letters and digits")
}

/// What interface, address and disk of a machine are called. They carry no tags: the name tells the lease, and by a hash whose
/// launcher's it is. Azure may put something behind it.
pub(super) fn beside(job: &Job) -> String {
    format!("{}-{}", job.id.resource_name(), hash(&job.instance))
}

/// The lease of something that is called so, if it is of this launcher's.
pub(super) fn lease_of(name: &str, instance: &str) -> Option<LeaseId> {
    let lower = name.to_ascii_lowercase();
    let (lease, rest) = lower.strip_prefix("adit-")?.split_at_checked(26)?;
    let rest = rest.strip_prefix('-')?.strip_prefix(&hash(instance))?;
    (rest.is_empty() || rest.starts_with(['-', '_'])).then_some(())?;
    lease.parse().ok()
}

/// The number by which Azure's logs show what belongs to a lease.
pub(super) fn correlation(lease: LeaseId) -> RequestId {
    let digest = Sha256::digest(lease.to_string().as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    RequestId::from_bytes(bytes)
}

fn hash(instance: &str) -> String {
    let digest = Sha256::digest(instance.as_bytes());
    digest[..4].iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::azure::vm::tests::job;

    #[test]
    fn a_leftover_tells_its_lease_and_whose_it_is() {
        let job = job();
        let name = beside(&job);
        for (name, instance, is) in [
            (name.clone(), "here", true),
            (format!("{name}-1a2b3c4d"), "here", true),
            (format!("{name}_OsDisk_1"), "here", true),
            (name.to_uppercase(), "here", true),
            (name.clone(), "there", false),
            (format!("{name}5"), "here", false),
            (job.id.resource_name(), "here", false),
            (format!("adit-{}", "x".repeat(40)), "here", false),
            ("adit-ö".to_owned(), "here", false),
            (String::new(), "here", false),
        ] {
            assert_eq!(lease_of(&name, instance), is.then_some(job.id), "{name}");
        }
    }
}
