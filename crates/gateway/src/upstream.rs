//! Which resolvers a gateway's DNS queries are passed on to.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where this host keeps the addresses of its resolvers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The port of DNS.
pub const DNS_PORT: u16 = 53;

/// The port of DNS over TLS (RFC 7858).
pub const TLS_PORT: u16 = 853;

/// What begins the text of a resolver over TLS.
const TLS_SCHEME: &str = "tls://";

/// One resolver, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Over UDP, and over TCP where that is not enough.
    Plain(SocketAddr),
    /// Over TLS alone.
    Tls {
        /// Where it is.
        address: SocketAddr,
        /// Whom its certificate must be made out to: a name, or its address.
        name: String,
    },
}

/// A text that names no resolver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a resolver such as 192.0.2.1, [2001:db8::53]:5353 or tls://192.0.2.1#dns.example.com")]
pub struct UpstreamError {
    text: String,
}

impl Upstream {
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Plain(address) | Self::Tls { address, .. } => *address,
        }
    }
}

impl FromStr for Upstream {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let wrong = || UpstreamError { text: text.to_owned() };
        let Some(rest) = text.strip_prefix(TLS_SCHEME) else {
            return Ok(Self::Plain(address(text, DNS_PORT).ok_or_else(wrong)?));
        };
        let (rest, name) = match rest.split_once('#') {
            Some((rest, name)) => (rest, Some(name)),
            None => (rest, None),
        };
        let address = address(rest, TLS_PORT).ok_or_else(wrong)?;
        let name = name.map_or_else(|| address.ip().to_string(), str::to_owned);
        rustls::pki_types::ServerName::try_from(name.as_str()).map_err(|_| wrong())?;
        Ok(Self::Tls { address, name })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(address) => address.fmt(f),
            Self::Tls { address, name } => write!(f, "{TLS_SCHEME}{address}#{name}"),
        }
    }
}

/// An address, with a port or without.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, port));
    address.or_else(|_| text.parse()).ok()
}

/// Reads resolvers between commas or blanks.
///
/// # Errors
///
/// Says which one is wrong; or that one is over TLS and another is not, which would let queries out unencrypted
/// whenever the first does not answer.
pub fn list(text: &str) -> Result<Vec<Upstream>, String> {
    let words = text.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    let servers = words
        .map(|word| word.parse().map_err(|error: UpstreamError| error.to_string()))
        .collect::<Result<Vec<Upstream>, _>>()?;
    check(&servers)?;
    Ok(servers)
}

/// Refuses a list in which some resolvers are over TLS and some are not.
///
/// # Errors
///
/// Says so.
pub fn check(servers: &[Upstream]) -> Result<(), String> {
    let is_tls = |server: &Upstream| matches!(server, Upstream::Tls { .. });
    if servers.iter().any(is_tls) && !servers.iter().all(is_tls) {
        return Err("resolvers with and without tls:// cannot be mixed: queries would leave unencrypted".into());
    }
    Ok(())
}

/// The resolvers that answer for a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstreams {
    /// Those that a file in the form of `resolv.conf` names; it is read again when it changes.
    File(PathBuf),
    /// These and no others.
    Fixed {
        /// The resolvers.
        servers: Vec<Upstream>,
        /// Certificates, in PEM, of those who may sign for resolvers over TLS; `None` is the usual ones of the web.
        ca: Option<PathBuf>,
    },
}

impl Upstreams {
    /// This host's resolvers, among them a stub on its loopback (systemd-resolved's 127.0.0.53, Docker's 127.0.0.11).
    pub fn system() -> Self {
        Self::File(RESOLV_CONF.into())
    }

    /// These resolvers, those over TLS with certificates as the web has them.
    pub fn fixed(servers: impl IntoIterator<Item = Upstream>) -> Self {
        Self::Fixed {
            servers: servers.into_iter().collect(),
            ca: None,
        }
    }

    /// The file with the certificates of those who may sign for resolvers over TLS.
    pub(crate) fn ca(&self) -> Option<&Path> {
        match self {
            Self::File(_) => None,
            Self::Fixed { ca, .. } => ca.as_deref(),
        }
    }

