//! The names of a container's neighbours, and where the other names are asked.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};
use wg::IpNet;

/// How long a question waits for the names of a network that the container has just come into.
const WAIT: Duration = Duration::from_secs(2);

/// A container in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// What its neighbours call it: the container's name, its aliases. The first is that of answers to its address.
    pub names: Vec<String>,
    /// Its addresses in the network.
    pub addresses: Vec<IpAddr>,
}

/// What one resolver knows.
#[derive(Debug)]
pub struct Book {
    page: Mutex<Page>,
    /// Whether the names are there.
    known: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Page {
    /// By networks' names, the members.
    networks: BTreeMap<String, Vec<Member>>,
    /// The networks' addresses.
    neighbours: Vec<IpNet>,
    servers: Vec<IpAddr>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            page: Mutex::default(),
            known: watch::Sender::new(false),
        }
    }
}

impl Book {
    /// Notes who is in the container's networks, by the networks' names, and the networks' addresses.
    pub fn set_members(&self, networks: BTreeMap<String, Vec<Member>>, neighbours: Vec<IpNet>) {
        let mut page = self.lock();
        page.networks = networks;
        page.neighbours = neighbours;
        drop(page);
        self.known.send_replace(true);
    }

    /// Notes who is asked for the other names.
    pub fn set_servers(&self, servers: &[IpAddr]) {
        servers.clone_into(&mut self.lock().servers);
    }

    /// Who is asked for the other names.
    pub(super) fn servers(&self) -> Vec<IpAddr> {
        self.lock().servers.clone()
    }

    /// Waits until the names are there, for a while.
    pub(super) async fn wait(&self) {
        let mut known = self.known.subscribe();
        let _late = timeout(WAIT, known.wait_for(|known| *known)).await;
    }

    /// The addresses of a name, in lower case and without the dot at its end: of `web`, or of `web.NETWORK` in one network.
    /// `None` if nobody has it.
    pub(super) fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let page = self.lock();
        let mut found = Vec::new();
        for (network, members) in &page.networks {
            let network = network.to_lowercase();
            for member in members {
                let is_called = |called: &String| {
                    let called = called.to_lowercase();
                    let below = name.strip_prefix(&called).and_then(|rest| rest.strip_prefix('.'));
                    called == name || below == Some(&network)
                };
                if member.names.iter().any(is_called) {
                    found.extend(member.addresses.iter().copied());
                }
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// What the neighbour with an address is called, with its network's name; `None` if there is nobody, and whether the
    /// address is one that a neighbour could have.
    pub(super) fn name(&self, address: IpAddr) -> (Option<String>, bool) {
        let page = self.lock();
        let members = page
            .networks
            .iter()
            .flat_map(|(network, members)| members.iter().map(move |member| (network, member)));
        let name = members
            .filter(|(_, member)| member.addresses.contains(&address))
            .find_map(|(network, member)| Some(format!("{}.{network}", member.names.first()?)));
        let is_near = page.neighbours.iter().any(|network| network.contains(&address));
        (name, is_near)
    }

    fn lock(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::resolver) fn book() -> Book {
        let book = Book::default();
        let member = |names: &[&str], addresses: &[&str]| Member {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let home = vec![
            member(&["Web", "www"], &["172.18.0.2", "fd07::2"]),
            member(&["web2", "www"], &["172.18.0.3"]),
        ];
        let away = vec![member(&["web"], &["172.19.0.2"])];
        let networks = [("home".to_owned(), home), ("away.net".to_owned(), away)];
        let neighbours = ["172.18.0.0/16", "fd07::/64", "172.19.0.0/16"].map(|text| text.parse().unwrap());
        book.set_members(networks.into(), neighbours.into());
        book
    }

    #[test]
    fn neighbours_are_found_as_docker_s_resolver_finds_them() {
        let book = book();
        let addresses = |name| {
            book.addresses(name)
                .unwrap_or_default()
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(addresses("web"), ["172.19.0.2", "172.18.0.2", "fd07::2"]);
        assert_eq!(addresses("web.home"), ["172.18.0.2", "fd07::2"]);
        assert_eq!(addresses("web.away.net"), ["172.19.0.2"]);
        assert_eq!(addresses("www"), ["172.18.0.2", "fd07::2", "172.18.0.3"]);
        for nobody in [
            "",
            "db",
            "web.",
            "web.example",
            "web2.away.net",
            "web.home.example",
            "ww",
        ] {
            assert_eq!(book.addresses(nobody), None, "{nobody}");
        }
        for (address, name, is_near) in [
            ("172.18.0.2", Some("Web.home"), true),
            ("172.18.0.9", None, true),
            ("fd07::2", Some("Web.home"), true),
            ("192.0.2.1", None, false),
        ] {
            assert_eq!(book.name(address.parse().unwrap()), (name.map(str::to_owned), is_near));
        }
    }
}
