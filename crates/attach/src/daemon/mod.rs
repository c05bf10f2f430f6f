//! The daemon: hears of containers, and sees to it that each has its tunnel and nothing else.
//!
//! One loop, fed by one `Event`. What takes time (the provider, the kernel, the engine) runs beside it and comes back
//! as an event with the turn in which it began; what comes back for another turn is let go.

mod beside;
mod births;
mod containers;
mod entry;
mod expected;
mod names;
mod network;
mod rewrites;
mod settings;
mod start;
mod work;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use docker::{Engine, engine};
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
    Container,
    attachment::{Action, Attachment, Sample},
    driver::{Driver, Endpoint},
    inside::Inside,
    provider::{Forwarded, ProviderError},
    saved::Saved,
    status::Status,
};

pub use settings::{DriverPlace, Providers, Settings};
pub use start::{StartError, run};

/// How long the daemon waits for an engine that does not answer, before it asks again.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);

/// Takes a line for whoever reads the log: the container that it is about, if it is about one, and what is so.
pub type Say = fn(Option<&str>, &str);

/// What happens.
enum Event {
    /// The engine says something of a container, or is lost, or back.
    Docker(engine::Event),
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
    say: Say,
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
                (self.say)(None, &format!("the engine does not list its containers: {error}"));
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
                    provider.adopt(entry.holder(), &offer.server);
                }
                if is_whole {
                    (self.say)(
                        Some(&entry.name),
                        &format!("goes on with its tunnel to {}", offer.server),
                    );
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

    fn handle_settled(&mut self, id: &str, turn: u64, settled: Settled, now: Instant) {
        let say = self.say;
        self.with(id, turn, |entry, attachment| {
            if let Err(error) = &settled.closed {
                say(Some(&entry.name), &format!("it cannot be closed: {error}"));
            }
            entry.closed = settled.closed;
            if let Some(placed) = settled.placed
                && entry.take_placing(&settled.server)
            {
                if placed.is_ok() {
                    entry.arrival = None;
                }
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
                        say(Some(&entry.name), &format!("the port's file: {error}"));
                    }
                }
                Err(error) => say(Some(&entry.name), &format!("port forwarding: {error}")),
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
        let (name, holder, is_networked) = (entry.name.clone(), entry.holder().to_owned(), entry.endpoint.is_some());
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
            (self.say)(Some(&entry.name), &Entry::describe(&attachment));
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
