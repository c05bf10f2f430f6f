//! Sets up a tunnel inside a container: gives it addresses and routes. What is so already is left alone.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use linux::{
    Family, address, link,
    netlink::{Error as NetlinkError, Netlink},
    route::{self, Route},
    rule::{self, Packets, Rule},
    sysctl,
};
use wg::IpNet;

use super::{Inside, carrier};
use crate::{INTERFACE, Offer};

/// The routing table of a tunnel, wg-quick's.
const TABLE: u32 = 51_820;

/// Where the rules stand that lead to it: before those of the kernel (32766) and of most others.
const PRIORITY: u32 = 100;

/// How long the engine may take to move an interface, and how often it is looked whether it has.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);
const ARRIVAL_INTERVAL: Duration = Duration::from_millis(2);

/// A tunnel could not be set up in its container.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The kernel's refusal.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
    /// The namespace cannot be entered.
    #[error("entering the container's network namespace: {0}")]
    Enter(#[from] io::Error),
    /// It is not there.
    #[error("the container has no interface {INTERFACE}")]
    Gone,
    /// The engine did not move it there.
    #[error("the container engine has not moved the tunnel's interface into the container; it is waited for")]
    Absent,
    /// IPv6 cannot be switched on.
    #[error(transparent)]
    Sysctl(sysctl::Error),
}

/// What is around the tunnel in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Networks that stay direct.
    pub direct: Vec<Direct>,
    /// Whether the tunnel is known to be the only interface.
    pub is_alone: bool,
}

/// A network that is reached by a router of the container's own network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    /// The network.
    pub network: IpNet,
    /// The router, in a network of the container's.
    pub router: IpAddr,
}

/// Makes the tunnel inside what the offer says: addresses, MTU, routes.
///
/// # Errors
///
/// [`PlaceError`]. What was done is done; a repeat goes on from there.
pub fn place(inside: &Inside, offer: &Offer, surroundings: &Surroundings) -> Result<(), PlaceError> {
    inside.run(|| arrange(offer, surroundings))?
}

/// Waits until the engine has moved the tunnel's interface here, and has given it its last route: until then it must not be
/// touched, since the engine takes what it finds done for somebody else's.
///
/// # Errors
///
/// [`PlaceError`]; [`PlaceError::Absent`] after a minute.
pub fn wait_for(inside: &Inside, last: IpNet) -> Result<(), PlaceError> {
    inside.run(|| {
        let limit = Instant::now() + ARRIVAL_LIMIT;
        let mut netlink = Netlink::route()?;
        while Instant::now() < limit {
            let index = link::find(&mut netlink, INTERFACE)?.map(|link| link.index);
            for table in [route::MAIN, TABLE] {
                let routes = route::list(&mut netlink, Family::of(last.addr()), table)?;
                // In the tunnel's own table, it was here before.
                let has_come =
                    |route: &Route| route.interface == index && (table == TABLE || route.destination == last);
                if index.is_some() && routes.iter().any(has_come) {
                    return Ok(());
                }
            }
            thread::sleep(ARRIVAL_INTERVAL);
        }
        Err(PlaceError::Absent)
    })?
}

/// Whether the container has a tunnel's interface, and its addresses.
///
/// # Errors
///
/// [`PlaceError`].
pub fn look(inside: &Inside) -> Result<Option<Vec<IpNet>>, PlaceError> {
    inside.run(|| {
        let Some(link) = find(INTERFACE)? else { return Ok(None) };
        Ok(Some(address::list(&mut Netlink::route()?, link.index)?))
    })?
}

fn find(name: &str) -> Result<Option<link::Link>, NetlinkError> {
    link::find(&mut Netlink::route()?, name)
}

/// Inside: gives the interface addresses and routes.
fn arrange(offer: &Offer, surroundings: &Surroundings) -> Result<(), PlaceError> {
    let mut netlink = Netlink::route()?;
    let found = link::find(&mut netlink, INTERFACE)?.ok_or(PlaceError::Gone)?;
    let index = found.index;
    let mtu = u32::from(carrier::mtu_of(offer));
    if found.mtu != mtu {
        link::set_mtu(&mut netlink, index, mtu)?;
    }
    if offer.addresses.iter().any(|address| address.addr().is_ipv6()) {
        // Docker switches it off where its own networks have none.
        let key = format!("net/ipv6/conf/{INTERFACE}/disable_ipv6");
        sysctl::write(&key, "0").map_err(PlaceError::Sysctl)?;
    }
    let wanted: BTreeSet<_> = offer.addresses.iter().copied().collect();
    set_addresses(&mut netlink, index, &wanted)?;
    if !found.up {
        link::set_up(&mut netlink, index)?;
    }
    set_routes(&mut netlink, index, offer, surroundings)?;
    remove_engine_routes(&mut netlink, index, &wanted)?;
    for Direct { network, router } in &surroundings.direct {
        let route = Route {
            router: Some(*router),
            interface: None,
            ..Route::direct(*network, index)
        };
        route::replace(&mut netlink, &route)?;
    }
    Ok(())
}

