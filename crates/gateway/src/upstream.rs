//! Which resolvers a gateway's DNS queries are passed on to.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Where this host keeps the addresses of its resolvers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The port of DNS.
pub const DNS_PORT: u16 = 53;

/// The resolvers that answer for a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstreams {
    /// Those that a file in the form of `resolv.conf` names; it is read again when it changes.
    File(PathBuf),
    /// These and no others.
    Fixed(Vec<SocketAddr>),
}

impl Upstreams {
    /// This host's resolvers, among them a stub on its loopback (systemd-resolved's 127.0.0.53, Docker's 127.0.0.11).
    pub fn system() -> Self {
        Self::File(RESOLV_CONF.into())
    }

    /// The resolvers at this moment. A file that does not exist means the same as one that names none.
    ///
    /// # Errors
    ///
    /// What reading the file says.
    pub fn read(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::File(path) => match read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(parse("")),
                other => other,
            },
            Self::Fixed(addresses) => Ok(addresses.clone()),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<SocketAddr>> {
    Ok(parse(&String::from_utf8_lossy(&fs::read(path)?)))
}

/// The name servers of a `resolv.conf`. If it names none, that is the resolver on this host (resolv.conf(5)).
///
/// An address with a zone (`fe80::1%eth0`) is left out: the library that queries cannot hold the zone.
fn parse(text: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        if words.next() != Some("nameserver") {
            continue;
        }
        if let Some(server) = words.next().and_then(server)
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
    }
    servers
}

/// A resolver as people write it: an address, or an address and a port (`192.0.2.1:5353`, `[2001:db8::53]:5353`).
pub fn server(text: &str) -> Option<SocketAddr> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
    address.or_else(|_| text.parse()).ok()
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
}
