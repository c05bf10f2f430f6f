//! Removes the machine of a lease with all that came with it, and finds machines that nobody knows of.

use std::{net::IpAddr, time::Duration};

use azure::{Arm, ArmError, Kind, Progress, Request, ResourceId};
use serde_json::Value;

use super::{
    AzureVm,
    found::is_of,
    names::{self, BESIDE},
    refs::Refs,
    requests,
};
use crate::{
    LeaseId,
    place::{
        Fault, Job, Removal,
        azure::{
            INSTANCE, LEASE,
            fault::{fault, of_operation},
        },
    },
};

/// When to try again what Azure does not remove because it is at something else.
const BUSY: Duration = Duration::from_secs(5);

/// What comes of one removal.
enum Removed {
    Gone,
    Goes(Duration),
}

impl AzureVm {
    pub(super) async fn remove_all(&self, job: &Job) -> Result<Removal, Fault> {
        let arm = self.arm_of(job.id);
        let site = &self.config.site;
        let mut refs = Refs::read(job);
        refs.operation = None;
        let mut least = Duration::ZERO;
        if let Some(operation) = refs.removal.take() {
            let followed = match arm.poll(&operation).await {
                Ok(progress) => follow(&mut refs, progress),
                Err(error) => Err(error.service().map(of_operation).ok_or_else(|| fault(&error))?),
            };
            match followed {
                Ok(Removed::Gone) => {}
                Ok(Removed::Goes(after)) => return Ok(pending(&refs, after)),
                // The same operation may say so for ever: it is begun anew.
                Err(fault) => {
                    tracing::warn!(lease = %job.id, fault.code, "azure has not removed a gateway, and is asked again: {fault}");
                    least = BUSY;
                }
            }
        }
        let machine = arm
            .find(&requests::machine(site, job.id))
            .await
            .map_err(|error| fault(&error))?;
        if let Some(machine) = machine.filter(|machine| is_of(machine, job)) {
            // What came with it is noted first: its names are Azure's, and lists are late.
            if let Ok((parts, _)) = self.parts(&arm, &machine).await {
                refs.beside = parts;
            }
            let request = requests::remove_machine(site, job.id);
            if let Removed::Goes(after) = remove(&arm, &mut refs, &request).await? {
                return Ok(pending(&refs, after.max(least)));
            }
        }
        for id in self.beside(&arm, job, &refs).await? {
            if let Removed::Goes(after) = remove(&arm, &mut refs, &requests::remove_part(&id)).await? {
                return Ok(pending(&refs, after.max(least)));
            }
        }
        self.gateways.forget(job.id);
        self.memory.forget(job.id);
        Ok(Removal::Gone)
    }

    /// What may have outlived the machine: what was noted, and what has its name, in the order in which they can go.
    async fn beside(&self, arm: &Arm, job: &Job, refs: &Refs) -> Result<Vec<ResourceId>, Fault> {
        let mut all = Vec::new();
        for (namespace, kind) in BESIDE {
            let of_kind = |id: &&ResourceId| {
                id.kind()
                    .is_some_and(|found| found.eq_ignore_ascii_case(&format!("{namespace}/{kind}")))
            };
            let mut found: Vec<ResourceId> = refs.beside.iter().filter(of_kind).cloned().collect();
            for item in self
                .listed(arm, &requests::list(&self.config.site, namespace, kind))
                .await?
            {
                let name = item["name"].as_str().unwrap_or_default();
                let is_its = names::lease_of(name, &job.instance) == Some(job.id);
                let id = item["id"].as_str().and_then(|id| id.parse().ok());
                if let Some(id) = id.filter(|id| is_its && !found.contains(id)) {
                    found.push(id);
                }
            }
            all.append(&mut found);
        }
        Ok(all)
    }

