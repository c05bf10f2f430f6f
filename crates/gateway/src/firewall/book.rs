//! Who is held to which rules: finds what a change of peers means for the table's sets.
//!
//! Pure: [`Book::draft`] says what to tell the kernel, [`Book::commit`] remembers that it was told.
//!
//! A packet is of the peer with the longest prefix, as in the tunnel itself. Addresses of peers are elements that come
//! and go one by one. Networks behind peers may lie in each other: they are cut into ranges that do not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use linux::{
    Family,
    nftables::{Batch, Element},
};
use wg::access::Destination;

use super::table::{FAMILY, Kind, Table, to_list};
use crate::{Name, server::PeerChange};

/// What is special about a peer; nothing of most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Class {
    list: Option<u64>,
    apart: bool,
}

/// A peer as far as the table minds it.
#[derive(Clone, Debug)]
struct Entry {
    networks: Vec<IpNet>,
    class: Class,
}

/// The ranges of networks in the table's sets.
type Ranges = BTreeMap<(Kind, Family), Vec<Element>>;

/// The peers and their rules, as the kernel has them.
#[derive(Debug, Default)]
pub(super) struct Book {
    peers: HashMap<Name, Entry>,
    /// Whose each address and network is.
    owners: BTreeMap<IpNet, Name>,
    /// Those that are no single addresses.
    networks: BTreeSet<IpNet>,
    /// Lists of destinations by what is in them.
    numbers: HashMap<Vec<Destination>, u64>,
    /// The same by their numbers, with the number of peers that have them.
    lists: BTreeMap<u64, (Vec<Destination>, usize)>,
    last_list: u64,
    ranges: Ranges,
}

/// A change that the kernel has yet to make.
#[derive(Debug, Default)]
pub(super) struct Draft {
    peers: BTreeMap<Name, Option<Entry>>,
    owners: BTreeMap<IpNet, Option<Name>>,
    /// Lists that are new, or have another number of holders.
    lists: BTreeMap<u64, (Vec<Destination>, usize)>,
    ranges: Ranges,
    batch: Batch,
}

impl Draft {
    /// What to tell the kernel.
    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }
}

