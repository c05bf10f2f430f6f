//! The Docker network of a link, and who is in it.

use std::collections::BTreeMap;

use docker::{Engine, engine::Network};

use crate::{Link, driver, record::Listed};

/// The option by which a network is a link's.
pub(crate) const OPTION: &str = "link";

/// Sees to it that Docker has a network for the link, and gives its ID.
///
/// # Errors
///
/// What is in the way, for the person.
pub(crate) async fn ensure(engine: &Engine, link: &Link) -> Result<String, String> {
    let name = link.name.to_string();
    let wanted = wanted(link);
    let found = engine.network(&name).await.map_err(|error| error.to_string())?;
    match found {
        Some(found) if found.driver != driver::NAME => Err(format!(
            "Docker has a network {name} of its own: remove it (docker network rm {name}), or give the link another name"
        )),
        Some(found) if is_same(&found, &wanted) => Ok(found.id),
        Some(found) => {
            let removed = engine.remove_network(&found.id).await;
            removed.map_err(|error| format!("Docker's network {name} is of another link, and does not go: {error}"))?;
            create(engine, &wanted).await
        }
        None => create(engine, &wanted).await,
    }
}

async fn create(engine: &Engine, wanted: &Network) -> Result<String, String> {
    let made = engine.create_network(wanted).await;
    made.map_err(|error| format!("Docker makes no network {}: {error}", wanted.name))
}

fn wanted(link: &Link) -> Network {
    let gateways = link.addresses.gateways(link.number());
    Network {
        id: String::new(),
        name: link.name.to_string(),
        driver: driver::NAME.to_owned(),
        options: BTreeMap::from([(OPTION.to_owned(), link.name.to_string())]),
        subnets: link.addresses.subnets(link.number()).to_vec(),
        gateways: gateways.iter().map(wg::IpNet::addr).collect(),
    }
}

fn is_same(found: &Network, wanted: &Network) -> bool {
    let mut subnets = found.subnets.clone();
    subnets.sort();
    let mut others = wanted.subnets.clone();
    others.sort();
    found.options.get(OPTION) == wanted.options.get(OPTION) && subnets == others
}

/// The containers in a network, as their neighbours call them; `None` if Docker does not tell.
pub(crate) async fn containers(engine: &Engine, network: &str) -> Option<Vec<Listed>> {
    let members = engine.members(network).await.ok()?;
    let listed = members.into_iter().map(|member| Listed {
        names: member.names,
        addresses: member.addresses,
    });
    Some(listed.collect())
}
