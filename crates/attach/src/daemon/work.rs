//! What is done for one container, away from the loop: each a comparison of what is there with what is wanted.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use linux::Family;
use wg::IpNet;

use super::settings::Settings;
use crate::{
    Container, Offer, Wish,
    attachment::Sample,
    driver::Endpoint,
    inside::{
        self, Inside, carrier,
        guard::{self, Guard},
        place::{self, Direct, Surroundings},
        probe::{self, Through},
        resolv,
    },
    provider::{Ask, Forwarded, ProviderError},
    saved::Saved,
};

/// A container, and what it is to have, as it was known when the work began.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// Who holds the tunnel.
    pub(super) holder: String,
    /// The endpoint of a driver's network, if it is by that that the container has its tunnel.
    pub(super) endpoint: Option<Endpoint>,
    /// The last route of an interface that the engine is moving there.
    pub(super) arrival: Option<IpNet>,
    pub(super) inside: Option<Arc<Inside>>,
    pub(super) container: Option<Container>,
    /// The networks of its neighbours, as far as they are known.
    pub(super) neighbours: Vec<IpNet>,
    /// Whether it is known to have no other network.
    pub(super) is_alone: bool,
    /// The file of its resolvers.
    pub(super) resolv_conf: Option<PathBuf>,
    /// Whether it finds its neighbours by name.
    pub(super) has_names: bool,
    /// The port of the resolver that answers what Docker's is asked.
    pub(super) resolver: Option<u16>,
    pub(super) wish: Option<Wish>,
    pub(super) offer: Option<Offer>,
    /// Whether the offer is to be set up.
    pub(super) is_placing: bool,
    /// Whether it was.
    pub(super) is_placed: bool,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Settled {
    /// The guard.
    pub(super) closed: Result<(), String>,
    /// The tunnel, if one was to be set up.
    pub(super) placed: Option<Result<(), String>>,
    /// Its server.
    pub(super) server: String,
}

impl Settled {
    pub(super) fn failed(error: &str) -> Self {
        Self {
            closed: Err(error.to_owned()),
            placed: None,
            server: String::new(),
        }
    }
}

/// What a container has from before.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) closed: Result<(), String>,
    /// The provider's name and the tunnel, and whether it is there still.
    pub(super) tunnel: Option<(String, Offer, bool)>,
}

/// Closes a container that runs already, and looks whether it has a tunnel.
pub(super) fn find(saved: &Saved, id: &str, task: &Task) -> Found {
    let Some(inside) = &task.inside else {
        return Found {
            closed: Err(NO_NAMESPACE.to_owned()),
            tunnel: None,
        };
    };
    let closed = close(inside, task);
    let name = carrier::name_of(&task.holder);
    let there = place::look(inside).ok().flatten();
    let device = carrier::status(&name, inside).map(|status| status.device);
    let is_whole = there.is_some() && device.is_ok();
    let device = device.unwrap_or_default();
    let tunnel = saved
        .find(id, &device)
        .map(|(provider, offer)| (provider, offer, is_whole));
    Found { closed, tunnel }
}

const NO_NAMESPACE: &str = "it has no network namespace";

/// Makes the container what it is to be: closed, with its tunnel, with its resolvers.
pub(super) fn settle(settings: &Settings, saved: &Saved, id: &str, task: &Task) -> Settled {
    let Some(inside) = &task.inside else {
        return Settled::failed(NO_NAMESPACE);
    };
    let closed = close(inside, task);
    let Some(offer) = &task.offer else {
        return Settled {
            closed,
            placed: None,
            server: String::new(),
        };
    };
    let placed = match (&closed, task.is_placing) {
        // What cannot be closed gets no tunnel: it would be one way out of several.
        (Err(error), true) => Some(Err(error.clone())),
        (Ok(()), true) => Some(set_up(settings, saved, id, inside, task, offer)),
        (_, false) => None,
    };
    if task.is_placed && !task.is_placing {
        // It may be in other networks than it was. A tunnel that is gone is made again by who looks at it.
        let _gone = place::place(inside, offer, &surroundings(task));
    }
    let resolved = set_resolvers(task, offer);
    Settled {
        closed: closed.and(resolved),
        placed,
        server: offer.server.clone(),
    }
}

fn close(inside: &Inside, task: &Task) -> Result<(), String> {
    let mut direct = task.neighbours.clone();
    direct.extend(task.wish.iter().flat_map(|wish| &wish.lan));
    let guard = Guard {
        direct,
        resolver: task.resolver,
    };
    match guard::set(inside, &guard) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("its network cannot be closed: {error}")),
    }
}

fn set_up(
    settings: &Settings,
    saved: &Saved,
    id: &str,
    inside: &Inside,
    task: &Task,
    offer: &Offer,
) -> Result<(), String> {
    let name = carrier::name_of(&task.holder);
    inside::set_up(inside, &name, settings.plane, offer, &surroundings(task), task.arrival)
        .map_err(|error| error.to_string())?;
    let provider = task.wish.as_ref().map(|wish| settings.providers.name_of(wish));
    saved
        .keep(id, provider.unwrap_or_default(), task.endpoint.as_ref(), offer)
        .map_err(|error| format!("its state cannot be kept: {error}"))
}

