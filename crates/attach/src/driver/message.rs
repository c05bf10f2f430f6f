//! What Docker sends, and what it takes for an answer: *libnetwork: docs/remote.md, docs/ipam.md*.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{Joined, networks::Network};
use crate::INTERFACE;

/// The only pool that Docker does not compare with the host's routes (*libnetwork: types.IsIPNetValid*).
pub(super) const EVERYTHING: &str = "0.0.0.0/0";

/// Where the options of `-o` are.
const GENERIC: &str = "com.docker.network.generic";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
const INTERNAL: &str = "com.docker.network.internal";
/// What an address is asked for, and the value for a gateway's.
const ADDRESS_TYPE: &str = "RequestAddressType";
const GATEWAY: &str = "com.docker.network.gateway";

/// A route without a router: *libnetwork: types.CONNECTED*.
const CONNECTED: u8 = 1;

/// `IpamDriver.RequestPool`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RequestPool {
    pub(super) pool: String,
    pub(super) sub_pool: String,
    #[serde(deserialize_with = "nothing_is_default")]
    pub(super) options: BTreeMap<String, String>,
    pub(super) v6: bool,
}

/// `IpamDriver.RequestAddress`, `IpamDriver.ReleaseAddress`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RequestAddress {
    #[serde(rename = "PoolID")]
    pub(super) pool: String,
    pub(super) address: String,
    #[serde(deserialize_with = "nothing_is_default")]
    options: BTreeMap<String, String>,
}

impl RequestAddress {
    /// Whether it is the gateway's.
    pub(super) fn is_gateway(&self) -> bool {
        self.options.get(ADDRESS_TYPE).is_some_and(|kind| kind == GATEWAY)
    }
}

/// `NetworkDriver.CreateNetwork`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    pub(super) network: String,
    #[serde(deserialize_with = "nothing_is_default")]
    options: Map<String, Value>,
    #[serde(rename = "IPv4Data", deserialize_with = "nothing_is_default")]
    ipv4: Vec<Addresses>,
}

/// A network's addresses.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Addresses {
    gateway: String,
    pool: String,
}

impl CreateNetwork {
    /// The options and the pool.
    pub(super) fn network(&self) -> Result<Network, String> {
        for (name, flag) in [(ENABLE_IPV6, "--ipv6"), (INTERNAL, "--internal")] {
            let why = match flag {
                "--ipv6" => "the tunnel brings its own IPv6 addresses",
                _ => "a tunnel leads outside",
            };
            if self.options.get(name) == Some(&Value::Bool(true)) {
                return Err(format!("{why}: leave {flag} out"));
            }
        }
        let options = match self.options.get(GENERIC) {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(options) => BTreeMap::deserialize(options).map_err(|error| format!("{GENERIC}: {error}"))?,
        };
        let own = self.ipv4.iter().find(|addresses| addresses.pool == EVERYTHING);
        Ok(Network::new(
            options,
            own.and_then(|addresses| address(&addresses.gateway)),
        ))
    }
}

/// Calls that name a network and an endpoint, and the endpoint's address.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct OfEndpoint {
    #[serde(rename = "NetworkID")]
    pub(super) network: String,
    #[serde(rename = "EndpointID")]
    pub(super) endpoint: String,
    pub(super) sandbox_key: String,
    #[serde(deserialize_with = "nothing_is_default")]
    pub(super) interface: Interface,
}

/// What Docker knows of an endpoint's interface.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Interface {
    pub(super) address: String,
    pub(super) mac_address: String,
}

/// An IPv4 address, with or without the length of its network's prefix.
pub(super) fn address(text: &str) -> Option<Ipv4Addr> {
    text.split('/').next()?.parse().ok()
}

/// Reads a call. No body at all is as `{}`.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| format!("the call makes no sense: {error}"))
}

/// Go writes `null` for an empty map.
fn nothing_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The answer to `NetworkDriver.Join`.
pub(super) fn joined(joined: &Joined) -> Value {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Route {
        destination: String,
        route_type: u8,
    }
    let routes = joined.routes.iter().filter(|network| network.addr().is_ipv4());
    let routes: Vec<_> = routes
        .map(|network| Route {
            destination: network.to_string(),
            route_type: CONNECTED,
        })
        .collect();
    json!({
        "InterfaceName": {
            "SrcName": joined.interface,
            // Docker adds the number.
            "DstPrefix": INTERFACE.trim_end_matches('0'),
        },
        "StaticRoutes": routes,
        // Else Docker adds an interface of its own: a second way out.
        "DisableGatewayService": true,
    })
}

/// An error. Calls of networks have their text in `Err`, those of addresses in `Error`.
pub(super) fn error(text: &str) -> Value {
    json!({ "Err": text, "Error": text })
}
