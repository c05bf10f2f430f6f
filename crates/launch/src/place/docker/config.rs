//! What the place is told: which engine, which image, where clients connect to.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc};

use wg::conf::Endpoint;

/// Docker's usual socket.
const SOCKET: &str = "/var/run/docker.sock";

/// What the image is called that `cargo xtask image` builds.
pub(super) const ADIT: &str = "adit:latest";

/// linuxserver's image.
const LINUXSERVER: &str = "lscr.io/linuxserver/wireguard:latest";

/// Most memory of a gateway, unless the configuration says otherwise: a few hundred connections in user space.
const MEMORY: u64 = 256 << 20;

/// Least memory that Docker takes.
const LEAST_MEMORY: u64 = 6 << 20;

/// Says where clients reach this machine: a name or an address; an error says why nobody knows.
pub type FindHost = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What the place is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the place is called. Default `docker`.
    pub name: String,
    /// The engine's socket, a path or `unix://` and a path.
    pub socket: PathBuf,
    /// Whose image it is.
    pub kind: Kind,
    /// The image.
    pub image: String,
    /// Whether an image that is missing is fetched from its registry. Default no.
    pub pulls: bool,
    /// Where clients connect to.
    pub host: Host,
    /// The host's address on which gateways listen. Default all of them, of both families: a port that Docker chooses may
    /// then be another one for IPv6, and the one for IPv4 is told.
    pub address: Option<IpAddr>,
    /// The network that containers are in. Default is the engine's.
    pub network: Option<String>,
    /// Most memory of a gateway, in bytes, where no size is chosen.
    pub memory_bytes: u64,
    /// Sizes that a request may choose, the default first. Default none: there is no choice.
    pub sizes: Vec<Size>,
}

/// Whose image it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// adit's own. Clients bring their keys, and peers come and go.
    Adit {
        /// Whether it gets `NET_ADMIN` and `/dev/net/tun`, to use the kernel's WireGuard or a TUN device. Without, which
        /// is the default, it has no privilege at all.
        with_net_admin: bool,
    },
    /// linuxserver's, or one that takes its place. It makes its clients' keys itself, and its peers are fixed. It has no clock
    /// of its own, and is given one: a script that it runs at its start. In an image without a shell, or that runs no
    /// `/custom-cont-init.d`, a gateway goes on while no launcher runs.
    Linuxserver {
        /// `INTERNAL_SUBNET`, such as `10.13.13.0`. Default is the image's.
        internal_subnet: Option<IpAddr>,
    },
}

/// Where clients connect to.
#[derive(Clone)]
pub enum Host {
    /// There.
    Named(String),
    /// Where this says.
    Found(FindHost),
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.debug_tuple("Named").field(name).finish(),
            Self::Found(_) => f.write_str("Found(..)"),
        }
    }
}

/// A size that a request may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its name, such as `512m`.
    pub name: String,
    /// Most memory, in bytes.
    pub memory_bytes: u64,
}

/// What the place cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Neither a name nor an address.
    #[error("`{0}` is no host that clients could connect to: give a name or an address, without a port")]
    Host(String),
    /// A container in it has no ports of its own.
    #[error("gateways cannot be in the network `{0}`: their ports are published, so give a bridge's name")]
    Network(String),
    /// No image.
    #[error("the image has no name")]
    Image,
    /// Too little for Docker.
    #[error("a container with {0} bytes of memory cannot be had: Docker asks for {LEAST_MEMORY} at least")]
    Memory(u64),
    /// A name that is there twice, or empty.
    #[error("the size `{0}` has no name of its own")]
    Size(String),
    /// linuxserver's image knows IPv4 only.
    #[error("{0} cannot be the clients' network: linuxserver's image takes an IPv4 network such as 10.13.13.0")]
    Subnet(IpAddr),
}

impl Config {
    /// Gateways of adit's own image, without a privilege.
    pub fn new(host: Host) -> Self {
        Self {
            name: "docker".to_owned(),
            socket: PathBuf::from(SOCKET),
            kind: Kind::Adit { with_net_admin: false },
            image: ADIT.to_owned(),
            pulls: false,
            host,
            address: None,
            network: None,
            memory_bytes: MEMORY,
            sizes: Vec::new(),
        }
    }

