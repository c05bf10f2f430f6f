//! What the driver answers to each call.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use docker::driver::Answer;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    Driver, Endpoint, Network,
    ledger::Place,
    message::{self, CreateNetwork, EVERYTHING, OfEndpoint, RequestAddress, RequestPool, read},
};
use crate::Wish;

/// How often it is looked for tunnels whose endpoint has not come.
const LOOK: Duration = Duration::from_secs(10);

/// The address space that pools belong to; Docker wants one of each kind.
const SPACE: &str = "adit";

#[async_trait]
impl Answer for Driver {
    async fn answer(self: Arc<Self>, method: &str, body: &[u8]) -> (StatusCode, Value) {
        let result = match method {
            "Plugin.Activate" => Ok(json!({ "Implements": ["NetworkDriver", "IpamDriver"] })),
            "NetworkDriver.GetCapabilities" => Ok(json!({ "Scope": "local", "ConnectivityScope": "local" })),
            "NetworkDriver.CreateNetwork" => self.create_network(body).await,
            "NetworkDriver.DeleteNetwork" => self.delete_network(body),
            "NetworkDriver.CreateEndpoint" => self.create_endpoint(body).await,
            "NetworkDriver.EndpointOperInfo" => Ok(json!({ "Value": {} })),
            "NetworkDriver.Join" => self.join(body).await,
            "NetworkDriver.Leave" => self.leave(body).await,
            "NetworkDriver.DeleteEndpoint" => self.delete_endpoint(body).await,
            "NetworkDriver.ProgramExternalConnectivity"
            | "NetworkDriver.RevokeExternalConnectivity"
            | "NetworkDriver.DiscoverNew"
            | "NetworkDriver.DiscoverDelete"
            | "IpamDriver.ReleasePool" => Ok(json!({})),
            "IpamDriver.GetCapabilities" => Ok(json!({ "RequiresMACAddress": false, "RequiresRequestReplay": false })),
            "IpamDriver.GetDefaultAddressSpaces" => Ok(json!({
                "LocalDefaultAddressSpace": SPACE,
                "GlobalDefaultAddressSpace": SPACE,
            })),
            "IpamDriver.RequestPool" => self.request_pool(body),
            "IpamDriver.RequestAddress" => self.request_address(body).await,
            "IpamDriver.ReleaseAddress" => self.release_address(body).await,
            _ => {
                let text = format!("{method}: adit does not know this call");
                return (StatusCode::NOT_FOUND, message::error(&text));
            }
        };
        // Docker prints the text of an error bare only with a status of success.
        (StatusCode::OK, result.unwrap_or_else(|text| message::error(&text)))
    }
}

impl Driver {
    /// Gives back tunnels whose endpoint has not come, for ever.
    pub(super) async fn expire(&self) {
        loop {
            sleep(LOOK).await;
            self.give_back_late(Instant::now()).await;
        }
    }

    pub(super) async fn give_back_late(&self, now: Instant) {
        let late = self.ledger().expire(now);
        for holder in late {
            self.release(&holder).await;
        }
    }

    async fn create_network(&self, body: &[u8]) -> Result<Value, String> {
        let call: CreateNetwork = read(body)?;
        let network = message::network(&call)?;
        let wish = wish(&network)?;
        self.limited(self.tunnels.check(&wish)).await?;
        let kept = self.networks().add(&call.network, network);
        kept.map_err(|error| format!("the network cannot be kept for the next boot: {error}"))?;
        Ok(json!({}))
    }

    fn delete_network(&self, body: &[u8]) -> Result<Value, String> {
        let call: OfEndpoint = read(body)?;
        // What is left in the file does no harm.
        let _kept = self.networks().remove(&call.network);
        Ok(json!({}))
    }

    fn request_pool(&self, body: &[u8]) -> Result<Value, String> {
        let call: RequestPool = read(body)?;
        if call.v6 {
            return Err("the tunnel brings its own IPv6 addresses: leave --ipv6 out".to_owned());
        }
        if !call.pool.is_empty() || !call.sub_pool.is_empty() {
            return Err("the provider gives the addresses: leave --subnet and --ip-range out".to_owned());
        }
        if let Some(name) = call.options.keys().next() {
            return Err(format!(
                "--ipam-opt {name}: adit takes its options by -o, as -o {name}=…"
            ));
        }
        let pool = self.networks().new_pool().map_err(|error| error.to_string())?;
        Ok(json!({ "PoolID": pool, "Pool": EVERYTHING }))
    }

