//! Asks the gateway, and looks what has become of it where it does not answer: it may have been started anew.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    AzureContainer,
    refs::{Refs, Target},
    requests,
    view::Container,
};
use crate::{
    LeaseId,
    node::{Question, Ready, tunnel::CallError},
    place::{Fault, FaultKind, Job, Reached, azure::gateways},
};

/// Where gateways were found that are not where the steps before have noted them. Kept in memory: whoever knows nothing of
/// it finds the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Moved(Arc<Mutex<HashMap<LeaseId, Target>>>);

impl Moved {
    fn of(&self, lease: LeaseId) -> Option<Target> {
        let moved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moved.get(&lease).cloned()
    }

    fn note(&self, lease: LeaseId, target: Target) {
        let mut moved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moved.insert(lease, target);
    }

    pub(super) fn forget(&self, lease: LeaseId) {
        let mut moved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moved.remove(&lease);
    }
}

impl AzureContainer {
    pub(super) async fn ask_gateway(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let Some(known) = self.moved.of(job.id).or_else(|| Refs::read(job).target()) else {
            let target = self.look(job).await?;
            let asked = self.call(job, &target, question).await;
            return asked.map_err(|error| gateways::fault(&error));
        };
        let error = match self.call(job, &known, question).await {
            Ok(reached) => return Ok(reached),
            Err(error) => error,
        };
        let found = self.look(job).await?;
        if found == known {
            return Err(gateways::fault(&error));
        }
        let asked = self.call(job, &found, question).await;
        asked.map_err(|error| gateways::fault(&error))
    }

    async fn call(&self, job: &Job, target: &Target, question: &Question) -> Result<Reached, CallError> {
        let answer = self
            .gateways
            .ask(job.id, &target.endpoint, target.public_key, question)
            .await?;
        Ok(Reached {
            endpoint: target.endpoint.clone(),
            answer,
        })
    }

    /// Where the gateway is by Azure's account, and its key by its own.
    pub(super) async fn look(&self, job: &Job) -> Result<Target, Fault> {
        let name = job.id.resource_name();
        let Some(view) = self.find(job).await?.filter(|view| view.is_of(job)) else {
            let message = format!("the container group {name} is not there any more");
            return Err(Fault::new(FaultKind::Gone, "container_gone", message));
        };
        if view.is_going() {
            let message = format!("the container group {name} is being removed");
            return Err(Fault::new(FaultKind::Gone, "container_gone", message));
        }
        if let Some(end) = view.end() {
            return Err(end);
        }
        let not_yet = |message: &str| Err(Fault::new(FaultKind::NotYet, "starting", message));
        if view.is_under_way() || view.container == Container::Waiting {
            return not_yet("Azure starts the container anew");
        }
        match (Ready::find(&self.log(job).await?), view.address) {
            (Some(ready), Some(address)) => {
                let target = Target {
                    endpoint: SocketAddr::new(address, requests::port(&self.config, job)).to_string(),
                    public_key: ready.public_key,
                };
                self.moved.note(job.id, target.clone());
                Ok(target)
            }
            (Some(_), None) => not_yet("the container group has no public address yet"),
            (None, _) => not_yet("the container runs, and its gateway starts"),
        }
    }
}
