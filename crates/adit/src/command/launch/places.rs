//! The places at which a user without a hub can launch.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use gateway::reach::{Endpoint, Host, Reach, Sources};
use launch::place::{
    Place,
    docker::{self, Docker},
    simulate::{Simulate, Times},
};

use super::{alone::Places, target::DockerOptions};
use crate::failure;

/// The place that a lease is asked for at.
pub(super) fn named(name: &str, docker: &DockerOptions, endpoint: Option<&Endpoint>) -> anyhow::Result<Places> {
    match name {
        "simulate" => Ok(vec![Simulate::new(Times::default())]),
        "docker" => Ok(vec![in_docker(docker, endpoint)?]),
        other => Err(failure::usage(format!(
            "--on {other}: without a hub there are local, docker and simulate; --hub URL has others"
        ))),
    }
}

/// The places at which leases may be that are taken over.
pub(super) fn all(docker: &DockerOptions) -> Places {
    // Where there is no Docker, nothing of it is taken over.
    let in_docker = in_docker(docker, None).into_iter();
    in_docker
        .chain([Simulate::new(Times::default()) as Arc<dyn Place>])
        .collect()
}

/// Where clients reach gateways in containers of this machine: there, or where it is found to be.
pub(crate) fn host_in_docker(named: Option<&Host>) -> docker::Host {
    match named {
        Some(host) => docker::Host::Named(host.to_string()),
        None => docker::Host::Found(Arc::new(|| {
            let reach = Reach::find(None, Sources::of_this_machine()).map_err(|error| error.to_string())?;
            Ok(reach.host.to_string())
        })),
    }
}

fn in_docker(options: &DockerOptions, endpoint: Option<&Endpoint>) -> anyhow::Result<Arc<dyn Place>> {
    let host = host_in_docker(endpoint.map(|endpoint| &endpoint.host));
    let socket = options.docker.to_string_lossy();
    let socket = Path::new(socket.strip_prefix("unix://").unwrap_or(&socket));
    let config = docker::Config {
        socket: socket.to_owned(),
        image: options.image.clone(),
        ..docker::Config::new(host)
    };
    let place = Docker::new(config).context("--on docker")?;
    Ok(Arc::new(place))
}
