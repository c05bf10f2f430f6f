//! Decides on the networks of a gateway and the addresses of its peers: those of before as far as they are free.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv6Net};

use super::{RosterError, Wish, WithoutIpv6, load::Loaded};
use crate::{directory::Directory, environment::PeerId, key, network::Network};

/// The wish's networks, and an IPv6 one if the wish names none: the one of before, or a new one at the first start.
pub(super) fn subnets(directory: &Directory, wish: &Wish) -> Result<Vec<IpNet>, RosterError> {
    let mut subnets = wish.subnets.clone();
    let is_named = subnets.iter().any(|subnet| matches!(subnet, IpNet::V6(_)));
    if is_named || wish.without_ipv6 == WithoutIpv6::Obey {
        return Ok(subnets);
    }
    let servers = directory.server_addresses()?;
    let clients = directory.addresses_of_all()?;
    let six = |address: IpAddr| match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    };
    let recorded = servers
        .iter()
        .map(IpNet::addr)
        .chain(clients.iter().copied())
        .find_map(six);
    let is_first_start = servers.is_empty() && clients.is_empty();
    let network = |address: Ipv6Addr| IpNet::V6(Ipv6Net::new_assert(address, 64).trunc());
    match recorded {
        Some(address) => subnets.push(network(address)),
        None if is_first_start => subnets.push(Network::random_local(*key::random()?).into()),
        None => {}
    }
    Ok(subnets)
}

/// Each peer's addresses: those of before where they are free, else the lowest free ones.
///
/// Peers that the gateway served until it ended come before those that were taken out and put back in.
pub(super) fn lease(
    network: &mut Network,
    directory: &Directory,
    ids: &[PeerId],
    stored: &[Loaded],
    behind: impl Fn(&PeerId) -> Vec<IpNet>,
) -> Result<Vec<Vec<IpAddr>>, RosterError> {
    let served: HashSet<String> = directory.served()?;
    for round in [true, false] {
        for (id, Loaded { stored, .. }) in ids.iter().zip(stored) {
            let name = id.file_name();
            if served.contains(&name) == round {
                network.claim(&name, &stored.addresses);
            }
        }
    }
    for id in ids {
        network.hold(&id.file_name(), &behind(id));
    }
    Ok(ids
        .iter()
        .map(|id| network.lease(&id.file_name()))
        .collect::<Result<_, _>>()?)
}
