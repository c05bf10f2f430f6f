//! Looks at a running gateway again and again: says what happened, and keeps its numbers for whoever asks.
//!
//! ```text
//!                            ┌─▶ log: who connected, moved, went silent, was refused
//!   Gateway ─ look ─▶ Watcher
//!                            └─▶ Board ◀─ /healthz, /metrics, `adit health`
//! ```

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use linux::{link, netlink::Netlink};
use tunnel::{Count, Plane};
use wg::PublicKey;

use crate::{
    Name,
    entry::Entry,
    events::Tracker,
    health::{self, Dns, Facts, Health},
    http::Pages,
    metrics::{self, PeerSample, Snapshot},
    probe::Probe,
    refusals::RefusalLog,
    server::{Gateway, PeerState},
};

/// What is known of a gateway, for whoever asks, on any thread.
#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    /// The page that was made last. Held while one is made, so that whoever asks meanwhile gets it, too.
    page: Mutex<Option<Page>>,
}

/// A page of metrics, and what it was made from.
#[derive(Debug)]
struct Page {
    version: u64,
    healthy: bool,
    text: Arc<str>,
}

#[derive(Debug)]
struct State {
    /// How often the numbers were changed.
    version: u64,
    interface: String,
    plane: String,
    opened: SystemTime,
    /// When the gateway was looked at last.
    looked: Instant,
    ended: Option<String>,
    /// Why the rules that hold the peers are not in force.
    rules: Option<String>,
    dns: Option<Dns>,
    servers: Vec<health::Server>,
    down: Vec<(String, String)>,
    peers: Vec<PeerSample>,
    server_peers: Vec<PeerSample>,
    counts: Vec<Count>,
}

impl Board {
    /// A board about a gateway that was opened just now.
    pub fn new(interface: &str, plane: impl std::fmt::Display) -> Self {
        let state = State {
            version: 0,
            interface: interface.to_owned(),
            plane: plane.to_string(),
            opened: SystemTime::now(),
            looked: Instant::now(),
            ended: None,
            rules: None,
            dns: None,
            servers: Vec::new(),
            down: Vec::new(),
            peers: Vec::new(),
            server_peers: Vec::new(),
            counts: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            page: Mutex::new(None),
        }
    }

    /// Notes how the servers of a client's tunnels are, in health and in numbers, and which tunnels are down and should
    /// not be, each with the reason.
    pub fn set_servers(&self, servers: Vec<health::Server>, peers: Vec<PeerSample>, down: Vec<(String, String)>) {
        let mut state = self.state();
        state.version += 1;
        state.looked = Instant::now();
        (state.servers, state.server_peers, state.down) = (servers, peers, down);
    }

    /// Notes how a client's DNS is.
    pub(crate) fn set_dns(&self, dns: Dns) {
        self.state().dns = Some(dns);
    }

    /// Notes why the rules that hold the peers are not in force; `None` if they are.
    pub fn set_rules(&self, problem: Option<String>) {
        let mut state = self.state();
        state.version += 1;
        state.rules = problem;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The peers of the gateway, and those of tunnels beside it: a name that both have is the gateway's.
    fn all_peers(&self) -> impl Iterator<Item = &PeerSample> {
        let is_free = |server: &&PeerSample| !self.peers.iter().any(|peer| peer.name == server.name);
        self.peers.iter().chain(self.server_peers.iter().filter(is_free))
    }

    fn health(&self) -> Health {
        health::judge(&Facts {
            tunnel: health::Tunnel {
                plane: self.plane.clone(),
                ended: self.ended.clone(),
                looked: self.looked.elapsed(),
                peers: self.all_peers().count(),
                connected: self.all_peers().filter(|peer| peer.totals.connected).count(),
            },
            rules: self.rules.clone(),
            dns: self.dns,
            servers: self.servers.clone(),
            down: self.down.clone(),
        })
    }
}

impl Pages for Board {
    fn health(&self) -> Health {
        self.state().health()
    }

