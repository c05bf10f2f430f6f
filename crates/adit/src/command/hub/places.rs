//! The places of a hub.

use std::{collections::BTreeSet, env, path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail};
use gateway::reach::Host;
use launch::{
    LauncherSecret,
    place::{
        Place,
        docker::{self, Docker},
        local::Local,
        simulate::Simulate,
    },
};

use super::file::{DockerSettings, PlaceSettings, SimulateSettings};
use crate::{
    cloud::{AzureSettings, Secrets, variable},
    command::{
        launch::{places::host_in_docker, simulation::SimulateOptions, target::DockerOptions},
        node::processes::Processes,
    },
    options::PlaneChoice,
};

/// A place, as an option names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PlaceName {
    /// Processes on this machine.
    Local,
    /// Containers of adit's image.
    Docker,
    /// Containers of linuxserver's image.
    Linuxserver,
    /// Nothing at all, with samples for configurations.
    Simulate,
    /// Virtual machines at Azure.
    AzureVm,
    /// Container groups at Azure.
    AzureContainer,
}

/// What the options say of places.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Which; none leaves it to the file.
    pub(super) names: Vec<PlaceName>,
    /// Nothing but samples.
    pub(super) dry_run: bool,
    /// The container engine and the image, where the file names none.
    pub(super) engine: DockerOptions,
    /// How a trial run goes, where the file says nothing else.
    pub(super) simulate: SimulateOptions,
    /// Where clients reach this machine; `None` is found out.
    pub(super) endpoint: Option<Host>,
    /// Who handles packets on this machine.
    pub(super) plane: PlaneChoice,
    /// Where the hub's data is, and the secret by which gateways elsewhere know it.
    pub(super) data: PathBuf,
}

/// Makes the places, the default first.
pub(super) fn make(wanted: Wanted, in_file: Vec<PlaceSettings>) -> anyhow::Result<Vec<Arc<dyn Place>>> {
    let settings = chosen(&wanted, in_file);
    let places = settings
        .into_iter()
        .map(|place| one(place, &wanted))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut names = BTreeSet::new();
    for place in &places {
        let name = place.describe().name;
        if !names.insert(name.clone()) {
            bail!("two places are called `{name}`: give one of them another name");
        }
    }
    Ok(places)
}

/// What an option names wins over the file; of a place that the file has, it takes the file's settings.
fn chosen(wanted: &Wanted, in_file: Vec<PlaceSettings>) -> Vec<PlaceSettings> {
    let of_file = |name: PlaceName| in_file.iter().find(|place| place.kind() == name).cloned();
    if wanted.dry_run {
        let usual = || PlaceSettings::new(PlaceName::Simulate);
        return vec![of_file(PlaceName::Simulate).unwrap_or_else(usual)];
    }
    if wanted.names.is_empty() {
        return if in_file.is_empty() {
            vec![PlaceSettings::Local {}]
        } else {
            in_file
        };
    }
    wanted
        .names
        .iter()
        .map(|name| of_file(*name).unwrap_or_else(|| PlaceSettings::new(*name)))
        .collect()
}

impl PlaceSettings {
    fn new(name: PlaceName) -> Self {
        match name {
            PlaceName::Local => Self::Local {},
            PlaceName::Docker => Self::Docker(DockerSettings::default()),
            PlaceName::Linuxserver => Self::Linuxserver(DockerSettings::default()),
            PlaceName::Simulate => Self::Simulate(SimulateSettings::default()),
            PlaceName::AzureVm => Self::AzureVm(Box::default()),
            PlaceName::AzureContainer => Self::AzureContainer(Box::default()),
        }
    }

    fn kind(&self) -> PlaceName {
        match self {
            Self::Local {} => PlaceName::Local,
            Self::Docker(_) => PlaceName::Docker,
            Self::Linuxserver(_) => PlaceName::Linuxserver,
            Self::Simulate(_) => PlaceName::Simulate,
            Self::AzureVm(_) => PlaceName::AzureVm,
            Self::AzureContainer(_) => PlaceName::AzureContainer,
        }
    }
}

