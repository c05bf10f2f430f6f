//! The addresses of a tunnel's interface.

use linux::{address, link, netlink::Netlink, sysctl};
use wg::IpNet;

use super::OpenError;

/// Gives the interface its addresses and switches it on; returns those that it has.
///
/// Where IPv6 is off, as in most containers, it is switched on for this interface. Where that is not to be had either,
/// the interface goes without.
pub(super) fn bring_up(name: &str, addresses: &[IpNet]) -> Result<Vec<IpNet>, OpenError> {
    let has_v6 = addresses.iter().all(|address| matches!(address, IpNet::V4(_))) || allow_v6(name);
    let addresses: Vec<_> = addresses
        .iter()
        .filter(|address| has_v6 || matches!(address, IpNet::V4(_)))
        .copied()
        .collect();
    let mut netlink = Netlink::route()?;
    // It was made a moment ago; if it is gone already, the plane says so.
    if let Some(link) = link::find(&mut netlink, name)? {
        for address in &addresses {
            address::add(&mut netlink, link.index, *address)?;
        }
        link::set_up(&mut netlink, link.index)?;
    }
    Ok(addresses)
}

/// Whether the interface may have IPv6 addresses.
fn allow_v6(name: &str) -> bool {
    // With slashes between, a dot belongs to the name.
    let setting = format!("net/ipv6/conf/{name}/disable_ipv6");
    match sysctl::read(&setting) {
        Ok(value) => value == "0" || sysctl::write(&setting, "0").is_ok(),
        Err(_) => false,
    }
}
