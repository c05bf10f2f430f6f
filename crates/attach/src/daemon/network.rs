//! Tunnels of the driver's networks: the engine asks for them before anybody knows the container.
//!
//! The interface is made here, whole but without an address, and the engine moves it, gives it its address and routes, and
//! lets the container's first process run after that. The rest (the guard, IPv6, name servers) is done as for any other
//! container, when its namespace comes to be.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::mpsc;
use wg::IpNet;

use super::{Daemon, Event, births, entry::Entry, expected::Expected, settings::Settings, work};
use crate::{
    Container, Offer, Wish,
    driver::{Endpoint, Joined, Tunnels},
    inside::carrier,
    provider::Ask,
};

/// Digits of an ID that people are shown.
const SHORT: usize = 12;

/// Networks that other networks of a container's may be in (*RFC 1918*, *RFC 6598*). The engine adds none whose addresses
/// have a route already, so the routes by the engine leave them out; the tunnel's own table has them.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];

/// What is said of a container whose tunnel was taken from it.
const LEFT: &str = "it was taken out of its tunnel's network; it stays closed until it ends";

/// The tunnels that the driver asked for.
pub(super) struct Networked {
    settings: Arc<Settings>,
    expected: Arc<Expected>,
    events: mpsc::UnboundedSender<Event>,
    /// By their holders.
    reserved: Mutex<BTreeMap<String, Reserved>>,
}

/// A tunnel whose container is not known yet.
#[derive(Clone, Debug)]
pub(super) struct Reserved {
    pub(super) wish: Wish,
    pub(super) offer: Offer,
}

impl Networked {
    pub(super) fn new(settings: Arc<Settings>, expected: Arc<Expected>, events: mpsc::UnboundedSender<Event>) -> Self {
        Self {
            settings,
            expected,
            events,
            reserved: Mutex::default(),
        }
    }

    /// The tunnel that a holder was given; `None` if that was before the daemon's start.
    pub(super) fn find(&self, holder: &str) -> Option<Reserved> {
        self.lock().get(holder).cloned()
    }

