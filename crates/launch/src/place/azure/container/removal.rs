//! Removes the container group of a lease, and finds those that are left.

use std::time::Duration;

use azure::{Kind, Progress};

use super::{AzureContainer, refs::Refs, requests};
use crate::{
    LeaseId,
    place::{
        Fault, Job, Removal,
        azure::{INSTANCE, LEASE, fault::fault, fault::of_operation, fault::refused},
    },
};

/// When a removal is looked at again that only the group tells of.
const SOON: Duration = Duration::from_secs(5);

impl AzureContainer {
    pub(super) async fn take_away(&self, job: &Job) -> Result<Removal, Fault> {
        let refs = Refs::read(job);
        if let Some(operation) = &refs.removal {
            match self.arm.poll(operation).await {
                Ok(Progress::Running(operation, after)) => return Ok(pending(refs, operation, after)),
                Ok(Progress::Done(_) | Progress::Failed(_) | Progress::Untold(_)) => {}
                // It may be its end that Azure tells so, for ever.
                Err(error) if error.service().is_some() => {}
                Err(error) => return Err(fault(&error)),
            }
        }
        // Another's is left alone; so is a name that nobody has.
        let Some(view) = self.find(job).await?.filter(|view| view.is_of(job)) else {
            self.forget(job.id);
            return Ok(Removal::Gone);
        };
        if view.is_going()
            && let Some(operation) = refs.removal.clone()
        {
            return Ok(pending(refs, operation, SOON));
        }
        match self.arm.begin(&requests::remove(&self.config, job.id)).await {
            Ok(Progress::Running(operation, after)) => Ok(pending(refs, operation, after)),
            Ok(Progress::Done(_)) => {
                self.forget(job.id);
                Ok(Removal::Gone)
            }
            Ok(Progress::Failed(error)) => Err(of_operation(&error)),
            Ok(Progress::Untold(untold)) => Err(fault(&untold.into())),
            Err(error) if error.kind() == Kind::NotFound => {
                self.forget(job.id);
                Ok(Removal::Gone)
            }
            Err(error) => Err(fault(&error)),
        }
    }

    pub(super) async fn leases(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        let request = requests::list(&self.config)
            .map_err(|error| refused("InvalidGroup", error.to_string(), "name another resource group"))?;
        let groups = self.arm.list(&request).await.map_err(|error| fault(&error))?;
        let mut leases: Vec<LeaseId> = groups
            .iter()
            .filter(|group| group["tags"][INSTANCE] == instance)
            .filter_map(|group| group["tags"][LEASE].as_str()?.parse().ok())
            .collect();
        leases.sort_unstable();
        leases.dedup();
        Ok(leases)
    }

    fn forget(&self, lease: LeaseId) {
        self.gateways.forget(lease);
        self.moved.forget(lease);
    }
}

fn pending(refs: Refs, operation: azure::Operation, after: Duration) -> Removal {
    let refs = Refs {
        removal: Some(operation),
        ..refs
    };
    Removal::Pending {
        refs: refs.note(),
        after,
    }
}
