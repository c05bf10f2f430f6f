//! The places at which a user without a hub can launch.

use std::sync::Arc;

use gateway::reach::{Endpoint, Host, How, Reach, Sources};
use launch::place::{Description, docker, simulate::Simulate};

use super::{
    alone::{Book, Gone, InDocker, Kept, Places},
    simulation::SimulateOptions,
    target::DockerOptions,
};
use crate::{
    cloud::{AzureKind, AzureSettings},
    failure,
};

/// Refuses a place that there is not.
pub(super) fn check(name: &str) -> anyhow::Result<()> {
    match name {
        "simulate" | "docker" | "azure-vm" | "azure-container" => Ok(()),
        other => Err(failure::usage(format!(
            "--on {other}: without a hub there are local, docker, azure-vm, azure-container and simulate; --hub URL has \
             others"
        ))),
    }
}

/// All of them: a lease that is taken over may be at any. New ones are launched at Azure only where that is set up.
pub(super) fn all(
    book: &Book,
    docker: &DockerOptions,
    simulate: SimulateOptions,
    endpoint: Option<&Endpoint>,
    azure: Option<&AzureSettings>,
) -> anyhow::Result<Places> {
    let is_address = docker.docker.to_string_lossy().contains("://");
    let launched = InDocker {
        // Whoever takes a lease over may be in another directory.
        socket: if is_address {
            docker.docker.clone()
        } else {
            std::path::absolute(&docker.docker).unwrap_or_else(|_| docker.docker.clone())
        },
        image: docker.image.clone(),
        endpoint: endpoint.map(written),
    };
    let mut places: Places = vec![
        Arc::new(Kept::new(book.clone(), launched)?),
        Simulate::configured(&simulate.over(SimulateOptions::default())),
        Arc::new(Gone),
    ];
    for kind in AzureKind::ALL {
        places.push(match azure.filter(|azure| azure.kind() == kind) {
            Some(azure) => Arc::new(Kept::new(book.clone(), azure.clone())?),
            None => Arc::new(Kept::<AzureSettings>::without(book.clone(), unlaunched(kind))),
        });
    }
    Ok(places)
}

/// What there is to say of a place at which nothing is launched.
fn unlaunched(kind: AzureKind) -> Description {
    Description {
        name: kind.as_str().to_owned(),
        title: kind.title().to_owned(),
        takes_public_keys: true,
        ..Description::default()
    }
}

fn written(endpoint: &Endpoint) -> String {
    match endpoint.port {
        Some(port) => format!("{}:{port}", endpoint.host),
        None => endpoint.host.to_string(),
    }
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

/// What to do if clients elsewhere may not reach a gateway that is not in this process; `None` if they can, as far as its
/// address tells.
pub(super) fn advice(endpoint: &str, is_of_hub: bool) -> Option<String> {
    let Endpoint { host, port } = endpoint.parse().ok()?;
    let sources = match host {
        Host::Address(std::net::IpAddr::V4(address)) => Sources {
            v4: Some(address),
            v6: None,
        },
        Host::Address(std::net::IpAddr::V6(address)) => Sources {
            v4: None,
            v6: Some(address),
        },
        Host::Name(_) => return None,
    };
    let reach = Reach::find(None, sources).ok()?;
    match reach.how {
        How::Given | How::Public => None,
        How::Private { .. } if is_of_hub => Some(format!(
            "{} is a private address: clients outside the hub's network cannot reach it. Whoever runs the hub gives the \
             public address or name: adit hub --endpoint HOST",
            reach.host
        )),
        How::Shared { .. } if is_of_hub => Some(format!(
            "{} is behind the NAT of the hub's provider: clients on the Internet cannot reach it. Whoever runs the hub \
             gives an address that leads there: adit hub --endpoint HOST",
            reach.host
        )),
        How::Private { .. } | How::Shared { .. } => reach.advice(port?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_reached_from_outside_is_told_whoever_can_mend_it() {
        for (endpoint, is_of_hub, said) in [
            ("203.0.113.7:51820", false, None),
            ("192.0.2.1:51820", true, None),
            ("[2001:db8::1]:443", false, None),
            ("vpn.example.com:443", false, None),
            ("10.0.0.4:443", false, Some("Forward UDP 443 on the router")),
            ("172.17.0.1:443", true, Some("adit hub --endpoint HOST")),
            ("100.64.0.9:443", false, Some("no router of yours")),
            ("100.64.0.9:443", true, Some("the hub's provider")),
            ("[fd00::1]:443", false, Some("[fd00::1] is a private address")),
            ("no endpoint", false, None),
        ] {
            let advice = advice(endpoint, is_of_hub);
            let fits = said.map_or(advice.is_none(), |said| {
                advice.as_ref().is_some_and(|advice| advice.contains(said))
            });
            assert!(fits, "{endpoint}: {advice:?}");
        }
    }

    #[test]
    fn an_endpoint_is_kept_as_it_was_typed() {
        for text in [
            "vpn.example.com",
            "vpn.example.com:443",
            "[2001:db8::1]:443",
            "192.0.2.1",
        ] {
            assert_eq!(written(&text.parse().unwrap()), text);
        }
    }
}
