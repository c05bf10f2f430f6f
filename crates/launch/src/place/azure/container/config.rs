//! What the place is told: where, which image, how much of a machine, and what is kept of gateways.

use std::str::FromStr;

use azure::ResourceId;
use wg::PrivateKey;

use super::super::site::Site;
use crate::node::Secret;

/// Ports that the service keeps for itself, first and last of each range (*Azure Container Instances: frequently asked
/// questions*).
pub(super) const RESERVED: [(u16, u16); 10] = [
    (22, 22),
    (1_025, 1_027),
    (3_389, 3_399),
    (9_999, 9_999),
    (19_000, 19_000),
    (19_080, 19_080),
    (19_100, 19_100),
    (19_390, 19_390),
    (20_000, 30_000),
    (49_152, 65_534),
];

/// The port of gateways, unless the configuration says otherwise: WireGuard's usual one is reserved, and one below 1024 needs a
/// capability that Azure does not promise.
const PORT: u16 = 31_820;

/// Bounds of what a container may ask for; a region offers less (*Container groups: resource availability*).
const CPUS: std::ops::RangeInclusive<f64> = 0.1..=32.0;
const MEMORY: std::ops::RangeInclusive<f64> = 0.1..=256.0;

/// What the place is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the place is called. Default `azure-container`.
    pub name: String,
    /// Where in Azure.
    pub site: Site,
    /// adit's image, where Azure can pull it.
    pub image: String,
    /// Who lets Azure pull it; `None`, the default, is that anybody may.
    pub registry: Option<Registry>,
    /// The UDP port of gateways whose order names none. Default 31820; one below 1024 needs `NET_BIND_SERVICE`, which Azure does not promise.
    pub port: u16,
    /// What happens with a gateway that fails. Default that it is started anew.
    pub restart: Restart,
    /// Processors of a gateway where no size is chosen. Default 1.
    pub cpu: f64,
    /// Memory of it in GB, of which Azure takes tenths. Default 1.
    pub memory_gb: f64,
    /// Sizes that an order may choose, the default first, as processors and GB: `1x1`, `2x4`. Default none: there is no choice.
    pub sizes: Vec<String>,
    /// Where gateways keep their keys, so that one that is started anew has them. Default nowhere: it has another key then.
    pub persistence: Option<Persistence>,
    /// Where what gateways say is kept. Default nowhere.
    pub logs: Option<LogAnalytics>,
}

/// A registry's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The registry's host, such as `example.azurecr.io`.
    pub server: String,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

/// What happens with a gateway that ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// It is not started anew.
    Never,
    /// It is, if it failed; not at the end of its time.
    #[default]
    OnFailure,
}

/// Why something is no [`Restart`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// It would never end.
    #[error(
        "gateways cannot be restarted always: one that ends at its time would be started anew for ever, and cost; choose \
         Never or OnFailure"
    )]
    Always,
    /// There is no such policy.
    #[error("there is no restart policy `{0}`: choose Never or OnFailure")]
    Unknown(String),
}

/// Where gateways keep their keys, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// In a share of Azure Files, mounted at `/config`.
    Files {
        /// The storage account.
        account: String,
        /// The share.
        share: String,
        /// The account's key.
        key: Secret,
        /// What seals it: 32 bytes in base64, as `adit genpsk` makes them.
        state_key: Secret,
    },
    /// In a container of Azure Blob Storage.
    Blob {
        /// The container's URL, such as `https://example.blob.core.windows.net/adit`.
        container_url: String,
        /// How gateways get at it.
        access: BlobAccess,
        /// What seals it: 32 bytes in base64, as `adit genpsk` makes them.
        state_key: Secret,
    },
}

/// How gateways get at blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobAccess {
    /// By a connection string, with an account's key or a signature.
    ConnectionString(Secret),
    /// As an identity of their group.
    Identity {
        /// The ID of one that the user made, and gave a role; `None` is the group's own.
        resource_id: Option<String>,
    },
}

/// A workspace of Log Analytics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogAnalytics {
    /// Its ID.
    pub workspace_id: String,
    /// Its key.
    pub workspace_key: Secret,
}

/// What the place cannot be told.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody could connect.
    #[error(
        "gateways cannot have the port {port}: Azure Container Instances keep {first} to {last} for themselves; choose \
         another, such as 31820"
    )]
    Reserved {
        /// The port.
        port: u16,
        /// The first port of the range that it is in.
        first: u16,
        /// The last one.
        last: u16,
    },
    /// Nobody listens there.
    #[error("gateways cannot have the port 0: choose one from 1 to 65535")]
    Port,
    /// No image.
    #[error("`{0}` is no image of a container, such as ghcr.io/adit-vpn/adit:latest")]
    Image(String),
    /// Not so much of a machine.
    #[error("a container with {cpu} processors and {memory_gb} GB cannot be had: 0.1 to 32, and 0.1 to 256 in tenths")]
    Resources {
        /// Processors.
        cpu: f64,
        /// GB of memory.
        memory_gb: f64,
    },
    /// Not a size.
    #[error("`{0}` is no size of its own: write processors, x and GB, such as 1x1 or 2x4")]
    Size(String),
    /// It seals nothing.
    #[error("the key that seals what gateways keep has to be 32 bytes in base64, as `adit genpsk` makes them")]
    StateKey,
    /// Something of it is missing.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// No container of blobs.
    #[error("`{0}` is no container of blobs, such as https://example.blob.core.windows.net/adit")]
    Blobs(String),
    /// Not an identity.
    #[error("`{0}` is no identity: give its ID, /subscriptions/…/userAssignedIdentities/NAME")]
    Identity(String),
}

