//! The containers of links: Docker's networks, who is in them, and the names by which they find each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use docker::{
    Container, Inside,
    births::{self, Birth},
    engine::Event as Docker,
    resolver::{Member, Resolver},
};

use super::{Daemon, Event, Said, now};
use crate::{
    LinkName,
    driver::{Call, Effect},
    host::names::{self, MARK},
    link::Link,
    network,
    record::Listed,
};

/// The namespaces of containers that are in links, and their resolvers.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    /// By the names of their files: Docker may name the folder by another way.
    all: BTreeMap<String, Room>,
}

#[derive(Debug)]
struct Room {
    file: PathBuf,
    /// The networks that the container is in by links.
    links: BTreeSet<LinkName>,
    /// Since its namespace is there: its resolver, and where that is.
    resolver: Option<(Resolver, Arc<Inside>)>,
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Room {
    fn give_back(self) {
        if let Some((_, inside)) = self.resolver {
            let _gone_already = names::give_back(&inside);
        }
    }
}

impl Rooms {
    /// Notes that a container of a link has, or will have, this namespace.
    fn expect(&mut self, file: &Path, link: LinkName) {
        let room = self.all.entry(file_name(file)).or_insert_with(|| Room {
            file: file.to_owned(),
            links: BTreeSet::new(),
            resolver: None,
        });
        room.links.insert(link);
    }

    /// A container leaves a link; with the last one names are Docker's again.
    fn leave(&mut self, file: &Path, link: &LinkName) {
        let key = file_name(file);
        let Some(room) = self.all.get_mut(&key) else { return };
        room.links.remove(link);
        if room.links.is_empty()
            && let Some(room) = self.all.remove(&key)
        {
            room.give_back();
        }
    }

    /// Leaves names to Docker: nobody answers any more.
    pub(super) fn give_back(&mut self) {
        std::mem::take(&mut self.all).into_values().for_each(Room::give_back);
    }

    /// Forgets containers whose namespaces are gone.
    pub(super) fn sweep(&mut self) {
        self.all.retain(|_, room| room.resolver.is_none() || room.file.exists());
    }
}

impl Daemon {
    pub(super) fn handle_engine(&mut self, event: &Docker) {
        match event {
            Docker::Back => {
                for name in self.links.keys().cloned().collect::<Vec<_>>() {
                    self.ensure_network(&name);
                }
                self.list();
            }
            Docker::Lost(reason) => (self.say)(None, &format!("the container engine is away: {reason}")),
            Docker::Started { .. } if !self.hears_of_births => self.list(),
            Docker::Started { .. }
            | Docker::Created { .. }
            | Docker::Connecting { .. }
            | Docker::Disconnected { .. }
            | Docker::Ended { .. }
            | Docker::Removed { .. }
            | Docker::Renamed { .. } => {}
        }
        if event.changes_names() {
            self.ask_for_containers();
        }
    }

    /// Sees to it that a link has its Docker network.
    pub(super) fn ensure_network(&self, name: &LinkName) {
        let (Some(engine), Some(entry)) = (&self.engine, self.links.get(name)) else {
            return;
        };
        if entry.link.settings.plain || entry.link.removal().is_some() {
            return;
        }
        let (engine, link, own) = (engine.clone(), entry.link.clone(), name.clone());
        self.beside(async move {
            let result = network::ensure(&engine, &link).await;
            Event::Network(own, result)
        });
    }

    pub(super) fn handle_network(&mut self, name: &LinkName, result: Result<String, String>) {
        let Some(entry) = self.links.get_mut(name) else { return };
        match result {
            Ok(id) => {
                entry.network_problem = None;
                let is_new = entry.link.network.as_ref() != Some(&id);
                entry.link.network = Some(id);
                if is_new {
                    self.settle_or_say(name);
                }
                self.ask_for_containers();
            }
            Err(problem) => {
                let is_news = entry.network_problem.as_ref() != Some(&problem);
                entry.network_problem = Some(problem.clone());
                if is_news {
                    self.say(name, &problem);
                }
            }
        }
    }

    /// Asks who is in the networks of links.
    pub(super) fn ask_for_containers(&mut self) {
        let Some(engine) = self.engine.clone() else { return };
        let mut questions = Vec::new();
        for (name, entry) in &mut self.links {
            let Some(network) = entry.link.network.clone() else {
                continue;
            };
            if std::mem::replace(&mut entry.is_listing, true) {
                entry.has_changed = true;
                continue;
            }
            questions.push((name.clone(), network));
        }
        for (name, network) in questions {
            let engine = engine.clone();
            self.beside(async move {
                let containers = network::containers(&engine, &network).await;
                Event::Containers(name, containers)
            });
        }
    }

    pub(super) fn handle_containers(&mut self, name: &LinkName, containers: Option<Vec<Listed>>) {
        let Some(entry) = self.links.get_mut(name) else { return };
        entry.is_listing = false;
        if let Some(mut containers) = containers {
            let subnets = entry.link.addresses.subnets(entry.link.number());
            for listed in &mut containers {
                let is_own = |address: &std::net::IpAddr| subnets.iter().any(|subnet| subnet.contains(address));
                listed.addresses.retain(is_own);
            }
            if entry.link.set_containers(containers, now()) {
                self.settle_or_say(name);
            }
        }
        let again = self
            .links
            .get_mut(name)
            .is_some_and(|entry| std::mem::take(&mut entry.has_changed));
        if again {
            self.ask_for_containers();
        }
    }

