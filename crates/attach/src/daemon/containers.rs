//! Which containers there are, and which of them ask for a tunnel: by the engine's events and lists.

use std::{collections::BTreeSet, time::Duration};

use docker::engine::Event as Docker;

use super::{Daemon, entry::Entry};

use crate::{Container, Wish, inside::carrier};

impl Daemon {
    pub(super) fn handle_docker(&mut self, event: Docker) {
        match event {
            Docker::Back => {
                self.engine_is_up = true;
                self.list_after(Duration::ZERO);
            }
            Docker::Lost(reason) => {
                self.engine_is_up = false;
                (self.say)(None, &format!("the engine is gone: {reason}; tunnels stay as they are"));
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
    pub(super) fn handle_list(&mut self, containers: &[Container]) {
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
        let entries = self.entries.values().map(|entry| carrier::name_of(entry.holder()));
        let reserved = self
            .networked
            .holders()
            .into_iter()
            .map(|holder| carrier::name_of(&holder));
        let known: BTreeSet<_> = saved.chain(entries).chain(reserved).collect();
        for name in names.into_iter().filter(|name| !known.contains(name)) {
            (self.say)(None, &format!("removes {name}, a tunnel that is nobody's"));
            tokio::task::spawn_blocking(move || carrier::remove(&name));
        }
    }

    /// Forgets a container that is no more.
    fn forget(&mut self, id: &str) {
        self.end(id);
        self.expected.remove_container(id);
        self.entries.remove(id);
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
            (self.say)(Some(&container.name), &format!("{error}; it stays closed"));
        }
        let entry = Entry::new(&container.id, container.name.clone(), wish);
        self.entries.insert(container.id.clone(), entry);
    }
}