    /// Gateways of linuxserver's image.
    pub fn linuxserver(host: Host) -> Self {
        Self {
            kind: Kind::Linuxserver { internal_subnet: None },
            image: LINUXSERVER.to_owned(),
            ..Self::new(host)
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Host::Named(name) = &self.host {
            written(name).ok_or_else(|| ConfigError::Host(name.clone()))?;
        }
        if let Some(network) = &self.network
            && (network.is_empty() || network == "none" || network == "host" || network.contains(':'))
        {
            return Err(ConfigError::Network(network.clone()));
        }
        if self.image.is_empty() {
            return Err(ConfigError::Image);
        }
        let memories = self
            .sizes
            .iter()
            .map(|size| size.memory_bytes)
            .chain([self.memory_bytes]);
        if let Some(bytes) = memories.into_iter().find(|bytes| *bytes < LEAST_MEMORY) {
            return Err(ConfigError::Memory(bytes));
        }
        for (index, size) in self.sizes.iter().enumerate() {
            if size.name.is_empty() || self.sizes[..index].iter().any(|before| before.name == size.name) {
                return Err(ConfigError::Size(size.name.clone()));
            }
        }
        match self.kind {
            Kind::Linuxserver {
                internal_subnet: Some(subnet @ IpAddr::V6(_)),
            } => Err(ConfigError::Subnet(subnet)),
            Kind::Linuxserver {
                internal_subnet: Some(IpAddr::V4(_)) | None,
            }
            | Kind::Adit { .. } => Ok(()),
        }
    }
}

impl Host {
    /// The host as it stands before `:PORT`.
    pub(super) fn find(&self) -> Result<String, String> {
        let name = match self {
            Self::Named(name) => name.clone(),
            Self::Found(find) => find()?,
        };
        written(&name).ok_or_else(|| ConfigError::Host(name).to_string())
    }
}

/// A name or an address, one of IPv6 in brackets; `None` if it is neither.
fn written(host: &str) -> Option<String> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let host = match bare.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(address)) => address.to_string(),
        // It goes into the environment of an image that lets a shell read it.
        Err(_) => Some(bare).filter(|name| is_name(name))?.to_owned(),
    };
    format!("{host}:1").parse::<Endpoint>().is_ok().then_some(host)
}

/// RFC 1123, section 2.1.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label =
        |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_inner) && !label.starts_with('-');
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (given, expected) in [
            ("vpn.example.com", Some("vpn.example.com")),
            ("203.0.113.2", Some("203.0.113.2")),
            ("2001:db8::1", Some("[2001:db8::1]")),
            ("[2001:db8::1]", Some("[2001:db8::1]")),
            ("vpn.example.com:51820", None),
            ("$(touch x)", None),
            ("a b", None),
            ("a..b", None),
            ("", None),
        ] {
            assert_eq!(
                Host::Named(given.to_owned()).find().ok().as_deref(),
                expected,
                "{given}"
            );
        }
        let nobody = Host::Found(Arc::new(|| Err("there is no network".to_owned())));
        assert_eq!(nobody.find(), Err("there is no network".to_owned()));
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_made() {
        let config = || Config::new(Host::Named("vpn.example.com".to_owned()));
        let size = |name: &str, memory_bytes| Size {
            name: name.to_owned(),
            memory_bytes,
        };
        let subnet = IpAddr::from([10, 1, 2, 0]);
        let with = |internal_subnet| Kind::Linuxserver {
            internal_subnet: Some(internal_subnet),
        };
        for (config, expected) in [
            (config(), None),
            (
                Config {
                    kind: with(subnet),
                    ..config()
                },
                None,
            ),
            (
                Config {
                    host: Host::Named("x y".to_owned()),
                    ..config()
                },
                Some(ConfigError::Host("x y".to_owned())),
            ),
            (
                Config {
                    network: Some("host".to_owned()),
                    ..config()
                },
                Some(ConfigError::Network("host".to_owned())),
            ),
            (
                Config {
                    image: String::new(),
                    ..config()
                },
                Some(ConfigError::Image),
            ),
            (
                Config {
                    memory_bytes: 5,
                    ..config()
                },
                Some(ConfigError::Memory(5)),
            ),
            (
                Config {
                    sizes: vec![size("s", 1 << 30), size("s", 2 << 30)],
                    ..config()
                },
                Some(ConfigError::Size("s".to_owned())),
            ),
            (
                Config {
                    kind: with(IpAddr::from([0; 16])),
                    ..config()
                },
                Some(ConfigError::Subnet(IpAddr::from([0; 16]))),
            ),
        ] {
            assert_eq!(config.check().err(), expected, "{config:?}");
        }
    }
}
