//! A lease in this process, from its beginning to its end.

mod wishes;

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use gateway::{
    Name,
    client::{Client, Terms},
    network::Network,
    reach::{Host, Reach, Sources},
    server::{Gateway, PeerState},
};
use linux::signal::{Signal, Signals};

use self::wishes::Answered;
use super::{
    Arguments,
    alone::{self, Attended, Book, Member},
    config::Config,
    event::{Event, Total},
    files::Files,
    screen::{self, Screen},
    target::Target,
};
use crate::{
    duration, failure,
    limit::Limit,
    moment,
    opening::{self, Listen, Site},
    output,
};

/// How often the gateway is asked how its peers are.
const TICK: Duration = Duration::from_secs(1);

/// As [`TICK`], while a client may be connecting at any moment.
const QUICK_TICK: Duration = Duration::from_millis(200);

/// As [`TICK`], for a while after another command has asked: whoever asks once asks again.
const ATTENTIVE_TICK: Duration = Duration::from_millis(20);

/// How long that while is.
const ATTENTION: Duration = Duration::from_secs(2);

/// How long the gateway may take to open, before its time begins.
const OPENING_LIMIT: Duration = Duration::from_secs(60);

/// What the gateway's interface is called, before a number.
const INTERFACE: &str = "adit";

/// The reason of an end whose time had come.
const LIFETIME: &str = "lifetime";

/// Runs the lease.
pub(super) fn run(arguments: Arguments, started: Instant) -> anyhow::Result<()> {
    if let Some(option) = arguments.elsewhere.first_given() {
        return Err(failure::usage(format!(
            "{option} is for --hub, and for --on with another place than local"
        )));
    }
    let target = arguments.target.clone();
    let mut random = [0; 7];
    getrandom::fill(&mut random).context("cannot read this system's random source")?;
    let config = Config::new(arguments, random)?;
    // Before the first thread: every thread leaves the signals to this one.
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let mut screen = Screen::new(config.json);
    let mut lease = Lease::begin(&config, &target, &mut screen)?;
    let announced = lease.announce(&config, &mut screen, started);
    let reason = announced.and_then(|()| lease.watch(&config, &mut screen, &signals));
    // Whatever happened, the gateway goes.
    let ended = lease.end(&config, &mut screen, reason.as_ref().copied().unwrap_or("failure"));
    reason.and(ended)
}

/// A gateway that lives for a while.
struct Lease {
    gateway: Gateway,
    files: Files,
    reach: Reach,
    network: Network,
    /// Those that it began with.
    clients: Vec<(Name, Client)>,
    /// What passed under the keys that peers had before, in bytes received and sent.
    carried: HashMap<Name, (u64, u64)>,
    terms: Terms,
    ends: SystemTime,
    /// `ends` by the clock that nobody sets and that goes on while the machine sleeps.
    due: Duration,
    /// The kernel's, should this process not end it.
    limit: Limit,
    /// Until when another command may ask more, by the same clock.
    attentive_until: Duration,
    /// Its row, for `adit launch list` and the like; `None` where nothing can be remembered.
    row: Option<Attended>,
}