impl Book {
    /// Finds what the changes mean. Names that come twice are as their last change has them.
    pub(super) fn draft<'a>(&self, table: &Table, changes: impl IntoIterator<Item = &'a PeerChange>) -> Draft {
        let mut draft = Draft::default();
        for change in changes {
            self.change_peer(&mut draft, table, change);
        }
        for (number, (destinations, _)) in draft.lists.range(self.last_list + 1..) {
            table.add_list(&mut draft.batch, *number, destinations);
        }
        self.change_addresses(&mut draft, table);
        self.change_networks(&mut draft, table);
        let unused = draft.lists.iter().filter(|(_, (_, holders))| *holders == 0);
        for (number, _) in unused {
            table.remove_list(&mut draft.batch, *number);
        }
        draft
    }

    /// The kernel has made the change.
    pub(super) fn commit(&mut self, draft: Draft) {
        for (name, entry) in draft.peers {
            match entry {
                Some(entry) => drop(self.peers.insert(name, entry)),
                None => drop(self.peers.remove(&name)),
            }
        }
        for (network, owner) in draft.owners {
            if !is_host(network) {
                if owner.is_some() {
                    self.networks.insert(network);
                } else {
                    self.networks.remove(&network);
                }
            }
            match owner {
                Some(owner) => drop(self.owners.insert(network, owner)),
                None => drop(self.owners.remove(&network)),
            }
        }
        for (number, (destinations, holders)) in draft.lists {
            self.last_list = self.last_list.max(number);
            if holders == 0 {
                self.numbers.remove(&destinations);
                self.lists.remove(&number);
            } else {
                self.numbers.insert(destinations.clone(), number);
                self.lists.insert(number, (destinations, holders));
            }
        }
        self.ranges = draft.ranges;
    }

    /// Addresses and networks that are somebody's by the change and were nobody's, and the other way round.
    pub(super) fn come_and_gone(&self, draft: &Draft) -> (Vec<IpNet>, Vec<IpNet>) {
        let changed = draft.owners.iter();
        let changed = changed.filter(|(network, owner)| owner.is_some() != self.owners.contains_key(network));
        let (come, gone): (Vec<_>, Vec<_>) = changed.partition(|(_, owner)| owner.is_some());
        let networks = |list: Vec<(&IpNet, &Option<Name>)>| list.into_iter().map(|(network, _)| *network).collect();
        (networks(come), networks(gone))
    }

    fn change_peer(&self, draft: &mut Draft, table: &Table, change: &PeerChange) {
        let (PeerChange::Set(name, _) | PeerChange::Remove(name)) = change;
        let before = match draft.peers.get(name) {
            Some(entry) => entry.clone(),
            None => self.peers.get(name).cloned(),
        };
        let entry = match change {
            PeerChange::Set(_, peer) => {
                let access = &peer.access;
                let class = Class {
                    list: access.destinations.as_ref().map(|list| self.take_list(draft, list)),
                    apart: access.peer_to_peer.is_some_and(|wish| wish != table.peer_to_peer()),
                };
                let networks = peer.allowed_ips().map(|network| network.trunc()).collect();
                Some(Entry { networks, class })
            }
            PeerChange::Remove(_) => None,
        };
        if let Some(entry) = before {
            for network in entry.networks {
                // It may be another's by now.
                if self.owner_after(draft, network) == Some(name) {
                    draft.owners.insert(network, None);
                }
            }
            if let Some(list) = entry.class.list {
                self.leave_list(draft, list);
            }
        }
        for network in entry.iter().flat_map(|entry| &entry.networks) {
            draft.owners.insert(*network, Some(name.clone()));
        }
        draft.peers.insert(name.clone(), entry);
    }

    /// The number of a list, which has one holder more.
    fn take_list(&self, draft: &mut Draft, destinations: &[Destination]) -> u64 {
        let in_draft = draft.lists.iter().find(|(_, (list, _))| list == destinations);
        let number = in_draft.map(|(number, _)| *number);
        let number = number
            .or_else(|| self.numbers.get(destinations).copied())
            .unwrap_or_else(|| {
                let last = draft.lists.last_key_value().map_or(0, |(number, _)| *number);
                last.max(self.last_list) + 1
            });
        let there = self.lists.get(&number).cloned();
        let list = draft
            .lists
            .entry(number)
            .or_insert_with(|| there.unwrap_or_else(|| (destinations.to_vec(), 0)));
        list.1 += 1;
        number
    }

    fn leave_list(&self, draft: &mut Draft, number: u64) {
        let there = self.lists.get(&number).cloned();
        let list = draft.lists.entry(number).or_insert_with(|| there.unwrap_or_default());
        list.1 = list.1.saturating_sub(1);
    }

    fn owner_after<'a>(&'a self, draft: &'a Draft, network: IpNet) -> Option<&'a Name> {
        match draft.owners.get(&network) {
            Some(owner) => owner.as_ref(),
            None => self.owners.get(&network),
        }
    }

    fn class_before(&self, network: IpNet) -> Class {
        let entry = self.owners.get(&network).and_then(|owner| self.peers.get(owner));
        entry.map(|entry| entry.class).unwrap_or_default()
    }

    fn class_after(&self, draft: &Draft, network: IpNet) -> Class {
        let entry = self
            .owner_after(draft, network)
            .and_then(|owner| match draft.peers.get(owner) {
                Some(entry) => entry.as_ref(),
                None => self.peers.get(owner),
            });
        entry.map(|entry| entry.class).unwrap_or_default()
    }

    /// Changes the elements of single addresses, one by one.
    fn change_addresses(&self, draft: &mut Draft, table: &Table) {
        let mut gone: BTreeMap<(Kind, Family), Vec<Element>> = BTreeMap::new();
        let mut come: BTreeMap<(Kind, Family), Vec<Element>> = BTreeMap::new();
        for network in draft.owners.keys().copied().filter(|network| is_host(*network)) {
            let (before, after) = (self.class_before(network), self.class_after(draft, network));
            for kind in [Kind::Lists, Kind::Apart] {
                let place = (kind, Family::of(network.addr()));
                let (before, after) = (element(kind, network, before), element(kind, network, after));
                if before != after {
                    gone.entry(place).or_default().extend(before);
                    come.entry(place).or_default().extend(after);
                }
            }
        }
        for ((kind, family), elements) in gone {
            let set = Table::set(kind, family, false);
            draft.batch.remove_elements(FAMILY, table.name(), &set, &elements);
        }
        for ((kind, family), elements) in come {
            let set = Table::set(kind, family, false);
            draft.batch.add_elements(FAMILY, table.name(), &set, &elements);
        }
    }

    /// Makes the sets of ranges anew, if they differ.
    fn change_networks(&self, draft: &mut Draft, table: &Table) {
        let mut ranges = Ranges::new();
        let in_draft = draft.owners.keys().filter(|network| !is_host(**network));
        let networks: BTreeSet<IpNet> = self.networks.iter().chain(in_draft).copied().collect();
        for network in networks {
            let class = self.class_after(draft, network);
            for kind in [Kind::Lists, Kind::Apart] {
                if let Some(element) = element(kind, network, class) {
                    let place = (kind, Family::of(network.addr()));
                    ranges
                        .entry(place)
                        .or_default()
                        .extend(self.cut(draft, network, &element));
                }
            }
        }
        for kind in [Kind::Lists, Kind::Apart] {
            for family in Family::ALL {
                let (before, after) = (self.ranges.get(&(kind, family)), ranges.get(&(kind, family)));
                if before != after {
                    let set = Table::set(kind, family, true);
                    draft.batch.clear_set(FAMILY, table.name(), &set);
                    let elements = after.map(Vec::as_slice).unwrap_or_default();
                    draft.batch.add_elements(FAMILY, table.name(), &set, elements);
                }
            }
        }
        draft.ranges = ranges;
    }

    /// What is left of a network without the addresses and networks in it that are owned for themselves.
    fn cut(&self, draft: &Draft, network: IpNet, element: &Element) -> Vec<Element> {
        let inside = |other: &&IpNet| **other != network && network.contains(*other);
        let from = IpNet::new_assert(network.network(), 0);
        let own = self.owners.range(from..).map(|(other, _)| other);
        let own = own.take_while(|other| network.contains(&other.addr()));
        let new = draft.owners.range(from..).map(|(other, _)| other);
        let new = new.take_while(|other| network.contains(&other.addr()));
        let owned: BTreeSet<IpNet> = own
            .chain(new)
            .filter(inside)
            .filter(|other| self.owner_after(draft, **other).is_some())
            .copied()
            .collect();
        let mut left = Vec::new();
        let (mut next, last) = (Some(number(network.network())), number(network.broadcast()));
        let mut keep = |first: u128, last: u128| {
            left.push(Element {
                first: address(first, network),
                last: address(last, network),
                verdict: element.verdict.clone(),
            });
        };
        for hole in owned {
            let (first, end) = (number(hole.network()), number(hole.broadcast()));
            let Some(start) = next.filter(|start| *start <= end) else {
                continue;
            };
            if start < first {
                keep(start, first - 1);
            }
            next = end.checked_add(1);
        }
        if let Some(start) = next.filter(|start| *start <= last) {
            keep(start, last);
        }
        left
    }
}

/// The element for a network of this class, if it has one in sets of this kind.
fn element(kind: Kind, network: IpNet, class: Class) -> Option<Element> {
    match kind {
        Kind::Lists => class.list.map(|list| Element::with_verdict(network, to_list(list))),
        Kind::Apart => class.apart.then(|| network.into()),
    }
}

fn is_host(network: IpNet) -> bool {
    network.prefix_len() == network.max_prefix_len()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of this number, in the family of `like`.
fn address(number: u128, like: IpNet) -> IpAddr {
    match like {
        IpNet::V4(_) => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}
