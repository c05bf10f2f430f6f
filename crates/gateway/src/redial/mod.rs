//! Looks up a server's name again when its handshakes stop: it may have moved to another address.
//!
//! ```text
//!            wanted, and no handshake for 135 s        addresses
//!   at rest ────────────────────────────────▶ asking ───────────▶ another endpoint, or the same name again,
//!      ▲                                                          later each time
//!      └────────────────────────── a handshake ──────────────────────┘
//! ```
//!
//! Pure: the caller passes time and status, looks names up, and carries out what [`Redial::answer`] gives.

mod lookup;
mod shell;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use wg::{
    PeerUpdate, PublicKey, Status,
    conf::{Conf, Endpoint, Host},
};

pub use self::shell::Redialer;
use crate::{events::CONNECTED_FOR, health};

/// How old a handshake must be. A peer renews its session after 120 s and tries for 15 s in peace.
const STALE: Duration = Duration::from_secs(135);

/// How long a first handshake may take.
const FIRST: Duration = Duration::from_secs(15);

/// How long it is waited before a name is looked up again, at first and at most.
const WAIT: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(300));

/// The servers of one tunnel.
#[derive(Debug)]
pub struct Redial {
    tunnel: String,
    servers: BTreeMap<PublicKey, Server>,
}

/// A name that is to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose it is.
    pub peer: PublicKey,
    /// The name.
    pub name: String,
    /// The port that goes with its addresses.
    pub port: u16,
}

#[derive(Debug)]
struct Server {
    endpoint: Endpoint,
    keepalive: bool,
    handshake: Option<SystemTime>,
    /// When the handshake took place, by a clock that nobody sets.
    renewed: Option<Instant>,
    /// What had been sent when the handshake took place.
    sent_before: u64,
    /// Since when packets have wanted to get there without a handshake that is good for them.
    wanted: Option<Instant>,
    /// When the name may be looked up next, and how long it is waited after that.
    next: Option<Instant>,
    wait: Duration,
    asking: bool,
    address: Option<SocketAddr>,
}

impl Redial {
    /// The servers of a configuration: its peers that have an endpoint.
    pub fn new(tunnel: &str, conf: &Conf) -> Self {
        let server = |endpoint, keepalive| Server {
            endpoint,
            keepalive,
            handshake: None,
            renewed: None,
            sent_before: 0,
            wanted: None,
            next: None,
            wait: WAIT.0,
            asking: false,
            address: None,
        };
        let servers = conf.peers().filter_map(|peer| {
            let keepalive = peer.persistent_keepalive.is_some_and(|seconds| seconds > 0);
            Some((peer.public_key, server(peer.endpoint?, keepalive)))
        });
        Self {
            tunnel: tunnel.to_owned(),
            servers: servers.collect(),
        }
    }

    /// The tunnel's name.
    pub fn tunnel(&self) -> &str {
        &self.tunnel
    }

    /// Takes note of how the tunnel is. Gives the names that are to be looked up; each gets an
    /// [answer](Redial::answer).
    pub fn observe(&mut self, now: Instant, wall: SystemTime, status: &Status) -> Vec<Question> {
        let mut questions = Vec::new();
        for (key, server) in &mut self.servers {
            let happened = status.peers.get(key).copied().unwrap_or_default();
            server.address = status.device.peers.get(key).and_then(|peer| peer.endpoint);
            server.observe(now, wall, happened.latest_handshake, happened.tx_bytes);
            if let Host::Name(name) = &server.endpoint.host
                && server.is_due(now)
            {
                server.asking = true;
                questions.push(Question {
                    peer: *key,
                    name: name.clone(),
                    port: server.endpoint.port,
                });
            }
        }
        questions
    }

