//! What the members of a link know of one of them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use wg::{Endpoint, PublicKey};

use crate::{HostName, text};

/// Most containers that a host tells of, and most names of one.
const MAX_CONTAINERS: usize = 4096;
const MAX_NAMES: usize = 16;

/// Longest name of a container, in bytes: a domain name's.
const MAX_NAME: usize = 253;

/// Most numbers that a host keeps for those whom it has invited.
const MAX_RESERVED: usize = 64;

/// One host, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its public key, by which it is known.
    #[serde(with = "text")]
    pub key: PublicKey,
    /// Its name.
    pub name: HostName,
    /// Its number, from which its addresses follow.
    pub number: u16,
    /// Where it says that it can be reached; `None` if it says nothing, as behind NAT.
    #[serde(with = "text::option", default)]
    pub endpoint: Option<Endpoint>,
    /// When it came, in seconds since 1970.
    pub joined: u64,
    /// The higher is the newer.
    pub version: u64,
    /// Set for good once the host is a member no longer.
    #[serde(default)]
    pub removed: Option<Removal>,
    /// The numbers that it keeps for those whom it has invited.
    #[serde(default)]
    pub reserved: Vec<u16>,
    /// Its containers.
    #[serde(default)]
    pub containers: Vec<Listed>,
}

/// How a host's membership ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The host that ended it; the host itself, if it left.
    pub by: HostName,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// A container of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listed {
    /// What its neighbours call it; the first is its own name.
    pub names: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Record {
    /// Whether it makes sense, wherever it came from: within bounds, and containers only at the host's own addresses.
    pub(crate) fn is_sane(&self, addresses: &crate::addresses::Addresses) -> bool {
        let subnets = addresses.subnets(self.number);
        let is_own = |address: &IpAddr| subnets.iter().any(|subnet| subnet.contains(address));
        let is_listed_well = |listed: &Listed| {
            (1..=MAX_NAMES).contains(&listed.names.len())
                && listed.names.iter().all(|name| (1..=MAX_NAME).contains(&name.len()))
                && listed.addresses.iter().all(is_own)
        };
        self.number < addresses.room()
            && self.reserved.len() <= MAX_RESERVED
            && self.containers.len() <= MAX_CONTAINERS
            && self.containers.iter().all(is_listed_well)
    }

    /// Cuts what is too much to be told.
    pub(crate) fn bound(&mut self) {
        self.containers.truncate(MAX_CONTAINERS);
        for listed in &mut self.containers {
            listed.names.truncate(MAX_NAMES);
            listed.names.retain(|name| (1..=MAX_NAME).contains(&name.len()));
        }
        self.containers.retain(|listed| !listed.names.is_empty());
        self.reserved.truncate(MAX_RESERVED);
    }
}
