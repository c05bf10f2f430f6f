//! Where a hub's custom metrics go: whose identity sends them.

use anyhow::Context as _;
use azure::{
    Arm, Cloud, Credential,
    credential::{Choice, Settings},
};
use hub::{Monitor, config::AzureMonitor};

/// What sends by the identity that the environment names, as Microsoft's own programs do. Nothing is asked yet.
pub(super) fn monitor(config: Option<&AzureMonitor>) -> anyhow::Result<Option<Monitor>> {
    let Some(config) = config else { return Ok(None) };
    let settings = Settings::read(|name| std::env::var(name).ok());
    let cloud = settings.in_cloud(Cloud::default()).context("AZURE_AUTHORITY_HOST")?;
    let credential = Credential::choose(Choice::Auto, &settings).context("azure_monitor")?;
    let arm = Arm::new(cloud, credential)?;
    Ok(Some(Monitor::new(config, &arm)?))
}
