//! The values that variables have: networks, ports, words. Each says what would be right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wg::access::Destination;

use super::{LogFormat, Subnet6};
use crate::reach::{Host, HostError};

/// The parts of a list between commas, without blanks around them and without empty ones.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// `None` for the word `auto`.
pub(super) fn auto<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.eq_ignore_ascii_case("auto") {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}

pub(super) fn server_url(text: &str) -> Result<Host, String> {
    text.parse().map_err(|error: HostError| match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => format!("{error}; the port goes into SERVERPORT"),
        _ => format!("{error}; or auto"),
    })
}

/// A number of digits alone, without a sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// A list that is not empty: who names none does not set the variable.
pub(super) fn some<T>(list: Vec<T>) -> Result<Vec<T>, String> {
    if list.is_empty() {
        return Err("a list that names nothing; leave the variable unset, or name one".into());
    }
    Ok(list)
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    match number(text) {
        Some(port) if port > 0 => Ok(port),
        _ => Err("not a port between 1 and 65535".into()),
    }
}

/// `10.13.13.0` is 10.13.13.0/24, and so is `10.13.13.7`; a prefix length is taken as it is.
pub(super) fn subnet(text: &str) -> Result<Ipv4Net, String> {
    let problem = || "not an IPv4 network such as 10.13.13.0 or 10.13.0.0/16".to_owned();
    let network: Ipv4Net = match text.parse::<Ipv4Addr>() {
        Ok(address) => Ipv4Net::new(address, 24).map_err(|_| problem())?,
        Err(_) => text.parse().map_err(|_| problem())?,
    };
    if network.prefix_len() > 30 {
        return Err("has no room for a gateway and a peer: a /30 is the smallest".into());
    }
    // RFC 6890: this host, loopback, multicast, reserved.
    if matches!(network.addr().octets()[0], 0 | 127 | 224..) {
        return Err("not a network whose addresses peers can have; choose a private one such as 10.13.13.0".into());
    }
    Ok(network.trunc())
}

/// `fd00::` is fd00::/64; a prefix length is taken as it is; `none` is no network.
pub(super) fn subnet6(text: &str) -> Result<Subnet6, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Subnet6::Off);
    }
    let problem = || "not an IPv6 network such as fd12:3456:789a::/64, and not none".to_owned();
    let network: Ipv6Net = match text.parse::<Ipv6Addr>() {
        Ok(address) => Ipv6Net::new(address, 64).map_err(|_| problem())?,
        Err(_) => text.parse().map_err(|_| problem())?,
    };
    if network.prefix_len() > 126 {
        return Err("has no room for a gateway and a peer: a /126 is the smallest".into());
    }
    if network.addr().is_multicast() || network.addr().is_unicast_link_local() || network.addr().is_loopback() {
        return Err("not a network whose addresses peers can have; choose one of fd00::/8".into());
    }
    Ok(Subnet6::Network(network.trunc()))
}

/// Networks between commas; an address alone is a network of one.
///
/// # Errors
///
/// Says which item is wrong.
pub fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |item: &str| {
        let address = item.parse::<IpAddr>().map(IpNet::from);
        address
            .or_else(|_| item.parse::<IpNet>())
            .map(|network| network.trunc())
    };
    items(text)
        .map(|item| network(item).map_err(|_| format!("`{item}` is not a network such as 10.0.0.0/8 or fd00::/8")))
        .collect()
}

/// DNS servers and search domains between commas.
///
/// # Errors
///
/// Says which item is wrong.
pub fn dns(text: &str) -> Result<Vec<Host>, String> {
    items(text)
        .map(|item| item.parse::<Host>().map_err(|error| error.to_string()))
        .collect()
}

/// What peers may reach.
pub(super) fn destinations(text: &str) -> Result<Vec<Destination>, String> {
    Destination::list(text).map_err(|error| error.to_string())
}

/// `ADDRESS:PORT`, or `:PORT` for all addresses of both families.
///
/// # Errors
///
/// Says what would be right.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port| (Ipv6Addr::UNSPECIFIED, port).into()),
        None => text.parse::<SocketAddr>().ok(),
    };
    address
        .filter(|address| address.port() != 0)
        .ok_or_else(|| "not ADDRESS:PORT such as 127.0.0.1:9586, and not :PORT".into())
}

/// `text` or `json`.
///
/// # Errors
///
/// Says what would be right.
pub fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("neither text nor json".into()),
    }
}

/// A user's or a group's number; the highest is no one's (`chown(2)`).
pub(super) fn id(text: &str) -> Result<u32, String> {
    number(text)
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| "not the number of a user or group, such as 1000".into())
}

pub(super) fn umask(text: &str) -> Result<u32, String> {
    let is_octal = text.len() <= 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mask = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| is_octal && *mask <= 0o777);
    match mask {
        Some(mask) if mask & 0o700 == 0 => Ok(mask),
        Some(_) => Err("takes permissions from the files' own user, who needs them; 077 is the strictest".into()),
        None => Err("not an octal number such as 022".into()),
    }
}

/// A time zone's name or rule, as `TZ` has it. Nothing here depends on it.
pub(super) fn time_zone(text: &str) -> Result<(), String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-:,.<>".contains(&byte);
    if text.bytes().all(known) && !text.contains("..") {
        Ok(())
    } else {
        Err("not a time zone such as Etc/UTC".into())
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("neither true nor false".into()),
    }
}
