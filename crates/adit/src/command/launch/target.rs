//! Whose leases a command is about: this user's own on this machine, or those of a hub.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;

use super::{
    alone::{Alone, Places},
    leases::Leases,
    remote::Remote,
};
use crate::failure;

/// The variable that holds a token for the hub.
const TOKEN: &str = "ADIT_HUB_TOKEN";

/// Where leases are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Target {
    /// Address of a hub that has the leases, such as `https://vpn.example.com`. Default: this machine alone, without a hub.
    ///
    /// The token is in the file of --hub-token-file, or in ADIT_HUB_TOKEN.
    #[arg(long, value_name = "URL", env = "ADIT_HUB", hide_env_values = true, global = true)]
    pub(crate) hub: Option<String>,
    /// File with a personal token of the hub.
    #[arg(
        long,
        value_name = "FILE",
        env = "ADIT_HUB_TOKEN_FILE",
        hide_env_values = true,
        global = true
    )]
    hub_token_file: Option<PathBuf>,
    /// File with the certificates, in PEM, of those who may sign for the hub. Default: the authorities that web browsers
    /// trust.
    #[arg(
        long,
        value_name = "FILE",
        env = "ADIT_HUB_CA",
        hide_env_values = true,
        global = true
    )]
    hub_ca: Option<PathBuf>,
    /// Directory in which leases without a hub are remembered. Default: adit/launch in $XDG_DATA_HOME, else in
    /// ~/.local/share.
    #[arg(
        long,
        value_name = "DIR",
        env = "ADIT_LAUNCH_DATA",
        hide_env_values = true,
        global = true
    )]
    data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) docker: DockerOptions,
}

/// How gateways are launched in Docker.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DockerOptions {
    /// Socket of the container engine, for `--on docker`.
    #[arg(
        long,
        value_name = "SOCKET",
        env = "DOCKER_HOST",
        hide_env_values = true,
        default_value = "/var/run/docker.sock",
        global = true
    )]
    pub(crate) docker: PathBuf,
    /// Image of the gateway, for `--on docker`.
    #[arg(
        long,
        value_name = "IMAGE",
        env = "ADIT_LAUNCH_IMAGE",
        hide_env_values = true,
        default_value = "adit",
        global = true
    )]
    pub(crate) image: String,
}

impl Target {
    /// Where this user's leases without a hub are remembered; `None` if there is no place for it.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let from = |variable: &str| env::var_os(variable).filter(|path| Path::new(path).is_absolute());
        let of_user = || {
            from("XDG_DATA_HOME")
                .map(PathBuf::from)
                .or_else(|| from("HOME").map(|home| Path::new(&home).join(".local/share")))
        };
        self.data
            .clone()
            .or_else(|| of_user().map(|data| data.join("adit/launch")))
    }

    /// The leases, those of a hub or this user's own.
    pub(crate) fn open(&self, places: Places, output: &Path) -> anyhow::Result<Arc<dyn Leases>> {
        if let Some(hub) = &self.hub {
            return Ok(Arc::new(Remote::new(hub, self.token()?, self.hub_ca.as_deref())?));
        }
        let folder = self.folder().ok_or_else(|| {
            failure::usage("there is no home directory in which leases could be remembered: name one with --data DIR")
        })?;
        Ok(Arc::new(Alone::open(&folder, places, output)?))
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let text = match &self.hub_token_file {
            Some(file) => {
                Some(std::fs::read_to_string(file).with_context(|| format!("--hub-token-file {}", file.display()))?)
            }
            None => env::var(TOKEN).ok(),
        };
        Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    }
}
