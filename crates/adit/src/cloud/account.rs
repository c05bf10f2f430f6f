//! Who adit is to Azure, and which Azure it is.

use anyhow::Context as _;
use azure::{
    Arm, Cloud, Credential,
    credential::{Choice, Settings, Way},
};

use super::Variables;

/// Which Azure, and by which way to a token. Who that is stands in the environment, as Microsoft's own programs have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account<'s> {
    /// `AzureCloud`, `AzureChinaCloud` or `AzureUSGovernment`. Default the first.
    pub(super) cloud: Option<&'s str>,
    /// Where Resource Manager is reached, if not where everybody reaches it.
    pub(super) management_url: Option<&'s str>,
    /// `auto`, `client-secret`, `workload-identity`, `managed-identity` or `az`. Default the first.
    pub(super) credential: Option<&'s str>,
}

impl Account<'_> {
    pub(super) fn cloud(&self) -> anyhow::Result<Cloud> {
        let cloud = Cloud::named(self.cloud.unwrap_or_default()).context("cloud")?;
        match self.management_url {
            Some(url) => cloud.with_management(url).context("management_url"),
            None => Ok(cloud),
        }
    }

    /// A client for this account. Nothing is asked yet.
    pub(super) fn arm(&self, variable: Variables<'_>) -> anyhow::Result<Arm> {
        let settings = Settings::read(variable);
        let cloud = settings.in_cloud(self.cloud()?).context("AZURE_AUTHORITY_HOST")?;
        let choice: Choice = match self.credential {
            Some(text) => text.parse().context("credential")?,
            None => Choice::Auto,
        };
        let credential = Credential::choose(choice, &settings).context("credential")?;
        Ok(Arm::new(cloud, credential)?)
    }

    /// A client that sends nothing.
    pub(super) fn nobody(&self) -> anyhow::Result<Arm> {
        let credential = Credential::choose(Choice::Only(Way::Az), &Settings::default()).context("credential")?;
        Ok(Arm::new(self.cloud()?, credential)?)
    }
}
