//! Finds the address under which clients reach this machine.
//!
//! Nothing is sent: the kernel is asked which source address it would use towards the Internet. An address behind NAT
//! can only be guessed at; [`Reach::advice`] then says what to do about it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    str::FromStr,
};

/// A host as clients name it in `Endpoint = HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A DNS name, which each client looks up when it connects.
    Name(String),
}

/// A text that is neither an address nor a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither an IP address nor a host name such as vpn.example.com")]
pub struct HostError {
    text: String,
}

/// A host and perhaps a port, as people type an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host.
    pub host: Host,
    /// The port, where it differs from the one that the gateway listens on.
    pub port: Option<u16>,
}

/// A text that is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// What stands before the port is wrong.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What stands after the last colon is no port.
    #[error("`{text}` is not a port between 1 and 65535")]
    Port {
        /// What was found.
        text: String,
    },
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let error = || HostError { text: text.to_owned() };
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Some(bare) = bare {
            return bare
                .parse::<Ipv6Addr>()
                .map(|address| Self::Address(address.into()))
                .map_err(|_| error());
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        // RFC 1123, section 2.1; underscores are in use. A name that ends in a number would be read as an address.
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let last_is_number = name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() > 253 || !name.split('.').all(label) || last_is_number {
            return Err(error());
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Host {
    /// An IPv6 address in brackets, so that a port can follow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        // An IPv6 address without brackets has no port: its last colon is its own.
        if text.parse::<Ipv6Addr>().is_ok() || text.ends_with(']') {
            return Ok(Self {
                host: text.parse()?,
                port: None,
            });
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Ok(Self {
                host: text.parse()?,
                port: None,
            });
        };
        let host = host.parse()?;
        match port.parse::<u16>() {
            Ok(number) if number > 0 && !port.starts_with('+') => Ok(Self {
                host,
                port: Some(number),
            }),
            _ => Err(EndpointError::Port { text: port.to_owned() }),
        }
    }
}

/// Where clients are told to connect to, and how sure that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The host for `Endpoint`.
    pub host: Host,
    /// How it was found.
    pub how: How,
}

/// How a host was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A person named it.
    Given,
    /// It is this machine's own address, and every host on the Internet can name it.
    Public,
    /// It is this machine's own address in a private network (RFC 1918, RFC 4193); a global IPv6 address may be beside it.
    Private {
        /// The global address that was not chosen because not every client has IPv6.
        beside: Option<Ipv6Addr>,
    },
    /// It is this machine's own address behind its provider's NAT (RFC 6598).
    Shared {
        /// The global address that was not chosen because not every client has IPv6.
        beside: Option<Ipv6Addr>,
    },
}

/// This machine has no address that leads out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this machine has no route to the Internet from which to take its address; \
     say with --endpoint HOST how clients reach it"
)]
pub struct Unreachable;

/// The source addresses that this machine uses towards the Internet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// By the IPv4 default route.
    pub v4: Option<Ipv4Addr>,
    /// By the IPv6 default route.
    pub v6: Option<Ipv6Addr>,
}

impl Sources {
    /// Asks the kernel. Sends nothing: connecting a UDP socket only looks up the route.
    pub fn of_this_machine() -> Self {
        // Two well-known resolvers: any address that only a default route leads to would do.
        let v4 = match source(([0; 4], 0).into(), ([1, 1, 1, 1], 53).into()) {
            Some(IpAddr::V4(address)) => Some(address),
            Some(IpAddr::V6(_)) | None => None,
        };
        let towards = Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111);
        let v6 = match source((Ipv6Addr::UNSPECIFIED, 0).into(), (towards, 53).into()) {
            Some(IpAddr::V6(address)) => Some(address),
            Some(IpAddr::V4(_)) | None => None,
        };
        Self { v4, v6 }
    }
}

fn source(any: SocketAddr, towards: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(towards).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}

impl Reach {
    /// The host that `given` names; else this machine's public address; else the best that there is.
    ///
    /// # Errors
    ///
    /// [`Unreachable`] if no host is given and this machine has no address that leads out.
    pub fn find(given: Option<Host>, sources: Sources) -> Result<Self, Unreachable> {
        if let Some(host) = given {
            return Ok(Self { host, how: How::Given });
        }
        let global = sources.v6.filter(is_global);
        let found = |address: IpAddr, how| {
            Ok(Self {
                host: Host::Address(address),
                how,
            })
        };
        match (sources.v4, global, sources.v6) {
            (Some(v4), beside, _) if is_shared(v4) => found(v4.into(), How::Shared { beside }),
            (Some(v4), beside, _) if v4.is_private() || v4.is_link_local() => found(v4.into(), How::Private { beside }),
            (Some(v4), _, _) => found(v4.into(), How::Public),
            (None, Some(v6), _) => found(v6.into(), How::Public),
            (None, None, Some(v6)) => found(v6.into(), How::Private { beside: None }),
            (None, None, None) => Err(Unreachable),
        }
    }

