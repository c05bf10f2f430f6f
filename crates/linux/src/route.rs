//! Routes, and the way that a packet to some address would take.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's vocabulary grows; what is not used here is passed over"
)]

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
    },
};

use crate::{
    Family, link,
    netlink::{Error, Netlink, decode},
};

/// The routing table that packets take if no rule says otherwise (`RT_TABLE_MAIN`).
pub const MAIN: u32 = 254;

/// A route to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network; a default route's is everything.
    pub destination: IpNet,
    /// The interface that packets leave by. `None` if the kernel finds it from the router, or if there are several.
    pub interface: Option<u32>,
    /// The router that packets are handed to, if they are not delivered directly.
    pub router: Option<IpAddr>,
    /// The routing table, normally [`MAIN`].
    pub table: u32,
    /// The lower is preferred (`metric` of `ip route`); `None` is the kernel's default.
    pub metric: Option<u32>,
    /// The address that this host's own packets have, if the route says so.
    pub source: Option<IpAddr>,
    /// The largest packet on this route, if the route says so.
    pub mtu: Option<u32>,
}

impl Route {
    /// A route to a network straight out of an interface, in the main table.
    pub fn direct(destination: IpNet, interface: u32) -> Self {
        Self {
            destination,
            interface: Some(interface),
            router: None,
            table: MAIN,
            metric: None,
            source: None,
            mtu: None,
        }
    }

    fn name(&self) -> String {
        if self.table == MAIN {
            format!("the route to {}", self.destination)
        } else {
            format!("the route to {} in table {}", self.destination, self.table)
        }
    }
}

/// The way that a packet to some address would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface it leaves by.
    pub interface: u32,
    /// The router that it is handed to, if it is not delivered directly.
    pub router: Option<IpAddr>,
    /// The address that it has as its source.
    pub source: Option<IpAddr>,
    /// The largest packet: the route's, or else the interface's.
    pub mtu: u32,
}

/// Adds a route, as `ip route add` does.
///
/// # Errors
///
/// The kernel's refusal; [`Error::is_there_already`] if there is one to this network with this metric.
pub fn add(netlink: &mut Netlink, route: &Route) -> Result<(), Error> {
    let message = RouteNetlinkMessage::NewRoute(message(route));
    netlink.request(message, NLM_F_CREATE | NLM_F_EXCL, || {
        format!("adding {}", route.name())
    })
}

/// Adds a route in place of one to the same network with the same metric, if there is one.
///
/// # Errors
///
/// The kernel's refusal.
pub fn replace(netlink: &mut Netlink, route: &Route) -> Result<(), Error> {
    let message = RouteNetlinkMessage::NewRoute(message(route));
    netlink.request(message, NLM_F_CREATE | NLM_F_REPLACE, || {
        format!("setting {}", route.name())
    })
}

/// Removes a route.
///
/// # Errors
///
/// The kernel's refusal; [`Error::is_missing`] if there is none.
pub fn delete(netlink: &mut Netlink, route: &Route) -> Result<(), Error> {
    let mut message = message(route);
    // Of whatever origin, as `ip route delete` has it.
    message.header.protocol = RouteProtocol::Unspec;
    message.header.scope = RouteScope::NoWhere;
    netlink.request(RouteNetlinkMessage::DelRoute(message), 0, || {
        format!("removing {}", route.name())
    })
}

/// The unicast routes of a table, in the kernel's order. A family that the kernel does not have has none.
///
/// # Errors
///
/// The kernel's refusal.
pub fn list(netlink: &mut Netlink, family: Family, table: u32) -> Result<Vec<Route>, Error> {
    dump(netlink, family, table, read)
}

fn dump<R>(
    netlink: &mut Netlink,
    family: Family,
    table: u32,
    mut each: impl FnMut(&RouteMessage) -> Option<R>,
) -> Result<Vec<R>, Error> {
    let mut wanted = RouteMessage::default();
    wanted.header.address_family = family.into();
    // Kernels that can filter (since 4.20) read the table; one that never had a route is unknown to them.
    wanted.attributes.push(RouteAttribute::Table(table));
    let action = || format!("listing the routes of table {table}");
    let found = netlink.dump(&RouteNetlinkMessage::GetRoute(wanted), action, |header, payload| {
        let RouteNetlinkMessage::NewRoute(message) = decode(header, payload)? else {
            return None;
        };
        let found = attributes(&message).table.unwrap_or(u32::from(message.header.table));
        // For a family that it does not have, the kernel lists all that it has.
        (found == table && message.header.address_family == family.into())
            .then(|| each(&message))
            .flatten()
    });
    match found {
        Err(error) if error.is_missing() || error.is_unknown_family() => Ok(Vec::new()),
        found => found,
    }
}

