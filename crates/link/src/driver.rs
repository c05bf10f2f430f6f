//! The network driver of links: containers get an interface on the bridge of their link.
//!
//! ```text
//!   CreateNetwork   the network's ID is noted with the link
//!   CreateEndpoint  the addresses are Docker's own, out of the host's subnets
//!   Join            an interface on the bridge, and a route to all of the link by it
//!   Leave, DeleteEndpoint   the interface goes
//! ```
//!
//! Docker gives the container an interface of `docker_gwbridge` beside it, as it does for overlay networks: its normal way
//! to the Internet, and published ports. A link that is internal has Docker leave that out.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use docker::driver::{
    Answer,
    message::{self, CreateNetwork, OfEndpoint, read},
};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use wg::IpNet;

use crate::{Link, LinkName, host::port, network};

/// The driver's name for `docker network create -d`.
pub const NAME: &str = "adit-link";

/// Where Docker looks for the driver's socket.
pub const SOCKET: &str = "/run/docker/plugins/adit-link.sock";

/// What the interface is called inside; Docker adds the number.
const PREFIX: &str = "eth";

/// A route by a router: *libnetwork: types.NEXTHOP*.
const NEXT_HOP: u8 = 0;

/// A call, and the way back.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) body: Vec<u8>,
    pub(crate) answer: oneshot::Sender<Result<Value, String>>,
}

/// Hands Docker's calls to the daemon's loop.
pub(crate) struct Calls(pub(crate) mpsc::UnboundedSender<Call>);

#[async_trait]
impl Answer for Calls {
    async fn answer(self: Arc<Self>, method: &str, body: &[u8]) -> (StatusCode, Value) {
        let (sender, answer) = oneshot::channel();
        let call = Call {
            method: method.to_owned(),
            body: body.to_owned(),
            answer: sender,
        };
        let _ends_with_the_daemon = self.0.send(call);
        let result = answer.await.unwrap_or_else(|_| Err("adit link ends".to_owned()));
        // Docker prints the text of an error bare only with a status of success.
        (StatusCode::OK, result.unwrap_or_else(|text| message::error(&text)))
    }
}

/// What the driver remembers from one call to the next, by endpoint.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    /// The hardware addresses that were asked for.
    hardware: BTreeMap<String, [u8; 6]>,
    /// The files of the namespaces, which Docker names only at the beginning.
    namespaces: BTreeMap<String, String>,
}

/// What is to be done about a container besides the answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// The link's network has this ID, or none.
    Network(LinkName, Option<String>),
    /// A container of the link has, or is about to have, this namespace.
    Arrives(LinkName, String),
    /// It leaves the link.
    Leaves(LinkName, String),
}

impl Seats {
    /// Learns the namespace of an endpoint.
    pub(crate) fn adopt(&mut self, endpoint: String, namespace: String) {
        self.namespaces.insert(endpoint, namespace);
    }