    /// Interfaces, addresses and disk of a machine; and the first of its public addresses.
    pub(super) async fn parts(&self, arm: &Arm, machine: &Value) -> Result<(Vec<ResourceId>, Option<IpAddr>), Fault> {
        let id = |value: &Value| value["id"].as_str().and_then(|id| id.parse::<ResourceId>().ok());
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let properties = &machine["properties"];
        let (mut parts, mut public) = (Vec::new(), None);
        for interface in list(&properties["networkProfile"]["networkInterfaces"])
            .iter()
            .filter_map(id)
        {
            let found = arm
                .find(&requests::part(&interface))
                .await
                .map_err(|error| fault(&error))?;
            parts.push(interface);
            for part in list(&found.unwrap_or_default()["properties"]["ipConfigurations"]) {
                let Some(address) = id(&part["properties"]["publicIPAddress"]) else {
                    continue;
                };
                let found = arm
                    .find(&requests::part(&address))
                    .await
                    .map_err(|error| fault(&error))?;
                let text = found
                    .as_ref()
                    .and_then(|found| found["properties"]["ipAddress"].as_str());
                public = public.or_else(|| text?.parse().ok());
                parts.push(address);
            }
        }
        parts.extend(id(&properties["storageProfile"]["osDisk"]["managedDisk"]));
        Ok((parts, public))
    }

    /// The leases of all that is of a launcher's in the resource group.
    pub(super) async fn list_all(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        let (arm, site) = (&self.arm, &self.config.site);
        let mut leases = Vec::new();
        for machine in self.listed(arm, &requests::machines(site)).await? {
            if machine["tags"][INSTANCE] != instance {
                continue;
            }
            match machine["tags"][LEASE].as_str().map(str::parse) {
                Some(Ok(lease)) => leases.push(lease),
                Some(Err(_)) | None => {
                    let name = machine["name"].as_str().unwrap_or_default();
                    tracing::warn!(
                        name,
                        "a machine has the tag {INSTANCE} and names no lease; it is left alone"
                    );
                }
            }
        }
        for (namespace, kind) in BESIDE {
            for item in self.listed(arm, &requests::list(site, namespace, kind)).await? {
                leases.extend(names::lease_of(item["name"].as_str().unwrap_or_default(), instance));
            }
        }
        leases.sort();
        leases.dedup();
        Ok(leases)
    }

    /// A list; there is nothing in a group that is not there.
    async fn listed(&self, arm: &Arm, request: &Request) -> Result<Vec<Value>, Fault> {
        match arm.list(request).await {
            Ok(items) => Ok(items),
            Err(error) if error.kind() == Kind::NotFound => Ok(Vec::new()),
            Err(error) => Err(fault(&error)),
        }
    }
}

async fn remove(arm: &Arm, refs: &mut Refs, request: &Request) -> Result<Removed, Fault> {
    match arm.begin(request).await {
        Ok(progress) => follow(refs, progress),
        Err(error) if error.kind() == Kind::NotFound => Ok(Removed::Gone),
        // It is being made, or is still held by what goes.
        Err(error) if is_busy(&error) => Ok(Removed::Goes(BUSY)),
        Err(error) => Err(fault(&error)),
    }
}

/// Whether Azure only refuses because it is at something else.
fn is_busy(error: &ArmError) -> bool {
    let codes = [
        "NicReservedForAnotherVm",
        "OperationNotAllowed",
        "NicInUse",
        "PublicIPAddressCannotBeDeleted",
    ];
    let is_held = error
        .service()
        .is_some_and(|error| codes.iter().any(|code| error.has(code)));
    error.kind() == Kind::Conflict || is_held
}

fn follow(refs: &mut Refs, progress: Progress) -> Result<Removed, Fault> {
    match progress {
        Progress::Running(operation, after) => {
            refs.removal = Some(operation);
            Ok(Removed::Goes(after))
        }
        Progress::Done(_) | Progress::Untold(_) => Ok(Removed::Gone),
        Progress::Failed(error) => Err(of_operation(&error)),
    }
}

fn pending(refs: &Refs, after: Duration) -> Removal {
    Removal::Pending {
        refs: refs.note(),
        after,
    }
}
