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
mod leftovers;
mod release;
mod routes;
mod table;

use std::collections::HashMap;

use ipnet::IpNet;
use linux::{
    forwarding::{self, Forwarding},
    link,
    netlink::{self, Netlink},
    nftables::{
        Batch, FoundTable, Nftables,
        guest::{self, Label},
        wall::{self, Wall},
    },
};

pub use self::leftovers::clear;
use self::{
    book::Book,
    leftovers::Leftovers,
    release::knows_interface_at_the_end,
    routes::Routes,
    table::{FAMILY, Table},
};
use crate::{
    Name,
    launcher::Launcher,
    server::{Peer, PeerChange},
};
pub use linux::forwarding::ForwardingError;

/// The table's name, unless another gateway of this network namespace has it; then the interface's is added.
const NAME: &str = "adit";

/// What to do about a route that cannot be added.
fn remedy(error: &netlink::Error) -> &'static str {
    if error.is_there_already() {
        "; this host reaches that network by another way: take it out of the peer's networks \
         (SERVER_ALLOWEDIPS_PEER_…), or remove the other route"
    } else {
        ""
    }
}

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
    #[error("cannot lead to a network behind a peer: {}{}", .0, remedy(.0))]
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
    let table = Table::new("adit-probe".to_owned(), addresses, false, false);
    let mut batch = table.create(&label, &["lo".to_owned()]);
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
    /// The kernel's number for the table.
    handle: Option<u64>,
    /// The state of nf_tables in which the table was seen to be there.
    seen: Option<u32>,
}

impl Firewall {
    /// Makes the table for a gateway whose interface is there, without a peer yet, and lets the kernel forward.
    /// A launcher reaches its port at the gateway and nothing else, and nobody else reaches that.
    pub(crate) fn open(
        interface: &str,
        addresses: &[IpNet],
        peer_to_peer: bool,
        launcher: Option<&Launcher>,
    ) -> Result<Self, FirewallError> {
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
        let forwarding = Forwarding::switch_on(addresses, &left.switched)?;
        let table = Table::new(name, addresses, peer_to_peer, !knows_interface_at_the_end()).beside(launcher);
        let mut firewall = Self {
            nftables,
            interface: interface.to_owned(),
            table,
            book: Book::default(),
            routes,
            forwarding,
            handle: None,
            seen: None,
        };
        // If it fails, the firewall is dropped, which undoes what was done.
        firewall.make(left)?;
        Ok(firewall)
    }

    fn make(&mut self, left: Leftovers) -> Result<(), FirewallError> {
        let mut batch = left.removal;
        batch.append(self.create());
        batch.append(
            guest::admit(&mut self.nftables, &self.interface, &linux::Family::ALL).map_err(FirewallError::Nftables)?,
        );
        self.commit(&batch, "making the table")
            .map_err(FirewallError::Nftables)?;
        self.handle = self.find().map_err(FirewallError::Nftables)?;
        Ok(())
    }

    fn create(&self) -> Batch {
        let label = Label::new(&self.interface, &self.forwarding.switched);
        self.table.create(&label, &self.forwarding.learning)
    }

    /// The number of the table of this name that is for this interface, if there is one.
    fn find(&mut self) -> Result<Option<u64>, netlink::Error> {
        let tables = self.nftables.tables()?;
        let is_ours = |table: &&FoundTable| {
            let label = table.comment.as_deref().and_then(Label::read);
            (table.family, &*table.name) == (FAMILY, self.table.name())
                && label.is_some_and(|label| label.interface == self.interface)
        };
        Ok(tables.iter().find(is_ours).map(|table| table.handle))
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
        let there = self.find().map_err(FirewallError::Change)?;
        let has_gone = there.is_none();
        // One that somebody has saved and loaded again is still this gateway's, whose interface is there.
        self.handle = there.or(self.handle);
        let mut batch = Batch::new();
        let mut again = None;
        if has_gone {
            let changes: Vec<PeerChange> = peers
                .map(|(name, peer)| PeerChange::Set(name.clone(), peer.clone()))
                .collect();
            let book = Book::default();
            let draft = book.draft(&self.table, &changes);
            batch.append(self.create());
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
            self.handle = self.find().map_err(FirewallError::Change)?;
        }
        // After a change of ours it is looked at once more: somebody else may have changed something meanwhile.
        self.seen = is_whole.then_some(generation);
        Ok(has_gone)
    }

    fn commit(&mut self, batch: &Batch, action: &str) -> Result<(), netlink::Error> {
        let name = self.table.name();
        self.nftables.commit(batch, || format!("{action} {name}"))
    }

    /// Removes all that [`Firewall::open`] made. If another gateway has put a table of its own in the place of this one's,
    /// that stays, with all that is this interface's: it has taken that over.
    fn remove(&mut self) -> Result<(), FirewallError> {
        let mut batch = Batch::new();
        match (self.find().map_err(FirewallError::Change)?, self.handle) {
            (None, _) => {}
            (there, own) if there == own => batch.remove_table(FAMILY, self.table.name()),
            (Some(_), _) => return Ok(()),
        }
        let is_ours = |interface: &str| interface == self.interface;
        batch.append(guest::dismiss(&mut self.nftables, is_ours).map_err(FirewallError::Nftables)?);
        self.commit(&batch, "removing the table").map_err(FirewallError::Change)
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        // If it fails, the next gateway does it.
        let _left_to_the_next = self.remove();
        if !guest::others_forward(&mut self.nftables) {
            self.forwarding.switch_back();
        }
    }
}

#[cfg(test)]
mod tests;
