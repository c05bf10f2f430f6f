//! Reads the values of single lines.

use std::{
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    str::FromStr,
};

use super::Fault;
use crate::IpNet;

/// A decimal number without a sign, at most `max`.
pub(super) fn number<T: FromStr>(value: &str, max: u64) -> Result<T, Fault> {
    let fault = Fault::Number { max };
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault);
    }
    value.parse().map_err(|_| fault)
}

/// The value of a flag, which can only be set.
pub(super) fn flag(value: &str) -> Result<bool, Fault> {
    if value == "true" { Ok(true) } else { Err(Fault::NotTrue) }
}

/// An address with a prefix length; host bits are cleared.
pub(super) fn network(value: &str) -> Result<IpNet, Fault> {
    value
        .parse()
        .map(|network: IpNet| network.trunc())
        .map_err(|_| Fault::Network)
}

/// An address with a port; an IPv4 address in IPv6 clothing is taken out of them.
pub(super) fn endpoint(value: &str, zone_index: &dyn Fn(&str) -> Option<u32>) -> Result<SocketAddr, Fault> {
    let endpoint = match value.parse() {
        Ok(SocketAddr::V6(address)) => match address.ip().to_ipv4_mapped() {
            Some(ip) => (ip, address.port()).into(),
            None => SocketAddr::V6(address),
        },
        Ok(SocketAddr::V4(address)) => SocketAddr::V4(address),
        Err(_) => zoned_endpoint(value, zone_index)?,
    };
    if endpoint.port() == 0 {
        return Err(Fault::Endpoint);
    }
    Ok(endpoint)
}

/// An address whose zone is the name of an interface: `[fe80::1%eth0]:51820`.
fn zoned_endpoint(value: &str, zone_index: &dyn Fn(&str) -> Option<u32>) -> Result<SocketAddr, Fault> {
    let parts = value.strip_prefix('[').and_then(|rest| {
        let (address, port) = rest.rsplit_once("]:")?;
        let (ip, zone) = address.split_once('%')?;
        Some((ip.parse::<Ipv6Addr>().ok()?, zone, port))
    });
    let (ip, zone, port) = parts.ok_or(Fault::Endpoint)?;
    let port = number(port, u16::MAX.into()).map_err(|_| Fault::Endpoint)?;
    let index = zone_index(zone).ok_or(Fault::Zone)?;
    Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, index)))
}
