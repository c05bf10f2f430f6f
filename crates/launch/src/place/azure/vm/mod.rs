//! The place `azure-vm`: gateways as virtual machines.

mod config;

use std::time::Duration;

use async_trait::async_trait;
use azure::{Arm, Request};

pub use self::config::{Config, ConfigError, GatewayImage, RunCommand, SetUp, VmImage};
use super::{check::Check, fault::refused, gateways::Gateways};
use crate::{
    LauncherSecret, LeaseId,
    node::Question,
    order::Order,
    place::{Creation, Description, Fault, Job, Place, Reached, Removal},
};

/// How long a request is sent again: a step is taken again anyway.
const PATIENCE: Duration = Duration::from_secs(20);

/// The place. Clones are the same.
#[derive(Clone, Debug)]
pub struct AzureVm {
    config: Config,
    arm: Arm,
    gateways: Gateways,
}

impl AzureVm {
    /// The actions of Azure's role model that the place uses, and no other.
    pub const ACTIONS: &[&str] = &[];

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
        })
    }

    /// All that would be sent for a life, in order: making, asking, removal. Nothing is sent.
    pub fn plan(&self, _job: &Job) -> Vec<Request> {
        Vec::new()
    }

    /// Looks whether an order can be had, and makes nothing.
    pub async fn check(&self, _order: &Order) -> Vec<Check> {
        Vec::new()
    }
}

#[async_trait]
impl Place for AzureVm {
    fn describe(&self) -> Description {
        let takes_public_keys = matches!(self.config.gateway, GatewayImage::Adit(_));
        Description {
            name: self.config.name.clone(),
            title: "A virtual machine at Azure".to_owned(),
            regions: self.config.site.regions().to_vec(),
            sizes: self.config.sizes.clone(),
            usual_secs: 180,
            takes_public_keys,
            ..Description::default()
        }
    }

    async fn create(&self, _job: &Job) -> Result<Creation, Fault> {
        Err(refused("unfinished", "not made yet", ""))
    }

    async fn ask(&self, _job: &Job, _question: &Question) -> Result<Reached, Fault> {
        Err(refused("unfinished", "not made yet", ""))
    }

    async fn remove(&self, _job: &Job) -> Result<Removal, Fault> {
        Ok(Removal::Gone)
    }

    async fn list(&self, _instance: &str) -> Result<Vec<LeaseId>, Fault> {
        Ok(Vec::new())
    }
}