    /// Asks which containers there are: they may have come before the daemon.
    fn list(&self) {
        let Some(engine) = self.engine.clone() else { return };
        let networks: BTreeSet<String> = self
            .links
            .values()
            .filter_map(|entry| entry.link.network.clone())
            .collect();
        self.beside(async move {
            let mut found = Vec::new();
            for container in engine.list().await.unwrap_or_default() {
                let is_in = container
                    .networks
                    .values()
                    .any(|membership| networks.contains(&membership.network));
                if is_in && let Ok(Some(container)) = engine.inspect(&container.id).await {
                    found.push(container);
                }
            }
            Event::Listed(found)
        });
    }

    pub(super) fn handle_list(&mut self, containers: &[Container]) {
        for container in containers {
            let Some(file) = &container.namespace else { continue };
            for membership in container.networks.values() {
                let link = self
                    .links
                    .values()
                    .find(|entry| entry.link.network.as_ref() == Some(&membership.network));
                if let Some(name) = link.map(|entry| entry.link.name.clone()) {
                    self.rooms.expect(file, name);
                    let file = file.display().to_string();
                    self.seats.adopt(membership.endpoint.clone(), file);
                }
            }
            self.enter(file);
        }
        self.ask_for_containers();
    }

    pub(super) fn handle_born(&mut self, birth: Birth) {
        let key = file_name(&birth.path);
        let Some(room) = self.rooms.all.get_mut(&key) else {
            return;
        };
        room.file.clone_from(&birth.path);
        if let Err(error) = furnish(room, Inside::new(birth.namespace, birth.process)) {
            (self.say)(None, &format!("names for a container: {error}"));
        }
        self.tell_names();
    }

    /// Goes into a namespace that is there already; one that is not will be heard of.
    fn enter(&mut self, file: &Path) {
        let Some(room) = self.rooms.all.get_mut(&file_name(file)) else {
            return;
        };
        if room.resolver.is_some() {
            return;
        }
        let Some(birth) = births::find_now(file) else { return };
        if let Err(error) = furnish(room, Inside::new(birth.namespace, birth.process)) {
            (self.say)(None, &format!("names for a container: {error}"));
        }
        self.tell_names();
    }

    pub(super) fn handle_call(&mut self, call: Call) {
        let said = self.answer(&call.method, &call.body);
        let _engine_went = call.answer.send(said);
    }

    fn answer(&mut self, method: &str, body: &[u8]) -> Said {
        let links: BTreeMap<LinkName, &Link> = self
            .links
            .iter()
            .map(|(name, entry)| (name.clone(), &entry.link))
            .collect();
        let (value, effect) = self.seats.answer(method, body, &links)?;
        match effect {
            Effect::None => {}
            Effect::Network(name, network) => {
                if let Some(entry) = self.links.get_mut(&name) {
                    entry.link.network = network;
                    self.store.save(&entry.link).map_err(|error| error.to_string())?;
                }
            }
            Effect::Arrives(name, sandbox) => {
                let file = PathBuf::from(sandbox);
                self.rooms.expect(&file, name);
                self.enter(&file);
                self.ask_for_containers();
            }
            Effect::Leaves(name, sandbox) => {
                self.rooms.leave(Path::new(&sandbox), &name);
                self.tell_names();
                self.ask_for_containers();
            }
        }
        Ok(value)
    }

    /// Tells the resolvers of all containers who is in their links.
    pub(super) fn tell_names(&self) {
        for room in self.rooms.all.values() {
            let Some((resolver, _)) = &room.resolver else { continue };
            let mut members = BTreeMap::new();
            let mut near = Vec::new();
            for name in &room.links {
                let Some(entry) = self.links.get(name) else { continue };
                members.insert(name.to_string(), members_of(&entry.link));
                near.extend(entry.link.addresses.everything());
            }
            resolver.book().set_members(members, near);
        }
    }
}

/// Gives a container its resolver.
fn furnish(room: &mut Room, inside: Inside) -> Result<(), String> {
    let inside = Arc::new(inside.with_mark(MARK));
    let resolver = Resolver::start(&inside).map_err(|error| error.to_string())?;
    // What the link does not know, Docker's own resolver may.
    resolver.book().set_servers(&[names::ENGINE]);
    names::redirect(&inside, resolver.port()).map_err(|error| error.to_string())?;
    room.resolver = Some((resolver, inside));
    Ok(())
}

/// The names of a link: of containers everywhere, each also below its host's, and of hosts.
fn members_of(link: &Link) -> Vec<Member> {
    let mut members = Vec::new();
    for record in link.members.settled() {
        let host = record.name.to_string();
        for listed in &record.containers {
            let below = listed.names.iter().map(|name| format!("{name}.{host}"));
            members.push(Member {
                names: listed.names.iter().cloned().chain(below).collect(),
                addresses: listed.addresses.clone(),
            });
        }
        let gateways = link.addresses.gateways(record.number);
        members.push(Member {
            names: vec![host],
            addresses: gateways.iter().map(wg::IpNet::addr).collect(),
        });
    }
    members
}
