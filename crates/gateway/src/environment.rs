//! Reads the environment of `adit serve`, in the form of linuxserver/wireguard.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};

use crate::{Name, reach::Host};

/// Beginning of the names of variables that give one peer's networks.
const SERVER_ALLOWEDIPS: &str = "SERVER_ALLOWEDIPS_PEER_";

/// One environment variable, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What an unset or empty variable means.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// Every variable that [`Environment::read`] knows.
pub const VARIABLES: [Variable; 10] = [
    Variable {
        name: "PEERS",
        default: "none; must be set, or `--peers` be given",
        meaning: "How many peers (`3`: peer1, peer2, peer3), or their names between commas (`laptop,phone`). \
                  `0` is a gateway without peers. A peer that is left out loses its access; its directory stays.",
    },
    Variable {
        name: "SERVERURL",
        default: "`auto`",
        meaning: "The address or name under which clients reach the gateway. `auto` takes this machine's address, \
                  and keeps the one in the files if only a private address is found.",
    },
    Variable {
        name: "SERVERPORT",
        default: "the port that the gateway listens on",
        meaning: "The UDP port that clients connect to, 1 to 65535.",
    },
    Variable {
        name: "INTERNAL_SUBNET",
        default: "`10.13.13.0`",
        meaning: "The peers' IPv4 network. Without a prefix length it is a /24, whatever its last number. \
                  The gateway has its first address.",
    },
    Variable {
        name: "ALLOWEDIPS",
        default: "`0.0.0.0/0, ::/0`",
        meaning: "The networks that clients send through the tunnel, between commas.",
    },
    Variable {
        name: "PEERDNS",
        default: "`auto`",
        meaning: "The clients' DNS servers and search domains, between commas. `auto` is the gateway itself, which \
                  forwards to this host's resolvers; with its DNS off it is nothing.",
    },
    Variable {
        name: "PERSISTENTKEEPALIVE_PEERS",
        default: "none",
        meaning: "Peers, as in `PEERS`, to which the gateway sends a keepalive each 25 seconds; or `all`.",
    },
    Variable {
        name: "SERVER_ALLOWEDIPS_PEER_<peer>",
        default: "none",
        meaning: "Networks behind this peer, between commas: the gateway routes them to it. <peer> is as in `PEERS`.",
    },
    Variable {
        name: "LOG_CONFS",
        default: "`true`",
        meaning: "Whether the QR codes of new and changed configurations are written to the log.",
    },
    Variable {
        name: "USE_COREDNS",
        default: "`true`",
        meaning: "`false` switches off DNS on the gateway's own address.",
    },
];

/// What the environment asks for; `None` means that the variable is unset or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `PEERS`.
    pub peers: Option<Vec<PeerId>>,
    /// `SERVERURL`; `None` is `auto`.
    pub server_url: Option<Host>,
    /// `SERVERPORT`.
    pub server_port: Option<u16>,
    /// `INTERNAL_SUBNET`.
    pub internal_subnet: Option<Ipv4Net>,
    /// `ALLOWEDIPS`.
    pub allowed_ips: Option<Vec<IpNet>>,
    /// `PEERDNS`; `None` is `auto`.
    pub peer_dns: Option<Vec<Host>>,
    /// `PERSISTENTKEEPALIVE_PEERS`.
    pub keepalive: Keepalive,
    /// `SERVER_ALLOWEDIPS_PEER_…` by what follows.
    pub server_allowed_ips: BTreeMap<PeerId, Vec<IpNet>>,
    /// `LOG_CONFS`.
    pub log_confs: Option<bool>,
    /// `USE_COREDNS`.
    pub dns: Option<bool>,
}

/// A peer as `PEERS` has it: a number or a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(Name);

/// Which peers get keepalives from the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keepalive {
    /// None.
    #[default]
    Off,
    /// All.
    All,
    /// These.
    Only(Vec<PeerId>),
}

/// A variable with a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {variable} is `{value}`: {problem}")]
pub struct EnvironmentError {
    /// Which variable.
    pub variable: String,
    /// Its value.
    pub value: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl PeerId {
    /// The peer of a numbered list with this number.
    pub fn numbered(number: u32) -> Self {
        Self(number.to_string().parse().expect("digits are a name"))
    }

    /// The name as `PEERS` has it.
    pub fn item(&self) -> &Name {
        &self.0
    }

    /// What the peer's directory and files are called: `peer1` for a number, `peer_phone` for a name.
    pub fn file_name(&self) -> String {
        let item = self.0.as_str();
        let separator = if item.bytes().all(|byte| byte.is_ascii_digit()) {
            ""
        } else {
            "_"
        };
        format!("peer{separator}{item}")
    }
}

impl FromStr for PeerId {
    type Err = crate::name::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Keepalive {
    /// Whether this peer gets keepalives.
    pub fn covers(&self, peer: &PeerId) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Only(peers) => peers.contains(peer),
        }
    }
}