    /// Who was given a tunnel since the daemon's start.
    pub(super) fn holders(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Reserved>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Tunnels for Networked {
    async fn check(&self, wish: &Wish) -> Result<(), String> {
        self.settings.providers.of(wish).map(drop)
    }

    async fn reserve(&self, holder: &str, wish: &Wish) -> Result<Vec<IpNet>, String> {
        let ask = Ask {
            holder: holder.to_owned(),
            name: holder.get(..SHORT).unwrap_or(holder).to_owned(),
            region: wish.region.clone(),
            conf: wish.conf.clone(),
            ..Ask::default()
        };
        let offer = work::connect(&self.settings, wish, &ask).await;
        let offer = offer.map_err(|error| error.to_string())?;
        let (addresses, wish) = (offer.addresses.clone(), wish.clone());
        self.lock().insert(holder.to_owned(), Reserved { wish, offer });
        Ok(addresses)
    }

    async fn join(&self, endpoint: &Endpoint) -> Result<Joined, String> {
        let reserved = self.find(&endpoint.holder);
        let offer = reserved
            .ok_or("its tunnel is not reserved: start the container again")?
            .offer;
        let (name, routes) = (carrier::name_of(&endpoint.holder), routes(&offer));
        let (interface, plane) = (name.clone(), self.settings.plane);
        let made = tokio::task::spawn_blocking(move || carrier::make_here(&name, plane, &offer));
        made.await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        self.expected.add_endpoint(endpoint.clone());
        // A container that runs already, or an engine that makes namespaces first: nobody will hear of a birth.
        let (expected, events) = (Arc::clone(&self.expected), self.events.clone());
        let file = PathBuf::from(&endpoint.sandbox);
        tokio::task::spawn_blocking(move || births::hear_of(&file, &expected, &events));
        Ok(Joined { interface, routes })
    }

    async fn leave(&self, endpoint: &Endpoint) {
        self.expected.remove_endpoint(&endpoint.id);
        let _ends_with_the_daemon = self.events.send(Event::Left(endpoint.clone()));
    }

    async fn release(&self, holder: &str) {
        let reserved = self.lock().remove(holder);
        // What was reserved before the daemon's start is any provider's.
        let providers = match reserved {
            Some(reserved) => self.settings.providers.of(&reserved.wish).into_iter().collect(),
            None => self.settings.providers.all(),
        };
        for provider in providers {
            provider.release(holder).await;
        }
        let name = carrier::name_of(holder);
        let _done = tokio::task::spawn_blocking(move || carrier::remove(&name)).await;
    }
}

impl Daemon {
    /// What the containers of a network are to have; `None` if it is none of the driver's.
    pub(super) fn wish_of(&self, network: &str) -> Option<Result<Wish, String>> {
        self.driver.as_ref()?.wish(network)
    }

    /// Notes a container that is about to have its tunnel by a driver's network.
    pub(super) fn expect_networked(&mut self, id: &str, network: &str) {
        let Some(wish) = self.wish_of(network) else { return };
        let short = || id.get(..12).unwrap_or(id).to_owned();
        let entry = self.entries.entry(id.to_owned());
        let entry = entry.or_insert_with(|| Entry::new(id, short(), wish.clone()));
        if !entry.has_begun() {
            entry.wish = wish;
            entry.is_networked = true;
        }
    }

    /// Takes the driver's network out of a container's: its own address in it means nothing, and nobody else is there.
    pub(super) fn take_endpoint(&self, container: &mut Container) -> Option<Endpoint> {
        let driver = self.driver.as_ref()?;
        let mut found = None;
        container.networks.retain(|_, membership| {
            let is_driver_s = driver.wish(&membership.network).is_some();
            if is_driver_s && !membership.endpoint.is_empty() {
                found = Some((membership.network.clone(), membership.endpoint.clone()));
            }
            !is_driver_s
        });
        let (network, id) = found?;
        let by_file = container
            .namespace
            .as_deref()
            .and_then(|file| self.expected.endpoint(file));
        let kept = || self.saved.origin(&container.id).and_then(|origin| origin.endpoint);
        let known = by_file.or_else(kept).filter(|endpoint| endpoint.id == id);
        let endpoint = known.unwrap_or_else(|| Endpoint {
            network,
            holder: id.clone(),
            id,
            sandbox: container
                .namespace
                .as_ref()
                .map(|file| file.display().to_string())
                .unwrap_or_default(),
        });
        driver.adopt(endpoint.clone());
        Some(endpoint)
    }

    /// Ends the tunnel of a container that leaves a driver's network. What it has in its namespace stays as it is: closed.
    pub(super) fn handle_left(&mut self, endpoint: &Endpoint) {
        let found = self
            .entries
            .iter_mut()
            .find(|(_, entry)| entry.endpoint.as_ref() == Some(endpoint));
        if let Some((id, entry)) = found {
            self.saved.forget(id);
            entry.attachment = None;
            entry.closed = Err(LEFT.to_owned());
        }
    }
}

/// What the engine is to lead into the tunnel, of IPv4.
pub(super) fn routes(offer: &Offer) -> Vec<IpNet> {
    let private = PRIVATE.map(|text| text.parse().expect("it is a network"));
    let carried = offer.peers.iter().flat_map(|peer| &peer.allowed_ips).map(IpNet::trunc);
    let carried = carried.filter(|network| network.addr().is_ipv4());
    let mut routes: Vec<_> = carried.flat_map(|network| without(network, &private)).collect();
    let servers = offer.dns.iter().filter(|server| server.is_ipv4());
    routes.extend(servers.map(|server| IpNet::from(*server)));
    let mut seen = std::collections::BTreeSet::new();
    routes.retain(|route| seen.insert(*route));
    routes
}

/// A network as the fewest that leave out the holes, unless it is within one.
fn without(network: IpNet, holes: &[IpNet]) -> Vec<IpNet> {
    if !holes.iter().any(|hole| network.contains(hole) && network != *hole) {
        return vec![network];
    }
    let halves = network.subnets(network.prefix_len() + 1).into_iter().flatten();
    halves
        .filter(|half| !holes.contains(half))
        .flat_map(|half| without(half, holes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_by_the_engine_leave_out_what_its_networks_may_be_in() {
        let private = PRIVATE.map(|text| text.parse().unwrap());
        let all = without("0.0.0.0/0".parse().unwrap(), &private);
        let covered: u64 = all.iter().map(|network| 1 << (32 - network.prefix_len())).sum();
        let left_out: u64 = private
            .iter()
            .map(|network: &IpNet| 1_u64 << (32 - network.prefix_len()))
            .sum();
        assert_eq!(covered + left_out, 1 << 32);
        for hole in &private {
            assert!(
                !all.iter()
                    .any(|network| network.contains(hole) || hole.contains(network)),
                "{hole}"
            );
        }
        for (network, expected) in [("10.77.0.0/16", "10.77.0.0/16"), ("192.0.2.0/24", "192.0.2.0/24")] {
            assert_eq!(without(network.parse().unwrap(), &private), [expected.parse().unwrap()]);
        }
    }
}