impl Lease {
    /// Opens the gateway and writes what its clients need, once its row is kept. What was done is undone if a step fails.
    fn begin(config: &Config, target: &Target, screen: &mut Screen) -> anyhow::Result<Self> {
        let given = config.endpoint.as_ref().map(|endpoint| endpoint.host.clone());
        let reach = Reach::find(given, Sources::of_this_machine())?;
        let files = Files::open(&config.output)?;
        config.peers.iter().try_for_each(|peer| files.check(peer))?;
        let limit = Limit::behind(moment::since_boot() + OPENING_LIMIT + config.lifetime)?;
        let mut site = config.opening.site(&mut |line| screen.line(line))?;
        let clients = config
            .peers
            .iter()
            .map(|name| Ok((name.clone(), Client::new(site.network.lease(name.as_str())?)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let row = attend(config, target, &clients);
        let opened = Self::open(config, (site, reach, files, limit), clients, screen);
        match (opened, row) {
            (Ok(mut lease), Some(mut row)) => {
                row.made(lease.facts());
                // What others have left is looked for, too.
                if let Ok(places) = target.places(row.book(), None, None) {
                    alone::sweep_beside(row.book().clone(), places);
                }
                lease.row = Some(row);
                Ok(lease)
            }
            (Err(error), Some(row)) => {
                row.fail(&error);
                Err(error)
            }
            (opened, None) => opened,
        }
    }

    fn open(
        config: &Config,
        (site, reach, mut files, limit): (Site, Reach, Files, Limit),
        clients: Vec<(Name, Client)>,
        screen: &mut Screen,
    ) -> anyhow::Result<Self> {
        let private_key = gateway::key::private()?;
        let peers: Vec<_> = clients
            .iter()
            .map(|(name, client)| (name.clone(), client.peer()))
            .collect();
        let name = gateway::server::free_name(INTERFACE);
        let mut say = |line: &str| screen.line(line);
        let gateway = config.opening.open(&site, name, &private_key, &peers, None, &mut say)?;
        let port = config
            .endpoint
            .as_ref()
            .and_then(|endpoint| endpoint.port)
            .unwrap_or(gateway.listen_port());
        let own_dns = || opening::own_resolvers(&site.network).map(Host::Address).collect();
        let terms = Terms {
            server_key: private_key.public_key(),
            endpoint: (reach.host.clone(), port),
            dns: config.dns.clone().unwrap_or_else(own_dns),
            allowed_ips: config.allowed_ips.clone(),
            mtu: config.opening.mtu,
            listen_port: None,
            form: None,
        };
        let ends = SystemTime::now() + config.lifetime;
        for (name, client) in &clients {
            let note = format!("{name}, until {}", moment::rfc3339(ends));
            files.write(name, &note, &client.conf(&terms))?;
        }
        let due = moment::since_boot() + config.lifetime;
        limit.follow(due)?;
        Ok(Self {
            gateway,
            files,
            reach,
            network: site.into_network(),
            clients,
            carried: HashMap::new(),
            terms,
            ends,
            due,
            limit,
            attentive_until: Duration::ZERO,
            row: None,
        })
    }

    /// The gateway as others are to see it.
    fn facts(&self) -> alone::Facts {
        alone::Facts {
            public_key: self.terms.server_key,
            endpoint: format!("{}:{}", self.terms.endpoint.0, self.terms.endpoint.1),
            listen_port: self.gateway.listen_port(),
            plane: self.gateway.plane().to_string(),
            addresses: self.gateway.addresses().to_vec(),
        }
    }

    /// Says that the gateway is ready, and where the configurations are.
    fn announce(&self, config: &Config, screen: &mut Screen, started: Instant) -> anyhow::Result<()> {
        let after = started.elapsed();
        let port = self.gateway.listen_port();
        let plane = self.gateway.plane().to_string();
        // In tenths of a second, rounded up: never faster than it was.
        let tenths = after.as_millis().div_ceil(100);
        screen.line(&format!(
            "local gateway ready in {}.{} s · {plane} plane · udp {port} · ends {} (in {})",
            tenths / 10,
            tenths % 10,
            moment::wall(self.ends),
            duration::humane(config.lifetime),
        ));
        let endpoint = format!("{}:{}", self.terms.endpoint.0, self.terms.endpoint.1);
        self.emit(
            config,
            &Event::Ready {
                lease: self.row.as_ref().map(|row| row.lease().id.to_string()),
                plane: &plane,
                listen_port: port,
                endpoint: &endpoint,
                endpoint_guessed: self.reach.is_guess(),
                public_key: &self.terms.server_key.to_string(),
                addresses: self.gateway.addresses().iter().map(ToString::to_string).collect(),
                ends: &moment::rfc3339(self.ends),
                after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            },
        )?;
        let width = self
            .clients
            .iter()
            .map(|(name, _)| name.as_str().len())
            .max()
            .unwrap_or_default();
        for (name, client) in &self.clients {
            let path = self.files.path(name);
            screen.line(&screen::handed(name.as_str(), width, &client.addresses, &path));
            screen.qr(config.qr, &client.conf(&self.terms), self.clients.len())?;
            self.emit(
                config,
                &Event::Peer {
                    peer: name.as_str(),
                    public_key: client.public_key.to_string(),
                    addresses: &client.addresses,
                    config: &path,
                },
            )?;
        }
        if let Some(advice) = self.reach.advice(self.terms.endpoint.1) {
            screen.warning(&advice);
        }
        Ok(())
    }

    /// Reports on the peers until the time is over or a signal comes. Gives the reason for the end.
    fn watch(&mut self, config: &Config, screen: &mut Screen, signals: &Signals) -> anyhow::Result<&'static str> {
        let mut before: Vec<PeerState> = Vec::new();
        loop {
            let peers = self.peers()?;
            // Without its rules a peer would reach what it must not.
            self.gateway.mend()?;
            if peers != before {
                screen.peers(&peers);
                self.report(config, &before, &peers)?;
                if let Some(row) = &mut self.row {
                    row.learn(&peers);
                }
                before = peers;
            }
            match self.answer(config, screen)? {
                Answered::End => return Ok("asked"),
                // They are shown at once.
                Answered::Peers => continue,
                Answered::Nothing => {}
            }
            if config.json {
                output::is_read()?;
            }
            let rest = self.due.saturating_sub(moment::since_boot());
            if rest.is_zero() {
                return Ok(LIFETIME);
            }
            let waiting = before.iter().any(|peer| peer.latest_handshake.is_none());
            let tick = if moment::since_boot() < self.attentive_until {
                ATTENTIVE_TICK
            } else if waiting {
                QUICK_TICK
            } else {
                TICK
            };
            match signals.wait(Some(tick.min(rest))).context("cannot wait for signals")? {
                Some(Signal::Interrupt) => return Ok("interrupt"),
                Some(Signal::Terminate) => return Ok("terminate"),
                Some(Signal::Hangup) => return Ok("hangup"),
                None => {}
            }
        }
    }

    /// How the peers are, by the gateway and since the lease began.
    fn peers(&self) -> anyhow::Result<Vec<PeerState>> {
        let mut peers = self.gateway.peers()?;
        for peer in &mut peers {
            if let Some((received, sent)) = self.carried.get(&peer.name) {
                peer.received_bytes += received;
                peer.sent_bytes += sent;
            }
        }
        Ok(peers)
    }

    /// Emits what is different from the last time.
    fn report(&self, config: &Config, before: &[PeerState], peers: &[PeerState]) -> anyhow::Result<()> {
        for peer in peers {
            let old = before.iter().find(|old| old.name == peer.name);
            let connected = peer.latest_handshake.and(peer.endpoint);
            if let Some(endpoint) = connected
                && old.and_then(|old| old.latest_handshake.and(old.endpoint)) != connected
            {
                self.emit(
                    config,
                    &Event::Handshake {
                        peer: peer.name.as_str(),
                        endpoint: Some(endpoint.to_string()),
                    },
                )?;
            }
            let transfer = |peer: &PeerState| (peer.received_bytes, peer.sent_bytes);
            if transfer(peer) != old.map_or((0, 0), transfer) {
                let (received_bytes, sent_bytes) = transfer(peer);
                self.emit(
                    config,
                    &Event::Transfer {
                        peer: peer.name.as_str(),
                        received_bytes,
                        sent_bytes,
                    },
                )?;
            }
        }
        Ok(())
    }

    /// Closes the gateway and removes the files, whose keys open nothing any more.
    fn end(mut self, config: &Config, screen: &mut Screen, reason: &str) -> anyhow::Result<()> {
        let peers = self.peers().unwrap_or_default();
        if let Some(row) = &mut self.row {
            row.end(reason == LIFETIME);
        }
        self.gateway.close();
        if let Some(row) = self.row.take() {
            row.finish();
        }
        let problems = self.files.remove();
        for peer in peers.iter().filter(|peer| peer.latest_handshake.is_some()) {
            screen.line(&format!("{}   {}", peer.name, screen::transfer(peer)));
        }
        screen.line("the gateway is gone; its configurations are worthless and were removed");
        for problem in &problems {
            screen.warning(problem);
        }
        let line = Event::Ended {
            reason,
            peers: peers.iter().map(Total::of).collect(),
        }
        .line()?;
        if config.json { output::line(&line) } else { Ok(()) }
    }

    fn emit(&self, config: &Config, event: &Event<'_>) -> anyhow::Result<()> {
        if config.json {
            output::line(&event.line()?)
        } else {
            Ok(())
        }
    }
}

/// Keeps the row of a lease that is about to begin, for other commands to see and change it; `None` where it cannot be
/// remembered, without which it goes on.
fn attend(config: &Config, target: &Target, clients: &[(Name, Client)]) -> Option<Attended> {
    let member = |(name, client): &(Name, Client)| Member {
        name: name.to_string(),
        public_key: client.public_key,
        addresses: client.addresses.clone(),
    };
    let wanted = alone::Wanted {
        port: match config.opening.listen {
            Listen::Exactly(0) | Listen::Prefer(_) => None,
            Listen::Exactly(port) => Some(port),
        },
        dns: config.dns_texts(),
        allowed_ips: config.allowed_ips.clone(),
        mtu: config.opening.mtu,
        peers: clients.iter().map(member).collect(),
    };
    let book = Book::open(&target.folder()?).ok()?;
    Attended::begin(book, config.lifetime, wanted).ok()
}
