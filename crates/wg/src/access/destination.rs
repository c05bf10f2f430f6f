//! One destination that a peer may reach: a network, a protocol, ports.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use super::Service;
use crate::IpNet;

/// The word for an empty list.
const NONE: &str = "none";

/// A network and what may go there.
///
/// Written `NETWORK[:PORT[-PORT]][/tcp|/udp|/icmp]`: `10.0.0.0/8`, `192.0.2.1:443/tcp`, `192.0.2.1:8000-8080`,
/// `[2001:db8::1]:53/udp`, `2001:db8::/32/icmp`. A port without a protocol is TCP's and UDP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Where to; an address is a network of one.
    pub network: IpNet,
    /// What may go there.
    pub traffic: Traffic,
}

/// Protocols and ports of a [`Destination`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Traffic {
    /// All protocols.
    Any,
    /// TCP.
    Tcp(Ports),
    /// UDP.
    Udp(Ports),
    /// TCP and UDP.
    TcpAndUdp(Ports),
    /// ICMP of IPv4, `ICMPv6` of IPv6.
    Icmp,
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ports {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl Ports {
    /// All of them.
    pub const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// Whether the port is one of these.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// What is wrong with a destination's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Nothing between two commas, or nothing at all.
    #[error("a destination is missing; write `none` for a peer that shall reach nothing")]
    Empty,
    /// No address and no network.
    #[error("`{0}` is no address and no network; write 192.0.2.1, 10.0.0.0/8, 2001:db8::1 or fd00::/8")]
    Network(String),
    /// A network with an address that is not its first.
    #[error("`{found}` is an address with a network's length; write {network}, or the address alone")]
    HostBits {
        /// What was written.
        found: String,
        /// The network that it is in.
        network: IpNet,
    },
    /// IPv4 written as IPv6.
    #[error("`{0}` is IPv4 in IPv6; write the IPv4 address or network")]
    Mapped(String),
    /// No port and no range of ports.
    #[error("`{0}` is no port; write 443, or 8000-8080, each from 1 to 65535")]
    Port(String),
    /// A bracket without its other.
    #[error("`{0}` lacks a bracket; write [2001:db8::1]:443")]
    Bracket(String),
    /// A protocol that there is no rule for.
    #[error("`{0}` is no protocol; write /tcp, /udp or /icmp")]
    Protocol(String),
    /// ICMP has no ports.
    #[error("ICMP has no ports; leave out the port or write /tcp or /udp")]
    IcmpPort,
}

impl Destination {
    /// Reads destinations with commas between them; `none` is an empty list.
    ///
    /// # Errors
    ///
    /// What is wrong with the first that cannot be read. An empty text is an error: it is likelier a mistake than the
    /// wish that a peer reaches nothing.
    pub fn list(text: &str) -> Result<Vec<Self>, DestinationError> {
        if text.trim() == NONE {
            return Ok(Vec::new());
        }
        text.split(',').map(|part| part.trim().parse()).collect()
    }

    /// Writes what [`Destination::list`] reads.
    pub fn print_list(list: &[Self]) -> String {
        if list.is_empty() {
            return NONE.to_owned();
        }
        list.iter().map(Self::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Whether this destination has the address and the service.
    pub fn permits(&self, address: IpAddr, service: Service) -> bool {
        self.network.contains(&address) && self.traffic.has(service)
    }
}

impl Traffic {
    fn has(self, service: Service) -> bool {
        match (self, service) {
            (Self::Any, _) | (Self::Icmp, Service::Icmp) => true,
            (Self::Tcp(ports) | Self::TcpAndUdp(ports), Service::Tcp(port))
            | (Self::Udp(ports) | Self::TcpAndUdp(ports), Service::Udp(port)) => ports.contains(port),
            (
                Self::Icmp | Self::Tcp(_) | Self::Udp(_) | Self::TcpAndUdp(_),
                Service::Tcp(_) | Service::Udp(_) | Service::Icmp | Service::Other,
            ) => false,
        }
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        if text.is_empty() {
            return Err(DestinationError::Empty);
        }
        let (place, protocol) = match text.rsplit_once('/') {
            Some((place, protocol)) if !protocol.starts_with(|c: char| c.is_ascii_digit()) => (place, Some(protocol)),
            Some(_) | None => (text, None),
        };
        let (network, port) = split(place)?;
        let network = parse_network(network)?;
        let ports = port.map(str::parse).transpose()?;
        let traffic = match (protocol, ports) {
            (None, None) => Traffic::Any,
            (None, Some(ports)) => Traffic::TcpAndUdp(ports),
            (Some("tcp"), ports) => Traffic::Tcp(ports.unwrap_or(Ports::ALL)),
            (Some("udp"), ports) => Traffic::Udp(ports.unwrap_or(Ports::ALL)),
            (Some("icmp"), None) => Traffic::Icmp,
            (Some("icmp"), Some(_)) => return Err(DestinationError::IcmpPort),
            (Some(other), _) => return Err(DestinationError::Protocol(other.to_owned())),
        };
        Ok(Self { network, traffic })
    }
}

/// Parts a place into its network and its port. IPv6 has brackets, around the address or the network, if it has a port.
fn split(place: &str) -> Result<(&str, Option<&str>), DestinationError> {
    if let Some(rest) = place.strip_prefix('[') {
        let (network, rest) = rest
            .split_once(']')
            .ok_or_else(|| DestinationError::Bracket(place.to_owned()))?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((network, Some(port))),
            None if rest.is_empty() => Ok((network, None)),
            None => Err(DestinationError::Bracket(place.to_owned())),
        };
    }
    match place.split_once(':') {
        // One colon is IPv4's before a port; IPv6 has two or more.
        Some((network, port)) if !port.contains(':') => Ok((network, Some(port))),
        Some(_) | None => Ok((place, None)),
    }
}

fn parse_network(text: &str) -> Result<IpNet, DestinationError> {
    let wrong = || DestinationError::Network(text.to_owned());
    let network = if text.contains('/') {
        text.parse().map_err(|_| wrong())?
    } else {
        IpNet::from(text.parse::<IpAddr>().map_err(|_| wrong())?)
    };
    if let IpNet::V6(network) = network
        && network.addr().to_ipv4_mapped().is_some()
        && network.addr() != Ipv6Addr::UNSPECIFIED
    {
        return Err(DestinationError::Mapped(text.to_owned()));
    }
    if network != network.trunc() {
        return Err(DestinationError::HostBits {
            found: text.to_owned(),
            network: network.trunc(),
        });
    }
    Ok(network)
}

impl FromStr for Ports {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let wrong = || DestinationError::Port(text.to_owned());
        let port = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten().filter(|port| *port != 0)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first).ok_or_else(wrong)?, port(last).ok_or_else(wrong)?);
        if first > last {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ports, protocol) = match self.traffic {
            Traffic::Any => (Ports::ALL, ""),
            Traffic::Tcp(ports) => (ports, "/tcp"),
            Traffic::Udp(ports) => (ports, "/udp"),
            // All ports are not written, and without a port the protocols would be all: written as a range.
            Traffic::TcpAndUdp(Ports::ALL) => (Ports { first: 1, ..Ports::ALL }, ""),
            Traffic::TcpAndUdp(ports) => (ports, ""),
            Traffic::Icmp => (Ports::ALL, "/icmp"),
        };
        let is_host = self.network.prefix_len() == self.network.max_prefix_len();
        let place = if is_host {
            self.network.addr().to_string()
        } else {
            self.network.to_string()
        };
        match (ports, self.network) {
            (Ports::ALL, _) => write!(f, "{place}{protocol}"),
            (ports, IpNet::V4(_)) => write!(f, "{place}:{ports}{protocol}"),
            (ports, IpNet::V6(_)) => write!(f, "[{place}]:{ports}{protocol}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_read_and_printed() {
        let ports = |first, last| Ports { first, last };
        // (text, network, traffic, printed if not as read)
        for (text, network, traffic, printed) in [
            ("192.0.2.1", "192.0.2.1/32", Traffic::Any, None),
            ("192.0.2.1/32", "192.0.2.1/32", Traffic::Any, Some("192.0.2.1")),
            ("10.0.0.0/8", "10.0.0.0/8", Traffic::Any, None),
            ("0.0.0.0/0", "0.0.0.0/0", Traffic::Any, None),
            ("::/0", "::/0", Traffic::Any, None),
            ("10.0.0.0/8/tcp", "10.0.0.0/8", Traffic::Tcp(Ports::ALL), None),
            ("10.0.0.0/8/icmp", "10.0.0.0/8", Traffic::Icmp, None),
            ("10.0.0.1:443/tcp", "10.0.0.1/32", Traffic::Tcp(ports(443, 443)), None),
            ("10.0.0.0/8:53/udp", "10.0.0.0/8", Traffic::Udp(ports(53, 53)), None),
            ("10.0.0.1:53", "10.0.0.1/32", Traffic::TcpAndUdp(ports(53, 53)), None),
            (
                "10.0.0.1:8000-8080",
                "10.0.0.1/32",
                Traffic::TcpAndUdp(ports(8000, 8080)),
                None,
            ),
            (
                "10.0.0.1:7-7",
                "10.0.0.1/32",
                Traffic::TcpAndUdp(ports(7, 7)),
                Some("10.0.0.1:7"),
            ),
            ("fd00::1", "fd00::1/128", Traffic::Any, None),
            ("fd00::1/udp", "fd00::1/128", Traffic::Udp(Ports::ALL), None),
            ("[fd00::1]", "fd00::1/128", Traffic::Any, Some("fd00::1")),
            ("[fd00::1]:443/tcp", "fd00::1/128", Traffic::Tcp(ports(443, 443)), None),
            ("[fd00::/8]:443", "fd00::/8", Traffic::TcpAndUdp(ports(443, 443)), None),
            ("fd00::/8/icmp", "fd00::/8", Traffic::Icmp, None),
        ] {
            let read: Destination = text.parse().unwrap();
            assert_eq!(read.network, network.parse().unwrap(), "{text}");
            assert_eq!(read.traffic, traffic, "{text}");
            assert_eq!(read.to_string(), printed.unwrap_or(text));
            assert_eq!(read.to_string().parse::<Destination>().unwrap(), read, "{text}");
        }
    }

    #[test]
    fn an_error_says_what_would_be_right() {
        for (text, error) in [
            (
                "",
                "a destination is missing; write `none` for a peer that shall reach nothing",
            ),
            (
                "example.com",
                "`example.com` is no address and no network; write 192.0.2.1, 10.0.0.0/8, 2001:db8::1 or fd00::/8",
            ),
            (
                "10.0.0.0/33",
                "`10.0.0.0/33` is no address and no network; write 192.0.2.1, 10.0.0.0/8, 2001:db8::1 or fd00::/8",
            ),
            (
                "10.1.2.3/8",
                "`10.1.2.3/8` is an address with a network's length; write 10.0.0.0/8, or the address alone",
            ),
            (
                "::ffff:10.0.0.0/104",
                "`::ffff:10.0.0.0/104` is IPv4 in IPv6; write the IPv4 address or network",
            ),
            (
                "10.0.0.1:0",
                "`0` is no port; write 443, or 8000-8080, each from 1 to 65535",
            ),
            (
                "10.0.0.1:+1",
                "`+1` is no port; write 443, or 8000-8080, each from 1 to 65535",
            ),
            (
                "10.0.0.1:9-8",
                "`9-8` is no port; write 443, or 8000-8080, each from 1 to 65535",
            ),
            (
                "10.0.0.1:65536",
                "`65536` is no port; write 443, or 8000-8080, each from 1 to 65535",
            ),
            (
                "10.0.0.1:",
                "`` is no port; write 443, or 8000-8080, each from 1 to 65535",
            ),
            (
                "[fd00::1:443",
                "`[fd00::1:443` lacks a bracket; write [2001:db8::1]:443",
            ),
            (
                "[fd00::1]443",
                "`[fd00::1]443` lacks a bracket; write [2001:db8::1]:443",
            ),
            ("10.0.0.1/sctp", "`sctp` is no protocol; write /tcp, /udp or /icmp"),
            (
                "10.0.0.1:1/icmp",
                "ICMP has no ports; leave out the port or write /tcp or /udp",
            ),
        ] {
            assert_eq!(text.parse::<Destination>().unwrap_err().to_string(), error, "{text:?}");
        }
    }

    #[test]
    fn a_list_is_read_and_printed_and_none_is_an_empty_one() {
        // (text, how many, printed)
        for (text, count, printed) in [
            ("10.0.0.0/8,192.0.2.1:443/tcp", 2, "10.0.0.0/8, 192.0.2.1:443/tcp"),
            (" 10.0.0.1 , fd00::1 ", 2, "10.0.0.1, fd00::1"),
            ("none", 0, "none"),
        ] {
            let list = Destination::list(text).unwrap();
            assert_eq!(list.len(), count, "{text}");
            assert_eq!(Destination::print_list(&list), printed);
            assert_eq!(Destination::list(printed).unwrap(), list);
        }
        for text in ["", "10.0.0.1,", ",", "none,10.0.0.1"] {
            assert!(Destination::list(text).is_err(), "{text:?}");
        }
    }
}
