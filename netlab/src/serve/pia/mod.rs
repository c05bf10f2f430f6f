//! Private Internet Access in small: the token API, the server list, and WireGuard servers that take keys and give
//! ports.
//!
//! Everything is on one port of all addresses. Whoever comes to the address of a server of the list meets that server,
//! with a certificate of PIA's authority; whoever comes to another address meets what its TLS asks for by name.

mod api;
mod certificates;
mod connection;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use self::certificates::Certificates;
use super::{Rsa, Server, rsa, tcp};
use crate::Host;

/// The name of the host of the API, the server list and the certificate authority.
pub const HOST: &str = "pia.test";

/// The user name that is taken.
pub const USER: &str = "p1234567";

/// The password that is taken.
pub const PASSWORD: &str = "pass word&=";

/// One WireGuard server of the list.
#[derive(Clone, Debug)]
pub struct PiaServer {
    /// The region's ID.
    pub region: &'static str,
    /// The server's name.
    pub cn: String,
    /// Where it is.
    pub ip: IpAddr,
    /// Its address in the tunnel.
    pub vip: IpAddr,
    /// Whether the region forwards ports.
    pub forwards: bool,
    /// Whether the region is offline.
    pub offline: bool,
}

/// A key that somebody registers.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The server's name.
    pub cn: String,
    /// The key, in base64.
    pub key: String,
    /// The address that it gets in the tunnel.
    pub address: IpAddr,
}

/// A dedicated IP.
#[derive(Clone, Debug)]
pub struct DedicatedIp {
    /// Its token.
    pub token: String,
    /// Which server it is at.
    pub cn: String,
    /// That server's address.
    pub ip: IpAddr,
    /// Its region.
    pub region: String,
}

type OnKey = dyn Fn(&NewKey) -> (String, u16) + Send + Sync;

/// The service.
pub struct Pia {
    shared: Arc<Shared>,
}

struct Shared {
    rsa: Rsa,
    certificates: Certificates,
    on_key: Box<OnKey>,
    /// The port that the list names, of the first listener.
    port: OnceLock<u16>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those of the list.
    servers: Vec<PiaServer>,
    /// Those that the list once had: they serve on.
    earlier: Vec<PiaServer>,
    /// What servers call themselves that the list calls otherwise.
    renamed: BTreeMap<String, String>,
    dedicated: Vec<DedicatedIp>,
    tokens: BTreeSet<String>,
    logins: usize,
    /// Who has which key at which server.
    keys: BTreeMap<String, String>,
    addresses: u16,
    ports: u16,
    port_life: Duration,
    is_tampered: bool,
    /// Answers to the next requests, by path.
    next: BTreeMap<String, VecDeque<(u16, String)>>,
    /// Requests by path.
    asked: BTreeMap<String, usize>,
    bound: Vec<String>,
}

impl fmt::Debug for Pia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().fmt(f)
    }
}

impl Pia {
    /// A service with these servers. `on_key` brings a key to the server's WireGuard, and gives that one's public key, in
    /// base64, and UDP port.
    #[must_use]
    pub fn new(
        servers: impl IntoIterator<Item = PiaServer>,
        on_key: impl Fn(&NewKey) -> (String, u16) + Send + Sync + 'static,
    ) -> Self {
        let rsa = rsa();
        let state = State {
            servers: servers.into_iter().collect(),
            port_life: Duration::from_secs(60 * 24 * 60 * 60),
            ..State::default()
        };
        Self {
            shared: Arc::new(Shared {
                certificates: Certificates::new(&rsa),
                rsa,
                on_key: Box::new(on_key),
                port: OnceLock::new(),
                state: Mutex::new(state),
            }),
        }
    }

    /// Listens on `port` of the host's addresses, or of this machine's; 0 takes a free one. The list names the port of
    /// the first call as that at which servers take keys; ports are asked for at 19999.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    #[track_caller]
    #[must_use]
    pub fn listen(&self, host: Option<&Host>, port: u16) -> Server {
        let bind = || TcpListener::bind(("::", port)).expect("bind a listener");
        let listener = match host {
            Some(host) => host.run(bind),
            None => bind(),
        };
        let port = listener.local_addr().expect("a listener has an address").port();
        let _is_of_the_first = self.shared.port.set(port);
        let shared = Arc::clone(&self.shared);
        tcp::serve_on(listener, move |stream| connection::serve(&shared, stream))
    }

    /// The certificate authority of the servers, as PEM.
    #[must_use]
    pub fn authority_pem(&self) -> String {
        self.shared.certificates.authority_pem()
    }

    /// Its SHA-256.
    #[must_use]
    pub fn authority_sha256(&self) -> [u8; 32] {
        self.shared.certificates.authority_sha256()
    }

    /// The certificate authority of [`HOST`], as PEM.
    #[must_use]
    pub fn web_pem(&self) -> String {
        self.shared.certificates.web_pem()
    }

    /// The key that signs the list, as PEM.
    #[must_use]
    pub fn list_key_pem(&self) -> String {
        self.shared.rsa.public_pem()
    }

    /// Answers the next request for `path` so; after the answers that were given before.
    pub fn next(&self, path: &str, status: u16, body: &str) {
        let mut state = self.lock();
        let queue = state.next.entry(path.to_owned()).or_default();
        queue.push_back((status, body.to_owned()));
    }

    /// How often `path` was asked for.
    #[must_use]
    pub fn asked(&self, path: &str) -> usize {
        self.lock().asked.get(path).copied().unwrap_or(0)
    }

    /// Takes no token any more that was given so far.
    pub fn expire_tokens(&self) {
        self.lock().tokens.clear();
    }

    /// Changes the servers of the list. Those that it had serve on.
    pub fn set_servers(&self, servers: impl IntoIterator<Item = PiaServer>) {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.servers, servers.into_iter().collect());
        state.earlier.extend(before);
    }

    /// Calls the server otherwise than the list does.
    pub fn rename(&self, cn: &str, truly: &str) {
        self.lock().renamed.insert(cn.to_owned(), truly.to_owned());
    }

    /// Whether the list differs from what was signed.
    pub fn tamper(&self, is_tampered: bool) {
        self.lock().is_tampered = is_tampered;
    }

    /// Sells a dedicated IP.
    pub fn sell(&self, dedicated: DedicatedIp) {
        self.lock().dedicated.push(dedicated);
    }

    /// How long ports are good for that are given from here on.
    pub fn set_port_life(&self, life: Duration) {
        self.lock().port_life = life;
    }

    /// The key that a server knows: one at a time, as the account is one.
    #[must_use]
    pub fn key_of(&self, cn: &str) -> Option<String> {
        self.lock().keys.get(cn).cloned()
    }

    /// Forgets all keys, as servers do after some hours or when they start anew.
    pub fn forget_keys(&self) {
        self.lock().keys.clear();
    }

    /// The servers and ports that were bound, as `zurich401 40001`, in their order.
    #[must_use]
    pub fn bound(&self) -> Vec<String> {
        self.lock().bound.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl State {
    /// All servers, those of the list first.
    fn all(&self) -> impl Iterator<Item = &PiaServer> {
        self.servers.iter().chain(&self.earlier)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
