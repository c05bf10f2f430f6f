//! What the place `azure-vm` is told.

use anyhow::{Context as _, anyhow, bail};
use ipnet::IpNet;
use launch::place::azure::vm::{Config, GatewayImage, RunCommand, SetUp, VmImage};
use serde::{Deserialize, Serialize};

use super::{Account, Common, image, site};

/// Virtual machines. What is left out is the place's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VmSettings {
    pub(crate) name: Option<String>,
    pub(crate) subscription: Option<String>,
    pub(crate) group: Option<String>,
    /// The default region.
    pub(crate) region: Option<String>,
    /// Others that may be chosen.
    pub(crate) regions: Vec<String>,
    /// The gateway's image.
    pub(crate) image: Option<String>,
    /// Whose image it is.
    pub(crate) gateway: Gateway,
    pub(crate) sizes: Vec<String>,
    /// The machines' system: `flatcar`, `flatcar-free`, or `PUBLISHER:OFFER:SKU:VERSION`.
    pub(crate) vm_image: Option<String>,
    /// Whether a system of `vm_image`'s own is sold with a plan.
    pub(crate) plan: bool,
    /// Whether the terms of `flatcar-free` are accepted for the subscription.
    pub(crate) accept_terms: bool,
    pub(crate) setup: Option<SetUpChoice>,
    pub(crate) run_command: Option<RunCommandChoice>,
    pub(crate) port: Option<u16>,
    pub(crate) source: Option<IpNet>,
    /// Which Azure; see [`Account`].
    pub(crate) cloud: Option<String>,
    pub(crate) management_url: Option<String>,
    pub(crate) credential: Option<String>,
}

/// Whose image gateways have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Gateway {
    /// adit's.
    #[default]
    Adit,
    /// linuxserver's.
    Linuxserver,
}

/// How a machine becomes a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SetUpChoice {
    /// By its first boot.
    Ignition,
    /// By a script.
    RunCommand,
}

/// How scripts are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RunCommandChoice {
    /// As resources.
    Managed,
    /// As actions.
    Action,
}

impl VmSettings {
    pub(super) fn common(&mut self) -> Common<'_> {
        Common {
            name: &mut self.name,
            subscription: &mut self.subscription,
            group: &mut self.group,
            region: &mut self.region,
            regions: &mut self.regions,
            image: &mut self.image,
            sizes: &mut self.sizes,
            management_url: &mut self.management_url,
        }
    }

    pub(super) fn account(&self) -> Account<'_> {
        Account {
            cloud: self.cloud.as_deref(),
            management_url: self.management_url.as_deref(),
            credential: self.credential.as_deref(),
        }
    }

    /// The place's own configuration.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let site = site(
            self.subscription.as_deref(),
            self.group.as_deref(),
            self.region.as_ref(),
            &self.regions,
        )?;
        let image = image(self.image.as_ref())?;
        let gateway = match self.gateway {
            Gateway::Adit => GatewayImage::Adit(image),
            Gateway::Linuxserver => GatewayImage::Linuxserver(image),
        };
        let usual = Config::new(site, gateway);
        Ok(Config {
            name: self.name.clone().unwrap_or(usual.name),
            sizes: if self.sizes.is_empty() {
                usual.sizes
            } else {
                self.sizes.clone()
            },
            image: self.vm_image().context("vm_image")?,
            setup: match self.setup {
                Some(SetUpChoice::Ignition) => SetUp::Ignition,
                Some(SetUpChoice::RunCommand) => SetUp::RunCommand,
                None => usual.setup,
            },
            run_command: match self.run_command {
                Some(RunCommandChoice::Managed) => RunCommand::Managed,
                Some(RunCommandChoice::Action) => RunCommand::Action,
                None => usual.run_command,
            },
            port: self.port.unwrap_or(usual.port),
            source: self.source,
            site: usual.site,
            gateway: usual.gateway,
        })
    }

    fn vm_image(&self) -> anyhow::Result<VmImage> {
        let text = self.vm_image.as_deref().unwrap_or("flatcar");
        if self.accept_terms && text != "flatcar-free" {
            bail!("accept_terms is for flatcar-free; accept others by `az vm image terms accept --urn {text}`");
        }
        if self.plan && matches!(text, "flatcar" | "flatcar-free") {
            bail!("plan is for an image of your own, PUBLISHER:OFFER:SKU:VERSION; leave it out");
        }
        match text {
            "flatcar" => Ok(VmImage::Flatcar),
            "flatcar-free" => Ok(VmImage::FlatcarFree {
                accept_terms: self.accept_terms,
            }),
            urn => {
                let parts: Vec<&str> = urn.split(':').collect();
                let [publisher, offer, sku, version] = parts.as_slice() else {
                    return Err(anyhow!(
                        "`{urn}` is none of flatcar, flatcar-free and PUBLISHER:OFFER:SKU:VERSION (az vm image list)"
                    ));
                };
                Ok(VmImage::Other {
                    publisher: (*publisher).to_owned(),
                    offer: (*offer).to_owned(),
                    sku: (*sku).to_owned(),
                    version: (*version).to_owned(),
                    plan: self.plan,
                })
            }
        }
    }
}
