//! Whose leases a command is about: this user's own on this machine, or those of a hub.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use gateway::reach::Endpoint;

use super::{
    alone::{Alone, Book, Places},
    leases::Leases,
    places,
    remote::Remote,
    simulation::SimulateOptions,
};
use crate::{cloud::AzureSettings, failure, folders};

/// The variable that holds a token for the hub.
const TOKEN: &str = "ADIT_HUB_TOKEN";

/// Where leases are.
#[derive(Clone, Debug, clap::Args)]
#[command(
    mut_arg("docker", |docker| docker.global(true)),
    mut_arg("image", |image| image.global(true)),
    mut_arg("simulate_speed", |speed| speed.global(true)),
    mut_arg("simulate_faults", |faults| faults.global(true))
)]
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
    #[command(flatten)]
    pub(crate) simulate: SimulateOptions,
}

/// How gateways are launched in containers of this machine, by `launch` and by a hub.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DockerOptions {
    /// Socket of the container engine, for the place `docker`.
    #[arg(
        long,
        value_name = "SOCKET",
        env = "DOCKER_HOST",
        hide_env_values = true,
        default_value = "/var/run/docker.sock"
    )]
    pub(crate) docker: PathBuf,
    /// Image of gateways elsewhere. Default: adit:latest; none at Azure, which has to find it in a registry.
    #[arg(long, value_name = "IMAGE", env = "ADIT_LAUNCH_IMAGE", hide_env_values = true)]
    pub(crate) image: Option<String>,
}

impl Target {
    /// Where this user's leases without a hub are remembered; `None` if there is no place for it.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.data
            .clone()
            .or_else(|| folders::data().map(|data| data.join("adit/launch")))
    }

    /// The leases, those of a hub or this user's own. New ones write configurations to `output`, and in containers are
    /// reached at `endpoint`; those at Azure are launched as `azure` says.
    pub(crate) fn open(
        &self,
        endpoint: Option<&Endpoint>,
        azure: Option<&AzureSettings>,
        output: &Path,
    ) -> anyhow::Result<Arc<dyn Leases>> {
        if let Some(hub) = &self.hub {
            return Ok(Arc::new(Remote::new(hub, self.token()?, self.hub_ca.as_deref())?));
        }
        let folder = self.folder().ok_or_else(|| {
            failure::usage("there is no home directory in which leases could be remembered: name one with --data DIR")
        })?;
        let book = Book::open(&folder)?;
        let places = self.places(&book, endpoint, azure)?;
        Ok(Arc::new(Alone::open(book, places, output)?))
    }

    /// The places of this user's own leases.
    pub(super) fn places(
        &self,
        book: &Book,
        endpoint: Option<&Endpoint>,
        azure: Option<&AzureSettings>,
    ) -> anyhow::Result<Places> {
        places::all(book, &self.docker, self.simulate, endpoint, azure)
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
