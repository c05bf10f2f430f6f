//! What Docker sends, and how it is told of an error.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// Where the options of `-o` are.
const GENERIC: &str = "com.docker.network.generic";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
const INTERNAL: &str = "com.docker.network.internal";
/// What an address is asked for, and the value for a gateway's.
const ADDRESS_TYPE: &str = "RequestAddressType";
const GATEWAY: &str = "com.docker.network.gateway";

/// `IpamDriver.RequestPool`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestPool {
    /// The network that is asked for; empty if any will do.
    pub pool: String,
    /// The part of it that addresses are to come from; empty if that is all.
    pub sub_pool: String,
    /// What was given by `--ipam-opt`.
    #[serde(deserialize_with = "nothing_is_default")]
    pub options: BTreeMap<String, String>,
    /// Whether it is for IPv6.
    pub v6: bool,
}

/// `IpamDriver.RequestAddress`, `IpamDriver.ReleaseAddress`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestAddress {
    /// The pool, as it was named when it was asked for.
    #[serde(rename = "PoolID")]
    pub pool: String,
    /// The address that is asked for, or given back; empty if any will do.
    pub address: String,
    #[serde(deserialize_with = "nothing_is_default")]
    options: BTreeMap<String, String>,
}

impl RequestAddress {
    /// Whether it is the gateway's.
    pub fn is_gateway(&self) -> bool {
        self.options.get(ADDRESS_TYPE).is_some_and(|kind| kind == GATEWAY)
    }
}

/// `NetworkDriver.CreateNetwork`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateNetwork {
    /// The network's ID.
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(deserialize_with = "nothing_is_default")]
    options: Map<String, Value>,
    /// Its IPv4 addresses.
    #[serde(rename = "IPv4Data", deserialize_with = "nothing_is_default")]
    pub ipv4: Vec<Addresses>,
    /// Its IPv6 addresses.
    #[serde(rename = "IPv6Data", deserialize_with = "nothing_is_default")]
    pub ipv6: Vec<Addresses>,
}

/// A network's addresses.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Addresses {
    /// The gateway's, with the length of its network's prefix.
    pub gateway: String,
    /// The network.
    pub pool: String,
}

impl CreateNetwork {
    /// Whether it was made with `--ipv6`.
    pub fn is_ipv6(&self) -> bool {
        self.is_set(ENABLE_IPV6)
    }

    /// Whether it was made with `--internal`.
    pub fn is_internal(&self) -> bool {
        self.is_set(INTERNAL)
    }

    fn is_set(&self, name: &str) -> bool {
        self.options.get(name) == Some(&Value::Bool(true))
    }

    /// What it was made with by `-o`.
    ///
    /// # Errors
    ///
    /// If that is no map of texts.
    pub fn generic_options(&self) -> Result<BTreeMap<String, String>, String> {
        match self.options.get(GENERIC) {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(options) => BTreeMap::deserialize(options).map_err(|error| format!("{GENERIC}: {error}")),
        }
    }
}

/// Calls that name a network and an endpoint, and the endpoint's address.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OfEndpoint {
    /// The network's ID.
    #[serde(rename = "NetworkID")]
    pub network: String,
    /// The endpoint's ID.
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    /// The file of the container's network namespace.
    pub sandbox_key: String,
    /// The endpoint's interface.
    #[serde(deserialize_with = "nothing_is_default")]
    pub interface: Interface,
}

/// What Docker knows of an endpoint's interface.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Interface {
    /// The IPv4 address, with the length of its network's prefix.
    pub address: String,
    /// The hardware address; empty if nobody asks for one.
    pub mac_address: String,
}

/// An IPv4 address, with or without the length of its network's prefix.
pub fn address(text: &str) -> Option<Ipv4Addr> {
    text.split('/').next()?.parse().ok()
}

/// Reads a call. No body at all is as `{}`.
///
/// # Errors
///
/// What makes no sense.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| format!("the call makes no sense: {error}"))
}

/// Go writes `null` for an empty map.
fn nothing_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// An error. Calls of networks have their text in `Err`, those of addresses in `Error`.
pub fn error(text: &str) -> Value {
    json!({ "Err": text, "Error": text })
}