/// Whether a table has routes, of whatever kind.
///
/// # Errors
///
/// The kernel's refusal.
pub fn is_table_used(netlink: &mut Netlink, family: Family, table: u32) -> Result<bool, Error> {
    Ok(!dump(netlink, family, table, |_| Some(()))?.is_empty())
}

/// The default route of the main table that is preferred, `None` if there is none.
///
/// # Errors
///
/// The kernel's refusal.
pub fn default(netlink: &mut Netlink, family: Family) -> Result<Option<Route>, Error> {
    let routes = list(netlink, family, MAIN)?;
    let defaults = routes.into_iter().filter(|route| route.destination.prefix_len() == 0);
    Ok(defaults.min_by_key(|route| route.metric.unwrap_or(0)))
}

/// The way that this host's own packets to `address` would take; `None` if there is none.
///
/// # Errors
///
/// The kernel's refusal.
pub fn to(netlink: &mut Netlink, address: IpAddr) -> Result<Option<Way>, Error> {
    let mut wanted = RouteMessage::default();
    wanted.header.address_family = Family::of(address).into();
    wanted.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
    wanted.attributes.push(RouteAttribute::Destination(address.into()));
    let mut found = None;
    let asked = netlink.query(
        RouteNetlinkMessage::GetRoute(wanted),
        || format!("looking for the route to {address}"),
        |header, payload| {
            if let Some(RouteNetlinkMessage::NewRoute(message)) = decode(header, payload) {
                found = Some(message);
            }
        },
    );
    let message = match asked {
        Ok(()) => found,
        Err(error) => match error.cause.raw_os_error() {
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::ESRCH) => None,
            _ => return Err(error),
        },
    };
    let Some(message) = message else { return Ok(None) };
    let (attributes, unreachable) = (attributes(&message), is_unreachable(message.header.kind));
    let Some(interface) = attributes.interface.filter(|_| !unreachable) else {
        return Ok(None);
    };
    let mtu = match attributes.mtu {
        Some(mtu) => mtu,
        None => link::by_index(netlink, interface)?.map_or(1500, |link| link.mtu),
    };
    Ok(Some(Way {
        interface,
        router: attributes.router,
        source: attributes.source,
        mtu,
    }))
}

fn is_unreachable(kind: RouteType) -> bool {
    matches!(
        kind,
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw
    )
}

fn message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = Family::of(route.destination.addr()).into();
    header.destination_prefix_length = route.destination.prefix_len();
    header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    header.protocol = RouteProtocol::Boot;
    header.kind = RouteType::Unicast;
    header.scope = match (route.destination, route.router) {
        (IpNet::V4(_), None) => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    let attributes = &mut message.attributes;
    if route.destination.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(route.destination.network().into()));
    }
    attributes.push(RouteAttribute::Table(route.table));
    attributes.extend(route.interface.map(RouteAttribute::Oif));
    attributes.extend(route.router.map(|router| RouteAttribute::Gateway(router.into())));
    attributes.extend(route.metric.map(RouteAttribute::Priority));
    attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    attributes.extend(
        route
            .mtu
            .map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
    );
    message
}

#[derive(Default)]
struct Attributes {
    destination: Option<IpAddr>,
    interface: Option<u32>,
    router: Option<IpAddr>,
    table: Option<u32>,
    metric: Option<u32>,
    source: Option<IpAddr>,
    mtu: Option<u32>,
}

