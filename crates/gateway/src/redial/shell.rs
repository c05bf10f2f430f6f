//! Looks names up on threads of their own, and hands what they found to a [`Redial`].

use std::{
    net::SocketAddr,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Instant, SystemTime},
};

use wg::{PeerUpdate, Status, conf::Conf};

use super::{Question, Redial, lookup};
use crate::{entry::Entry, health, upstream::Upstream};

/// What was found for a server.
type Answer = (Question, Vec<SocketAddr>);

/// Keeps the endpoints of one tunnel's servers at the addresses that their names have.
#[derive(Debug)]
pub struct Redialer {
    redial: Redial,
    /// Who was asked for names before the tunnels came up.
    resolvers: Vec<Upstream>,
    found: Receiver<Answer>,
    finder: Sender<Answer>,
}

impl Redialer {
    /// For the servers of a configuration.
    pub fn new(tunnel: &str, conf: &Conf, resolvers: &[Upstream]) -> Self {
        let (finder, found) = channel();
        Self {
            redial: Redial::new(tunnel, conf),
            resolvers: resolvers.to_vec(),
            found,
            finder,
        }
    }

    /// Takes note of how the tunnel is, and gives what is to be changed on it and said of that. To be called every few
    /// seconds.
    pub fn look(&mut self, now: Instant, status: &Status) -> Vec<(PeerUpdate, Entry)> {
        for question in self.redial.observe(now, SystemTime::now(), status) {
            self.ask(question, status.device.fwmark);
        }
        let mut changes = Vec::new();
        while let Ok((question, addresses)) = self.found.try_recv() {
            let update = self.redial.answer(now, question.peer, &addresses);
            changes.extend(update.and_then(|update| {
                let entry = self.entry(&question, update.endpoint?);
                Some((update, entry))
            }));
        }
        changes
    }

    /// What the servers are judged by.
    pub fn health(&self, now: Instant) -> Vec<health::Server> {
        self.redial.health(now)
    }

    fn ask(&self, question: Question, mark: Option<u32>) {
        let (finder, resolvers) = (self.finder.clone(), self.resolvers.clone());
        let peer = question.clone();
        let look_up = move || {
            let found = lookup::look_up(&question.name, &resolvers, mark);
            let addresses = found.into_iter().map(|address| (address, question.port).into());
            // The tunnel may have gone meanwhile.
            let _unheard = finder.send((question.clone(), addresses.collect()));
        };
        let thread = thread::Builder::new().name("adit-redial".into());
        if thread.spawn(look_up).is_err() {
            // No thread to be had is as good as no answer.
            let _own_end = self.finder.send((peer, Vec::new()));
        }
    }

    fn entry(&self, question: &Question, address: SocketAddr) -> Entry {
        let (tunnel, name) = (self.redial.tunnel(), &question.name);
        let message = format!("{tunnel}: no handshake with {name}; its address is {address} by its name");
        Entry::new("redialled", message)
            .with("tunnel", tunnel)
            .with("name", name)
            .with("endpoint", address)
    }
}
