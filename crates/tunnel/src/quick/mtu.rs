//! The MTU of a tunnel, found from the ways to its peers.

use std::net::IpAddr;

use linux::{
    Family, link,
    netlink::{Error, Netlink},
    route,
};

/// What WireGuard adds to a packet at most: an IPv6 header, a UDP header, its own header and tag, rounded to 80.
const OVERHEAD: u32 = 80;

/// The MTU where nothing is known.
const USUAL: u32 = 1500;

/// The largest packet of a TUN device.
const LARGEST: u32 = 65_535;

/// The MTU for a tunnel to these endpoints, as wg-quick finds it: the largest of the ways to them, or else the default
/// route's, less 80.
pub(super) fn find(netlink: &mut Netlink, endpoints: impl IntoIterator<Item = IpAddr>) -> Result<u32, Error> {
    let mut largest = 0;
    for endpoint in endpoints {
        if let Some(way) = route::to(netlink, endpoint)? {
            largest = largest.max(way.mtu);
        }
    }
    if largest == 0 {
        largest = of_default_route(netlink)?.unwrap_or(USUAL);
    }
    Ok(largest.saturating_sub(OVERHEAD).clamp(1, LARGEST))
}

fn of_default_route(netlink: &mut Netlink) -> Result<Option<u32>, Error> {
    let Some(default) = route::default(netlink, Family::V4)? else {
        return Ok(None);
    };
    if default.mtu.is_some() {
        return Ok(default.mtu);
    }
    let Some(index) = default.interface else {
        return Ok(None);
    };
    Ok(link::by_index(netlink, index)?.map(|link| link.mtu))
}
