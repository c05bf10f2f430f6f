//! The place `azure-container`: gateways as container groups of Azure Container Instances.
//!
//! Nothing is allowed in one, so that a gateway handles its packets in user space (the netstack plane), and its port is none of
//! those that Azure keeps for itself. Its key is read from its log, and it is asked through its WireGuard port. Azure may start
//! it anew, on another machine, at another address: then it is looked for, and followed.

mod ask;
mod config;
mod look;
mod making;
mod refs;
mod removal;
mod requests;
#[cfg(test)]
mod tests;
mod view;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure::{Arm, Request};

use self::ask::Moved;
pub use self::config::{BlobAccess, Config, ConfigError, LogAnalytics, Persistence, Registry, Restart, RestartError};
use super::{check::Check, gateways::Gateways};
use crate::{
    LauncherSecret, LeaseId, Moment,
    node::Question,
    order::Order,
    place::{Creation, Description, Fault, Job, Place, Reached, Removal},
};

/// How long a request is sent again: a step is taken again anyway, and an asking one ends after 15 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// The place. Clones are the same.
#[derive(Clone, Debug)]
pub struct AzureContainer {
    config: Config,
    arm: Arm,
    gateways: Gateways,
    moved: Moved,
}

impl AzureContainer {
    /// The actions of Azure's role model that the lives of gateways take in the resource group, and no other. Whoever lets
    /// gateways have an identity needs `Microsoft.ManagedIdentity/userAssignedIdentities/assign/action` on that, too.
    pub const ACTIONS: &[&str] = &[
        "Microsoft.ContainerInstance/containerGroups/read",
        "Microsoft.ContainerInstance/containerGroups/write",
        "Microsoft.ContainerInstance/containerGroups/delete",
        "Microsoft.ContainerInstance/containerGroups/containers/logs/read",
    ];

    /// A place of this account.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn new(config: Config, arm: Arm, secret: LauncherSecret) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            arm: arm.with_patience(PATIENCE),
            gateways: Gateways::new(secret),
            moved: Moved::default(),
        })
    }

    /// All that would be sent for a life, in order: making, asking, removal. Nothing is sent. The gateway itself is asked through
    /// its own port; Azure, again, only if it does not answer.
    pub fn plan(&self, job: &Job) -> Vec<Request> {
        let until = Moment::from_system(SystemTime::now()) + job.remaining;
        let launcher = self.gateways.launcher(job.id);
        vec![
            requests::find(&self.config, job.id),
            requests::make(&self.config, job, &launcher, until),
            requests::find(&self.config, job.id),
            requests::log(&self.config, job.id),
            requests::find(&self.config, job.id),
            requests::remove(&self.config, job.id),
        ]
    }

    /// Looks whether an order can be had, and makes nothing.
    pub async fn check(&self, order: &Order) -> Vec<Check> {
        self.look_at_all(order).await
    }
}

#[async_trait]
impl Place for AzureContainer {
    fn describe(&self) -> Description {
        Description {
            name: self.config.name.clone(),
            title: "A container at Azure".to_owned(),
            regions: self.config.site.regions().to_vec(),
            sizes: self.config.sizes.clone(),
            usual_secs: 45,
            takes_public_keys: true,
            reserved_ports: config::RESERVED.to_vec(),
            ..Description::default()
        }
    }

    async fn create(&self, job: &Job) -> Result<Creation, Fault> {
        self.make(job).await
    }

    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        self.ask_gateway(job, question).await
    }

    async fn remove(&self, job: &Job) -> Result<Removal, Fault> {
        self.take_away(job).await
    }

    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        self.leases(instance).await
    }
}
