//! One container, as the daemon knows it.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Instant};

use docker::{engine, resolver::Resolver};
use tokio::sync::Mutex;
use wg::IpNet;

use super::settings::Settings;

use crate::{
    Container, Offer, Wish,
    attachment::{Attachment, Phase},
    driver::Endpoint,
    inside::{Inside, carrier},
    status,
};

/// A container that asks for a tunnel.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    id: String,
    /// Whether it is a driver's network that gives it the tunnel, and not its labels.
    pub(super) is_networked: bool,
    /// The endpoint of that network, once it is known.
    pub(super) endpoint: Option<Endpoint>,
    /// The last route of an interface that the engine is moving there.
    pub(super) arrival: Option<IpNet>,
    /// What it asks for, or why that makes no sense.
    pub(super) wish: Result<Wish, String>,
    /// Its namespace, once it has one.
    pub(super) inside: Option<Arc<Inside>>,
    /// The file that it sees as `/etc/resolv.conf`.
    pub(super) resolv_conf: Option<PathBuf>,
    /// The names of its networks.
    pub(super) networks: BTreeSet<String>,
    /// Their addresses.
    pub(super) neighbours: Vec<IpNet>,
    /// Answers what is asked of Docker's resolver.
    pub(super) resolver: Option<Resolver>,
    /// What the engine knows of it, once it runs.
    pub(super) container: Option<Container>,
    /// Whether its guard is set.
    pub(super) closed: Result<(), String>,
    pub(super) attachment: Option<Attachment>,
    /// The server of the tunnel that is being set up.
    pub(super) placing: Option<String>,
    /// Which of its lives this is: what began in another means nothing.
    pub(super) turn: u64,
    /// Held while its namespace is worked on.
    pub(super) lock: Arc<Mutex<()>>,
}

impl Entry {
    pub(super) fn new(id: &str, name: String, wish: Result<Wish, String>) -> Self {
        Self {
            name,
            id: id.to_owned(),
            is_networked: false,
            endpoint: None,
            arrival: None,
            wish,
            inside: None,
            resolv_conf: None,
            networks: BTreeSet::new(),
            neighbours: Vec::new(),
            resolver: None,
            container: None,
            closed: Ok(()),
            attachment: None,
            placing: None,
            turn: 0,
            lock: Arc::default(),
        }
    }

    /// Who holds the tunnel: the endpoint of a driver's network, or the container itself.
    pub(super) fn holder(&self) -> &str {
        self.endpoint.as_ref().map_or(&self.id, |endpoint| &endpoint.holder)
    }

    /// Whether it lives, and something was done for it.
    pub(super) fn has_begun(&self) -> bool {
        self.turn != 0
    }

    /// Whether it finds its neighbours by name.
    pub(super) fn has_names(&self) -> bool {
        self.named_networks().next().is_some()
    }

    /// Its networks in which containers find each other by name.
    pub(super) fn named_networks(&self) -> impl Iterator<Item = &String> {
        self.networks.iter().filter(|network| engine::has_names(network))
    }

    /// Whether something may ask Docker's own resolver, which is closed.
    pub(super) fn needs_resolver(&self) -> bool {
        self.is_networked || self.has_names()
    }

    /// Whether the tunnel is known to be its only interface, and to stay that: Docker adds no network to `none`.
    pub(super) fn is_alone(&self) -> bool {
        self.networks.iter().all(|network| network == "none") && !self.networks.is_empty()
    }

    pub(super) fn is_running(&self) -> bool {
        self.inside.is_some() || self.has_begun()
    }

    /// Begins a life: the provider is asked, if it is known for what.
    pub(super) fn begin(&mut self, turn: u64) {
        self.turn = turn;
        if let Ok(wish) = &self.wish {
            self.attachment = Some(Attachment::new(wish.port_forward));
        }
    }

    /// Begins a life with a tunnel that the provider gave already, and whose interface comes by the engine.
    pub(super) fn begin_with(&mut self, turn: u64, offer: Offer, now: Instant) {
        self.turn = turn;
        let wants_port = self.wish.as_ref().is_ok_and(|wish| wish.port_forward);
        self.attachment = Some(Attachment::offered(offer, wants_port, now));
    }

    /// Takes note of the endpoint by which it has its tunnel.
    pub(super) fn belong_to(&mut self, endpoint: Endpoint) {
        self.is_networked = true;
        self.endpoint = Some(endpoint);
    }

    /// Ends a life.
    pub(super) fn end(&mut self) {
        self.inside = None;
        self.resolv_conf = None;
        self.networks.clear();
        self.neighbours.clear();
        self.resolver = None;
        self.container = None;
        self.endpoint = None;
        self.arrival = None;
        self.closed = Ok(());
        self.attachment = None;
        self.placing = None;
        self.turn = 0;
    }

    /// Whether the tunnel to `server` is the one that is being set up; it is no more then.
    pub(super) fn take_placing(&mut self, server: &str) -> bool {
        self.placing.take_if(|placing| placing == server).is_some()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.attachment.as_ref().and_then(Attachment::poll_timeout)
    }

    /// A line for the log.
    pub(super) fn describe(attachment: &Attachment) -> String {
        let server = attachment
            .offer()
            .map(|offer| offer.server.as_str())
            .unwrap_or_default();
        let error = attachment.error().unwrap_or_default();
        match attachment.phase() {
            Phase::Asking if error.is_empty() => "its provider is asked for a tunnel".to_owned(),
            Phase::Asking => format!("its provider is asked again: {error}"),
            Phase::Placing => format!("gets a tunnel to {server}"),
            Phase::Handshaking => format!("has its tunnel to {server}"),
            Phase::Up => format!("{server} answers"),
            Phase::Silent => format!("{server} is silent; it is tried"),
            Phase::Failed => format!("failed: {error}"),
        }
    }

    pub(super) fn status(&self, id: &str, settings: &Settings) -> status::Entry {
        let provider = self
            .wish
            .as_ref()
            .ok()
            .map(|wish| settings.providers.name_of(wish).to_owned());
        let mut entry = status::Entry {
            container: self.name.clone(),
            id: id.to_owned(),
            state: "closed".to_owned(),
            provider,
            error: self.wish.as_ref().err().or(self.closed.as_ref().err()).cloned(),
            ..status::Entry::default()
        };
        let Some(attachment) = &self.attachment else {
            return entry;
        };
        entry.state = word(attachment.phase()).to_owned();
        entry.error = entry.error.or_else(|| attachment.error().map(str::to_owned));
        entry.forwarded_port = attachment.forwarded().map(|forwarded| forwarded.port);
        if let Some(offer) = attachment.offer() {
            entry.server = Some(offer.server.clone());
            entry.region.clone_from(&offer.region);
            entry.endpoint = offer.peers.first().map(|peer| peer.endpoint);
            entry.plane = Some(settings.plane.to_string());
            entry.tunnel = Some(carrier::name_of(self.holder()));
            entry.addresses = offer.addresses.iter().map(IpNet::addr).collect();
        }
        if let Some(sample) = attachment.sample() {
            entry.handshake_age_secs = sample.handshake_age.map(|age| age.as_secs());
            entry.received_bytes = sample.received;
            entry.sent_bytes = sample.sent;
        }
        entry
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Asking => "asking",
        Phase::Placing => "placing",
        Phase::Handshaking => "handshaking",
        Phase::Up => "up",
        Phase::Silent => "silent",
        Phase::Failed => "failed",
    }
}
