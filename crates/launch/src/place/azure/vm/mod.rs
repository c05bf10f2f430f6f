//! The place `azure-vm`: gateways as virtual machines.
//!
//! ```text
//!   Ignition      custom data ─▶ first boot ─▶ unit ─▶ docker run …    ┐
//!   Run Command   script ──────────────────────────▶ docker run …    ┴▶ a script reads the key ─▶ asked through WireGuard
//! ```
//!
//! Keys are born on the machine. What goes to Azure holds no secret, and of what comes back a private key is only in what
//! reads linuxserver's configurations: it stays in memory, and is removed from Azure at once.
//!
//! A machine, its interface, address and disk are one request, and go together. The network and the security group are
//! shared by the machines of a region, made once, compared after that, and left there: they cost nothing.

mod ask;
mod check;
mod config;
mod container;
mod found;
mod ignition;
mod making;
mod memory;
mod names;
mod output;
mod plan;
mod reader;
mod refs;
mod removal;
mod requests;
mod script;
mod ssh;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use azure::Arm;

pub use self::config::{Config, ConfigError, GatewayImage, RunCommand, SetUp, VmImage};
use self::memory::Memory;
use super::gateways::Gateways;
use crate::{
    LauncherSecret, LeaseId,
    node::Question,
    place::{Creation, Description, Fault, Job, Place, Reached, Removal},
};

/// How long a request is sent again, and its answer is waited for: a step is taken again anyway.
const PATIENCE: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(40);

/// The same where a person waits.
const HASTE: Duration = Duration::from_secs(4);

/// How long it takes until a gateway is ready, as people see it, in seconds.
const USUAL_SECS: u64 = 150;

/// The place. Clones are the same.
#[derive(Clone, Debug)]
pub struct AzureVm {
    config: Config,
    arm: Arm,
    gateways: Gateways,
    memory: Memory,
}

impl AzureVm {
    /// The actions of Azure's role model that the place uses, and no other; those of `Microsoft.MarketplaceOrdering` only if it
    /// accepts terms.
    pub const ACTIONS: &[&str] = &[
        "Microsoft.Compute/virtualMachines/read",
        "Microsoft.Compute/virtualMachines/write",
        "Microsoft.Compute/virtualMachines/delete",
        "Microsoft.Compute/virtualMachines/runCommand/action",
        "Microsoft.Compute/virtualMachines/runCommands/read",
        "Microsoft.Compute/virtualMachines/runCommands/write",
        "Microsoft.Compute/virtualMachines/runCommands/delete",
        "Microsoft.Compute/disks/read",
        "Microsoft.Compute/disks/write",
        "Microsoft.Compute/disks/delete",
        "Microsoft.Network/virtualNetworks/read",
        "Microsoft.Network/virtualNetworks/write",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
        "Microsoft.Network/networkSecurityGroups/read",
        "Microsoft.Network/networkSecurityGroups/write",
        "Microsoft.Network/networkSecurityGroups/join/action",
        "Microsoft.Network/networkInterfaces/read",
        "Microsoft.Network/networkInterfaces/write",
        "Microsoft.Network/networkInterfaces/join/action",
        "Microsoft.Network/networkInterfaces/delete",
        "Microsoft.Network/publicIPAddresses/read",
        "Microsoft.Network/publicIPAddresses/write",
        "Microsoft.Network/publicIPAddresses/join/action",
        "Microsoft.Network/publicIPAddresses/delete",
        "Microsoft.Compute/locations/operations/read",
        "Microsoft.Compute/locations/diskOperations/read",
        "Microsoft.Network/locations/operations/read",
        "Microsoft.Network/locations/operationResults/read",
        "Microsoft.MarketplaceOrdering/offertypes/publishers/offers/plans/agreements/read",
        "Microsoft.MarketplaceOrdering/offertypes/publishers/offers/plans/agreements/write",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
        "Microsoft.Resources/subscriptions/locations/read",
        "Microsoft.Resources/subscriptions/providers/read",
        "Microsoft.Authorization/permissions/read",
        "Microsoft.Compute/skus/read",
        "Microsoft.Compute/locations/usages/read",
        "Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions/read",
        "Microsoft.Network/locations/usages/read",
    ];

    /// How many of [`AzureVm::ACTIONS`] from the first on make, ask and remove gateways in the resource group. The others are
    /// of the whole subscription: they follow operations, accept terms, and look before something is made.
    pub const MAKING: usize = 24;

    /// A place of this account.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn new(config: Config, arm: Arm, secret: LauncherSecret) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            arm: arm.with_patience(PATIENCE).with_limit(LIMIT),
            gateways: Gateways::new(secret),
            memory: Memory::default(),
        })
    }

    /// The client, under a number by which Azure's logs show what belongs to the lease.
    fn arm_of(&self, lease: LeaseId) -> Arm {
        self.arm.correlated(names::correlation(lease))
    }

    /// The same for questions that cannot wait.
    fn hasty(&self, lease: LeaseId) -> Arm {
        self.arm_of(lease).with_patience(HASTE).with_limit(HASTE)
    }

    /// Whether gateways make their clients' keys.
    fn makes_keys(&self) -> bool {
        matches!(self.config.gateway, GatewayImage::Linuxserver(_))
    }
}

#[async_trait]
impl Place for AzureVm {
    fn describe(&self) -> Description {
        Description {
            name: self.config.name.clone(),
            title: "A virtual machine at Azure".to_owned(),
            regions: self.config.site.regions().to_vec(),
            sizes: self.config.sizes.clone(),
            usual_secs: USUAL_SECS,
            takes_public_keys: !self.makes_keys(),
            offers_ssh: true,
            ..Description::default()
        }
    }

    async fn create(&self, job: &Job) -> Result<Creation, Fault> {
        self.make(job).await
    }

    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        if self.makes_keys() {
            self.ask_linuxserver(job, question).await
        } else {
            self.ask_own(job, question).await
        }
    }

    async fn remove(&self, job: &Job) -> Result<Removal, Fault> {
        self.remove_all(job).await
    }

    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        self.list_all(instance).await
    }
}
