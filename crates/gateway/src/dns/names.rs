//! The names of the gateway and its peers, as its DNS knows them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use ipnet::IpNet;

use crate::Name;

/// The zone that the names are in. `internal` is set aside for private use (ICANN, July 2024), so that it is nobody's.
pub const ZONE: &str = "adit.internal";

/// The gateway's own name in the [`ZONE`].
pub const GATEWAY: &str = "gateway";

/// The name in the [`ZONE`] that every forwarder answers itself, and no peer can have: without addresses, to see that it
/// answers.
pub const SELF: &str = "_self";

/// The addresses of the gateway and of each peer by name, shared between the gateway and its DNS.
///
/// A peer is found by its name and, if that is the name of its directory, also without the `peer` or `peer_` before it:
/// `peer_phone` as `phone`, `peer1` as `1`. Letters count the same in either case.
#[derive(Debug, Default)]
pub struct Names {
    networks: Vec<IpNet>,
    /// Whether all of the [`ZONE`] is known here.
    is_whole: bool,
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Whoever goes by a label; the first is meant, the rest wait for its end.
    labels: HashMap<String, Vec<Holder>>,
    /// The peers' labels by their addresses.
    holders: HashMap<IpAddr, String>,
    peers: HashMap<Name, Vec<IpAddr>>,
}

#[derive(Debug)]
struct Holder {
    /// `None` is the gateway.
    peer: Option<Name>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// The names of a gateway with these addresses, each with the peers' network, and without peers.
    pub fn new(gateway: &[IpNet]) -> Self {
        let addresses: Vec<IpAddr> = gateway.iter().map(IpNet::addr).collect();
        let mut table = Table::default();
        table
            .holders
            .extend(addresses.iter().map(|address| (*address, GATEWAY.to_owned())));
        let holder = Holder { peer: None, addresses };
        table.labels.insert(GATEWAY.to_owned(), vec![holder]);
        Self {
            networks: gateway.iter().map(IpNet::trunc).collect(),
            is_whole: true,
            table: RwLock::new(table),
        }
    }

    /// Those of a client, which knows nobody: the gateway at the other end of its tunnel may know the [`ZONE`].
    pub fn of_client() -> Self {
        Self::default()
    }

    /// Whether all of the [`ZONE`] is known here, so that nobody else is asked for what is not there.
    pub(super) fn are_whole(&self) -> bool {
        self.is_whole
    }

    /// Gives a peer these addresses and no others.
    pub fn set(&self, peer: &Name, addresses: &[IpAddr]) {
        let mut table = self.write();
        table.remove(peer);
        table.insert(peer, addresses);
    }

    /// Takes a peer's names out.
    pub fn remove(&self, peer: &Name) {
        self.write().remove(peer);
    }

    /// The addresses of what has this label below the [`ZONE`].
    pub fn addresses(&self, label: &str) -> Option<Vec<IpAddr>> {
        let table = self.read();
        let holder = table.labels.get(&label.to_ascii_lowercase())?.first()?;
        Some(holder.addresses.clone())
    }

    /// The labels of a peer by which not it is found but another, and who that is.
    pub fn lost(&self, peer: &Name) -> Vec<(String, String)> {
        let table = self.read();
        let lost = |label: String| {
            let found = table.labels.get(&label)?.first()?;
            let holder = found.peer.as_ref().map_or(GATEWAY, Name::as_str);
            (found.peer.as_ref() != Some(peer)).then(|| (label, holder.to_owned()))
        };
        labels(peer).into_iter().filter_map(lost).collect()
    }

    /// The label of whoever has this address.
    pub fn label(&self, address: IpAddr) -> Option<String> {
        self.read().holders.get(&address).cloned()
    }

    /// Whether this network is the tunnel's or lies in it, so that nobody else knows its names.
    pub fn covers(&self, network: IpNet) -> bool {
        self.networks.iter().any(|own| own.contains(&network))
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, peer: &Name, addresses: &[IpAddr]) {
        let labels = labels(peer);
        for label in &labels {
            self.labels.entry(label.clone()).or_default().push(Holder {
                peer: Some(peer.clone()),
                addresses: addresses.to_vec(),
            });
        }
        // The last label is the shortest.
        if let Some(label) = labels.last() {
            self.holders
                .extend(addresses.iter().map(|address| (*address, label.clone())));
        }
        self.peers.insert(peer.clone(), addresses.to_vec());
    }

    fn remove(&mut self, peer: &Name) {
        let Some(addresses) = self.peers.remove(peer) else {
            return;
        };
        let labels = labels(peer);
        for label in &labels {
            if let Some(holders) = self.labels.get_mut(label) {
                holders.retain(|holder| holder.peer.as_ref() != Some(peer));
                if holders.is_empty() {
                    self.labels.remove(label);
                }
            }
        }
        for address in addresses {
            // It may be another's already.
            if self.holders.get(&address) == labels.last() {
                self.holders.remove(&address);
            }
        }
    }
}