    /// Whether the address may not be the one that clients can use.
    pub fn is_guess(&self) -> bool {
        match self.how {
            How::Given | How::Public => false,
            How::Private { .. } | How::Shared { .. } => true,
        }
    }

    /// What to do if the address had to be guessed, for a gateway on this UDP port.
    pub fn advice(&self, port: u16) -> Option<String> {
        let host = &self.host;
        let (advice, beside) = match self.how {
            How::Given | How::Public => return None,
            How::Private { beside } => (
                format!(
                    "{host} is a private address: clients outside this network cannot reach it. Forward UDP {port} \
                     on the router (or open it in the cloud's firewall) to this machine, and give the public address \
                     or name: --endpoint HOST"
                ),
                beside,
            ),
            How::Shared { beside } => (
                format!(
                    "{host} is behind the provider's own NAT: clients on the Internet cannot reach it, and no router \
                     of yours can forward to it. Use a machine with a public address, or give one that leads here: \
                     --endpoint HOST"
                ),
                beside,
            ),
        };
        Some(match beside {
            Some(beside) => format!("{advice}. Clients that have IPv6 may reach --endpoint [{beside}]"),
            None => advice,
        })
    }
}

/// RFC 6598: 100.64.0.0/10.
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && second & 0b1100_0000 == 64
}

/// RFC 4291, section 2.5.4: what IANA has given out as global unicast, 2000::/3.
fn is_global(address: &Ipv6Addr) -> bool {
    address.segments()[0] & 0xe000 == 0x2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_perhaps_a_port() {
        for (text, host, port) in [
            ("vpn.example.com", "vpn.example.com", None),
            ("vpn.example.com:443", "vpn.example.com", Some(443)),
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2.1:51820", "192.0.2.1", Some(51820)),
            ("2001:db8::1", "[2001:db8::1]", None),
            ("[2001:db8::1]", "[2001:db8::1]", None),
            ("[2001:db8::1]:51820", "[2001:db8::1]", Some(51820)),
            ("localhost:65535", "localhost", Some(65535)),
            ("my_host.lan.:1", "my_host.lan.", Some(1)),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(
                (endpoint.host.to_string().as_str(), endpoint.port),
                (host, port),
                "{text}"
            );
        }
    }

    #[test]
    fn a_wrong_endpoint_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "`` is neither"),
            ("https://vpn.example.com", "`//vpn.example.com` is not a port"),
            ("vpn.example.com:0", "`0` is not a port"),
            ("vpn.example.com:65536", "`65536` is not a port"),
            ("vpn.example.com:+1", "`+1` is not a port"),
            ("vpn.example.com:", "`` is not a port"),
            ("-vpn.example.com", "neither an IP address"),
            ("vpn..example.com", "neither an IP address"),
            ("192.0.2.256", "neither an IP address"),
            ("[192.0.2.1]", "neither an IP address"),
            ("a b", "neither an IP address"),
        ] {
            let message = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}, expected {reason}");
        }
    }

    #[test]
    fn the_best_address_is_chosen_and_a_guess_is_called_one() {
        let v6 = |text: &str| Some(text.parse::<Ipv6Addr>().unwrap());
        let v4 = |text: &str| Some(text.parse::<Ipv4Addr>().unwrap());
        // (IPv4 source, IPv6 source, host, guessed?, a word of the advice)
        for (four, six, host, guess, word) in [
            (v4("192.0.2.1"), v6("2001:db8::1"), "192.0.2.1", false, ""),
            (v4("8.8.8.8"), None, "8.8.8.8", false, ""),
            (v4("192.168.1.20"), None, "192.168.1.20", true, "Forward UDP 51820"),
            (
                v4("172.17.0.2"),
                v6("2001:db8::1"),
                "172.17.0.2",
                true,
                "--endpoint [2001:db8::1]",
            ),
            (v4("100.64.0.9"), None, "100.64.0.9", true, "provider's own NAT"),
            (v4("100.128.0.9"), None, "100.128.0.9", false, ""),
            (None, v6("2001:db8::1"), "[2001:db8::1]", false, ""),
            (None, v6("fd00::1"), "[fd00::1]", true, "private"),
        ] {
            let reach = Reach::find(None, Sources { v4: four, v6: six }).unwrap();
            assert_eq!((reach.host.to_string().as_str(), reach.is_guess()), (host, guess));
            assert!(
                reach.advice(51820).unwrap_or_default().contains(word),
                "{host}: {:?}",
                reach.advice(51820)
            );
        }
        assert_eq!(Reach::find(None, Sources::default()), Err(Unreachable));
    }

    #[test]
    fn a_given_host_wins() {
        let sources = Sources {
            v4: Some(Ipv4Addr::new(192, 168, 1, 2)),
            v6: None,
        };
        let reach = Reach::find(Some("vpn.example.com".parse().unwrap()), sources).unwrap();
        assert_eq!(
            (reach.host.to_string().as_str(), reach.advice(51820)),
            ("vpn.example.com", None)
        );
    }
}