fn one(settings: PlaceSettings, wanted: &Wanted) -> anyhow::Result<Arc<dyn Place>> {
    Ok(match settings {
        PlaceSettings::Simulate(settings) => Simulate::configured(&wanted.simulate.over(settings.checked()?)),
        PlaceSettings::Local {} => {
            let gateways = Processes {
                host: wanted.endpoint.clone(),
                plane: wanted.plane,
            };
            Arc::new(Local::new(runtime_folder(), Box::new(gateways)))
        }
        PlaceSettings::Docker(settings) => {
            let kind = docker::Kind::Adit {
                with_net_admin: settings.net_admin,
            };
            let image = settings.image.clone().or_else(|| wanted.engine.image.clone());
            in_docker(settings, wanted, kind, image)?
        }
        PlaceSettings::Linuxserver(settings) => {
            if settings.net_admin {
                bail!("net_admin: linuxserver's image has it always; leave it out");
            }
            let (kind, image) = (
                docker::Kind::Linuxserver { internal_subnet: None },
                settings.image.clone(),
            );
            in_docker(settings, wanted, kind, image)?
        }
        PlaceSettings::AzureVm(settings) => at_azure(AzureSettings::Vm(settings), wanted)?,
        PlaceSettings::AzureContainer(settings) => at_azure(AzureSettings::Container(settings), wanted)?,
    })
}

fn at_azure(mut settings: AzureSettings, wanted: &Wanted) -> anyhow::Result<Arc<dyn Place>> {
    let image = settings.common().image;
    *image = image.take().or_else(|| wanted.engine.image.clone());
    let launcher = LauncherSecret::of(&wanted.data)?;
    let place = settings
        .filled(&variable)
        .open(launcher, &Secrets::Of(&variable), &variable)?;
    Ok(place.into_place())
}

fn in_docker(
    settings: DockerSettings,
    wanted: &Wanted,
    kind: docker::Kind,
    image: Option<String>,
) -> anyhow::Result<Arc<dyn Place>> {
    let host = host_in_docker(settings.endpoint.as_ref().or(wanted.endpoint.as_ref()));
    let (usual, name) = match kind {
        docker::Kind::Adit { .. } => (docker::Config::new(host), "docker"),
        docker::Kind::Linuxserver { .. } => (docker::Config::linuxserver(host), "linuxserver"),
    };
    let name = settings.name.unwrap_or_else(|| name.to_owned());
    let about = format!("place {name}");
    let megabytes = |count: u64| count.saturating_mul(1 << 20);
    let config = docker::Config {
        name,
        socket: settings.socket.unwrap_or_else(|| wanted.engine.docker.clone()),
        kind,
        image: image.unwrap_or(usual.image),
        pulls: settings.pulls,
        address: settings.address,
        network: settings.network,
        memory_bytes: settings.memory_mb.map_or(usual.memory_bytes, megabytes),
        sizes: settings
            .sizes
            .into_iter()
            .map(|size| docker::Size {
                name: size.name,
                memory_bytes: megabytes(size.memory_mb),
            })
            .collect(),
        host: usual.host,
    };
    Ok(Arc::new(Docker::new(config).context(about)?))
}

/// Gone after a reboot, as the gateways are.
fn runtime_folder() -> PathBuf {
    let of_user = env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    match of_user {
        Some(folder) if !rustix::process::geteuid().is_root() => folder.join("adit/leases"),
        Some(_) | None => PathBuf::from("/run/adit/leases"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            names: Vec::new(),
            dry_run: false,
            engine: DockerOptions {
                docker: "/var/run/docker.sock".into(),
                image: None,
            },
            simulate: SimulateOptions::default(),
            endpoint: Some("192.0.2.1".parse().unwrap()),
            plane: PlaneChoice::default(),
            data: PathBuf::new(),
        }
    }

    fn names(wanted: &Wanted, in_file: &[PlaceName]) -> Vec<String> {
        let in_file = in_file.iter().map(|name| PlaceSettings::new(*name)).collect();
        make(wanted.clone(), in_file)
            .unwrap()
            .iter()
            .map(|place| place.describe().name)
            .collect()
    }

    #[test]
    fn an_option_wins_over_the_file_and_a_dry_run_over_both() {
        use PlaceName::{Docker, Linuxserver, Local, Simulate};
        let cases = [
            (vec![], false, vec![], vec!["local"]),
            (vec![], false, vec![Docker, Local], vec!["docker", "local"]),
            (vec![Simulate], false, vec![Docker], vec!["simulate"]),
            (vec![Linuxserver, Docker], false, vec![], vec!["linuxserver", "docker"]),
            (vec![], true, vec![Docker], vec!["simulate"]),
            (vec![Local], true, vec![], vec!["simulate"]),
        ];
        for (options, dry_run, in_file, expected) in cases {
            let wanted = Wanted {
                names: options,
                dry_run,
                ..wanted()
            };
            assert_eq!(names(&wanted, &in_file), expected);
        }
    }

    #[test]
    fn two_places_have_two_names() {
        let twice = vec![
            PlaceSettings::new(PlaceName::Docker),
            PlaceSettings::new(PlaceName::Docker),
        ];
        assert!(make(wanted(), twice).unwrap_err().to_string().contains("`docker`"));
    }
}