    /// Answers a call.
    ///
    /// # Errors
    ///
    /// What Docker prints.
    pub(crate) fn answer(
        &mut self,
        method: &str,
        body: &[u8],
        links: &BTreeMap<LinkName, &Link>,
    ) -> Result<(Value, Effect), String> {
        let done = |value| Ok((value, Effect::None));
        match method {
            "Plugin.Activate" => done(json!({ "Implements": ["NetworkDriver"] })),
            "NetworkDriver.GetCapabilities" => done(json!({ "Scope": "local", "ConnectivityScope": "local" })),
            "NetworkDriver.CreateNetwork" => {
                let call: CreateNetwork = read(body)?;
                let link = create_network(&call, links)?;
                Ok((json!({}), Effect::Network(link, Some(call.network))))
            }
            "NetworkDriver.DeleteNetwork" => {
                let call: OfEndpoint = read(body)?;
                let link = of_network(&call.network, links).map(|link| link.name.clone());
                Ok((json!({}), link.map_or(Effect::None, |link| Effect::Network(link, None))))
            }
            "NetworkDriver.CreateEndpoint" => {
                let call: OfEndpoint = read(body)?;
                of_network(&call.network, links).ok_or(
                    "adit link does not know this network: remove it, and see `adit link list` for those there are",
                )?;
                if let Some(hardware) = hardware(&call.interface.mac_address)? {
                    self.hardware.insert(call.endpoint, hardware);
                }
                done(json!({ "Interface": {} }))
            }
            "NetworkDriver.Join" => {
                let call: OfEndpoint = read(body)?;
                let link = of_network(&call.network, links).ok_or("adit link does not know this network")?;
                let hardware = self.hardware.get(&call.endpoint).copied();
                let made = port::plug(&link.name, &call.endpoint, hardware);
                let interface = made.map_err(|error| error.to_string())?;
                self.adopt(call.endpoint, call.sandbox_key.clone());
                let effect = Effect::Arrives(link.name.clone(), call.sandbox_key);
                Ok((joined(link, &interface), effect))
            }
            "NetworkDriver.Leave" => {
                let call: OfEndpoint = read(body)?;
                let link = of_network(&call.network, links).map(|link| link.name.clone());
                let left = link.zip(self.namespaces.remove(&call.endpoint));
                Ok((
                    json!({}),
                    left.map_or(Effect::None, |(link, file)| Effect::Leaves(link, file)),
                ))
            }
            "NetworkDriver.DeleteEndpoint" => {
                let call: OfEndpoint = read(body)?;
                self.hardware.remove(&call.endpoint);
                self.namespaces.remove(&call.endpoint);
                port::unplug(&call.endpoint);
                done(json!({}))
            }
            "NetworkDriver.EndpointOperInfo" => done(json!({ "Value": {} })),
            "NetworkDriver.ProgramExternalConnectivity"
            | "NetworkDriver.RevokeExternalConnectivity"
            | "NetworkDriver.DiscoverNew"
            | "NetworkDriver.DiscoverDelete" => done(json!({})),
            _ => Err(format!("{method}: adit link does not know this call")),
        }
    }
}

fn of_network<'a>(id: &str, links: &BTreeMap<LinkName, &'a Link>) -> Option<&'a Link> {
    links.values().copied().find(|link| link.network.as_deref() == Some(id))
}

fn create_network(call: &CreateNetwork, links: &BTreeMap<LinkName, &Link>) -> Result<LinkName, String> {
    let options = call.generic_options()?;
    let name = options
        .get(network::OPTION)
        .ok_or("a network of adit-link belongs to a link, whose daemon makes it: adit link create NAME")?;
    let link = name.parse::<LinkName>().ok().and_then(|name| links.get(&name));
    let link = link.ok_or_else(|| format!("there is no link {name} on this host: adit link create, or join"))?;
    if link.settings.plain {
        return Err(format!("the link {name} is plain, it has no network"));
    }
    let subnets = link.addresses.subnets(link.number());
    let pools = call
        .ipv4
        .iter()
        .chain(&call.ipv6)
        .map(|data| data.pool.parse::<IpNet>().ok());
    if pools.clone().count() != subnets.len() || !pools.flatten().all(|pool| subnets.contains(&pool)) {
        let [v4, v6] = subnets;
        return Err(format!(
            "the network of the link {name} has --subnet {v4} --ipv6 --subnet {v6}; the daemon makes it by itself"
        ));
    }
    Ok(link.name.clone())
}

/// A hardware address as Docker writes it; none if it asks for none.
fn hardware(text: &str) -> Result<Option<[u8; 6]>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(Some)
        .ok_or_else(|| format!("{text}: this is no hardware address"))
}