/// The labels of a peer, the shortest last. A name longer than the 63 bytes of a label has none.
fn labels(peer: &Name) -> Vec<String> {
    let whole = peer.as_str().to_ascii_lowercase();
    let short = whole
        .strip_prefix("peer")
        .and_then(|rest| match rest.strip_prefix('_') {
            Some(name) => Some(name),
            None => Some(rest).filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())),
        });
    let short = short.filter(|short| !short.is_empty()).map(str::to_owned);
    let labels = std::iter::once(whole).chain(short);
    labels.filter(|label| label.len() <= 63).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn names() -> Names {
        Names::new(&["10.13.13.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()])
    }

    #[test]
    fn a_peer_is_found_by_its_name_with_and_without_what_its_directory_begins_with() {
        let names = names();
        for (index, peer) in ["peer1", "peer_phone", "laptop", "peer_Tv", "peerless"]
            .iter()
            .enumerate()
        {
            let last = u8::try_from(index).unwrap() + 2;
            names.set(&name(peer), &[[10, 13, 13, last].into()]);
        }
        for (label, address) in [
            ("peer1", Some("10.13.13.2")),
            ("1", Some("10.13.13.2")),
            ("peer_phone", Some("10.13.13.3")),
            ("phone", Some("10.13.13.3")),
            ("PHONE", Some("10.13.13.3")),
            ("laptop", Some("10.13.13.4")),
            ("tv", Some("10.13.13.5")),
            ("less", None),
            ("peer", None),
            ("", None),
            ("2", None),
        ] {
            let found = names.addresses(label);
            assert_eq!(found, address.map(|address| vec![ip(address)]), "{label}");
        }
        assert_eq!(names.addresses("gateway"), Some(vec![ip("10.13.13.1"), ip("fd00::1")]));
        for (address, label) in [
            ("10.13.13.1", Some("gateway")),
            ("10.13.13.3", Some("phone")),
            ("10.13.13.99", None),
        ] {
            assert_eq!(names.label(ip(address)).as_deref(), label, "{address}");
        }
    }

    #[test]
    fn what_is_removed_is_gone_and_its_namesake_comes_forward() {
        let names = names();
        names.set(&name("phone"), &[ip("10.13.13.2")]);
        names.set(&name("peer_phone"), &[ip("10.13.13.3")]);
        names.set(&name("gateway"), &[ip("10.13.13.4")]);
        assert_eq!(names.addresses("phone"), Some(vec![ip("10.13.13.2")]));
        names.remove(&name("phone"));
        assert_eq!(names.addresses("phone"), Some(vec![ip("10.13.13.3")]));
        names.set(&name("peer_phone"), &[ip("10.13.13.2"), ip("fd00::2")]);
        assert_eq!(names.addresses("phone"), Some(vec![ip("10.13.13.2"), ip("fd00::2")]));
        assert_eq!(names.label(ip("10.13.13.3")), None, "its old address is nobody's");
        names.remove(&name("peer_phone"));
        names.remove(&name("peer_phone"));
        assert_eq!(names.addresses("phone"), None);
        assert_eq!(
            names.addresses("gateway"),
            Some(vec![ip("10.13.13.1"), ip("fd00::1")]),
            "nobody takes the gateway's name"
        );
    }

    #[test]
    fn who_is_not_found_by_its_name_is_known() {
        let names = names();
        for peer in ["peer_phone", "peer_Phone", "peer1", "peer_peer1", "peer_gateway"] {
            names.set(&name(peer), &[ip("10.13.13.2")]);
        }
        for (peer, lost) in [
            ("peer_phone", &[][..]),
            ("peer_Phone", &[("peer_phone", "peer_phone"), ("phone", "peer_phone")]),
            ("peer1", &[]),
            ("peer_peer1", &[("peer1", "peer1")]),
            ("peer_gateway", &[("gateway", "gateway")]),
        ] {
            let lost: Vec<_> = lost
                .iter()
                .map(|(label, holder)| (label.to_string(), holder.to_string()))
                .collect();
            assert_eq!(names.lost(&name(peer)), lost, "{peer}");
        }
    }

    #[test]
    fn an_address_that_changes_hands_keeps_its_new_holder() {
        let names = names();
        names.set(&name("a"), &[ip("10.13.13.2")]);
        names.set(&name("b"), &[ip("10.13.13.2")]);
        names.remove(&name("a"));
        assert_eq!(names.label(ip("10.13.13.2")).as_deref(), Some("b"));
        assert!(names.covers(ip("10.13.13.200").into()) && names.covers(ip("fd00::77").into()));
        assert!(!names.covers(ip("10.13.14.1").into()));
    }
}
