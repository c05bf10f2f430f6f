//! Puts a tunnel into a container: moves it, names it, gives it addresses and routes. What is so already is left alone.

use std::{collections::BTreeSet, io, net::IpAddr, os::fd::AsFd as _};

use linux::{
    Family, address, link,
    netlink::{Error as NetlinkError, Netlink},
    route::{self, Route},
    sysctl,
};
use wg::IpNet;

use super::{Inside, carrier};
use crate::{INTERFACE, Offer};

/// A tunnel could not be put into its container.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The kernel's refusal.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
    /// The namespace cannot be entered.
    #[error("entering the container's network namespace: {0}")]
    Enter(#[from] io::Error),
    /// It is neither here nor there.
    #[error("the interface {name} is gone")]
    Gone {
        /// Its name on this host.
        name: String,
    },
    /// The container has an interface of this name that is none of ours.
    #[error("the container has an interface {INTERFACE} already: it needs the name for its tunnel")]
    Taken,
    /// IPv6 cannot be switched on.
    #[error(transparent)]
    Sysctl(sysctl::Error),
}

/// A network that is reached by a router of the container's own network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    /// The network.
    pub network: IpNet,
    /// The router, in a network of the container's.
    pub router: IpAddr,
}

/// Moves the tunnel `name` into the container unless it is there, and makes it what the offer says.
///
/// # Errors
///
/// [`PlaceError`]. What was done is done; a repeat goes on from there.
pub fn place(inside: &Inside, name: &str, offer: &Offer, direct: &[Direct]) -> Result<(), PlaceError> {
    let mut netlink = Netlink::route()?;
    let here = link::find(&mut netlink, name)?;
    if let Some(here) = here {
        if inside.run(|| find(INTERFACE))??.is_some() {
            return Err(PlaceError::Taken);
        }
        link::set_down(&mut netlink, here.index)?;
        link::move_to(&mut netlink, here.index, inside.namespace().as_fd())?;
    }
    inside.run(|| arrange(name, offer, direct))?
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

/// Inside: names the interface, and gives it addresses and routes.
fn arrange(name: &str, offer: &Offer, direct: &[Direct]) -> Result<(), PlaceError> {
    let mut netlink = Netlink::route()?;
    let found = match link::find(&mut netlink, INTERFACE)? {
        Some(link) => link,
        None => {
            let link = link::find(&mut netlink, name)?;
            let link = link.ok_or_else(|| PlaceError::Gone { name: name.to_owned() })?;
            link::rename(&mut netlink, link.index, INTERFACE)?;
            link
        }
    };
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
    let there: BTreeSet<_> = address::list(&mut netlink, index)?
        .into_iter()
        .filter(is_global)
        .collect();
    for address in wanted.difference(&there) {
        address::add(&mut netlink, index, *address)?;
    }
    for address in there.difference(&wanted) {
        address::delete(&mut netlink, index, *address)?;
    }
    if !found.up {
        link::set_up(&mut netlink, index)?;
    }
    set_routes(&mut netlink, index, offer)?;
    for Direct { network, router } in direct {
        let route = Route {
            router: Some(*router),
            interface: None,
            ..Route::direct(*network, index)
        };
        route::replace(&mut netlink, &route)?;
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

/// Adds the routes that are not there, and removes those by the tunnel that nobody wants.
fn set_routes(netlink: &mut Netlink, index: u32, offer: &Offer) -> Result<(), NetlinkError> {
    let wanted = routes(offer);
    for family in Family::ALL {
        let there = route::list(netlink, family, route::MAIN)?;
        let there: Vec<_> = there
            .into_iter()
            .filter(|route| route.interface == Some(index))
            .collect();
        for network in wanted.iter().filter(|network| Family::of(network.addr()) == family) {
            if !there
                .iter()
                .any(|route| route.destination == *network && route.router.is_none())
            {
                route::replace(netlink, &Route::direct(*network, index))?;
            }
        }
        for route in there {
            let is_own = offer.addresses.iter().any(|own| own.trunc() == route.destination);
            let is_link = route.destination.addr().is_ipv6()
                && route.destination.prefix_len() == 64
                && !is_global(&route.destination);
            let is_multicast = route.destination.addr().is_multicast();
            if !wanted.contains(&route.destination) && !is_own && !is_link && !is_multicast {
                match route::delete(netlink, &route) {
                    Err(error) if !error.is_missing() => return Err(error),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// The networks that lead into the tunnel: everything in two halves, which are closer than any default route and leave
/// it alone.
fn routes(offer: &Offer) -> BTreeSet<IpNet> {
    let mut routes = BTreeSet::new();
    for network in offer.peers.iter().flat_map(|peer| &peer.allowed_ips) {
        let family = Family::of(network.addr());
        if !offer.addresses.iter().any(|own| Family::of(own.addr()) == family) {
            continue;
        }
        if network.prefix_len() == 0 {
            routes.extend(halves(family));
        } else {
            routes.insert(network.trunc());
        }
    }
    routes
}

fn halves(family: Family) -> [IpNet; 2] {
    let texts = match family {
        Family::V4 => ["0.0.0.0/1", "128.0.0.0/1"],
        Family::V6 => ["::/1", "8000::/1"],
    };
    texts.map(|text| text.parse().expect("it is a network"))
}
