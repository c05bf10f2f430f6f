//! What the kernel does for a gateway whose packets it forwards: lets them pass, hides them, holds peers to their rules.
//!
//! ```text
//!   table inet adit
//!     forward ─▶ between-peers ─▶ from-peers ─┬─▶ list-1, list-2, …  what some peers may reach
//!     input ────────────────────▶ from-peers ─┘
//!     mss        SYNs take no larger segments than the path does
//!     out        what leaves by another interface has that one's address
//! ```
//!
//! `table` and `book` are pure: they say what to tell the kernel. The table is made in one step, each change is one
//! step, and nothing is left at the end. What a killed gateway left is replaced by the next one's.

mod book;
mod forwarding;
mod routes;
mod table;

use std::collections::HashMap;

use ipnet::IpNet;
use linux::{
    link,
    netlink::{self, Netlink},
    nftables::{
        Batch, FoundTable, Nftables,
        guest::{self, Label},
        wall::{self, Wall},
    },
};

pub use self::forwarding::ForwardingError;
use self::{
    book::Book,
    forwarding::Forwarding,
    routes::Routes,
    table::{FAMILY, Table},
};
use crate::{
    Name,
    server::{Peer, PeerChange},
};

/// The table's name, unless another gateway of this network namespace has it; then the interface's is added.
const NAME: &str = "adit";

/// Why the kernel forwards nothing for a gateway.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// nf_tables refuses.
    #[error("nf_tables cannot be used here: {0}; the netstack plane does without")]
    Nftables(netlink::Error),
    /// nf_tables is there, and did not take a change.
    #[error("the kernel refused a change of the gateway's rules: {0}")]
    Change(netlink::Error),
    /// Interfaces cannot be listed.
    #[error(transparent)]
    Links(netlink::Error),
    /// The interface is not there.
    #[error("the interface {interface} went away while it was set up")]
    Vanished {
        /// Its name.
        interface: String,
    },
    /// A network behind a peer cannot be reached.
    #[error("cannot lead to a network behind a peer: {0}")]
    Routes(netlink::Error),
    /// Forwarding is off and stays so.
    #[error(transparent)]
    Forwarding(#[from] ForwardingError),
}

/// Whether the kernel could forward for a gateway with these addresses, in the calling thread's network namespace.
/// Changes nothing.
///
/// # Errors
///
/// What is in the way.
pub fn check(addresses: &[IpNet]) -> Result<(), FirewallError> {
    forwarding::check(addresses)?;
    // The whole table, made and removed in one step: which parts of nf_tables a kernel has shows in no other way.
    let label = Label::new("adit-probe", &[]);
    let table = Table::new("adit-probe".to_owned(), addresses, false);
    let mut batch = table.create(&label);
    batch.remove_table(FAMILY, table.name());
    let mut nftables = Nftables::open().map_err(FirewallError::Nftables)?;
    nftables
        .commit(&batch, || "trying a table".to_owned())
        .map_err(FirewallError::Nftables)
}

/// The rules of one gateway, as long as it lives.
#[derive(Debug)]
pub(crate) struct Firewall {
    nftables: Nftables,
    interface: String,
    table: Table,
    book: Book,
    routes: Routes,
    forwarding: Forwarding,
    /// The state of nf_tables in which the table was seen to be there.
    seen: Option<u32>,
}

impl Firewall {
    /// Makes the table for a gateway whose interface is there, without a peer yet, and lets the kernel forward.
    pub(crate) fn open(interface: &str, addresses: &[IpNet], peer_to_peer: bool) -> Result<Self, FirewallError> {
        let mut netlink = Netlink::route().map_err(FirewallError::Links)?;
        let link = link::find(&mut netlink, interface).map_err(FirewallError::Links)?;
        let link = link.ok_or_else(|| FirewallError::Vanished {
            interface: interface.to_owned(),
        })?;
        let routes = Routes::new(netlink, link.index, addresses);
        let mut nftables = Nftables::open().map_err(FirewallError::Nftables)?;
        let left = Leftovers::find(&mut nftables, interface)?;
        let name = if left.is_taken {
            format!("{NAME}-{interface}")
        } else {
            NAME.to_owned()
        };
        let forwarding = Forwarding::switch_on(addresses, &left.forwarding)?;
        let table = Table::new(name, addresses, peer_to_peer);
        let mut firewall = Self {
            nftables,
            interface: interface.to_owned(),
            table,
            book: Book::default(),
            routes,
            forwarding,
            seen: None,
        };
        let made = firewall.make(left);
        if made.is_err() {
            firewall.forwarding.switch_back();
        }
        made.map(|()| firewall)
    }