/// The answer to `Join`.
fn joined(link: &Link, interface: &str) -> Value {
    let gateways = link.addresses.gateways(link.number()).map(|gateway| gateway.addr());
    let route = |all: IpNet, by: IpAddr| json!({ "Destination": all.to_string(), "RouteType": NEXT_HOP, "NextHop": by.to_string() });
    let routes: Vec<_> = link
        .addresses
        .everything()
        .into_iter()
        .zip(gateways)
        .map(|(all, by)| route(all, by))
        .collect();
    json!({
        "InterfaceName": { "SrcName": interface, "DstPrefix": PREFIX },
        "StaticRoutes": routes,
        "DisableGatewayService": link.settings.internal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{link::Settings, secret::Secret};

    fn link(plain: bool, internal: bool) -> Link {
        let mut link = Link::create(
            "blue".parse().unwrap(),
            "10.77.0.0/16".parse().unwrap(),
            "host-a".parse().unwrap(),
            None,
            51820,
            Settings { plain, internal },
            [1, 2].map(|seed| Secret::from_bytes([seed; 32])),
            1000,
        )
        .unwrap();
        link.network = Some("n".to_owned());
        link
    }

    fn ask(link: &Link, method: &str, body: &Value) -> Result<(Value, Effect), String> {
        let links = BTreeMap::from([(link.name.clone(), link)]);
        Seats::default().answer(method, body.to_string().as_bytes(), &links)
    }

    #[test]
    fn a_network_is_the_link_s_or_is_not_made() {
        let link = link(false, false);
        let v6 = link.addresses.subnets(0)[1].to_string();
        let create = |option: &str, v4: &str, v6: &str| {
            json!({
                "NetworkID": "new",
                "Options": { "com.docker.network.generic": { "link": option } },
                "IPv4Data": [{ "Pool": v4, "Gateway": "10.77.0.1/24" }],
                "IPv6Data": [{ "Pool": v6 }],
            })
        };
        let made = ask(
            &link,
            "NetworkDriver.CreateNetwork",
            &create("blue", "10.77.0.0/24", &v6),
        );
        let (_, effect) = made.unwrap();
        assert_eq!(effect, Effect::Network(link.name.clone(), Some("new".to_owned())));
        for (body, text) in [
            (create("red", "10.77.0.0/24", &v6), "no link red"),
            (create("blue", "10.77.1.0/24", &v6), "--subnet 10.77.0.0/24"),
            (create("blue", "10.77.0.0/24", "fd00::/64"), "--subnet 10.77.0.0/24"),
            (json!({ "NetworkID": "new" }), "adit link create"),
        ] {
            let error = ask(&link, "NetworkDriver.CreateNetwork", &body).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
        let other = self::link(true, false);
        let refused = ask(
            &other,
            "NetworkDriver.CreateNetwork",
            &create("blue", "10.77.0.0/24", &v6),
        );
        assert!(refused.unwrap_err().contains("is plain"));
    }

    #[test]
    fn the_answer_to_join_leads_to_the_whole_link_and_leaves_the_internet_to_docker() {
        for internal in [false, true] {
            let answer = joined(&link(false, internal), "adc1");
            assert_eq!(answer["InterfaceName"]["SrcName"], "adc1");
            assert_eq!(answer["DisableGatewayService"], internal);
            assert_eq!(
                answer["StaticRoutes"][0],
                json!({ "Destination": "10.77.0.0/16", "RouteType": 0, "NextHop": "10.77.0.1" })
            );
            assert_eq!(answer["StaticRoutes"].as_array().map(Vec::len), Some(2));
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_so() {
        let link = link(false, false);
        for (method, body, text) in [
            (
                "NetworkDriver.CreateEndpoint",
                json!({ "NetworkID": "x" }),
                "does not know this network",
            ),
            (
                "NetworkDriver.CreateEndpoint",
                json!({ "NetworkID": "n", "Interface": { "MacAddress": "zz" } }),
                "no hardware address",
            ),
            ("NetworkDriver.AllocateNetwork", json!({}), "does not know this call"),
        ] {
            let error = ask(&link, method, &body).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
        assert_eq!(hardware("02:00:00:00:00:0a"), Ok(Some([2, 0, 0, 0, 0, 10])));
    }
}
