//! Runs scripts on machines that are made already, beside the questions that cannot wait for them.

use std::time::Duration;

use azure::Arm;

use super::{
    AzureVm,
    config::RunCommand,
    container::end,
    making::unreadable,
    output::{self, Read, Said},
    requests, script,
};
use crate::{
    clock,
    place::{Fault, Job, azure::fault::fault},
};

/// How long Azure may take for a script.
const LIMIT: Duration = Duration::from_secs(240);

/// How long a script's last word is waited for once Azure says that it has ended, and how often it is looked.
const SETTLES: u32 = 5;

impl AzureVm {
    /// Reads the gateway's key anew, and a peer's configuration with it, unless that is being done.
    pub(super) fn read_anew(&self, job: &Job, peer: Option<String>) {
        if !self.memory.begin(job.id, peer.is_some()) {
            return;
        }
        let (place, job) = (self.clone(), job.clone());
        tokio::spawn(async move {
            let read = place.read(&job, peer.as_deref()).await;
            if let Err(fault) = &read {
                tracing::warn!(lease = %job.id, fault.code, "a gateway at azure cannot be read: {fault}");
            }
            place.memory.end(job.id, peer.as_deref(), read);
        });
    }

    /// Lets a gateway without a clock of its own live for so long from here on, if it was told otherwise.
    pub(super) fn tell_end(&self, job: &Job, secs: u64) {
        let until = clock::since_boot() + Duration::from_secs(secs);
        if self.memory.is_told(job.id, until) || !self.memory.begin(job.id, true) {
            return;
        }
        let (place, job) = (self.clone(), job.clone());
        tokio::spawn(async move {
            let (round, _) = end(std::time::SystemTime::now(), secs);
            let left = until.saturating_sub(clock::since_boot()).as_secs();
            let told = place.run(&job, &script::tell_end(round, left)).await;
            let told = told.map(|_| place.memory.tell(job.id, until));
            place
                .memory
                .end(job.id, None, told.map(|()| Read::Starting(String::new())));
        });
    }

    async fn read(&self, job: &Job, peer: Option<&str>) -> Result<Read, Fault> {
        let script = script::read(&self.config.gateway, peer);
        let said = self.run(job, &script).await?;
        said.read(peer.is_some()).map_err(unreadable)
    }

    /// Runs a script to its end, and removes what it said from Azure.
    async fn run(&self, job: &Job, script: &str) -> Result<Said, Fault> {
        let arm = self.arm_of(job.id);
        let site = &self.config.site;
        let request = requests::run(&self.config, site.region(&job.order), job.id, script);
        match self.config.run_command {
            RunCommand::Action => {
                let result = arm.carry_out(&request, LIMIT).await.map_err(|error| fault(&error))?;
                output::of_action(&result).map_err(unreadable)
            }
            RunCommand::Managed => {
                let remove = requests::remove_run(site, job.id);
                // One of before would run nothing again.
                arm.carry_out(&remove, LIMIT).await.map_err(|error| fault(&error))?;
                arm.carry_out(&request, LIMIT).await.map_err(|error| fault(&error))?;
                let said = self.said(&arm, job).await;
                let removed = arm.carry_out(&remove, LIMIT).await.map_err(|error| fault(&error));
                removed.and(said)
            }
        }
    }

    async fn said(&self, arm: &Arm, job: &Job) -> Result<Said, Fault> {
        let request = requests::ran(&self.config.site, job.id);
        for _ in 0..SETTLES {
            let command = arm.send(&request).await.map_err(|error| fault(&error))?.body;
            if let Some(said) = output::of_view(&command).map_err(unreadable)? {
                return Ok(said);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err(unreadable(output::OutputError::NoAnswer))
    }
}