    async fn request_address(&self, body: &[u8]) -> Result<Value, String> {
        let call: RequestAddress = read(body)?;
        let pool = pool(&call)?;
        if !call.address.is_empty() {
            return Err(format!(
                "the provider gives the addresses: leave {} out",
                if call.is_gateway() { "--gateway" } else { "--ip" }
            ));
        }
        if call.is_gateway() {
            return Ok(json!({ "Address": format!("{pool}/32") }));
        }
        let network = self.networks().of_pool(pool).cloned();
        let network = network.ok_or("adit does not know this network: remove it, and make it again")?;
        let wish = wish(&network)?;
        let holder = new_holder()?;
        let addresses = self.reserve(&holder, &wish).await?;
        let address = addresses.iter().find_map(|own| Some((own, ipv4(own)?)));
        let Some((own, address)) = address else {
            self.release(&holder).await;
            return Err("the tunnel has no IPv4 address, which Docker needs: leave --ipam-driver out".to_owned());
        };
        self.ledger().reserve(holder, Place { pool, address }, Instant::now());
        Ok(json!({ "Address": own }))
    }

    async fn release_address(&self, body: &[u8]) -> Result<Value, String> {
        let call: RequestAddress = read(body)?;
        let Some(address) = message::address(&call.address) else {
            return Err(format!("{}: this is no IPv4 address", call.address));
        };
        let place = Place {
            pool: pool(&call)?,
            address,
        };
        let over = self.ledger().give_back(place);
        if let Some(holder) = over {
            self.release(&holder).await;
        }
        Ok(json!({}))
    }

    async fn create_endpoint(&self, body: &[u8]) -> Result<Value, String> {
        let call: OfEndpoint = read(body)?;
        if !call.interface.mac_address.is_empty() {
            return Err("a tunnel has no MAC address: leave --mac-address out".to_owned());
        }
        let network = self.networks().find(&call.network).cloned();
        let network = network.ok_or("adit does not know this network: remove it, and make it again")?;
        match network.pool {
            Some(pool) => {
                let address = message::address(&call.interface.address);
                let address = address.ok_or("the endpoint has no IPv4 address")?;
                let place = Place { pool, address };
                let claimed = self.ledger().claim(&call.network, &call.endpoint, place);
                claimed.map_err(|error| error.to_string())?;
            }
            None => {
                self.reserve(&call.endpoint, &wish(&network)?).await?;
                self.ledger().hold(&call.network, &call.endpoint);
            }
        }
        // Docker keeps the address that it sent.
        Ok(json!({ "Interface": {} }))
    }

    async fn join(&self, body: &[u8]) -> Result<Value, String> {
        let call: OfEndpoint = read(body)?;
        let noted = self.ledger().join(&call.endpoint, &call.sandbox_key);
        let endpoint = noted.map_err(|error| error.to_string())?;
        match self.limited(self.tunnels.join(&endpoint)).await {
            Ok(joined) => Ok(message::joined(&joined)),
            Err(error) => {
                self.ledger().leave(&call.network, &call.endpoint);
                Err(error)
            }
        }
    }

    async fn leave(&self, body: &[u8]) -> Result<Value, String> {
        let call: OfEndpoint = read(body)?;
        let endpoint: Endpoint = self.ledger().leave(&call.network, &call.endpoint);
        let _goes_on = timeout(self.limit, self.tunnels.leave(&endpoint)).await;
        Ok(json!({}))
    }

    async fn delete_endpoint(&self, body: &[u8]) -> Result<Value, String> {
        let call: OfEndpoint = read(body)?;
        let holder = self.ledger().end(&call.endpoint);
        self.release(&holder).await;
        Ok(json!({}))
    }

    /// Gets a tunnel; one that did not come in time is given back.
    async fn reserve(&self, holder: &str, wish: &Wish) -> Result<Vec<wg::IpNet>, String> {
        let reserved = self.limited(self.tunnels.reserve(holder, wish)).await;
        if reserved.is_err() {
            self.release(holder).await;
        }
        reserved
    }

    async fn limited<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let ended = timeout(self.limit, work).await;
        ended.unwrap_or_else(|_| {
            let limit = humantime::format_duration(self.limit);
            Err(format!("no tunnel came within {limit}: see the log of adit attach"))
        })
    }

    async fn release(&self, holder: &str) {
        let _goes_on = timeout(self.limit, self.tunnels.release(holder)).await;
    }
}

pub(super) fn wish(network: &Network) -> Result<Wish, String> {
    Wish::of_options(&network.options).map_err(|error| error.to_string())
}

fn pool(call: &RequestAddress) -> Result<Ipv4Addr, String> {
    let pool = call.pool.parse();
    pool.map_err(|_| format!("{}: adit has no such pool of addresses", call.pool))
}

fn ipv4(network: &wg::IpNet) -> Option<Ipv4Addr> {
    match network.addr() {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    }
}

/// An ID as Docker's.
fn new_holder() -> Result<String, String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