impl Config {
    /// Gateways of adit's image, which anybody may pull.
    pub fn new(site: Site, image: impl Into<String>) -> Self {
        Self {
            name: "azure-container".to_owned(),
            site,
            image: image.into(),
            registry: None,
            port: PORT,
            restart: Restart::default(),
            cpu: 1.0,
            memory_gb: 1.0,
            sizes: Vec::new(),
            persistence: None,
            logs: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some((first, last)) = RESERVED
            .into_iter()
            .find(|(first, last)| (*first..=*last).contains(&self.port))
        {
            let port = self.port;
            return Err(ConfigError::Reserved { port, first, last });
        }
        if self.port == 0 {
            return Err(ConfigError::Port);
        }
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
        if !self.image.starts_with(|letter: char| letter.is_ascii_alphanumeric()) || !self.image.bytes().all(is_fit) {
            return Err(ConfigError::Image(self.image.clone()));
        }
        check_resources(self.cpu, self.memory_gb)?;
        for (at, size) in self.sizes.iter().enumerate() {
            let (cpu, memory_gb) = parse(size)
                .filter(|_| !self.sizes[..at].contains(size))
                .ok_or_else(|| ConfigError::Size(size.clone()))?;
            check_resources(cpu, memory_gb)?;
        }
        let mut texts = Vec::new();
        if let Some(Registry { server, user, password }) = &self.registry {
            texts.extend([
                ("the registry", server.as_str()),
                ("the registry's user", user),
                ("the registry's password", password.danger_text()),
            ]);
        }
        if let Some(logs) = &self.logs {
            texts.extend([
                ("the workspace's ID", logs.workspace_id.as_str()),
                ("the workspace's key", logs.workspace_key.danger_text()),
            ]);
        }
        if let Some(persistence) = &self.persistence {
            texts.extend(persistence.check()?);
        }
        match texts.into_iter().find(|(_, text)| text.trim().is_empty()) {
            Some((what, _)) => Err(ConfigError::Empty(what)),
            None => Ok(()),
        }
    }

    /// Processors and GB of an order.
    pub(super) fn resources(&self, size: Option<&str>) -> (f64, f64) {
        let chosen = size.or(self.sizes.first().map(String::as_str)).and_then(parse);
        chosen.unwrap_or((self.cpu, self.memory_gb))
    }
}

impl Persistence {
    /// Gives what must not be empty.
    fn check(&self) -> Result<Vec<(&'static str, &str)>, ConfigError> {
        // A key is a key, whatever it is for: the same 32 bytes.
        PrivateKey::from_base64(self.state_key().danger_text().trim()).map_err(|_| ConfigError::StateKey)?;
        Ok(match self {
            Self::Files {
                account, share, key, ..
            } => vec![
                ("the storage account", account),
                ("the share", share),
                ("the storage account's key", key.danger_text()),
            ],
            Self::Blob {
                container_url, access, ..
            } => {
                let is_bare = !container_url.contains(['?', '#', ' ']) && !container_url.ends_with('/');
                let has_container = container_url
                    .split_once("://")
                    .is_some_and(|(scheme, rest)| matches!(scheme, "https" | "http") && rest.contains('/'));
                if !(is_bare && has_container) {
                    return Err(ConfigError::Blobs(container_url.clone()));
                }
                match access {
                    BlobAccess::ConnectionString(text) => vec![("the connection string", text.danger_text())],
                    BlobAccess::Identity { resource_id: None } => Vec::new(),
                    BlobAccess::Identity { resource_id: Some(id) } => {
                        let kind = id.parse::<ResourceId>().ok().and_then(|id| id.kind());
                        let is_one =
                            kind.is_some_and(|kind| kind.to_ascii_lowercase().ends_with("/userassignedidentities"));
                        if !is_one {
                            return Err(ConfigError::Identity(id.clone()));
                        }
                        Vec::new()
                    }
                }
            }
        })
    }

    pub(super) fn state_key(&self) -> &Secret {
        match self {
            Self::Files { state_key, .. } | Self::Blob { state_key, .. } => state_key,
        }
    }
}

impl Restart {
    /// As Azure calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "Never",
            Self::OnFailure => "OnFailure",
        }
    }
}

impl FromStr for Restart {
    type Err = RestartError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
            "never" => Ok(Self::Never),
            "onfailure" => Ok(Self::OnFailure),
            "always" => Err(RestartError::Always),
            _ => Err(RestartError::Unknown(text.to_owned())),
        }
    }
}

/// Reads `CPUxGB`.
fn parse(size: &str) -> Option<(f64, f64)> {
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let (cpu, memory) = size
        .split_once('x')
        .filter(|(cpu, memory)| is_plain(cpu) && is_plain(memory))?;
    Some((cpu.parse().ok()?, memory.parse().ok()?))
}

fn check_resources(cpu: f64, memory_gb: f64) -> Result<(), ConfigError> {
    let is_tenths = ((memory_gb * 10.0).round() - memory_gb * 10.0).abs() < 1e-6;
    if CPUS.contains(&cpu) && MEMORY.contains(&memory_gb) && is_tenths {
        Ok(())
    } else {
        Err(ConfigError::Resources { cpu, memory_gb })
    }
}