impl Environment {
    /// Reads variables, for instance [`std::env::vars_os`]. Unknown ones are passed over.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] for the first variable with a wrong value.
    pub fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, EnvironmentError> {
        let mut environment = Self::default();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            environment.take(name, &value)?;
        }
        Ok(environment)
    }

    fn take(&mut self, name: &str, value: &OsStr) -> Result<(), EnvironmentError> {
        let wrong = |problem: String| EnvironmentError {
            variable: name.to_owned(),
            value: value.to_string_lossy().into_owned(),
            problem,
        };
        let known = VARIABLES.iter().any(|variable| variable.name == name) || name.starts_with(SERVER_ALLOWEDIPS);
        if !known {
            return Ok(());
        }
        let text = value.to_str().ok_or_else(|| wrong("not UTF-8 text".into()))?.trim();
        if text.is_empty() {
            return Ok(());
        }
        match name {
            "PEERS" => self.peers = Some(peers(text).map_err(wrong)?),
            "SERVERURL" => {
                self.server_url = auto(text, |text| {
                    text.parse::<Host>().map_err(|error| server_url(text, &error))
                })
                .map_err(wrong)?;
            }
            "SERVERPORT" => self.server_port = Some(port(text).map_err(wrong)?),
            "INTERNAL_SUBNET" => self.internal_subnet = Some(subnet(text).map_err(wrong)?),
            "ALLOWEDIPS" => self.allowed_ips = Some(networks(text).map_err(wrong)?),
            "PEERDNS" => self.peer_dns = auto(text, dns).map_err(wrong)?,
            "PERSISTENTKEEPALIVE_PEERS" => self.keepalive = keepalive(text).map_err(wrong)?,
            "LOG_CONFS" => self.log_confs = Some(boolean(text).map_err(wrong)?),
            "USE_COREDNS" => self.dns = Some(boolean(text).map_err(wrong)?),
            _ => {
                let peer = name.strip_prefix(SERVER_ALLOWEDIPS).unwrap_or_default();
                let peer = peer
                    .parse()
                    .map_err(|error: crate::name::NameError| wrong(error.to_string()))?;
                self.server_allowed_ips.insert(peer, networks(text).map_err(wrong)?);
            }
        }
        Ok(())
    }
}

/// The parts of a list between commas, without blanks around them and without empty ones.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// `None` for the word `auto`.
fn auto<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.eq_ignore_ascii_case("auto") {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}

/// Reads a number of peers, or their names. A name that comes twice counts once.
///
/// # Errors
///
/// Says which item is wrong.
pub fn peers(text: &str) -> Result<Vec<PeerId>, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse::<u32>().ok().filter(|number| *number <= MAX_PEERS);
        let number = number.ok_or_else(|| format!("a gateway has at most {MAX_PEERS} peers"))?;
        return Ok((1..=number).map(PeerId::numbered).collect());
    }
    let mut peers: Vec<PeerId> = Vec::new();
    for item in items(text) {
        let peer = item
            .parse()
            .map_err(|error: crate::name::NameError| error.to_string())?;
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    Ok(peers)
}

/// Most peers that a number asks for.
pub const MAX_PEERS: u32 = 65_533;

fn server_url(text: &str, error: &crate::reach::HostError) -> String {
    match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => format!("{error}; the port goes into SERVERPORT"),
        _ => format!("{error}; or auto"),
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("not a port between 1 and 65535".into()),
    }
}

