//! What the place `azure-container` is told.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use launch::place::azure::container::{BlobAccess, Config, LogAnalytics, Persistence, Registry};
use serde::{Deserialize, Serialize};

use super::{Account, Common, Secrets, image, site};

/// Container groups. What is left out is the place's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ContainerSettings {
    pub(crate) name: Option<String>,
    pub(crate) subscription: Option<String>,
    pub(crate) group: Option<String>,
    /// The default region.
    pub(crate) region: Option<String>,
    /// Others that may be chosen.
    pub(crate) regions: Vec<String>,
    pub(crate) image: Option<String>,
    pub(crate) registry: Option<RegistrySettings>,
    /// Sizes as processors and GB, such as `1x1`.
    pub(crate) sizes: Vec<String>,
    pub(crate) cpu: Option<f64>,
    pub(crate) memory_gb: Option<f64>,
    pub(crate) port: Option<u16>,
    pub(crate) restart: Option<String>,
    pub(crate) persistence: Option<PersistenceSettings>,
    pub(crate) logs: Option<LogSettings>,
    /// Which Azure; see [`Account`].
    pub(crate) cloud: Option<String>,
    pub(crate) management_url: Option<String>,
    pub(crate) credential: Option<String>,
}

/// Who lets Azure pull the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistrySettings {
    server: String,
    user: String,
    #[serde(default)]
    password_file: Option<PathBuf>,
}

/// Where gateways keep their keys: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PersistenceSettings {
    files: Option<FilesSettings>,
    blob: Option<BlobSettings>,
    state_key_file: Option<PathBuf>,
}

/// A share of Azure Files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilesSettings {
    account: String,
    share: String,
    #[serde(default)]
    key_file: Option<PathBuf>,
}

/// A container of blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlobSettings {
    container_url: String,
    #[serde(default)]
    connection_string_file: Option<PathBuf>,
    /// `system` or the ID of an identity; instead of a connection string.
    #[serde(default)]
    identity: Option<String>,
}

/// A workspace of Log Analytics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogSettings {
    workspace_id: String,
    #[serde(default)]
    workspace_key_file: Option<PathBuf>,
}

impl ContainerSettings {
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

    /// Does something with every file that has a secret.
    pub(super) fn each_file(&mut self, change: impl Fn(&mut PathBuf)) {
        let registry = self.registry.as_mut().and_then(|all| all.password_file.as_mut());
        let logs = self.logs.as_mut().and_then(|all| all.workspace_key_file.as_mut());
        let persistence = self.persistence.as_mut().map(|all| {
            let files = all.files.as_mut().and_then(|all| all.key_file.as_mut());
            let blob = all.blob.as_mut().and_then(|all| all.connection_string_file.as_mut());
            [files, blob, all.state_key_file.as_mut()]
        });
        let files = persistence.into_iter().flatten().chain([registry, logs]);
        files.flatten().for_each(change);
    }

    pub(super) fn account(&self) -> Account<'_> {
        Account {
            cloud: self.cloud.as_deref(),
            management_url: self.management_url.as_deref(),
            credential: self.credential.as_deref(),
        }
    }

    /// The place's own configuration.
    pub(super) fn config(&self, secrets: &Secrets<'_>) -> anyhow::Result<Config> {
        let site = site(
            self.subscription.as_deref(),
            self.group.as_deref(),
            self.region.as_ref(),
            &self.regions,
        )?;
        let usual = Config::new(site, image(self.image.as_ref())?);
        Ok(Config {
            name: self.name.clone().unwrap_or(usual.name),
            registry: self
                .registry
                .as_ref()
                .map(|registry| registry.read(secrets))
                .transpose()
                .context("registry")?,
            port: self.port.unwrap_or(usual.port),
            restart: match &self.restart {
                Some(text) => text.parse().context("restart")?,
                None => usual.restart,
            },
            cpu: self.cpu.unwrap_or(usual.cpu),
            memory_gb: self.memory_gb.unwrap_or(usual.memory_gb),
            sizes: self.sizes.clone(),
            persistence: self
                .persistence
                .as_ref()
                .map(|persistence| persistence.read(secrets))
                .transpose()
                .context("persistence")?,
            logs: self
                .logs
                .as_ref()
                .map(|logs| logs.read(secrets))
                .transpose()
                .context("logs")?,
            site: usual.site,
            image: usual.image,
        })
    }
}

impl RegistrySettings {
    fn read(&self, secrets: &Secrets<'_>) -> anyhow::Result<Registry> {
        Ok(Registry {
            server: self.server.clone(),
            user: self.user.clone(),
            password: secrets.read(
                "password_file",
                self.password_file.as_ref(),
                "ADIT_AZURE_REGISTRY_PASSWORD",
            )?,
        })
    }
}

impl PersistenceSettings {
    fn read(&self, secrets: &Secrets<'_>) -> anyhow::Result<Persistence> {
        let state_key = secrets.read("state_key_file", self.state_key_file.as_ref(), "ADIT_STATE_KEY")?;
        match (&self.files, &self.blob) {
            (Some(files), None) => Ok(Persistence::Files {
                account: files.account.clone(),
                share: files.share.clone(),
                key: secrets.read("files.key_file", files.key_file.as_ref(), "ADIT_AZURE_STORAGE_KEY")?,
                state_key,
            }),
            (None, Some(blob)) => Ok(Persistence::Blob {
                container_url: blob.container_url.clone(),
                access: blob.access(secrets)?,
                state_key,
            }),
            (Some(_), Some(_)) | (None, None) => bail!("give one of files and blob"),
        }
    }
}

impl BlobSettings {
    fn access(&self, secrets: &Secrets<'_>) -> anyhow::Result<BlobAccess> {
        match (&self.identity, &self.connection_string_file) {
            (Some(_), Some(_)) => bail!("blob: give one of identity and connection_string_file"),
            (Some(identity), None) => Ok(BlobAccess::Identity {
                resource_id: (identity != "system").then(|| identity.clone()),
            }),
            (None, file) => Ok(BlobAccess::ConnectionString(secrets.read(
                "blob.connection_string_file",
                file.as_ref(),
                "AZURE_STORAGE_CONNECTION_STRING",
            )?)),
        }
    }
}

impl LogSettings {
    fn read(&self, secrets: &Secrets<'_>) -> anyhow::Result<LogAnalytics> {
        Ok(LogAnalytics {
            workspace_id: self.workspace_id.clone(),
            workspace_key: secrets.read(
                "workspace_key_file",
                self.workspace_key_file.as_ref(),
                "ADIT_AZURE_WORKSPACE_KEY",
            )?,
        })
    }
}
