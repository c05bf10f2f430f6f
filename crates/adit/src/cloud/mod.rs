//! Places at Azure, as a file and options name them, and as they are kept beside a lease.

mod account;
mod container;
mod secret;
mod vm;

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use azure::Arm;
use launch::{
    LauncherSecret,
    order::Order,
    place::{
        Job, Place,
        azure::{AzureContainer, AzureVm, Check, GROUP, Site},
    },
};
use serde::{Deserialize, Serialize};

use self::account::Account;
pub(crate) use self::{container::ContainerSettings, secret::Secrets, vm::VmSettings};

/// The subscription of a plan that names none.
const NOBODYS: &str = "00000000-0000-0000-0000-000000000000";

/// What is read of the environment, by a variable's name.
pub(crate) type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

/// A variable of this process; an empty one is as none.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A place at Azure. No secret is in it, only files that have some.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(crate) enum AzureSettings {
    /// Virtual machines.
    #[serde(rename = "azure-vm")]
    Vm(Box<VmSettings>),
    /// Container groups.
    #[serde(rename = "azure-container")]
    Container(Box<ContainerSettings>),
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AzureKind {
    /// Virtual machines.
    Vm,
    /// Container groups.
    Container,
}

impl AzureKind {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Vm, Self::Container];

    /// As people write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "azure-vm",
            Self::Container => "azure-container",
        }
    }

    /// The kind of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What the place is, for people, in a line.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Vm => "A virtual machine at Azure",
            Self::Container => "A container at Azure",
        }
    }

    /// A place with nothing but defaults.
    pub(crate) fn settings(self) -> AzureSettings {
        match self {
            Self::Vm => AzureSettings::Vm(Box::default()),
            Self::Container => AzureSettings::Container(Box::default()),
        }
    }
}

/// Where in Azure: what both kinds have in common.
#[derive(Debug)]
pub(crate) struct Common<'s> {
    pub(crate) name: &'s mut Option<String>,
    pub(crate) subscription: &'s mut Option<String>,
    pub(crate) group: &'s mut Option<String>,
    pub(crate) region: &'s mut Option<String>,
    pub(crate) regions: &'s mut Vec<String>,
    pub(crate) image: &'s mut Option<String>,
    pub(crate) sizes: &'s mut Vec<String>,
    pub(crate) management_url: &'s mut Option<String>,
}

impl AzureSettings {
    /// Which of the two it is.
    pub(crate) fn kind(&self) -> AzureKind {
        match self {
            Self::Vm(_) => AzureKind::Vm,
            Self::Container(_) => AzureKind::Container,
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        let name = match self {
            Self::Vm(vm) => &vm.name,
            Self::Container(container) => &container.name,
        };
        name.as_deref().unwrap_or(self.kind().as_str())
    }

    pub(crate) fn common(&mut self) -> Common<'_> {
        match self {
            Self::Vm(vm) => vm.common(),
            Self::Container(container) => container.common(),
        }
    }

