//! Scheme, host and port of a URL.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use super::ConfigError;

/// Scheme, host and port (RFC 6454), written as browsers write the header `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    is_https: bool,
    /// A name in lower case, or an address; an IPv6 address in brackets.
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `https://HOST`, `https://HOST:PORT` and the same with `http`; a slash at the end is nothing.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = || {
            let problem =
                format!("`{text}` is not SCHEME://HOST[:PORT] without a path, such as https://vpn.example.org");
            ConfigError::wrong("public_url", problem)
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        let (host, port) = Self::split_host(rest.strip_suffix('/').unwrap_or(rest)).ok_or_else(wrong)?;
        Ok(Self {
            is_https,
            host,
            port: port.unwrap_or_else(|| default_port(is_https)),
        })
    }

    /// Where people on this machine reach a listener.
    pub(super) fn of_listener(listen: SocketAddr, is_https: bool) -> Self {
        let host = match listen.ip() {
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        Self {
            is_https,
            host,
            port: listen.port(),
        }
    }

    /// The origin with the port of the listener that was opened.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Whether it is `https`.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the host is this machine, and nobody else's.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }

    /// Whether a header `Host` (RFC 9112, section 3.2) names this origin.
    pub fn has_host(&self, header: &str) -> bool {
        Self::split_host(header).is_some_and(|(host, port)| {
            host == self.host && port.unwrap_or_else(|| default_port(self.is_https)) == self.port
        })
    }

    /// Host and port of `HOST[:PORT]`, the host in lower case.
    pub(crate) fn split_host(text: &str) -> Option<(String, Option<u16>)> {
        let (host, port) = match text.rfind(':') {
            Some(at) if !text[at..].contains(']') => (&text[..at], Some(text[at + 1..].parse::<u16>().ok()?)),
            Some(_) | None => (text, None),
        };
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => {
                (1..=253).contains(&host.len())
                    && host
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
            }
        };
        is_host.then(|| (host.to_ascii_lowercase(), port))
    }
}

/// Whether a host is this machine, and nobody else's.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != default_port(self.is_https) {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (text, expected) in [
            ("https://vpn.example.org", Some("https://vpn.example.org")),
            ("HTTPS://VPN.example.org:443/", Some("https://vpn.example.org")),
            ("https://vpn.example.org:8443", Some("https://vpn.example.org:8443")),
            ("http://127.0.0.1:80", Some("http://127.0.0.1")),
            ("http://[::1]:8790", Some("http://[::1]:8790")),
            ("ftp://vpn.example.org", None),
            ("https://", None),
            ("https://vpn.example.org/x", None),
            ("https://user@vpn.example.org", None),
            ("https://vpn.example.org:99999", None),
            ("https://vpn.example.org?x", None),
            ("https://[vpn]", None),
            ("vpn.example.org", None),
        ] {
            let found = Origin::parse(text).ok().map(|origin| origin.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_host_is_ours_with_our_port_alone() {
        let origin = Origin::parse("https://vpn.example.org").unwrap();
        for (host, expected) in [
            ("vpn.example.org", true),
            ("VPN.EXAMPLE.ORG:443", true),
            ("vpn.example.org:80", false),
            ("vpn.example.org.", false),
            ("example.org", false),
            ("vpn.example.org@evil.example", false),
            ("", false),
        ] {
            assert_eq!(origin.has_host(host), expected, "{host}");
        }
    }

    #[test]
    fn this_machine_is_loopback_and_nobody_else() {
        for (host, expected) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("localhost.example.org", false),
            ("127.0.0.1.example.org", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback_host(host), expected, "{host}");
        }
    }
}
