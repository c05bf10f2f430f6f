//! The daemon: hears of containers, and sees to it that each has its tunnel and nothing else.
//!
//! One loop, fed by one `Event`. What takes time (the provider, the kernel, the engine) runs beside it and comes back
//! as an event with the turn in which it began; what comes back for another turn is let go.

mod beside;
mod births;
mod entry;
mod expected;
mod names;
mod network;
mod rewrites;
mod settings;
mod start;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::WaitOptions;
use tokio::sync::{mpsc, oneshot};
use wg::IpNet;

use self::{
    entry::Entry,
    expected::Expected,
    names::{Members, Names},
    network::Networked,
    rewrites::Rewrites,
    work::{Found, Settled},
};
use crate::{
    Container, Wish,
    attachment::{Action, Attachment, Sample},
    docker::{self, Engine},
    driver::{Driver, Endpoint},
    inside::{Inside, carrier},
    provider::{Forwarded, ProviderError},
    saved::Saved,
    status::Status,
};

pub use settings::{DriverPlace, Providers, Settings};
pub use start::{StartError, run};

/// How long the daemon waits for an engine that does not answer, before it asks again.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);

/// What is said of a container whose tunnel was taken from it.
const LEFT: &str = "it was taken out of its tunnel's network; it stays closed until it ends";

/// What happens.
enum Event {
    /// The engine says something of a container, or is lost, or back.
    Docker(docker::Event),
    /// The containers that there are, as the engine lists them, and where it keeps their files.
    Listed(Result<Vec<Container>, String>, Option<PathBuf>),
    /// A container, looked at.
    Inspected(String, Option<Container>),
    /// The addresses of a network that a container is about to be in.
    Neighbours(String, Vec<IpNet>),
    /// A namespace came to be; what became of its guard.
    Born(Newborn),
    /// What was found of a container from before.
    Found(String, u64, Box<Found>),
    /// What the provider said.
    Offered(String, u64, Result<crate::Offer, ProviderError>),
    /// The container is as it was wanted, or is not.
    Settled(String, u64, Settled),
    /// How the tunnel is.
    Sampled(String, u64, Result<Sample, String>),
    /// Whether anything answers.
    Probed(String, u64, Result<(), String>),
    /// The forwarded port.
    Forwarded(String, u64, Result<Forwarded, ProviderError>),
    /// The engine takes a container out of a driver's network.
    Left(Endpoint),
    /// Who is in networks.
    Members(Members),
    /// Somebody wrote a container's resolvers.
    Rewritten(String),
    /// Somebody wants to know.
    Asked(oneshot::Sender<Status>),
}

/// A namespace that came to be.
struct Newborn {
    container: String,
    inside: Arc<Inside>,
    guarded: Result<(), String>,
    /// By which it has its tunnel, if that is by a driver's network.
    endpoint: Option<Endpoint>,
}

/// The daemon, as it runs.
struct Daemon {
    settings: Arc<Settings>,
    engine: Engine,
    saved: Saved,
    entries: BTreeMap<String, Entry>,
    /// Whose namespaces are closed as soon as they come to be.
    expected: Arc<Expected>,
    /// The network driver, and the tunnels that it asked for.
    driver: Option<Arc<Driver>>,
    networked: Arc<Networked>,
    events: mpsc::UnboundedSender<Event>,
    names: Names,
    rewrites: Rewrites,
    engine_is_up: bool,
    /// Where the engine keeps its containers' files.
    root: Option<PathBuf>,
    turn: u64,
    say: fn(&str),
}

