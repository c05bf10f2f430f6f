//! Names of neighbours: keeps the resolvers of containers told who is in their networks.

use std::collections::{BTreeMap, BTreeSet};

use docker::resolver::{Member, Resolver};

use super::{Daemon, Event, entry::Entry};

/// The members of networks, by the networks' names.
pub(super) type Members = BTreeMap<String, Vec<Member>>;

/// What is known of names, and whether the engine is being asked.
#[derive(Debug, Default)]
pub(super) struct Names {
    members: Members,
    is_asking: bool,
    /// Whether something changed since it was asked.
    has_changed: bool,
}

impl Daemon {
    /// Asks the engine who is in the networks of containers that have a resolver, if there are such.
    pub(super) fn ask_for_names(&mut self) {
        let entries = self.entries.values().filter(|entry| entry.inside.is_some());
        let wanted: BTreeSet<String> = entries.flat_map(Entry::named_networks).cloned().collect();
        if wanted.is_empty() {
            return;
        }
        if self.names.is_asking {
            self.names.has_changed = true;
            return;
        }
        self.names.is_asking = true;
        let engine = self.engine.clone();
        self.beside(async move {
            let mut members = Members::new();
            for network in wanted {
                if let Ok(found) = engine.members(&network).await {
                    members.insert(network, found);
                }
            }
            Event::Members(members)
        });
    }

    /// Takes who is in networks.
    pub(super) fn handle_members(&mut self, members: Members) {
        self.names.is_asking = false;
        self.names.members.extend(members);
        for entry in self.entries.values() {
            self.names.tell(entry);
        }
        let wanted: BTreeSet<_> = self.entries.values().flat_map(Entry::named_networks).collect();
        self.names.members.retain(|network, _| wanted.contains(network));
        if std::mem::take(&mut self.names.has_changed) {
            self.ask_for_names();
        }
    }

    /// Gives a container its resolver if it needs one, and tells it what there is to know.
    pub(super) fn keep_resolver(&mut self, id: &str) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Some(inside) = entry.inside.as_ref().filter(|_| entry.needs_resolver()) else {
            entry.resolver = None;
            return;
        };
        if entry.resolver.is_none() {
            match Resolver::start(inside) {
                Ok(resolver) => entry.resolver = Some(resolver),
                Err(error) => (self.say)(Some(&entry.name), &format!("its resolver: {error}")),
            }
        }
        if let (Some(resolver), Some(attachment)) = (&entry.resolver, &entry.attachment) {
            resolver
                .book()
                .set_servers(attachment.offer().map(|offer| &offer.dns[..]).unwrap_or_default());
        }
        if !self.names.tell(entry) {
            self.ask_for_names();
        }
    }
}

impl Names {
    /// Tells a container's resolver who is in its networks; false if that is not known of all of them.
    fn tell(&self, entry: &Entry) -> bool {
        let Some(resolver) = &entry.resolver else { return true };
        let found = entry.named_networks().map(|network| {
            let members = self.members.get(network)?;
            Some((network.clone(), members.clone()))
        });
        let Some(members) = found.collect::<Option<Members>>() else {
            return false;
        };
        resolver.book().set_members(members, entry.neighbours.clone());
        true
    }
}