    /// Takes the addresses that a name has and that can be sent to; none if it could not be looked up. Gives the change
    /// to the tunnel, if the one that does not answer is not among them: to one of its family, if there is one.
    pub fn answer(&mut self, now: Instant, peer: PublicKey, addresses: &[SocketAddr]) -> Option<PeerUpdate> {
        let server = self.servers.get_mut(&peer)?;
        server.asking = false;
        server.next = Some(now + server.wait);
        server.wait = (server.wait * 2).min(WAIT.1);
        // Meanwhile it may have answered where it was.
        server.wanted?;
        if server.address.is_some_and(|address| addresses.contains(&address)) {
            return None;
        }
        let is_alike = |other: &&SocketAddr| {
            server
                .address
                .is_none_or(|address| address.is_ipv4() == other.is_ipv4())
        };
        let other = addresses.iter().find(is_alike).or(addresses.first())?;
        server.address = Some(*other);
        Some(PeerUpdate {
            update_only: true,
            endpoint: Some(*other),
            ..PeerUpdate::new(peer)
        })
    }

    /// What the servers are judged by.
    pub fn health(&self, now: Instant) -> Vec<health::Server> {
        let many = self.servers.len() > 1;
        let servers = self.servers.values().map(|server| health::Server {
            name: if many {
                format!("{} ({})", self.tunnel, server.endpoint)
            } else {
                self.tunnel.clone()
            },
            handshake: server.renewed.map(|renewed| now.saturating_duration_since(renewed)),
            wanted: server.wanted.map(|since| now.saturating_duration_since(since)),
        });
        servers.collect()
    }
}

impl Server {
    fn observe(&mut self, now: Instant, wall: SystemTime, handshake: Option<SystemTime>, sent: u64) {
        if handshake != self.handshake {
            // The first that is seen may be old.
            let age = handshake.and_then(|handshake| wall.duration_since(handshake).ok());
            let first_age = age.filter(|_| self.handshake.is_none()).unwrap_or_default();
            self.renewed = handshake.map(|_| now.checked_sub(first_age).unwrap_or(now));
            self.handshake = handshake;
            self.sent_before = sent;
            self.wanted = None;
            (self.next, self.wait) = (None, WAIT.0);
        }
        let is_good = self
            .renewed
            .is_some_and(|renewed| now.saturating_duration_since(renewed) < STALE);
        let is_wanted = !is_good && (self.keepalive || sent > self.sent_before);
        self.wanted = is_wanted.then(|| self.wanted.unwrap_or(now));
    }

    fn is_due(&self, now: Instant) -> bool {
        let patience = if self.renewed.is_some() { Duration::ZERO } else { FIRST };
        let has_waited = self
            .wanted
            .is_some_and(|since| now.saturating_duration_since(since) >= patience);
        has_waited && !self.asking && self.next.is_none_or(|next| next <= now)
    }
}

const _: () = assert!(
    STALE.as_secs() < CONNECTED_FOR.as_secs(),
    "a name is looked up before health is lost"
);

#[cfg(test)]
mod tests {
    use wg::{Peer, PeerStatus};

    use super::*;

    const CONF: &str = "[Interface]\n\
        PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n\
        [Peer]\n\
        PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n\
        Endpoint = vpn.example.com:51820\n\
        AllowedIPs = 0.0.0.0/0\n";