    /// The resolvers at this moment. A file that does not exist means the same as one that names none.
    ///
    /// # Errors
    ///
    /// What reading the file says.
    pub fn read(&self) -> io::Result<Vec<Upstream>> {
        match self {
            Self::File(path) => match read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(parse("")),
                other => other,
            },
            Self::Fixed { servers, .. } => Ok(servers.clone()),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<Upstream>> {
    Ok(parse(&String::from_utf8_lossy(&fs::read(path)?)))
}

/// The name servers of a `resolv.conf`. If it names none, that is the resolver on this host (resolv.conf(5)).
///
/// An address with a zone (`fe80::1%eth0`) is left out: the library that queries cannot hold the zone.
fn parse(text: &str) -> Vec<Upstream> {
    let mut servers: Vec<Upstream> = Vec::new();
    for line in text.lines() {
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        if words.next() != Some("nameserver") {
            continue;
        }
        let server = words.next().and_then(|word| address(word, DNS_PORT));
        if let Some(server) = server.map(Upstream::Plain)
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    if servers.is_empty() {
        servers.push(Upstream::Plain((Ipv4Addr::LOCALHOST, DNS_PORT).into()));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_servers_of_resolv_conf_are_read_in_order() {
        for (text, expected) in [
            (
                "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n",
                vec!["127.0.0.53:53"],
            ),
            (
                "# nameserver 192.0.2.1\nnameserver\t192.0.2.2 # office\r\n",
                vec!["192.0.2.2:53"],
            ),
            (
                "nameserver 2001:db8::53\nnameserver 192.0.2.1\nnameserver 192.0.2.1",
                vec!["[2001:db8::53]:53", "192.0.2.1:53"],
            ),
            ("nameserver fe80::1%eth0\nnameserver 192.0.2.1", vec!["192.0.2.1:53"]),
            (
                "nameserver resolver.example\nnameservers 192.0.2.1\n",
                vec!["127.0.0.1:53"],
            ),
            ("", vec!["127.0.0.1:53"]),
        ] {
            let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn a_missing_file_means_the_resolver_on_this_host() {
        let upstreams = Upstreams::File("/nonexistent/resolv.conf".into());
        assert_eq!(upstreams.read().unwrap(), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn resolvers_are_read_as_people_write_them() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1:53")),
            ("2001:db8::53", Some("[2001:db8::53]:53")),
            ("[2001:db8::53]:5353", Some("[2001:db8::53]:5353")),
            ("192.0.2.1:0x35", None),
            ("dns.example.com", None),
            ("tls://9.9.9.9#dns.quad9.net", Some("tls://9.9.9.9:853#dns.quad9.net")),
            (
                "tls://9.9.9.9:8853#dns.quad9.net",
                Some("tls://9.9.9.9:8853#dns.quad9.net"),
            ),
            ("tls://[2620:fe::fe]:853", Some("tls://[2620:fe::fe]:853#2620:fe::fe")),
            (
                "tls://2620:fe::fe#dns.quad9.net",
                Some("tls://[2620:fe::fe]:853#dns.quad9.net"),
            ),
            ("tls://9.9.9.9#", None),
            ("tls://9.9.9.9#not a name", None),
            ("tls://dns.quad9.net", None),
            ("https://9.9.9.9/dns-query", None),
        ] {
            let found = text.parse::<Upstream>().map(|upstream| upstream.to_string()).ok();
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_list_is_all_over_tls_or_not_at_all() {
        for (text, count) in [
            ("192.0.2.1, 192.0.2.2:5353 [2001:db8::53]:53", Some(3)),
            ("tls://192.0.2.1#a.example,tls://192.0.2.2#b.example", Some(2)),
            ("tls://192.0.2.1#a.example,192.0.2.2", None),
            ("192.0.2.1;192.0.2.2", None),
            ("", Some(0)),
        ] {
            assert_eq!(list(text).map(|servers| servers.len()).ok(), count, "{text:?}");
        }
    }
}