/// `10.13.13.0` is 10.13.13.0/24, and so is `10.13.13.7`; a prefix length is taken as it is.
fn subnet(text: &str) -> Result<Ipv4Net, String> {
    let problem = || "not an IPv4 network such as 10.13.13.0 or 10.13.0.0/16".to_owned();
    let network: Ipv4Net = match text.parse::<Ipv4Addr>() {
        Ok(address) => Ipv4Net::new(address, 24).map_err(|_| problem())?,
        Err(_) => text.parse().map_err(|_| problem())?,
    };
    if network.prefix_len() > 30 {
        return Err("has no room for a gateway and a peer: a /30 is the smallest".into());
    }
    Ok(network.trunc())
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

fn keepalive(text: &str) -> Result<Keepalive, String> {
    let list: Vec<&str> = items(text).collect();
    if list.contains(&"all") {
        return Ok(Keepalive::All);
    }
    let peers = list
        .into_iter()
        .map(|item| item.parse().map_err(|error: crate::name::NameError| error.to_string()));
    peers.collect::<Result<_, _>>().map(Keepalive::Only)
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("neither true nor false".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        Environment::read(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn peers_are_a_number_or_names() {
        for (value, expected) in [
            ("3", vec!["peer1", "peer2", "peer3"]),
            ("0", vec![]),
            ("laptop,phone,7", vec!["peer_laptop", "peer_phone", "peer7"]),
            (
                "laptop, phone ,,my-tablet_2,laptop",
                vec!["peer_laptop", "peer_phone", "peer_my-tablet_2"],
            ),
        ] {
            let peers = read(&[("PEERS", value)]).unwrap().peers.unwrap();
            assert_eq!(
                peers.iter().map(PeerId::file_name).collect::<Vec<_>>(),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn an_unset_an_empty_and_an_unknown_variable_ask_for_nothing() {
        let expected = Environment::default();
        assert_eq!(read(&[]), Ok(expected.clone()));
        assert_eq!(
            read(&[("PEERS", ""), ("SERVERURL", " "), ("TZ", "Etc/UTC"), ("PATH", "/bin")]),
            Ok(expected)
        );
        assert_eq!(
            read(&[("SERVERURL", "auto"), ("PEERDNS", "Auto")]).unwrap(),
            Environment::default()
        );
    }

    #[test]
    fn a_subnet_is_a_slash_24_unless_it_says_otherwise() {
        for (value, expected) in [
            ("10.13.13.0", "10.13.13.0/24"),
            ("192.168.7.9", "192.168.7.0/24"),
            ("10.13.0.0/16", "10.13.0.0/16"),
            ("10.13.13.8/30", "10.13.13.8/30"),
        ] {
            let subnet = read(&[("INTERNAL_SUBNET", value)]).unwrap().internal_subnet.unwrap();
            assert_eq!(subnet.to_string(), expected);
        }
    }

    #[test]
    fn the_other_variables_are_read() {
        let environment = read(&[
            ("SERVERURL", "vpn.example.com"),
            ("SERVERPORT", "443"),
            ("ALLOWEDIPS", "0.0.0.0/0,::/0, 192.0.2.7, 10.1.2.3/8"),
            ("PEERDNS", "1.1.1.1, corp.example"),
            ("PERSISTENTKEEPALIVE_PEERS", "phone, 1"),
            ("SERVER_ALLOWEDIPS_PEER_phone", "192.168.1.0/24,192.168.2.0/24"),
            ("LOG_CONFS", "False"),
            ("USE_COREDNS", "false"),
        ])
        .unwrap();
        let text = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let phone: PeerId = "phone".parse().unwrap();
        assert_eq!(environment.server_url.unwrap().to_string(), "vpn.example.com");
        assert_eq!(environment.server_port, Some(443));
        assert_eq!(
            text(&environment.allowed_ips.unwrap()),
            "0.0.0.0/0 ::/0 192.0.2.7/32 10.0.0.0/8"
        );
        assert_eq!(environment.peer_dns.unwrap().len(), 2);
        assert!(environment.keepalive.covers(&phone) && environment.keepalive.covers(&PeerId::numbered(1)));
        assert!(!environment.keepalive.covers(&PeerId::numbered(2)));
        assert_eq!(
            text(&environment.server_allowed_ips[&phone]),
            "192.168.1.0/24 192.168.2.0/24"
        );
        assert_eq!((environment.log_confs, environment.dns), (Some(false), Some(false)));
        let all = read(&[("PERSISTENTKEEPALIVE_PEERS", "all,phone")]).unwrap();
        assert!(all.keepalive.covers(&phone));
    }

    #[test]
    fn a_wrong_value_gives_an_error_that_names_the_variable() {
        for (variable, value, problem) in [
            ("PEERS", "99999", "at most 65533 peers"),
            ("PEERS", "99999999999999999999", "at most 65533 peers"),
            ("PEERS", "laptop,my phone", "`my phone` cannot name a peer"),
            ("PEERS", "-3", "`-3` cannot name a peer"),
            (
                "SERVERURL",
                "https://vpn.example.com",
                "neither an IP address nor a host name",
            ),
            ("SERVERURL", "vpn.example.com:51820", "SERVERPORT"),
            ("SERVERURL", "$(touch x)h", "neither an IP address nor a host name"),
            ("SERVERPORT", "0", "between 1 and 65535"),
            ("SERVERPORT", "65536", "between 1 and 65535"),
            ("INTERNAL_SUBNET", "10.13.13", "not an IPv4 network"),
            ("INTERNAL_SUBNET", "10.13.13.0/31", "/30"),
            ("INTERNAL_SUBNET", "fd00::/64", "not an IPv4 network"),
            ("ALLOWEDIPS", "0.0.0.0/0, ::0/0/0", "`::0/0/0` is not a network"),
            ("PEERDNS", "1.1.1.1,-x", "`-x`"),
            ("PERSISTENTKEEPALIVE_PEERS", "a b", "`a b` cannot name a peer"),
            ("SERVER_ALLOWEDIPS_PEER_phone", "office", "`office` is not a network"),
            ("SERVER_ALLOWEDIPS_PEER_", "10.0.0.0/8", "cannot name a peer"),
            ("LOG_CONFS", "maybe", "neither true nor false"),
            ("USE_COREDNS", "coredns", "neither true nor false"),
        ] {
            let message = read(&[(variable, value)]).unwrap_err().to_string();
            assert!(message.contains(problem), "{variable}={value}: {message}");
            assert!(
                message.starts_with(&format!("the environment variable {variable} is `{value}`")),
                "{message}"
            );
        }
    }
}