    fn address(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 51_820).into()
    }

    struct Scene {
        start: (Instant, SystemTime),
        redial: Redial,
        key: PublicKey,
        status: Status,
    }

    impl Scene {
        fn new(keepalive: &str) -> Self {
            let conf = Conf::parse("office.conf", &(CONF.to_owned() + keepalive)).unwrap();
            let key = conf.peers().next().unwrap().public_key;
            let mut status = Status::default();
            status.peers.insert(key, PeerStatus::default());
            let peer = Peer {
                endpoint: Some(address(1)),
                ..Peer::default()
            };
            status.device.peers.insert(key, peer);
            Self {
                start: (Instant::now(), SystemTime::now()),
                redial: Redial::new("office", &conf),
                key,
                status,
            }
        }

        fn at(&self, second: u64) -> (Instant, SystemTime) {
            let since = Duration::from_secs(second);
            (self.start.0 + since, self.start.1 + since)
        }

        /// Whether the name is to be looked up at this second.
        fn asks(&mut self, second: u64) -> bool {
            let (now, wall) = self.at(second);
            let questions = self.redial.observe(now, wall, &self.status);
            questions.iter().all(|question| question.name == "vpn.example.com") && !questions.is_empty()
        }

        fn answer(&mut self, second: u64, addresses: &[SocketAddr]) -> Option<SocketAddr> {
            let update = self.redial.answer(self.at(second).0, self.key, addresses)?;
            assert!(update.update_only && update.public_key == self.key);
            self.status.device.peers.get_mut(&self.key).unwrap().endpoint = update.endpoint;
            update.endpoint
        }

        fn handshake(&mut self, second: u64) {
            let wall = self.at(second).1;
            self.status.peers.get_mut(&self.key).unwrap().latest_handshake = Some(wall);
        }

        fn send(&mut self) {
            self.status.peers.get_mut(&self.key).unwrap().tx_bytes += 148;
        }
    }

    #[test]
    fn a_name_is_looked_up_when_handshakes_stop_and_later_each_time() {
        let mut scene = Scene::new("PersistentKeepalive = 25\n");
        assert!(!scene.asks(0));
        scene.handshake(1);
        for second in [2, 60, 135] {
            assert!(!scene.asks(second), "{second}");
        }
        assert!(scene.asks(136), "135 s after it");
        assert!(!scene.asks(139), "it is being looked up");
        assert_eq!(scene.answer(140, &[address(1)]), None, "it is where it was");
        // (when it is looked up again)
        let mut last = 140;
        for wait in [15, 30, 60, 120, 240, 300, 300] {
            assert!(!scene.asks(last + wait - 1), "{wait}");
            assert!(scene.asks(last + wait), "{wait}");
            last += wait;
            assert_eq!(scene.answer(last, &[]), None, "nobody knows");
        }
        assert!(scene.asks(last + 300));
        assert_eq!(scene.answer(last + 300, &[address(2)]), Some(address(2)));
        scene.handshake(last + 301);
        assert!(!scene.asks(last + 302));
        assert!(scene.asks(last + 302 + 135), "the waits begin anew");
    }

    #[test]
    fn an_address_stays_while_it_is_among_the_name_s_and_so_does_the_family() {
        let v6: SocketAddr = "[2001:db8::1]:51820".parse().unwrap();
        // (the name's addresses, where the server is then)
        for (addresses, expected) in [
            (&[v6, address(2), address(1)][..], None),
            (&[v6, address(2)], Some(address(2))),
            (&[v6], Some(v6)),
            (&[], None),
        ] {
            let mut scene = Scene::new("PersistentKeepalive = 25\n");
            scene.asks(0);
            assert!(scene.asks(15));
            assert_eq!(scene.answer(15, addresses), expected, "{addresses:?}");
        }
    }

    #[test]
    fn a_first_handshake_has_its_time() {
        let mut scene = Scene::new("PersistentKeepalive = 25\n");
        for (second, asks) in [(0, false), (14, false), (15, true)] {
            assert_eq!(scene.asks(second), asks, "{second}");
        }
    }

    #[test]
    fn a_tunnel_that_nobody_wants_is_left_alone() {
        let mut scene = Scene::new("");
        for second in [0, 20, 1000] {
            assert!(!scene.asks(second), "{second}");
        }
        scene.send();
        assert!(!scene.asks(1001));
        assert!(scene.asks(1016));
        scene.answer(1016, &[address(1)]);
        scene.handshake(1017);
        assert!(!scene.asks(1018));
        assert!(!scene.asks(5000), "nothing was sent since");
        scene.send();
        assert!(scene.asks(5002));
        scene.handshake(5003);
        assert!(!scene.asks(5004));
        assert_eq!(scene.answer(5005, &[address(2)]), None, "it has answered where it was");
    }

    #[test]
    fn health_follows_from_handshakes_and_what_is_wanted() {
        let mut scene = Scene::new("PersistentKeepalive = 25\n");
        scene.asks(0);
        scene.handshake(0);
        scene.asks(1);
        scene.asks(190);
        let [server] = &scene.redial.health(scene.at(190).0)[..] else {
            panic!("one server")
        };
        assert_eq!(server.name, "office");
        assert_eq!(server.handshake, Some(Duration::from_secs(190)));
        assert!(server.wanted.is_some());
    }
}