impl Daemon {
    fn handle(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Docker(event) => {
                let changes_names = event.changes_names();
                self.handle_docker(event);
                if changes_names {
                    self.ask_for_names();
                }
            }
            Event::Listed(Ok(containers), root) => {
                self.root = root;
                self.handle_list(&containers);
            }
            Event::Listed(Err(error), _) => {
                self.engine_is_up = false;
                (self.say)(&format!("the engine does not list its containers: {error}"));
                self.list_after(ENGINE_PAUSE);
            }
            Event::Inspected(id, container) => self.handle_inspected(&id, container),
            Event::Neighbours(id, networks) => {
                let entry = self.entries.get_mut(&id);
                if let Some(entry) = entry.filter(|entry| entry.container.is_none()) {
                    entry.neighbours.extend(networks);
                    self.settle(&id);
                }
            }
            Event::Born(newborn) => self.handle_born(newborn),
            Event::Found(id, turn, found) => self.handle_found(&id, turn, *found, now),
            Event::Offered(id, turn, result) => self.with(&id, turn, |_, attachment| {
                attachment.handle_offer(result, now);
            }),
            Event::Settled(id, turn, settled) => self.handle_settled(&id, turn, settled, now),
            Event::Sampled(id, turn, result) => self.with(&id, turn, |_, attachment| {
                attachment.handle_sample(result, now);
            }),
            Event::Probed(id, turn, result) => self.with(&id, turn, |_, attachment| {
                attachment.handle_probe(result, now);
            }),
            Event::Forwarded(id, turn, result) => self.handle_forwarded(&id, turn, result, now),
            Event::Members(members) => self.handle_members(members),
            Event::Rewritten(id) => self.settle(&id),
            Event::Left(endpoint) => self.handle_left(&endpoint),
            Event::Asked(asked) => {
                let _reader_went = asked.send(self.status());
            }
        }
    }

    fn handle_docker(&mut self, event: docker::Event) {
        use docker::Event as Docker;
        match event {
            Docker::Back => {
                self.engine_is_up = true;
                self.list_after(Duration::ZERO);
            }
            Docker::Lost(reason) => {
                self.engine_is_up = false;
                (self.say)(&format!("the engine is gone: {reason}; tunnels stay as they are"));
            }
            Docker::Created { id, name, labels } => self.admit(&Container {
                id,
                name,
                labels,
                ..Container::default()
            }),
            Docker::Connecting { id, network_id, .. } if self.wish_of(&network_id).is_some() => {
                self.expect_networked(&id, &network_id);
            }
            Docker::Connecting { id, network, .. } => {
                let Some(entry) = self.entries.get_mut(&id) else { return };
                if entry.container.is_some() {
                    // Its neighbours are others.
                    self.inspect(id);
                } else {
                    entry.networks.insert(network.clone());
                    let is_networked = entry.is_networked;
                    self.find_neighbours(id.clone(), network);
                    if !is_networked {
                        self.begin(&id);
                    }
                }
            }
            Docker::Disconnected { id } => {
                let is_running = self.entries.get(&id).is_some_and(|entry| entry.container.is_some());
                if is_running {
                    self.inspect(id);
                } else {
                    // It did not start.
                    self.end(&id);
                }
            }
            Docker::Started { id } => self.inspect(id),
            Docker::Ended { id } => self.end(&id),
            Docker::Removed { id } => self.forget(&id),
            Docker::Renamed { id, name } => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.name = name;
                }
            }
        }
    }

    /// Takes the containers that there are: some may have come, gone or started while nobody looked.
    fn handle_list(&mut self, containers: &[Container]) {
        self.engine_is_up = true;
        let there: BTreeSet<_> = containers.iter().map(|container| container.id.clone()).collect();
        let gone: Vec<_> = self.entries.keys().filter(|id| !there.contains(*id)).cloned().collect();
        for id in gone {
            self.forget(&id);
        }
        for container in containers {
            self.admit(container);
            if self.entries.contains_key(&container.id) {
                self.inspect(container.id.clone());
            }
        }
        for id in self.saved.containers() {
            if !self.entries.contains_key(&id) {
                self.clear_orphan(id);
            }
        }
        self.sweep();
    }

    /// Removes tunnels that are nobody's: those of a daemon that was killed before it could keep what it made.
    fn sweep(&self) {
        let names = carrier::names();
        let saved = self.saved.containers().into_iter().filter_map(|id| {
            let origin = self.saved.origin(&id)?;
            Some(carrier::name_of(origin.holder(&id)))
        });
        let entries = self.entries.values().map(|entry| carrier::name_of(&entry.holder));
        let reserved = self
            .networked
            .holders()
            .into_iter()
            .map(|holder| carrier::name_of(&holder));
        let known: BTreeSet<_> = saved.chain(entries).chain(reserved).collect();
        for name in names.into_iter().filter(|name| !known.contains(name)) {
            (self.say)(&format!("removes {name}, a tunnel that is nobody's"));
            tokio::task::spawn_blocking(move || carrier::remove(&name));
        }
    }

    /// Forgets a container that is no more.
    fn forget(&mut self, id: &str) {
        self.end(id);
        self.expected.remove_container(id);
        self.entries.remove(id);
    }

    /// What the containers of a network are to have; `None` if it is none of the driver's.
    fn wish_of(&self, network: &str) -> Option<Result<Wish, String>> {
        self.driver.as_ref()?.wish(network)
    }

    /// Notes a container that is about to have its tunnel by a driver's network.
    fn expect_networked(&mut self, id: &str, network: &str) {
        let Some(wish) = self.wish_of(network) else { return };
        let short = || id.get(..12).unwrap_or(id).to_owned();
        let entry = self.entries.entry(id.to_owned());
        let entry = entry.or_insert_with(|| Entry::new(id, short(), wish.clone()));
        if !entry.has_begun() {
            entry.wish = wish;
            entry.is_networked = true;
        }
    }

    /// Notes a container that asks for a tunnel.
    fn admit(&mut self, container: &Container) {
        if self.entries.contains_key(&container.id) {
            return;
        }
        let of_driver = container
            .networks
            .values()
            .find(|one| self.wish_of(&one.network).is_some());
        if let Some(network) = of_driver.map(|membership| membership.network.clone()) {
            self.expect_networked(&container.id, &network);
            return;
        }
        let wish = Wish::of_labels(&container.labels);
        if wish == Ok(None) {
            return;
        }
        self.expected.add_container(container.id.clone());
        let wish = wish.map(Option::unwrap_or_default).map_err(|error| error.to_string());
        if let Err(error) = &wish {
            (self.say)(&format!("{}: {error}; it stays closed", container.name));
        }
        let entry = Entry::new(&container.id, container.name.clone(), wish);
        self.entries.insert(container.id.clone(), entry);
    }

    /// Asks for the tunnel of a container that is about to start.
    fn begin(&mut self, id: &str) {
        let turn = self.turn + 1;
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.has_begun() {
            return;
        }
        self.turn = turn;
        entry.begin(turn);
        self.act(id);
    }

    /// Takes what the engine knows of a container: it is running, or is not.
    fn handle_inspected(&mut self, id: &str, container: Option<Container>) {
        let Some(mut container) = container else {
            self.end(id);
            return;
        };
        let endpoint = self.take_endpoint(&mut container);
        let turn = self.turn + 1;
        let Some(entry) = self.entries.get_mut(id) else { return };
        if container.pid.is_none() {
            if entry.container.is_some() {
                self.end(id);
            } else if !entry.has_begun() {
                self.clear_orphan(id.to_owned());
            }
            return;
        }
        if let Some(endpoint) = endpoint.filter(|_| !entry.has_begun()) {
            entry.belong_to(endpoint);
        }
        entry.name.clone_from(&container.name);
        if entry.inside.is_none() {
            match Inside::of(&container) {
                Ok(inside) => entry.inside = Some(Arc::new(inside)),
                // It has ended already.
                Err(error) => {
                    entry.closed = Err(error.to_string());
                    return;
                }
            }
        }
        entry.networks = container.networks.keys().cloned().collect();
        entry.neighbours = container.neighbours();
        entry.resolv_conf.clone_from(&container.resolv_conf);
        entry.container = Some(container);
        if entry.has_begun() {
            self.settle(id);
            return;
        }
        // It runs, and nobody asked for its tunnel: it may have one from before.
        self.turn = turn;
        entry.turn = turn;
        self.find(id);
    }

    /// Takes the driver's network out of a container's: its own address in it means nothing, and nobody else is there.
    fn take_endpoint(&self, container: &mut Container) -> Option<Endpoint> {
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

    fn handle_found(&mut self, id: &str, turn: u64, found: Found, now: Instant) {
        let settings = Arc::clone(&self.settings);
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.turn == turn) else {
            return;
        };
        entry.closed = found.closed;
        let wants_port = entry.wish.as_ref().is_ok_and(|wish| wish.port_forward);
        match found.tunnel {
            Some((provider, offer, is_whole)) if entry.wish.is_ok() => {
                if let Some(provider) = settings.providers.find(&provider) {
                    provider.adopt(&entry.holder, &offer.server);
                }
                if is_whole {
                    (self.say)(&format!("{}: goes on with its tunnel to {}", entry.name, offer.server));
                    entry.attachment = Some(Attachment::adopted(offer, wants_port, now));
                } else {
                    entry.begin(turn);
                }
            }
            _ => entry.begin(turn),
        }
        self.settle(id);
        self.act(id);
    }

    fn handle_born(&mut self, newborn: Newborn) {
        let reserved = newborn.endpoint.as_ref().and_then(|endpoint| {
            self.expect_networked(&newborn.container, &endpoint.network);
            self.networked.find(&endpoint.holder)
        });
        let turn = self.turn + 1;
        let Some(entry) = self.entries.get_mut(&newborn.container) else {
            return;
        };
        entry.inside = Some(newborn.inside);
        entry.closed = newborn.guarded;
        let root = self
            .root
            .as_ref()
            .map(|root| root.join("containers").join(&newborn.container));
        entry.resolv_conf = root.map(|root| root.join("resolv.conf")).filter(|path| path.exists());
        if let (Some(endpoint), Some(reserved)) = (newborn.endpoint, reserved)
            && entry.endpoint.as_ref() != Some(&endpoint)
        {
            self.turn = turn;
            entry.belong_to(endpoint);
            entry.wish = Ok(reserved.wish);
            entry.arrival = network::routes(&reserved.offer).last().copied();
            entry.begin_with(turn, reserved.offer, Instant::now());
            self.act(&newborn.container);
            // It may run already, and be in other networks.
            self.inspect(newborn.container);
            return;
        }
        self.begin(&newborn.container);
        self.settle(&newborn.container);
    }

    /// Ends the tunnel of a container that leaves a driver's network. What it has in its namespace stays as it is: closed.
    fn handle_left(&mut self, endpoint: &Endpoint) {
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

    fn handle_settled(&mut self, id: &str, turn: u64, settled: Settled, now: Instant) {
        let say = self.say;
        self.with(id, turn, |entry, attachment| {
            if let Err(error) = &settled.closed {
                say(&format!("{}: it cannot be closed: {error}", entry.name));
            }
            entry.closed = settled.closed;
            if let Some(placed) = settled.placed
                && entry.take_placing(&settled.server)
            {
                entry.arrival = None;
                attachment.handle_placed(placed, now);
            }
        });
    }

    fn handle_forwarded(&mut self, id: &str, turn: u64, result: Result<Forwarded, ProviderError>, now: Instant) {
        let settings = Arc::clone(&self.settings);
        let say = self.say;
        self.with(id, turn, |entry, attachment| {
            match &result {
                Ok(forwarded) => {
                    if let Err(error) = settings.write_port(&entry.name, forwarded.port) {
                        say(&format!("{}: the port's file: {error}", entry.name));
                    }
                }
                Err(error) => say(&format!("{}: port forwarding: {error}", entry.name)),
            }
            attachment.handle_forwarded(result, now);
        });
    }

    /// Ends what a container had; it is over, its namespace goes and the tunnel with it.
    fn end(&mut self, id: &str) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let provider = entry
            .wish
            .as_ref()
            .ok()
            .and_then(|wish| self.settings.providers.of(wish).ok());
        let (name, holder, is_networked) = (entry.name.clone(), entry.holder.clone(), entry.endpoint.is_some());
        entry.end();
        let (settings, saved, id) = (Arc::clone(&self.settings), self.saved.clone(), id.to_owned());
        let lock = Arc::clone(&entry.lock);
        tokio::spawn(async move {
            let _one_at_a_time = lock.lock_owned().await;
            settings.remove_port(&name);
            if is_networked {
                // The engine moves the interface back, and says when the tunnel is to go.
                saved.forget(&id);
                return;
            }
            if let Some(provider) = provider {
                provider.release(&holder).await;
            }
            let cleared = tokio::task::spawn_blocking(move || work::clear(&saved, &id, &holder));
            let _done = cleared.await;
        });
    }

    fn clear_orphan(&self, id: String) {
        let (settings, saved) = (Arc::clone(&self.settings), self.saved.clone());
        tokio::spawn(async move { work::clear_orphan(&settings, &saved, &id).await });
    }

    fn handle_timeouts(&mut self) {
        let now = Instant::now();
        reap();
        let due: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.poll_timeout().is_some_and(|due| due <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            if let Some(attachment) = self.entries.get_mut(&id).and_then(|entry| entry.attachment.as_mut()) {
                attachment.handle_timeout(now);
            }
            self.act(&id);
        }
    }

    /// Lets an entry hear something of its own turn, and does what follows.
    fn with(&mut self, id: &str, turn: u64, hear: impl FnOnce(&mut Entry, &mut Attachment)) {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.turn == turn) else {
            return;
        };
        let Some(mut attachment) = entry.attachment.take() else {
            return;
        };
        let before = attachment.phase();
        hear(entry, &mut attachment);
        if attachment.phase() != before {
            (self.say)(&entry.describe(&attachment));
        }
        entry.attachment = Some(attachment);
        self.act(id);
    }

    /// Carries out what an attachment wants.
    fn act(&mut self, id: &str) {
        loop {
            let Some(entry) = self.entries.get_mut(id) else { return };
            let Some(action) = entry.attachment.as_mut().and_then(Attachment::poll_action) else {
                return;
            };
            match action {
                Action::Ask { avoid, again } => self.ask(id, avoid, again),
                Action::Place(offer) => {
                    entry.placing = Some(offer.server.clone());
                    self.settle(id);
                }
                Action::Look => self.look(id),
                Action::Probe => self.probe(id),
                Action::Forward => self.forward(id),
            }
        }
    }

    fn status(&self) -> Status {
        let mut containers: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_running())
            .map(|(id, entry)| entry.status(id, &self.settings))
            .collect();
        containers.sort_by(|one, other| one.container.cmp(&other.container));
        Status {
            engine: self.engine_is_up,
            containers,
        }
    }
}

/// Buries the processes of tunnels that have ended: they are this process's children.
fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}
