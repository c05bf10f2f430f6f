//! What runs beside the loop, and comes back to it as an event.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use docker::resolver::Resolver;

use super::{
    Daemon, Event,
    entry::Entry,
    work::{self, Settled},
};

use crate::{Offer, attachment::Attachment, driver, provider::Ask};

impl Daemon {
    /// Runs something that ends with an event.
    pub(super) fn beside(&self, work: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let _ends_with_the_daemon = events.send(work.await);
        });
    }

    /// Asks for all containers.
    pub(super) fn list_after(&self, pause: Duration) {
        let (engine, driver) = (self.engine.clone(), self.driver.clone());
        self.beside(async move {
            tokio::time::sleep(pause).await;
            if let Some(driver) = driver {
                for found in engine.networks(driver::NAME).await.unwrap_or_default() {
                    let (id, network) = driver::Network::found(found);
                    // What is not kept is told again at the next start.
                    let _kept = driver.restore(&id, network);
                }
            }
            let listed = engine.list().await.map_err(|error| error.to_string());
            Event::Listed(listed, engine.root().await)
        });
    }

    /// Asks who is in a network that a container is about to be in; the container itself cannot be asked for while it
    /// starts.
    pub(super) fn find_neighbours(&self, id: String, network: String) {
        let engine = self.engine.clone();
        self.beside(async move { Event::Neighbours(id, engine.subnets(&network).await) });
    }

    /// Asks for a container that is known.
    pub(super) fn inspect(&self, id: String) {
        if !self.entries.contains_key(&id) {
            return;
        }
        let engine = self.engine.clone();
        self.beside(async move {
            let container = engine.inspect(&id).await.ok().flatten();
            Event::Inspected(id, container)
        });
    }

    /// Closes a container that runs already, and looks whether it has a tunnel.
    pub(super) fn find(&self, id: &str) {
        let Some(entry) = self.entries.get(id) else { return };
        let (task, turn, saved, id) = (entry.task(), entry.turn, self.saved.clone(), id.to_owned());
        let events = self.events.clone();
        tokio::task::spawn_blocking(move || {
            let found = work::find(&saved, &id, &task);
            let _ends_with_the_daemon = events.send(Event::Found(id, turn, Box::new(found)));
        });
    }

    /// Makes a container what it is to be, as far as that is known.
    pub(super) fn settle(&mut self, id: &str) {
        self.keep_resolver(id);
        let Some(entry) = self.entries.get(id).filter(|entry| entry.inside.is_some()) else {
            return;
        };
        if let Some(path) = &entry.resolv_conf {
            self.rewrites.watch(id, path);
        }
        let (task, turn, lock) = (entry.task(), entry.turn, Arc::clone(&entry.lock));
        let (settings, saved, id) = (Arc::clone(&self.settings), self.saved.clone(), id.to_owned());
        self.beside(async move {
            let _one_at_a_time = lock.lock_owned().await;
            let done = tokio::task::spawn_blocking({
                let id = id.clone();
                move || work::settle(&settings, &saved, &id, &task)
            });
            let settled = done.await.unwrap_or_else(|panic| Settled::failed(&panic.to_string()));
            Event::Settled(id, turn, settled)
        });
    }

    /// Asks the provider for a tunnel.
    pub(super) fn ask(&self, id: &str, avoid: BTreeSet<String>, again: Option<Offer>) {
        let Some(entry) = self.entries.get(id) else { return };
        let Ok(wish) = &entry.wish else { return };
        let ask = Ask {
            holder: entry.holder().to_owned(),
            name: entry.name.clone(),
            region: wish.region.clone(),
            conf: wish.conf.clone(),
            avoid,
            again,
        };
        let (turn, wish, settings, id) = (entry.turn, wish.clone(), Arc::clone(&self.settings), id.to_owned());
        self.beside(async move {
            let result = work::connect(&settings, &wish, &ask).await;
            Event::Offered(id, turn, result)
        });
    }

    /// Looks at a tunnel.
    pub(super) fn look(&self, id: &str) {
        let Some(entry) = self.entries.get(id) else { return };
        let (task, turn, lock, id) = (entry.task(), entry.turn, Arc::clone(&entry.lock), id.to_owned());
        self.beside(async move {
            let _one_at_a_time = lock.lock_owned().await;
            let looked = tokio::task::spawn_blocking(move || work::look(&task));
            let result = looked.await.unwrap_or_else(|panic| Err(panic.to_string()));
            Event::Sampled(id, turn, result)
        });
    }

    /// Tries whether anything answers through a tunnel.
    pub(super) fn probe(&self, id: &str) {
        let Some(entry) = self.entries.get(id) else { return };
        let (task, turn) = (entry.task(), entry.turn);
        let (settings, id) = (Arc::clone(&self.settings), id.to_owned());
        self.beside(async move { Event::Probed(id, turn, work::probe(&settings, &task).await) });
    }

    /// Binds a forwarded port.
    pub(super) fn forward(&self, id: &str) {
        let Some(entry) = self.entries.get(id) else { return };
        let (task, turn) = (entry.task(), entry.turn);
        let (settings, id) = (Arc::clone(&self.settings), id.to_owned());
        self.beside(async move {
            let result = work::forward(&settings, &task).await;
            Event::Forwarded(id, turn, result)
        });
    }
}

impl Entry {
    /// What is to be done for it, as it is known at this moment.
    fn task(&self) -> work::Task {
        let offer = self
            .attachment
            .as_ref()
            .and_then(|attachment| attachment.offer().cloned());
        work::Task {
            holder: self.holder().to_owned(),
            endpoint: self.endpoint.clone(),
            arrival: self.arrival,
            inside: self.inside.clone(),
            container: self.container.clone(),
            neighbours: self.neighbours.clone(),
            is_alone: self.is_alone(),
            resolv_conf: self.resolv_conf.clone(),
            has_names: self.has_names(),
            resolver: self.resolver.as_ref().map(Resolver::port),
            wish: self.wish.clone().ok(),
            offer,
            is_placing: self.placing.is_some(),
            is_placed: self.attachment.as_ref().is_some_and(Attachment::is_placed),
        }
    }
}