fn attributes(message: &RouteMessage) -> Attributes {
    let mut found = Attributes::default();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => found.destination = ip(address),
            RouteAttribute::Oif(index) => found.interface = Some(*index),
            RouteAttribute::Gateway(address) => found.router = ip(address),
            RouteAttribute::Table(table) => found.table = Some(*table),
            RouteAttribute::Priority(metric) => found.metric = Some(*metric),
            RouteAttribute::PrefSource(address) => found.source = ip(address),
            RouteAttribute::Metrics(metrics) => {
                found.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    found
}

fn read(message: &RouteMessage) -> Option<Route> {
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let found = attributes(message);
    let everything = match message.header.address_family {
        netlink_packet_route::AddressFamily::Inet => Family::V4,
        netlink_packet_route::AddressFamily::Inet6 => Family::V6,
        _ => return None,
    }
    .everything();
    let destination = found.destination.unwrap_or(everything.addr());
    Some(Route {
        destination: IpNet::new(destination, message.header.destination_prefix_length).ok()?,
        interface: found.interface,
        router: found.router,
        table: found.table.unwrap_or(u32::from(message.header.table)),
        metric: found.metric,
        source: found.source,
        mtu: found.mtu,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{address, netns, sysctl};

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// A socket in a namespace with a pair of links that are up, and the index of the one that has an address of each
    /// family.
    fn prepared() -> (Netlink, u32) {
        use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
        let mut netlink = Netlink::route().unwrap();
        // Addresses are valid at once, without waiting for a neighbour to object.
        sysctl::write("net.ipv6.conf.default.accept_dad", "0").unwrap();
        let named = |name: &str| {
            let mut message = LinkMessage::default();
            message.attributes.push(LinkAttribute::IfName(name.into()));
            message
        };
        let mut pair = named("here");
        let other = LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(named("there"))));
        pair.attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), other]));
        let message = RouteNetlinkMessage::NewLink(pair);
        netlink
            .request(message, NLM_F_CREATE | NLM_F_EXCL, || "making a pair of links".into())
            .unwrap();
        let [here, there] = ["here", "there"].map(|name| link::find(&mut netlink, name).unwrap().unwrap());
        assert_eq!(here.kind.as_deref(), Some("veth"));
        link::set_up(&mut netlink, there.index).unwrap();
        link::set_up(&mut netlink, here.index).unwrap();
        address::add(&mut netlink, here.index, net("192.0.2.1/24")).unwrap();
        address::add(&mut netlink, here.index, net("2001:db8::1/64")).unwrap();
        (netlink, here.index)
    }

    #[test]
    fn routes_are_added_once_replaced_listed_and_removed() {
        let Some(namespace) = netns::for_test() else { return };
        namespace
            .run(|| {
                let (mut netlink, here) = prepared();
                for (destination, table) in [
                    ("10.0.0.0/8", MAIN),
                    ("0.0.0.0/0", 51820),
                    ("fd00::/8", MAIN),
                    ("::/0", 51820),
                ] {
                    let mut route = Route {
                        table,
                        ..Route::direct(net(destination), here)
                    };
                    let family = Family::of(route.destination.addr());
                    if family == Family::V6 {
                        route.metric = Some(1024);
                    }
                    add(&mut netlink, &route).unwrap();
                    assert!(add(&mut netlink, &route).unwrap_err().is_there_already());
                    assert!(list(&mut netlink, family, table).unwrap().contains(&route), "{route:?}");
                    route.mtu = Some(1300);
                    replace(&mut netlink, &route).unwrap();
                    let found = list(&mut netlink, family, table).unwrap();
                    assert_eq!(
                        found
                            .iter()
                            .filter(|found| found.destination == route.destination)
                            .count(),
                        1
                    );
                    assert!(found.contains(&route), "{found:?}");
                    delete(&mut netlink, &route).unwrap();
                    assert!(!list(&mut netlink, family, table).unwrap().contains(&route));
                    assert!(delete(&mut netlink, &route).unwrap_err().is_missing());
                }
            })
            .unwrap();
    }

    /// The way once it has this source: the kernel takes an IPv6 address into use a moment after it was added, and until
    /// then a link-local one.
    fn way_with_source(netlink: &mut Netlink, address: IpAddr, source: IpAddr) -> Way {
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match to(netlink, address).unwrap() {
                Some(way) if way.source == Some(source) => return way,
                way => assert!(std::time::Instant::now() < limit, "{way:?}"),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_way_to_an_address_has_its_source_and_its_mtu() {
        let Some(namespace) = netns::for_test() else { return };
        namespace
            .run(|| {
                let (mut netlink, here) = prepared();
                let address = |text: &str| text.parse::<IpAddr>().unwrap();
                assert_eq!(to(&mut netlink, address("198.51.100.7")).unwrap(), None);
                assert_eq!(to(&mut netlink, address("2001:db8:1::7")).unwrap(), None);
                assert_eq!(default(&mut netlink, Family::V4).unwrap(), None);
                for (everything, target, source) in [
                    ("0.0.0.0/0", "198.51.100.7", "192.0.2.1"),
                    ("::/0", "2001:db8:1::7", "2001:db8::1"),
                ] {
                    let route = Route {
                        mtu: Some(1400),
                        ..Route::direct(net(everything), here)
                    };
                    add(&mut netlink, &route).unwrap();
                    let way = way_with_source(&mut netlink, address(target), address(source));
                    assert_eq!((way.interface, way.router, way.mtu), (here, None, 1400));
                    let found = default(&mut netlink, Family::of(address(target))).unwrap().unwrap();
                    assert_eq!((found.destination, found.mtu), (route.destination, Some(1400)));
                }
            })
            .unwrap();
    }
}
