//! Where a peer is: an address or a name, and a port.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    str::FromStr,
};

use super::{ValueError, text};

/// A host and a UDP port, as `Endpoint` lines have them. Names stay unresolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address or name.
    pub host: Host,
    /// UDP port, 1 to 65535.
    pub port: u16,
}

/// The host of an [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// An address with its zone, the name or index of an interface: `fe80::1%eth0`.
    Zoned(Ipv6Addr, String),
    /// A name, for a resolver.
    Name(String),
}

impl Endpoint {
    /// The socket address, if there is no name to resolve: neither a host's nor an interface's. An IPv4 address in
    /// IPv6 clothing is taken out of them.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Ip(ip) => Some((ip.to_canonical(), self.port).into()),
            Host::Zoned(ip, zone) => {
                let index = zone.parse().ok()?;
                Some(SocketAddrV6::new(*ip, self.port, 0, index).into())
            }
            Host::Name(_) => None,
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Host::Zoned(*v6.ip(), v6.scope_id().to_string()),
            SocketAddr::V4(_) | SocketAddr::V6(_) => Host::Ip(address.ip()),
        };
        Self {
            host,
            port: address.port(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Zoned(ip, zone) => write!(f, "[{ip}%{zone}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for Endpoint {
    type Err = ValueError;

    /// Reads `host:port` or `[host]:port`. Like `wg`, takes what follows the last colon for the port.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(ValueError::Bracket)?;
                (host, port.strip_prefix(':').ok_or(ValueError::NoPort)?)
            }
            None => text.rsplit_once(':').ok_or(ValueError::NoPort)?,
        };
        let port = match text::number(port) {
            Some(port) if port != 0 => port,
            _ => return Err(ValueError::Port),
        };
        Ok(Self {
            host: host.parse()?,
            port,
        })
    }
}

impl FromStr for Host {
    type Err = ValueError;

    /// Reads an address without brackets, an IPv6 address with `%` and its zone, or a name.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        if let Some((ip, zone)) = text.split_once('%') {
            let ip = ip.parse().map_err(|_| ValueError::Host)?;
            // What Linux takes for an interface's name: IFNAMSIZ is 16, with a zero byte.
            let named = !zone.is_empty() && zone.len() < 16 && zone.bytes().all(|byte| byte.is_ascii_graphic());
            if !named || zone.contains(['/', '[', ']', ',', '%', ':']) {
                return Err(ValueError::Zone);
            }
            return Ok(Self::Zoned(ip, zone.to_owned()));
        }
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if is_number || !text::is_domain(text) {
            return Err(ValueError::Host);
        }
        Ok(Self::Name(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_as_wg_reads_it_and_written_so_that_it_reads_back() {
        let ip = |text: &str| Host::Ip(text.parse().unwrap());
        let name = |text: &str| Host::Name(text.to_owned());
        for (text, host, written) in [
            ("192.0.2.1:51820", ip("192.0.2.1"), "192.0.2.1:51820"),
            ("[2001:db8::1]:51820", ip("2001:db8::1"), "[2001:db8::1]:51820"),
            ("2001:db8::1:51820", ip("2001:db8::1"), "[2001:db8::1]:51820"),
            ("[192.0.2.1]:51820", ip("192.0.2.1"), "192.0.2.1:51820"),
            (
                "vpn.example.com:51820",
                name("vpn.example.com"),
                "vpn.example.com:51820",
            ),
            ("[my_host.]:51820", name("my_host."), "my_host.:51820"),
            (
                "[fe80::1%eth0]:51820",
                Host::Zoned("fe80::1".parse().unwrap(), "eth0".to_owned()),
                "[fe80::1%eth0]:51820",
            ),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint, Endpoint { host, port: 51820 }, "{text}");
            assert_eq!(endpoint.to_string(), written);
            assert_eq!(written.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_its_reason() {
        for (text, error) in [
            ("", ValueError::NoPort),
            ("example.com", ValueError::NoPort),
            ("[::1]", ValueError::NoPort),
            ("[::1]51820", ValueError::NoPort),
            ("[::1:51820", ValueError::Bracket),
            ("example.com:", ValueError::Port),
            ("example.com:0", ValueError::Port),
            ("example.com:65536", ValueError::Port),
            ("example.com:+5", ValueError::Port),
            (":51820", ValueError::Host),
            ("10.0.0.256:51820", ValueError::Host),
            ("exa mple:51820", ValueError::Host),
            ("[fe80::1%]:51820", ValueError::Zone),
            ("[fe80::1%eth0/1]:51820", ValueError::Zone),
            ("[name%eth0]:51820", ValueError::Host),
            ("https://example.com:51820", ValueError::Host),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn an_address_needs_no_resolver_and_a_name_does() {
        for (text, address) in [
            ("192.0.2.1:5", Some("192.0.2.1:5")),
            ("[fe80::1%3]:5", Some("[fe80::1%3]:5")),
            ("[fe80::1%eth0]:5", None),
            ("localhost:5", None),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            let address: Option<SocketAddr> = address.map(|text| text.parse().unwrap());
            assert_eq!(endpoint.address(), address, "{text}");
            if let Some(address) = address {
                assert_eq!(Endpoint::from(address), endpoint);
            }
        }
        let mapped: Endpoint = "[::ffff:192.0.2.1]:5".parse().unwrap();
        assert_eq!(mapped.address(), Some("192.0.2.1:5".parse().unwrap()));
    }
}
