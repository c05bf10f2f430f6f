//! The daemon: keeps this host's links, and speaks with their other members.
//!
//! One loop, fed by one `Event`. What takes time (other hosts, Docker, names) runs beside it and comes back as an event.
//! Whatever becomes known goes through `Daemon::settle`: kept on the disk first, then made so on this host, then told.

mod commands;
mod containers;
mod mesh;
mod report;
mod start;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use docker::{Container, Engine, births::Birth, engine};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tunnel::Plane;
use wg::{PublicKey, Status};

use self::{containers::Rooms, mesh::Told};
use crate::{
    HostName, LinkName,
    control::{Answer, Command},
    driver::{Call, Seats},
    exchange::{Asked, Doors, Server},
    host::{self, firewall::Firewall, tunnel as carrier},
    join::JoinError,
    link::Link,
    reach::Reach,
    record::Listed,
    store::Store,
};

pub use start::{StartError, clear, run};

/// How often it is looked whether all is as it is to be.
const TICK: Duration = Duration::from_secs(1);

/// How often links are made whole, in ticks.
const MEND_TICKS: u64 = 5;

/// Takes a line for whoever reads the log: the link that it is about, if it is about one, and what is so.
pub type Say = fn(Option<&str>, &str);

/// How the daemon runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who handles the tunnels' packets.
    pub plane: Plane,
    /// Where links are kept.
    pub folder: PathBuf,
    /// The daemon's own socket.
    pub socket: PathBuf,
    /// The engine's socket; `None` if there is no Docker.
    pub engine: Option<PathBuf>,
    /// Where Docker finds the network driver.
    pub driver: PathBuf,
    /// Where the engine keeps the files of network namespaces.
    pub namespaces: PathBuf,
    /// What this host calls itself.
    pub host: HostName,
}

/// What happens.
enum Event {
    /// A person wants something.
    Command(Command, oneshot::Sender<Answer>),
    /// A host that was to join has, or has not.
    Joined(
        LinkName,
        Box<Result<(Link, Duration), JoinError>>,
        oneshot::Sender<Answer>,
    ),
    /// A Docker network that had to go before a link did.
    Unbound(LinkName, Result<(), String>, oneshot::Sender<Answer>),
    /// Another host asks.
    Asked(LinkName, Asked),
    /// Another host answered, or did not.
    Told(LinkName, PublicKey, Told),
    /// The others were told of a removal, as far as they could be.
    Parted(LinkName, bool),
    /// The engine says something.
    Engine(engine::Event),
    /// The Docker network of a link.
    Network(LinkName, Result<String, String>),
    /// Who is in it.
    Containers(LinkName, Option<Vec<Listed>>),
    /// The containers that there are.
    Listed(Vec<Container>),
    /// A namespace came to be.
    Born(Birth),
    /// Docker calls the network driver.
    Call(Call),
}

/// One link, as it runs.
struct Entry {
    link: Link,
    doors: Doors,
    server: Option<Server>,
    /// By their keys, the ways to the other members.
    reaches: BTreeMap<PublicKey, Reach>,
    /// Where others hear members from.
    seen: BTreeMap<PublicKey, Vec<SocketAddr>>,
    /// The tunnel as it was last.
    status: Status,
    /// Why it is not what it is to be on this host.
    problem: Option<String>,
    /// Why it has no Docker network.
    network_problem: Option<String>,
    /// Whether the engine is being asked who is in the network, and whether something changed since.
    is_listing: bool,
    has_changed: bool,
}

impl Entry {
    fn new(link: Link) -> Self {
        Self {
            link,
            doors: Doors::default(),
            server: None,
            reaches: BTreeMap::new(),
            seen: BTreeMap::new(),
            status: Status::default(),
            problem: None,
            network_problem: None,
            is_listing: false,
            has_changed: false,
        }
    }
}