    fn metrics(&self) -> Arc<str> {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, healthy, snapshot) = {
            let state = self.state();
            // A gateway that nobody looks at any more becomes unhealthy without a new number.
            let healthy = state.health().healthy;
            let same = |page: &&Page| (page.version, page.healthy) == (state.version, healthy);
            if let Some(page) = page.as_ref().filter(same) {
                return Arc::clone(&page.text);
            }
            let snapshot = Snapshot {
                interface: state.interface.clone(),
                plane: state.plane.clone(),
                started: state.opened,
                healthy,
                peers: state.all_peers().cloned().collect(),
                counts: state.counts.clone(),
            };
            (state.version, healthy, snapshot)
        };
        let text: Arc<str> = metrics::render(&snapshot).into();
        *page = Some(Page {
            version,
            healthy,
            text: Arc::clone(&text),
        });
        text
    }
}

/// Looks at a gateway.
#[derive(Debug)]
pub struct Watcher {
    /// The gateway's interface, if its plane has one.
    interface: Option<String>,
    board: Arc<Board>,
    log: fn(&Entry),
    tracker: Tracker,
    refusals: RefusalLog,
    probe: Option<Probe>,
}

impl Watcher {
    /// A watcher of a gateway that was opened just now.
    pub fn new(gateway: &Gateway, interface: &str, log: fn(&Entry)) -> Self {
        let now = Instant::now();
        Self {
            interface: Some(interface.to_owned()).filter(|_| gateway.plane() != Plane::Netstack),
            board: Arc::new(Board::new(interface, gateway.plane())),
            log,
            tracker: Tracker::default(),
            refusals: RefusalLog::new(now, &gateway.counts()),
            // Without it, DNS is not judged.
            probe: gateway.dns_address().and_then(|address| Probe::new(address).ok()),
        }
    }

    /// What is known of the gateway.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Looks at the gateway, whose peers are these.
    pub fn look(&mut self, gateway: &Gateway, peers: &[PeerState], now: Instant) {
        for event in self.tracker.observe(now, SystemTime::now(), peers) {
            (self.log)(&Entry::from(&event));
        }
        let counts = gateway.counts();
        let refused = gateway.take_refusals();
        let names: HashMap<PublicKey, &Name> = if refused.is_empty() {
            HashMap::new()
        } else {
            peers.iter().map(|peer| (peer.public_key, &peer.name)).collect()
        };
        let name = |key: &PublicKey| names.get(key).map(|name| (*name).clone());
        for entry in self.refusals.observe(now, &refused, &counts, name) {
            (self.log)(&entry);
        }
        let samples = peers.iter().map(|peer| PeerSample {
            name: peer.name.clone(),
            received_bytes: peer.received_bytes,
            sent_bytes: peer.sent_bytes,
            latest_handshake: peer.latest_handshake,
            totals: self.tracker.totals(&peer.public_key),
        });
        let samples = samples.collect();
        let dns = self.probe.as_mut().map(|probe| probe.look(now));
        let off = self.interface.as_deref().filter(|name| is_off(name));
        let mut state = self.board.state();
        state.version += 1;
        state.ended = off.map(off_text);
        (state.looked, state.peers, state.counts, state.dns) = (now, samples, counts, dns);
    }
}

/// Whether an interface is there and switched off.
pub(crate) fn is_off(name: &str) -> bool {
    let found = Netlink::route().and_then(|mut netlink| link::find(&mut netlink, name));
    found.is_ok_and(|link| link.is_some_and(|link| !link.up))
}

/// What is said of an interface that is switched off.
pub(crate) fn off_text(name: &str) -> String {
    format!("the interface is switched off; `ip link set {name} up` switches it on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_made_once_for_the_same_numbers() {
        let board = Board::new("wg0", Plane::Netstack);
        let first = board.metrics();
        assert!(first.contains("adit_gateway_healthy 1\n"), "{first}");
        assert!(Arc::ptr_eq(&first, &board.metrics()));
        board.set_rules(Some("there are none".into()));
        let second = board.metrics();
        assert!(second.contains("adit_gateway_healthy 0\n"), "{second}");
        assert!(Arc::ptr_eq(&second, &board.metrics()));
    }
}