    fn make(&mut self, left: Leftovers) -> Result<(), FirewallError> {
        let mut batch = left.removal;
        let label = Label::new(&self.interface, self.forwarding.switched());
        batch.append(self.table.create(&label));
        batch.append(
            guest::admit(&mut self.nftables, &self.interface, &linux::Family::ALL).map_err(FirewallError::Nftables)?,
        );
        self.commit(&batch, "making the table").map_err(FirewallError::Nftables)
    }

    /// What others have here that may drop what the gateway forwards, and what would mend it.
    pub(crate) fn walls(&mut self) -> Vec<String> {
        let walls = wall::find(&mut self.nftables, &self.interface, &linux::Family::ALL).unwrap_or_default();
        let describe = |wall: &Wall| {
            let (what, remedy) = (wall.describe(), wall.remedy(&self.interface));
            format!("what peers send beyond this host may be lost: {what}; let it pass: {remedy}")
        };
        walls.iter().map(describe).collect()
    }

    /// Follows changes of the peers, as far as it has to be done before the tunnel knows of them: peers that are set.
    pub(crate) fn change_before(&mut self, changes: &[PeerChange]) -> Result<(), FirewallError> {
        self.change(changes, |change| matches!(change, PeerChange::Set(..)))
    }

    /// Does what may be done once the tunnel has forgotten the peers that are removed.
    pub(crate) fn change_after(&mut self, changes: &[PeerChange]) -> Result<(), FirewallError> {
        self.change(changes, |change| matches!(change, PeerChange::Remove(_)))
    }

    /// Makes the changes that are the last for their names and that `which` takes.
    fn change(&mut self, changes: &[PeerChange], which: impl Fn(&PeerChange) -> bool) -> Result<(), FirewallError> {
        let mut last: HashMap<&Name, usize> = HashMap::new();
        for (at, change) in changes.iter().enumerate() {
            let (PeerChange::Set(name, _) | PeerChange::Remove(name)) = change;
            last.insert(name, at);
        }
        let is_last = |at: usize, change: &PeerChange| {
            let (PeerChange::Set(name, _) | PeerChange::Remove(name)) = change;
            last.get(name) == Some(&at)
        };
        let wanted = changes.iter().enumerate();
        let wanted = wanted.filter(|(at, change)| is_last(*at, change) && which(change));
        let draft = self.book.draft(&self.table, wanted.map(|(_, change)| change));
        let (come, gone) = self.book.come_and_gone(&draft);
        let needed = |networks: Vec<IpNet>, routes: &Routes| -> Vec<IpNet> {
            networks
                .into_iter()
                .filter(|network| routes.is_needed(network))
                .collect()
        };
        let (come, gone) = (needed(come, &self.routes), needed(gone, &self.routes));
        let made = come.iter().try_for_each(|network| self.routes.add(*network));
        let made = made.map_err(FirewallError::Routes);
        let made = made.and_then(|()| {
            let changed = self.commit(draft.batch(), "changing the table");
            changed.map_err(FirewallError::Change)
        });
        if let Err(error) = made {
            for network in come {
                let _best_effort = self.routes.remove(network);
            }
            return Err(error);
        }
        self.book.commit(draft);
        let removed = gone.into_iter().try_for_each(|network| self.routes.remove(network));
        removed.map_err(FirewallError::Routes)
    }