/// The networks that stay direct, by the routers of the container's own networks.
fn surroundings(task: &Task) -> Surroundings {
    let (Some(container), Some(wish)) = (&task.container, &task.wish) else {
        return Surroundings {
            is_alone: task.is_alone,
            ..Surroundings::default()
        };
    };
    let routers: Vec<_> = container
        .networks
        .values()
        .flat_map(|membership| &membership.gateways)
        .collect();
    let mut direct = Vec::new();
    for network in &wish.lan {
        let family = Family::of(network.addr());
        let is_neighbours = task.neighbours.iter().any(|neighbours| neighbours.contains(network));
        let router = routers.iter().find(|router| Family::of(***router) == family);
        if let Some(router) = router.filter(|_| !is_neighbours) {
            direct.push(Direct {
                network: *network,
                router: **router,
            });
        }
    }
    Surroundings {
        direct,
        is_alone: task.is_alone,
    }
}

/// Sets the container's resolvers: the tunnel's, or Docker's address if that knows neighbours by name.
fn set_resolvers(task: &Task, offer: &Offer) -> Result<(), String> {
    let (Some(path), false) = (&task.resolv_conf, offer.dns.is_empty()) else {
        return Ok(());
    };
    let own = [guard::ENGINE_RESOLVER];
    let servers = if task.has_names { &own[..] } else { &offer.dns };
    match resolv::set(path, servers, &offer.search) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("its resolvers cannot be set in {}: {error}", path.display())),
    }
}

/// How the tunnel is; mends the guard and the resolvers if somebody touched them.
pub(super) fn look(task: &Task) -> Result<Sample, String> {
    let inside = task.inside.as_ref().ok_or(NO_NAMESPACE)?;
    close(inside, task)?;
    if let Some(offer) = &task.offer {
        set_resolvers(task, offer)?;
    }
    if place::look(inside).map_err(|error| error.to_string())?.is_none() {
        return Err("its interface is gone; it is made again".to_owned());
    }
    let status = carrier::status(&carrier::name_of(&task.holder), inside).map_err(|error| error.to_string())?;
    let newest = status.peers.values().filter_map(|peer| peer.latest_handshake).max();
    let age = newest.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    Ok(Sample {
        handshake_age: age,
        received: status.peers.values().map(|peer| peer.rx_bytes).sum(),
        sent: status.peers.values().map(|peer| peer.tx_bytes).sum(),
    })
}

/// Whether anything answers through the tunnel.
pub(super) async fn probe(settings: &Settings, task: &Task) -> Result<(), String> {
    let inside = task.inside.as_ref().ok_or(NO_NAMESPACE)?;
    let dns = task.offer.as_ref().map(|offer| offer.dns.clone()).unwrap_or_default();
    probe::probe(inside, &settings.targets, &dns).await
}

/// Binds the forwarded port, through the tunnel.
pub(super) async fn forward(settings: &Settings, task: &Task) -> Result<Forwarded, ProviderError> {
    let (Some(inside), Some(wish), Some(offer)) = (&task.inside, &task.wish, &task.offer) else {
        return Err(ProviderError::Unavailable(NO_NAMESPACE.to_owned()));
    };
    let provider = settings.providers.of(wish).map_err(ProviderError::Refused)?;
    provider
        .forward_port(&task.holder, offer, &Through(Arc::clone(inside)))
        .await
}

/// Asks the provider for a tunnel.
pub(super) async fn connect(settings: &Settings, wish: &Wish, ask: &Ask) -> Result<Offer, ProviderError> {
    let provider = settings.providers.of(wish).map_err(ProviderError::Refused)?;
    let mut offer = provider.connect(ask).await?;
    if !wish.dns.is_empty() {
        offer.dns.clone_from(&wish.dns);
    }
    Ok(offer)
}

/// Clears away what is left of a tunnel whose container is gone.
pub(super) fn clear(saved: &Saved, id: &str, holder: &str) {
    saved.forget(id);
    carrier::remove(&carrier::name_of(holder));
}

/// Clears away a tunnel whose container went while no daemon watched, and gives it back to its provider.
pub(super) async fn clear_orphan(settings: &Settings, saved: &Saved, id: &str) {
    let Some(origin) = saved.origin(id) else {
        saved.forget(id);
        return;
    };
    let holder = origin.holder(id).to_owned();
    if let Some(provider) = settings.providers.find(&origin.provider) {
        provider.adopt(&holder, &origin.server);
        provider.release(&holder).await;
    }
    let (saved, id) = (saved.clone(), id.to_owned());
    let _done = tokio::task::spawn_blocking(move || clear(&saved, &id, &holder)).await;
}
