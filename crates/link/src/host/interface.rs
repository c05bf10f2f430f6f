//! Interfaces of a link and their addresses.

use linux::{
    address, link,
    netlink::{Error, Netlink},
};
use wg::IpNet;

use super::{HostError, MTU};
use crate::addresses::Addresses;

/// Sees to it that there is a bridge with these addresses.
pub(super) fn bridge(netlink: &mut Netlink, name: &str, wanted: &[IpNet]) -> Result<(), HostError> {
    let bridge = match link::find(netlink, name)? {
        Some(bridge) => bridge,
        None => {
            link::create_bridge(netlink, name)?;
            let Some(bridge) = link::find(netlink, name)? else {
                return Ok(());
            };
            link::set_mtu(netlink, bridge.index, MTU.into())?;
            bridge
        }
    };
    set_addresses(netlink, bridge.index, wanted, |_| true)?;
    if !bridge.up {
        link::set_up(netlink, bridge.index)?;
    }
    Ok(())
}

/// Gives the tunnel's interface its addresses and switches it on; gives its index. Other addresses of the link go.
pub(super) fn bring_up(netlink: &mut Netlink, name: &str, wanted: &[IpNet], all: &Addresses) -> Result<u32, HostError> {
    let found = link::find(netlink, name)?.ok_or_else(|| Error {
        action: format!("looking for the interface {name}"),
        cause: std::io::ErrorKind::NotFound.into(),
        explanation: None,
    })?;
    if found.mtu != u32::from(MTU) {
        link::set_mtu(netlink, found.index, MTU.into())?;
    }
    let is_of_link = |address: &IpNet| all.everything().iter().any(|all| all.contains(&address.addr()));
    set_addresses(netlink, found.index, wanted, is_of_link)?;
    if !found.up {
        link::set_up(netlink, found.index)?;
    }
    Ok(found.index)
}

/// Adds what is missing, and removes what is not wanted and is this link's to remove.
fn set_addresses(
    netlink: &mut Netlink,
    index: u32,
    wanted: &[IpNet],
    is_ours: impl Fn(&IpNet) -> bool,
) -> Result<(), Error> {
    let there = address::list(netlink, index)?;
    let is_link_local = |net: &IpNet| matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
    for old in &there {
        if !wanted.contains(old) && is_ours(old) && !is_link_local(old) {
            match address::delete(netlink, index, *old) {
                Err(error) if !error.is_missing() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    for new in wanted.iter().filter(|new| !there.contains(new)) {
        match address::add_at_once(netlink, index, *new) {
            Err(error) if !error.is_there_already() => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
