//! What this driver makes of Docker's calls, and its own answers.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Joined, networks::Network};
use crate::INTERFACE;
pub(super) use docker::driver::message::{
    CreateNetwork, OfEndpoint, RequestAddress, RequestPool, address, error, read,
};

/// The only pool that Docker does not compare with the host's routes (*libnetwork: types.IsIPNetValid*).
pub(super) const EVERYTHING: &str = "0.0.0.0/0";

/// A route without a router: *libnetwork: types.CONNECTED*.
const CONNECTED: u8 = 1;

/// The options and the pool of a network that is made.
pub(super) fn network(call: &CreateNetwork) -> Result<Network, String> {
    for (is_set, flag, why) in [
        (call.is_ipv6(), "--ipv6", "the tunnel brings its own IPv6 addresses"),
        (call.is_internal(), "--internal", "a tunnel leads outside"),
    ] {
        if is_set {
            return Err(format!("{why}: leave {flag} out"));
        }
    }
    let own = call.ipv4.iter().find(|addresses| addresses.pool == EVERYTHING);
    Ok(Network::new(
        call.generic_options()?,
        own.and_then(|addresses| address(&addresses.gateway)),
    ))
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