    /// Makes the table again, with all that these peers are held to, if somebody has removed it, as who loads a ruleset of
    /// their own does; puts back what lets the tunnel pass in others' tables. Whether the table had gone.
    ///
    /// Costs one question while nobody changes nf_tables.
    pub(crate) fn mend<'a>(
        &mut self,
        peers: impl Iterator<Item = (&'a Name, &'a Peer)>,
    ) -> Result<bool, FirewallError> {
        let generation = self.nftables.generation().map_err(FirewallError::Change)?;
        if self.seen == Some(generation) {
            return Ok(false);
        }
        let tables = self.nftables.tables().map_err(FirewallError::Change)?;
        let is_ours = |table: &FoundTable| {
            let label = table.comment.as_deref().and_then(Label::read);
            (table.family, &*table.name) == (FAMILY, self.table.name())
                && label.is_some_and(|label| label.interface == self.interface)
        };
        let has_gone = !tables.iter().any(is_ours);
        let mut batch = Batch::new();
        let mut again = None;
        if has_gone {
            let changes: Vec<PeerChange> = peers
                .map(|(name, peer)| PeerChange::Set(name.clone(), peer.clone()))
                .collect();
            let book = Book::default();
            let draft = book.draft(&self.table, &changes);
            let label = Label::new(&self.interface, self.forwarding.switched());
            batch.append(self.table.create(&label));
            batch.append(draft.batch().clone());
            again = Some((book, draft));
        }
        let guests = guest::mend(&mut self.nftables, &self.interface, &linux::Family::ALL);
        batch.append(guests.map_err(FirewallError::Change)?);
        let is_whole = batch.is_empty();
        self.commit(&batch, "putting back the table")
            .map_err(FirewallError::Change)?;
        if let Some((mut book, draft)) = again {
            book.commit(draft);
            self.book = book;
        }
        // After a change of ours it is looked at once more: somebody else may have changed something meanwhile.
        self.seen = is_whole.then_some(generation);
        Ok(has_gone)
    }

    fn commit(&mut self, batch: &Batch, action: &str) -> Result<(), netlink::Error> {
        let name = self.table.name();
        self.nftables.commit(batch, || format!("{action} {name}"))
    }

    /// Removes all that [`Firewall::open`] made.
    fn remove(&mut self) -> Result<(), FirewallError> {
        let mut batch = Batch::new();
        batch.remove_table(FAMILY, self.table.name());
        let is_ours = |interface: &str| interface == self.interface;
        batch.append(guest::dismiss(&mut self.nftables, is_ours).map_err(FirewallError::Nftables)?);
        self.commit(&batch, "removing the table").map_err(FirewallError::Change)
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        // If it fails, the next gateway of this name does it.
        let _left_to_the_next = self.remove();
        if !guest::others_forward(&mut self.nftables) {
            self.forwarding.switch_back();
        }
    }
}

/// What killed gateways left: those of this interface's name, and those whose interfaces are gone.
#[derive(Debug)]
struct Leftovers {
    removal: Batch,
    /// What those gateways had switched on, under `/proc/sys`.
    forwarding: Vec<linux::Family>,
    /// Whether a gateway that lives, or a stranger, has the table's name.
    is_taken: bool,
}

impl Leftovers {
    fn find(nftables: &mut Nftables, interface: &str) -> Result<Self, FirewallError> {
        let links = Netlink::route().and_then(|mut netlink| link::list(&mut netlink));
        let links = links.map_err(FirewallError::Links)?;
        let is_left = |of: &str| of == interface || links.iter().all(|link| link.name != of);
        let mut found = Self {
            removal: guest::dismiss(nftables, is_left).map_err(FirewallError::Nftables)?,
            forwarding: Vec::new(),
            is_taken: false,
        };
        for table in nftables.tables().map_err(FirewallError::Nftables)? {
            let label = table.comment.as_deref().and_then(Label::read);
            let is_named = table.family == FAMILY && table.name == NAME;
            match label.filter(|label| is_left(&label.interface)) {
                Some(label) if table.family == FAMILY => {
                    found.removal.remove_table(FAMILY, &table.name);
                    found.forwarding.extend(label.forwarding);
                }
                Some(_) | None => found.is_taken |= is_named,
            }
        }
        Ok(found)
    }
}

/// Removes what killed gateways whose interfaces are gone left in the calling thread's network namespace.
///
/// # Errors
///
/// The kernel's refusal. Without nf_tables, or without the right to see it, there is nothing to remove.
pub fn clear() -> Result<(), FirewallError> {
    let found = Nftables::open()
        .map_err(FirewallError::Nftables)
        .and_then(|mut nftables| {
            // No interface has an empty name.
            let left = Leftovers::find(&mut nftables, "")?;
            Ok((nftables, left.removal))
        });
    let Ok((mut nftables, removal)) = found else {
        return Ok(());
    };
    nftables
        .commit(&removal, || "removing what a killed gateway left".to_owned())
        .map_err(FirewallError::Nftables)
}

#[cfg(test)]
mod tests;
