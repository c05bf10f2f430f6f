//! Reads the environment of `adit serve`, in the form of linuxserver/wireguard.

mod peers;
mod texts;
mod value;
mod variables;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    net::SocketAddr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wg::access::{Access, Destination};

pub use self::{
    peers::{Keepalive, MAX_PEERS, PeerId, peers},
    texts::Texts,
    value::{dns, listen, log_format, networks},
    variables::{VARIABLES, Variable},
};
use crate::{
    reach::Host,
    upstream::{self, Upstream},
};

/// Beginning of the names of variables that give one peer's networks.
const SERVER_ALLOWEDIPS: &str = "SERVER_ALLOWEDIPS_PEER_";

/// Beginning of the names of variables that say what one peer reaches.
const ALLOWED_DESTINATIONS: &str = "ALLOWED_DESTINATIONS_PEER_";

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
    /// `INTERNAL_SUBNET6`.
    pub internal_subnet6: Option<Subnet6>,
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
    /// `DNS_UPSTREAM`.
    pub dns_upstream: Option<Vec<Upstream>>,
    /// `ALLOWED_DESTINATIONS`.
    pub destinations: Option<Vec<Destination>>,
    /// `ALLOWED_DESTINATIONS_PEER_…` by what follows.
    pub peer_destinations: BTreeMap<PeerId, Vec<Destination>>,
    /// `PEER_TO_PEER`.
    pub peer_to_peer: Option<bool>,
    /// `METRICS`: where they are served.
    pub metrics: Option<SocketAddr>,
    /// `LOG_FORMAT`.
    pub log_format: Option<LogFormat>,
    /// `PUID`: the user to whom the files belong.
    pub user: Option<u32>,
    /// `PGID`: the group to which the files belong.
    pub group: Option<u32>,
    /// `UMASK`.
    pub umask: Option<u32>,
    /// All variables as they were given, for the templates.
    pub texts: Texts,
}

/// The peers' IPv6 network as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subnet6 {
    /// There is to be none.
    Off,
    /// This one.
    Network(Ipv6Net),
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
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

impl Environment {
    /// Reads variables, for instance [`std::env::vars_os`], and the files that `FILE__…` variables name. Unknown ones
    /// are passed over.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] for the first variable with a wrong value.
    pub fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, EnvironmentError> {
        let texts = Texts::read(variables)?;
        let mut environment = Self::default();
        for (name, value) in texts.iter() {
            environment.take(name, value)?;
        }
        environment.texts = texts;
        Ok(environment)
    }

    /// What all peers may reach that have no rules of their own.
    pub fn access(&self) -> Access {
        Access {
            destinations: self.destinations.clone(),
            peer_to_peer: Some(self.peer_to_peer.unwrap_or(true)),
        }
    }

    fn take(&mut self, name: &str, value: &OsStr) -> Result<(), EnvironmentError> {
        let wrong = |problem: String| EnvironmentError {
            variable: name.to_owned(),
            value: value.to_string_lossy().into_owned(),
            problem,
        };
        let of_a_peer = [SERVER_ALLOWEDIPS, ALLOWED_DESTINATIONS];
        let known = VARIABLES.iter().any(|variable| variable.name == name)
            || of_a_peer.iter().any(|beginning| name.starts_with(beginning));
        if !known {
            return Ok(());
        }
        let text = value.to_str().ok_or_else(|| wrong("not UTF-8 text".into()))?.trim();
        if text.is_empty() {
            return Ok(());
        }
        self.set(name, text).map_err(wrong)
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "PEERS" => self.peers = Some(peers(text)?),
            "SERVERURL" => self.server_url = value::auto(text, value::server_url)?,
            "SERVERPORT" => self.server_port = Some(value::port(text)?),
            "INTERNAL_SUBNET" => self.internal_subnet = Some(value::subnet(text)?),
            "INTERNAL_SUBNET6" => self.internal_subnet6 = Some(value::subnet6(text)?),
            "ALLOWEDIPS" => self.allowed_ips = Some(value::some(networks(text)?)?),
            "PEERDNS" => self.peer_dns = value::auto(text, |text| value::some(dns(text)?))?,
            "PERSISTENTKEEPALIVE_PEERS" => self.keepalive = Keepalive::read(text)?,
            "LOG_CONFS" => self.log_confs = Some(value::boolean(text)?),
            "USE_COREDNS" => self.dns = Some(value::boolean(text)?),
            "DNS_UPSTREAM" => self.dns_upstream = Some(upstream::list(text)?),
            "ALLOWED_DESTINATIONS" => self.destinations = Some(value::destinations(text)?),
            "PEER_TO_PEER" => self.peer_to_peer = Some(value::boolean(text)?),
            "METRICS" => self.metrics = Some(listen(text)?),
            "LOG_FORMAT" => self.log_format = Some(log_format(text)?),
            "PUID" => self.user = Some(value::id(text)?),
            "PGID" => self.group = Some(value::id(text)?),
            "UMASK" => self.umask = Some(value::umask(text)?),
            "TZ" => value::time_zone(text)?,
            _ => {
                if let Some(peer) = name.strip_prefix(SERVER_ALLOWEDIPS) {
                    self.server_allowed_ips
                        .insert(item(peer)?, value::some(networks(text)?)?);
                } else if let Some(peer) = name.strip_prefix(ALLOWED_DESTINATIONS) {
                    self.peer_destinations.insert(item(peer)?, value::destinations(text)?);
                }
            }
        }
        Ok(())
    }
}

/// The variable that says which networks are behind a peer.
pub(crate) fn variable_of_networks(peer: &PeerId) -> String {
    format!("{SERVER_ALLOWEDIPS}{}", peer.item())
}

/// The peer in a variable's name.
fn item(text: &str) -> Result<PeerId, String> {
    text.parse().map_err(|error: crate::name::NameError| error.to_string())
}

#[cfg(test)]
mod tests;