/// Gives the interface the addresses that are wanted, and takes all others.
fn set_addresses(netlink: &mut Netlink, index: u32, wanted: &BTreeSet<IpNet>) -> Result<(), NetlinkError> {
    let there = |netlink: &mut Netlink| -> Result<BTreeSet<_>, NetlinkError> {
        Ok(address::list(netlink, index)?.into_iter().filter(is_global).collect())
    };
    let before = there(netlink)?;
    for address in wanted.difference(&before) {
        address::add(netlink, index, *address)?;
    }
    let others: Vec<_> = before.difference(wanted).collect();
    for address in &others {
        ignore_missing(address::delete(netlink, index, **address))?;
    }
    if !others.is_empty() {
        // The kernel takes a network's second address with its first (`promote_secondaries`).
        for address in wanted.difference(&there(netlink)?) {
            address::add(netlink, index, *address)?;
        }
    }
    Ok(())
}

/// Removes the routes that the engine gave an interface that it moved here. The tunnel's own table has them, and in the
/// main one the engine takes them for a reason not to add another network.
fn remove_engine_routes(netlink: &mut Netlink, index: u32, own: &BTreeSet<IpNet>) -> Result<(), NetlinkError> {
    for route in route::list(netlink, Family::V4, route::MAIN)? {
        let is_own = own.iter().any(|own| own.trunc() == route.destination);
        let is_default = route.destination == Family::V4.everything();
        if route.interface == Some(index) && !is_own && !is_default {
            ignore_missing(route::delete(netlink, &route))?;
        }
    }
    Ok(())
}

/// Whether an address is one that was given, and not the kernel's own of the link.
fn is_global(address: &IpNet) -> bool {
    match address.addr() {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

/// Adds the routes that are not there, and removes those of the tunnel's table that nobody wants.
///
/// They are in a table of their own, which is asked once the main table has nothing better than a default route: neighbours
/// stay near, and the engine finds its own table as it expects it, also when it adds a network later.
fn set_routes(
    netlink: &mut Netlink,
    index: u32,
    offer: &Offer,
    surroundings: &Surroundings,
) -> Result<(), NetlinkError> {
    let wanted = routes(offer);
    for family in Family::ALL {
        let wanted = wanted.iter().filter(|network| Family::of(network.addr()) == family);
        let wanted: BTreeSet<_> = wanted.copied().collect();
        let there = route::list(netlink, family, TABLE)?;
        for network in &wanted {
            if !there
                .iter()
                .any(|route| route.destination == *network && route.interface == Some(index))
            {
                let route = Route {
                    table: TABLE,
                    ..Route::direct(*network, index)
                };
                route::replace(netlink, &route)?;
            }
        }
        for route in there.iter().filter(|route| !wanted.contains(&route.destination)) {
            ignore_missing(route::delete(netlink, route))?;
        }
        set_rules(netlink, family, !wanted.is_empty())?;
        let everything = family.everything();
        if surroundings.is_alone && wanted.contains(&everything) && route::default(netlink, family)?.is_none() {
            // For programs that look into the main table for a default route.
            route::replace(netlink, &Route::direct(everything, index))?;
        }
    }
    Ok(())
}

/// The rules by which the tunnel's table is asked: there if there are such routes, else not.
fn set_rules(netlink: &mut Netlink, family: Family, wanted: bool) -> Result<(), NetlinkError> {
    let near = Rule {
        family,
        priority: Some(PRIORITY),
        packets: Packets::All,
        table: route::MAIN,
        suppress_prefix_length: Some(0),
    };
    let tunnel = Rule {
        priority: Some(PRIORITY + 1),
        table: TABLE,
        suppress_prefix_length: None,
        ..near.clone()
    };
    let there = rule::list(netlink, family)?;
    for rule in [near, tunnel] {
        match (wanted, there.contains(&rule)) {
            (true, false) => rule::add(netlink, &rule)?,
            (false, true) => ignore_missing(rule::delete(netlink, &rule))?,
            (true, true) | (false, false) => {}
        }
    }
    Ok(())
}

fn ignore_missing(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    result.or_else(|error| if error.is_missing() { Ok(()) } else { Err(error) })
}

/// The networks that lead into the tunnel: those of its peers, of families in which the container has an address.
fn routes(offer: &Offer) -> BTreeSet<IpNet> {
    let networks = offer.peers.iter().flat_map(|peer| &peer.allowed_ips).map(IpNet::trunc);
    let has_address = |network: &IpNet| {
        let family = Family::of(network.addr());
        offer.addresses.iter().any(|own| Family::of(own.addr()) == family)
    };
    networks.filter(has_address).collect()
}

#[cfg(test)]
mod tests;
