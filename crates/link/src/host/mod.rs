//! What is made of a link on this host: its tunnel, the bridge of its containers, addresses, routes and rules.
//!
//! Everything is compared with what is there, and the difference applied: whatever a killed daemon or a reboot left, the
//! next call makes whole.

pub(crate) mod firewall;
mod interface;
pub(crate) mod names;
pub(crate) mod port;
pub(crate) mod tunnel;

use std::{io, net::IpAddr};

use linux::{
    Family,
    forwarding::{Forwarding, ForwardingError},
    netlink::{Error as NetlinkError, Netlink},
    nftables::{Nftables, guest},
    route::{self, Route},
};
use tunnel::TunnelError;
use wg::{IpNet, Ipv4Net};

use crate::{LinkName, addresses::Addresses, link::Link, link::Switched};

/// The largest packet, in bytes: an outer IPv6 packet of 1,500 bytes holds it.
pub(crate) const MTU: u16 = 1420;

/// A link could not be made on this host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    /// The tunnel.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// Links, addresses, routes, rules.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
    /// A route that is in the way.
    #[error("{0}; this host reaches that network by another way: remove that route, or leave the link")]
    Route(NetlinkError),
    /// Packets of containers are not forwarded.
    #[error(transparent)]
    Forwarding(#[from] ForwardingError),
    /// A port of the bridge.
    #[error("the namespace of a container: {0}")]
    Enter(#[from] io::Error),
}

/// Makes the link on this host what it is to be; gives what was switched on for it so far.
pub(crate) fn apply(link: &Link, plane: ::tunnel::Plane) -> Result<Switched, HostError> {
    let name = link.name.tunnel();
    if link.removal().is_some() {
        tunnel::remove(&name);
        return Ok(link.switched.clone());
    }
    let own = tunnel::own_addresses(link);
    tunnel::open(&name, plane)?;
    let mut netlink = Netlink::route()?;
    if !link.settings.plain {
        interface::bridge(
            &mut netlink,
            &link.name.bridge(),
            &link.addresses.gateways(link.number()),
        )?;
    }
    tunnel::bring_to(&name, link.device())?;
    let index = interface::bring_up(&mut netlink, &name, &own, &link.addresses)?;
    lead(&mut netlink, index, link, &own)?;
    if link.settings.plain {
        return Ok(Switched::default());
    }
    let networks = link.addresses.gateways(link.number());
    let before = forwarding(&link.switched);
    Ok(switched(Forwarding::switch_on(&networks, &before)?))
}

/// Leads to the other members, and nowhere else.
fn lead(netlink: &mut Netlink, index: u32, link: &Link, own: &[IpNet]) -> Result<(), HostError> {
    let gateways = link.addresses.gateways(link.number());
    let mut wanted = Vec::new();
    for other in link.others() {
        for (network, gateway) in link.addresses.subnets(other.number).into_iter().zip(gateways) {
            wanted.push((network, gateway.addr()));
        }
        let host = IpAddr::from(link.addresses.of_host(other.number));
        wanted.push((host.into(), link.address().into()));
    }
    for invitation in &link.invitations {
        let guest = IpAddr::from(link.addresses.of_guest(invitation.secret.one_time_address()));
        wanted.push((guest.into(), link.address().into()));
    }
    let all = link.addresses.everything();
    let is_ours = |route: &Route| {
        route.interface == Some(index)
            && all.iter().any(|all| all.contains(&route.destination))
            && !own.contains(&IpNet::from(route.destination.addr()))
    };
    let mut there = Vec::new();
    for family in Family::ALL {
        let routes = route::list(netlink, family, route::MAIN)?;
        there.extend(routes.into_iter().filter(is_ours));
    }
    for route in &there {
        let is_wanted =
            |(network, source): &(IpNet, IpAddr)| route.destination == *network && route.source == Some(*source);
        if !wanted.iter().any(is_wanted) {
            match route::delete(netlink, route) {
                Err(error) if !error.is_missing() => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
    }
    for (network, source) in wanted {
        let is_there = |route: &Route| route.destination == network && route.source == Some(source);
        if !there.iter().any(is_there) {
            let route = Route {
                source: Some(source),
                ..Route::direct(network, index)
            };
            route::add(netlink, &route).map_err(HostError::Route)?;
        }
    }
    Ok(())
}

/// Removes all that a link has on this host, but for its rules.
pub(crate) fn remove(link: &Link) {
    remove_interfaces(&link.name);
    let mut forwarding = forwarding(&link.switched);
    let others_forward = Nftables::open().is_ok_and(|mut nftables| guest::others_forward(&mut nftables));
    if !others_forward {
        forwarding.switch_back();
    }
}

/// Removes the interfaces of a link.
pub(crate) fn remove_interfaces(name: &LinkName) {
    tunnel::remove(&name.tunnel());
    let _gone_already = linux::link::remove(&name.bridge());
}

/// The first route of this host that is in the way of a pool, as the person may know it.
pub(crate) fn in_the_way(addresses: &Addresses) -> Result<Option<String>, NetlinkError> {
    let mut netlink = Netlink::route()?;
    for family in Family::ALL {
        for route in route::list(&mut netlink, family, route::MAIN)? {
            let meets = |all: &IpNet| all.contains(&route.destination) || route.destination.contains(all);
            if route.destination.prefix_len() > 0 && addresses.everything().iter().any(meets) {
                let link = match route.interface {
                    Some(index) => linux::link::by_index(&mut netlink, index)?,
                    None => None,
                };
                let by = link.map(|link| format!(" by {}", link.name)).unwrap_or_default();
                return Ok(Some(format!("{}{by}", route.destination)));
            }
        }
    }
    Ok(None)
}

/// A pool that no route of this host meets, beginning with the one that is taken by default.
pub(crate) fn free_pool(creator: &wg::PublicKey) -> Result<Option<Ipv4Net>, NetlinkError> {
    for second in 77..=127 {
        let pool = Ipv4Net::new([10, second, 0, 0].into(), 16).expect("16 is a length");
        let Ok(addresses) = Addresses::new(pool, creator) else {
            continue;
        };
        if in_the_way(&addresses)?.is_none() {
            return Ok(Some(pool));
        }
    }
    Ok(None)
}

/// The addresses that this host's own packets to the Internet have: where others may reach it.
pub(crate) fn outer_addresses() -> Vec<IpAddr> {
    // Of documentation (*RFC 5737*, *RFC 3849*): whatever is not a neighbour's leaves the same way.
    let probes = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().expect("it is an address"));
    let Ok(mut netlink) = Netlink::route() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for probe in probes {
        if let Ok(Some(way)) = route::to(&mut netlink, probe)
            && let Some(source) = way.source
            && !source.is_loopback()
        {
            found.push(source);
        }
    }
    found
}

fn forwarding(switched: &Switched) -> Forwarding {
    let families = [(switched.ipv4, Family::V4), (switched.ipv6, Family::V6)];
    Forwarding {
        switched: families
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, family)| family)
            .collect(),
        learning: switched.learning.clone(),
    }
}

fn switched(forwarding: Forwarding) -> Switched {
    Switched {
        ipv4: forwarding.switched.contains(&Family::V4),
        ipv6: forwarding.switched.contains(&Family::V6),
        learning: forwarding.learning,
    }
}