/// The daemon, as it runs.
struct Daemon {
    settings: Settings,
    store: Store,
    links: BTreeMap<LinkName, Entry>,
    /// Links that are being joined.
    joining: BTreeSet<LinkName>,
    firewall: Firewall,
    engine: Option<Engine>,
    seats: Seats,
    rooms: Rooms,
    events: mpsc::UnboundedSender<Event>,
    ticks: u64,
    /// Whether it is told of namespaces before their containers run.
    hears_of_births: bool,
    say: Say,
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Daemon {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Command(command, answer) => self.command(command, answer),
            Event::Joined(name, result, answer) => self.handle_joined(&name, *result, answer),
            Event::Unbound(name, result, answer) => self.handle_unbound(&name, result, answer),
            Event::Asked(name, asked) => self.handle_asked(&name, asked),
            Event::Told(name, key, told) => self.handle_told(&name, key, told),
            Event::Parted(name, is_own) => self.handle_parted(&name, is_own),
            Event::Engine(event) => self.handle_engine(&event),
            Event::Network(name, result) => self.handle_network(&name, result),
            Event::Containers(name, containers) => self.handle_containers(&name, containers),
            Event::Listed(containers) => self.handle_list(&containers),
            Event::Born(birth) => self.handle_born(birth),
            Event::Call(call) => self.handle_call(call),
        }
    }

    /// Does something beside the loop, and comes back with an event.
    fn beside(&self, work: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let _ends_with_the_daemon = events.send(work.await);
        });
    }

    fn say(&self, link: &LinkName, text: &str) {
        (self.say)(Some(&link.to_string()), text);
    }

    /// Keeps a link as it is known, makes it so on this host, and has the others told.
    ///
    /// # Errors
    ///
    /// If it cannot be kept; then nothing was made so. What cannot be made so is the link's problem, and tried again.
    fn settle(&mut self, name: &LinkName) -> Result<(), String> {
        let Some(entry) = self.links.get(name) else {
            return Ok(());
        };
        self.store.save(&entry.link).map_err(|error| error.to_string())?;
        self.make(name);
        self.tell_names();
        if let Some(entry) = self.links.get_mut(name) {
            for reach in entry.reaches.values_mut() {
                reach.hurry(Instant::now());
            }
        }
        Ok(())
    }

    /// The same for what nobody waits for.
    fn settle_or_say(&mut self, name: &LinkName) {
        if let Err(error) = self.settle(name) {
            self.say(name, &format!("it is not kept: {error}"));
        }
    }

    /// Makes a link what it is to be on this host.
    fn make(&mut self, name: &LinkName) {
        let plane = self.settings.plane;
        let Some(entry) = self.links.get_mut(name) else { return };
        let mut made = host::apply(&entry.link, plane)
            .map(|switched| {
                if entry.link.switched != switched {
                    entry.link.switched = switched;
                    // It is kept with the next change, too.
                    let _kept = self.store.save(&entry.link);
                }
            })
            .map_err(|error| error.to_string());
        let others: BTreeSet<PublicKey> = entry.link.others().iter().map(|other| other.key).collect();
        entry.reaches.retain(|key, _| others.contains(key));
        let asked = Instant::now();
        for key in others {
            entry.reaches.entry(key).or_insert_with(|| Reach::new(asked));
        }
        let is_out = entry.link.removal().is_some();
        if is_out {
            entry.server = None;
            entry.reaches.clear();
        } else {
            entry.doors.set(entry.link.doors());
        }
        if made.is_ok() && !is_out && entry.server.is_none() {
            let (events, own) = (self.events.clone(), name.clone());
            let hear = move |asked| {
                let _ends_with_the_daemon = events.send(Event::Asked(own.clone(), asked));
            };
            match Server::start(entry.link.address(), entry.doors.clone(), hear) {
                Ok(server) => entry.server = Some(server),
                Err(error) => made = Err(format!("other hosts cannot ask this one: {error}")),
            }
        }
        if let Ok(status) = carrier::status(&name.tunnel()) {
            entry.status = status;
        }
        let problem = made.err();
        let is_news = problem.is_some() && problem != entry.problem;
        entry.problem.clone_from(&problem);
        let links = self.links.values().map(|entry| &entry.link);
        let walls = self.firewall.mend(links.filter(|link| link.removal().is_none()));
        if let Err(error) = walls
            && let Some(entry) = self.links.get_mut(name)
        {
            entry.problem = Some(error.to_string());
        }
        if let Some(problem) = problem.filter(|_| is_news) {
            self.say(name, &format!("not whole: {problem}"));
        }
    }

    /// Looks after everything that nobody tells of.
    fn tick(&mut self) {
        self.ticks += 1;
        let time = now();
        let names: Vec<LinkName> = self.links.keys().cloned().collect();
        for name in &names {
            self.look(name);
            let Some(entry) = self.links.get_mut(name) else {
                continue;
            };
            let open = |link: &Link| link.invitations.iter().filter(|one| one.is_open(time)).count();
            if entry.link.expire(time) {
                let left = open(&entry.link);
                self.say(name, &format!("a token has ended; {left} may still be used"));
                self.settle_or_say(name);
            } else if self.ticks.is_multiple_of(MEND_TICKS) {
                self.make(name);
            }
        }
        self.rooms.sweep();
    }

    /// When the loop has something to do, whatever happens.
    fn due(&self) -> Option<Instant> {
        let reaches = self.links.values().flat_map(|entry| entry.reaches.values());
        reaches.filter_map(Reach::due).min()
    }

    fn reply(answer: oneshot::Sender<Answer>, result: Result<Answer, String>) {
        let _person_went = answer.send(result.unwrap_or_else(|why| Answer::Failed { why }));
    }
}

/// Docker's answer to a call.
type Said = Result<Value, String>;
