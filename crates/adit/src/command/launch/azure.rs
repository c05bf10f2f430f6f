//! Which place at Azure is meant, without a hub: options over a file over the environment.

use std::path::PathBuf;

use super::elsewhere::Elsewhere;
use crate::{
    cloud::{AzureKind, AzureSettings, Common, variable},
    command::hub::file::read_places,
    failure,
};

/// A place at Azure without a hub, and what may be done there before something is launched.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AzureOptions {
    /// The subscription's ID, for azure-vm and azure-container. Default: that of --places, else AZURE_SUBSCRIPTION_ID.
    #[arg(long, value_name = "ID")]
    azure_subscription: Option<String>,
    /// The resource group, which is there already. Default: that of --places, else ADIT_AZURE_GROUP, else adit.
    #[arg(long, value_name = "NAME")]
    azure_group: Option<String>,
    /// File with the settings of places at Azure: a list of places as a hub's file has it, or such a file.
    #[arg(long, value_name = "FILE", env = "ADIT_LAUNCH_PLACES", hide_env_values = true)]
    places: Option<PathBuf>,
    /// Prints every request that azure-vm or azure-container would send, in this order, without secrets. Needs no account and
    /// sends nothing.
    #[arg(long, conflicts_with_all = ["check", "hub"])]
    plan: bool,
    /// Asks azure-vm or azure-container whether a gateway could be launched: credential, group, permissions, size, quota,
    /// image. Changes nothing. Exit code 1 if something is in the way.
    #[arg(long, conflicts_with = "hub")]
    check: bool,
}

impl AzureOptions {
    /// Whether nothing is launched.
    pub(super) fn is_rehearsal(&self) -> bool {
        self.plan || self.check
    }

    /// Whether it is only said what would be sent.
    pub(super) fn is_plan(&self) -> bool {
        self.plan
    }

    /// The first option that has no meaning for another place.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let Self {
            azure_subscription,
            azure_group,
            places: _,
            plan,
            check,
        } = self;
        let given = [
            ("--azure-subscription", azure_subscription.is_some()),
            ("--azure-group", azure_group.is_some()),
            ("--plan", *plan),
            ("--check", *check),
        ];
        given.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }
}

impl Elsewhere {
    /// The place at Azure that is meant; `None` if it is none, as in a trial run, whatever else is asked for.
    pub(super) fn at_azure(&self, image: Option<&String>) -> anyhow::Result<Option<AzureSettings>> {
        match self.place() {
            None | Some("simulate") => Ok(None),
            Some(name) => self.azure_called(name, image),
        }
    }

    /// The place at Azure of this name: one of the file, or one with nothing but options.
    pub(super) fn azure_called(&self, name: &str, image: Option<&String>) -> anyhow::Result<Option<AzureSettings>> {
        let kind = AzureKind::named(name);
        let mut in_file = Vec::new();
        if let Some(file) = &self.azure.places {
            in_file.extend(read_places(file)?.into_iter().filter_map(|place| place.azure()));
        }
        let of_file = |is: &dyn Fn(&AzureSettings) -> bool| in_file.iter().find(|place| is(place)).cloned();
        let found = of_file(&|place| place.name() == name).or_else(|| of_file(&|place| Some(place.kind()) == kind));
        let Some(mut settings) = found.or_else(|| kind.map(AzureKind::settings)) else {
            return match self.azure.first_given() {
                Some(option) => Err(failure::usage(format!(
                    "{option} is for --on azure-vm, --on azure-container, or a place at Azure in --places FILE"
                ))),
                None => Ok(None),
            };
        };
        let kind = settings.kind();
        let Common {
            name,
            subscription,
            group,
            region,
            regions,
            image: own_image,
            sizes,
            management_url: _,
        } = settings.common();
        // Another command finds the lease's place by its kind.
        *name = Some(kind.as_str().to_owned());
        let over = |own: &mut Option<String>, given: Option<&String>| *own = given.cloned().or_else(|| own.take());
        over(subscription, self.azure.azure_subscription.as_ref());
        over(group, self.azure.azure_group.as_ref());
        over(own_image, image);
        if region.is_none() && regions.is_empty() {
            *region = self.region.clone();
        }
        if sizes.is_empty() {
            sizes.extend(self.size.clone());
        }
        Ok(Some(settings.filled(&variable).absolute()))
    }
}