    fn account(&self) -> Account<'_> {
        match self {
            Self::Vm(vm) => vm.account(),
            Self::Container(container) => container.account(),
        }
    }

    /// Where requests go.
    pub(crate) fn cloud(&self) -> anyhow::Result<azure::Cloud> {
        self.account().cloud().with_context(|| format!("place {}", self.name()))
    }

    /// What it says, with what it leaves out taken from the environment.
    pub(crate) fn filled(mut self, variable: Variables<'_>) -> Self {
        let Common {
            subscription,
            group,
            management_url,
            ..
        } = self.common();
        *subscription = subscription.take().or_else(|| variable("AZURE_SUBSCRIPTION_ID"));
        *group = group
            .take()
            .or_else(|| variable("ADIT_AZURE_GROUP"))
            .or_else(|| Some(GROUP.to_owned()));
        *management_url = management_url.take().or_else(|| variable("ADIT_AZURE_MANAGEMENT_URL"));
        self
    }

    /// Its files as whoever is in another directory finds them.
    pub(crate) fn absolute(mut self) -> Self {
        if let Self::Container(container) = &mut self {
            container.each_file(|file| {
                if let Ok(path) = std::path::absolute(&*file) {
                    *file = path;
                }
            });
        }
        self
    }

    /// The same for a plan, which needs no subscription.
    pub(crate) fn of_nobody(mut self) -> Self {
        self.common().subscription.get_or_insert_with(|| NOBODYS.to_owned());
        self
    }

    /// A client for whoever the environment says that adit is. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// Names the place, and its key that is wrong.
    pub(crate) fn arm(&self, variable: Variables<'_>) -> anyhow::Result<Arm> {
        self.account()
            .arm(variable)
            .with_context(|| format!("place {}", self.name()))
    }

    /// Which Azure, subscription and group it is in, and as what.
    pub(crate) fn whereabouts(&self) -> String {
        let (subscription, group) = match self {
            Self::Vm(vm) => (&vm.subscription, &vm.group),
            Self::Container(container) => (&container.subscription, &container.group),
        };
        let (kind, account) = (self.kind().as_str(), self.account());
        format!("{kind} {subscription:?} {group:?} {account:?}")
    }

    /// The place for whoever the environment says that adit is.
    ///
    /// # Errors
    ///
    /// Names the place, and its key that is wrong or missing.
    pub(crate) fn open(
        &self,
        launcher: LauncherSecret,
        secrets: &Secrets<'_>,
        variable: Variables<'_>,
    ) -> anyhow::Result<AzurePlace> {
        let arm = || self.account().arm(variable);
        self.made(launcher, secrets, arm)
    }

    /// The place without an account: it can be planned for, and nothing can be sent.
    ///
    /// # Errors
    ///
    /// As [`AzureSettings::open`].
    pub(crate) fn open_for_plan(&self) -> anyhow::Result<AzurePlace> {
        let arm = || self.account().nobody();
        self.made(LauncherSecret::danger_known(), &Secrets::None, arm)
    }

    fn made(
        &self,
        launcher: LauncherSecret,
        secrets: &Secrets<'_>,
        arm: impl FnOnce() -> anyhow::Result<Arm>,
    ) -> anyhow::Result<AzurePlace> {
        let made = || -> anyhow::Result<AzurePlace> {
            Ok(match self {
                Self::Vm(vm) => AzurePlace::Vm(AzureVm::new(vm.config()?, arm()?, launcher)?),
                Self::Container(container) => {
                    AzurePlace::Container(AzureContainer::new(container.config(secrets)?, arm()?, launcher)?)
                }
            })
        };
        made().with_context(|| format!("place {}", self.name()))
    }
}

/// A place that can be used.
#[derive(Debug)]
pub(crate) enum AzurePlace {
    /// Virtual machines.
    Vm(AzureVm),
    /// Container groups.
    Container(AzureContainer),
}

impl AzurePlace {
    /// The place as launchers know it.
    pub(crate) fn into_place(self) -> Arc<dyn Place> {
        match self {
            Self::Vm(vm) => Arc::new(vm),
            Self::Container(container) => Arc::new(container),
        }
    }

    /// What it offers.
    pub(crate) fn describe(&self) -> launch::place::Description {
        match self {
            Self::Vm(vm) => vm.describe(),
            Self::Container(container) => container.describe(),
        }
    }

    /// All that would be sent for a life, in order.
    pub(crate) fn plan(&self, job: &Job) -> Vec<azure::Request> {
        match self {
            Self::Vm(vm) => vm.plan(job),
            Self::Container(container) => container.plan(job),
        }
    }

    /// Looks whether an order can be had, and makes nothing.
    pub(crate) async fn check(&self, order: &Order) -> Vec<Check> {
        match self {
            Self::Vm(vm) => vm.check(order).await,
            Self::Container(container) => container.check(order).await,
        }
    }
}

/// Where in Azure a place is.
fn site(
    subscription: Option<&str>,
    group: Option<&str>,
    region: Option<&String>,
    regions: &[String],
) -> anyhow::Result<Site> {
    let subscription = subscription.ok_or_else(|| {
        anyhow!("subscription is missing: give its ID there, or in AZURE_SUBSCRIPTION_ID (az account show --query id)")
    })?;
    let mut all: Vec<String> = region.into_iter().cloned().collect();
    all.extend(regions.iter().filter(|other| Some(*other) != region).cloned());
    Site::new(subscription, group.unwrap_or(GROUP), all).map_err(|error| {
        let key = match error {
            launch::place::azure::SiteError::Subscription(_) => "subscription",
            launch::place::azure::SiteError::Group(_) => "group",
            launch::place::azure::SiteError::NoRegion
            | launch::place::azure::SiteError::Region(_)
            | launch::place::azure::SiteError::Twice(_) => "region",
        };
        anyhow!("{key}: {error}")
    })
}

/// The image of gateways, which has no default: it has to be where Azure can pull it.
fn image(image: Option<&String>) -> anyhow::Result<String> {
    image.cloned().ok_or_else(|| {
        anyhow!("image is missing: name the image of gateways where Azure can pull it, such as registry.example/adit:1")
    })
}

#[cfg(test)]
mod tests;
