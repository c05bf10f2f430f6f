//! The servers that this host is a client of: says what happens with them, and looks silent ones up again.
//!
//! ```text
//!   tunnels of wg_confs ─ look ─▶ Servers ─┬─▶ log
//!            ▲                             ├─▶ Board ◀─ /healthz, /metrics, `adit health`
//!            └──── another endpoint ───────┘
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use tunnel::control::Control;
use wg::{PublicKey, Status, Update, conf::Conf};
use zeroize::Zeroizing;

use crate::{
    Name,
    entry::Entry,
    events::Tracker,
    metrics::PeerSample,
    probe::Probe,
    redial::Redialer,
    server::PeerState,
    upstream::{Upstream, Upstreams},
    watcher::{Board, is_off, off_text},
};

/// The servers of all tunnels of a client.
#[derive(Debug)]
pub struct Servers {
    /// Who is asked for names: the system's resolvers as they were before the tunnels came up.
    resolvers: Vec<Upstream>,
    tunnels: BTreeMap<String, Followed>,
    tracker: Tracker,
    /// Tunnels that are not up and should be, each with the reason.
    down: Vec<(String, String)>,
    /// Asks the client's own DNS.
    probe: Option<Probe>,
    board: Arc<Board>,
    log: fn(&Entry),
}

struct Followed {
    /// The configuration, to see whether it is another.
    text: Zeroizing<String>,
    redialer: Redialer,
    names: HashMap<PublicKey, Name>,
}

/// Without the text, which has keys.
impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followed")
            .field("redialer", &self.redialer)
            .finish_non_exhaustive()
    }
}

impl Servers {
    /// No servers yet. To be made before the first tunnel comes up: that may change the system's resolvers.
    pub fn new(log: fn(&Entry)) -> Self {
        Self::beside(Arc::new(Board::new("wg_confs", "client")), log)
    }

    /// The same beside a gateway, with whose board.
    pub fn beside(board: Arc<Board>, log: fn(&Entry)) -> Self {
        Self {
            // Without resolvers, endpoints stay where they are.
            resolvers: Upstreams::system().read().unwrap_or_default(),
            tunnels: BTreeMap::new(),
            tracker: Tracker::default(),
            down: Vec::new(),
            probe: None,
            board,
            log,
        }
    }

    /// What is known of the servers.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Judges health by the client's own DNS too, which answers on this address.
    ///
    /// # Errors
    ///
    /// There is no socket to ask it from.
    pub fn ask_dns(&mut self, address: SocketAddr) -> io::Result<()> {
        self.probe = Some(Probe::new(address)?);
        Ok(())
    }

    /// Follows the servers of these tunnels and no others, each with its name and the text of its configuration.
    pub fn follow<'a>(&mut self, tunnels: impl IntoIterator<Item = (String, &'a str)>) {
        let mut before = std::mem::take(&mut self.tunnels);
        for (name, text) in tunnels {
            let followed = match before.remove(&name).filter(|followed| *followed.text == *text) {
                Some(followed) => followed,
                // What came up could be read.
                None => match Conf::parse(&name, text) {
                    Ok(conf) => Followed {
                        redialer: Redialer::new(&name, &conf, &self.resolvers),
                        names: names(&name, &conf),
                        text: Zeroizing::new(text.to_owned()),
                    },
                    Err(_) => continue,
                },
            };
            self.tunnels.insert(name, followed);
        }
    }

    /// Notes which tunnels are down and should not be, each with the reason.
    pub fn set_down(&mut self, down: Vec<(String, String)>) {
        self.down = down;
    }

    /// Looks at the tunnels, and changes those whose servers have moved. To be called every few seconds.
    pub fn look(&mut self, now: Instant) {
        let (mut states, mut servers, mut down) = (Vec::new(), Vec::new(), self.down.clone());
        for (name, followed) in &mut self.tunnels {
            let looked = Control::open(name).and_then(|mut control| {
                let status = control.status()?;
                for (change, entry) in followed.redialer.look(now, &status) {
                    control.change(&Update {
                        peers: vec![change],
                        ..Update::default()
                    })?;
                    (self.log)(&entry);
                }
                Ok(status)
            });
            match looked {
                Ok(status) => states.extend(peers(followed, &status)),
                Err(error) => down.push((name.clone(), error.to_string())),
            }
            if is_off(name) {
                down.push((name.clone(), off_text(name)));
            }
            servers.extend(followed.redialer.health(now));
        }
        for event in self.tracker.observe(now, SystemTime::now(), &states) {
            (self.log)(&Entry::from(&event));
        }
        let samples = states.into_iter().map(|peer| PeerSample {
            totals: self.tracker.totals(&peer.public_key),
            name: peer.name,
            received_bytes: peer.received_bytes,
            sent_bytes: peer.sent_bytes,
            latest_handshake: peer.latest_handshake,
        });
        if let Some(probe) = &mut self.probe {
            self.board.set_dns(probe.look(now));
        }
        self.board.set_servers(servers, samples.collect(), down);
    }
}

/// How the peers of a tunnel are.
fn peers(followed: &Followed, status: &Status) -> Vec<PeerState> {
    let state = |(key, name): (&PublicKey, &Name)| {
        let happened = status.peers.get(key).copied().unwrap_or_default();
        PeerState {
            name: name.clone(),
            public_key: *key,
            endpoint: status.device.peers.get(key).and_then(|peer| peer.endpoint),
            latest_handshake: happened.latest_handshake,
            received_bytes: happened.rx_bytes,
            sent_bytes: happened.tx_bytes,
        }
    };
    followed.names.iter().map(state).collect()
}

/// What the peers of a tunnel are called: as the tunnel, and numbered if there are several.
fn names(tunnel: &str, conf: &Conf) -> HashMap<PublicKey, Name> {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let tunnel: String = tunnel.chars().map(allowed).collect();
    let keys: Vec<PublicKey> = conf.peers().map(|peer| peer.public_key).collect();
    let name = |index: usize| {
        let text = if keys.len() == 1 {
            tunnel.clone()
        } else {
            format!("{tunnel}-{}", index + 1)
        };
        // One that begins with a sign.
        text.parse().or_else(|_| format!("x{text}").parse()).ok()
    };
    let named = keys.iter().enumerate();
    named.filter_map(|(index, key)| Some((*key, name(index)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 2] = [
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
    ];

    #[test]
    fn servers_are_called_after_their_tunnel() {
        for (tunnel, keys, expected) in [
            ("office", &KEYS[..1], "office"),
            ("office", &KEYS[..], "office-1 office-2"),
            ("a.b+c", &KEYS[..1], "a_b_c"),
            ("_x", &KEYS[..1], "x_x"),
        ] {
            let peers = keys.iter().map(|key| format!("[Peer]\nPublicKey = {key}\n"));
            let text = format!("[Interface]\n{}", peers.collect::<String>());
            let names = names(tunnel, &Conf::parse("x.conf", &text).unwrap());
            let mut names: Vec<&str> = names.values().map(Name::as_str).collect();
            names.sort_unstable();
            assert_eq!(names.join(" "), expected);
        }
    }
}
