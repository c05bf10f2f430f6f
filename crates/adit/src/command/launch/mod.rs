//! `adit launch`: a gateway on this machine, or at another place, that is gone when its time is over.

mod alone;
mod commands;
mod config;
mod elsewhere;
mod event;
mod files;
mod follow;
mod leases;
pub(crate) mod places;
mod remote;
mod screen;
mod target;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use gateway::{
    Name,
    client::{Client, Terms},
    reach::{Host, Reach, Sources},
    server::{Gateway, PeerState},
};
use linux::signal::{Signal, Signals};
use wg::qr::{Ink, Qr};

use self::{
    alone::{Ask, Asked, Attended, Book, Reply},
    commands::Command,
    config::{Config, ShowQr},
    elsewhere::Elsewhere,
    event::{Event, Total},
    files::Files,
    screen::Screen,
    target::Target,
};
use crate::{duration, failure, moment, opening, options::GatewayOptions, output};

/// How often the gateway is asked how its peers are.
const TICK: Duration = Duration::from_secs(1);

/// As [`TICK`], while a client may be connecting at any moment.
const QUICK_TICK: Duration = Duration::from_millis(200);

/// What the gateway's interface is called, before a number.
const INTERFACE: &str = "adit";

/// Most QR codes that are shown on a terminal unasked.
const MAX_UNASKED_QR: usize = 3;

/// The arguments of `adit launch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    adit launch                                  one peer, 30 minutes\n  \
    adit launch --peer phone --peer laptop --lifetime 2h\n  \
    adit launch --endpoint vpn.example.com --listen 443 --dns 9.9.9.9\n  \
    adit launch --json --output /run/user/1000/lease | jq\n  \
    adit launch --on docker                      the gateway is a container\n  \
    adit launch --hub https://vpn.example.com --peer phone\n  \
    adit launch list; adit launch extend ID 1h; adit launch end ID\n\n\
    The private keys are in the files of the output directory only. The files are removed when the lease ends: they \
    are worthless then.\n\
    Exit code: 0 when the lease has ended, by itself or by Ctrl-C, SIGTERM or SIGHUP; 1 if it could not begin; \
    2 for wrong usage.")]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// Name of a peer, 1 to 15 letters, digits, `-` and `_`; may be repeated [default: peer1].
    #[arg(long, value_name = "NAME", conflicts_with = "peers")]
    peer: Vec<Name>,
    /// Number of peers, called peer1, peer2 and so on, 1 to 1000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    peers: Option<u32>,
    /// How long the gateway lives, 1s to 30d: 45s, 30m, 2h, 1h30m.
    ///
    /// Default: 30m; with --hub and --profile the profile's.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    lifetime: Option<Duration>,
    #[command(flatten)]
    gateway: GatewayOptions,
    /// Directory for the peers' configurations. It is made if it is missing; nothing foreign in it is overwritten.
    #[arg(long, value_name = "DIR", default_value = "./adit")]
    output: PathBuf,
    /// Prints one JSON object a line for each event: ready, peer, handshake, transfer, ended.
    #[arg(long)]
    json: bool,
    /// Shows the QR codes even where there is no terminal, or many peers.
    #[arg(long, conflicts_with_all = ["no_qr", "json"])]
    qr: bool,
    /// Shows no QR codes.
    #[arg(long)]
    no_qr: bool,
}

/// Does what was asked for.
pub(crate) fn run(arguments: Arguments, started: Instant) -> anyhow::Result<()> {
    if let Some(command) = &arguments.command {
        return commands::run(command, &arguments.target);
    }
    let is_here =
        arguments.target.hub.is_none() && arguments.elsewhere.place().is_none_or(|place| place == alone::PLACE);
    if is_here {
        attend(arguments, started)
    } else {
        follow::run(arguments, started)
    }
}

/// Runs a lease in this process from its beginning to its end.
fn attend(arguments: Arguments, started: Instant) -> anyhow::Result<()> {
    if let Some(option) = arguments.elsewhere.first_given() {
        return Err(failure::usage(format!(
            "{option} is for --hub, and for --on with another place than local"
        )));
    }
    let folder = arguments.target.folder();
    let mut random = [0; 7];
    getrandom::fill(&mut random).context("cannot read this system's random source")?;
    let config = Config::new(arguments, random)?;
    // Before the first thread: every thread leaves the signals to this one.
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let mut screen = Screen::new(config.json);
    let mut lease = Lease::begin(&config, &mut screen)?;
    lease.attend(&config, folder);
    lease.announce(&config, &mut screen, started)?;
    let reason = lease.watch(&config, &mut screen, &signals);
    // Whatever happened, the gateway goes.
    let ended = lease.end(&config, &mut screen, reason.as_ref().copied().unwrap_or("failure"));
    reason.and(ended)
}

/// A gateway that lives for a while.
struct Lease {
    gateway: Gateway,
    files: Files,
    reach: Reach,
    clients: Vec<(Name, Client)>,
    terms: Terms,
    ends: SystemTime,
    /// `ends` by the clock that nobody sets and that goes on while the machine sleeps.
    due: Duration,
    /// Its row, for `adit launch list` and the like; `None` where nothing can be remembered.
    row: Option<Attended>,
}

impl Lease {
    /// Opens the gateway and writes what its clients need. What was done is undone if a step fails.
    fn begin(config: &Config, screen: &mut Screen) -> anyhow::Result<Self> {
        let given = config.endpoint.as_ref().map(|endpoint| endpoint.host.clone());
        let reach = Reach::find(given, Sources::of_this_machine())?;
        let mut files = Files::open(&config.output)?;
        config.peers.iter().try_for_each(|peer| files.check(peer))?;
        let mut say = |line: &str| screen.line(line);
        let mut site = config.opening.site(&mut say)?;
        let clients = config
            .peers
            .iter()
            .map(|name| Ok((name.clone(), Client::new(site.network.lease(name.as_str())?)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let private_key = gateway::key::private()?;
        let peers: Vec<_> = clients
            .iter()
            .map(|(name, client)| (name.clone(), client.peer()))
            .collect();
        let name = gateway::server::free_name(INTERFACE);
        let gateway = config.opening.open(&site, name, &private_key, &peers, &mut say)?;
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
        Ok(Self {
            gateway,
            files,
            reach,
            clients,
            terms,
            ends,
            due: moment::since_boot() + config.lifetime,
            row: None,
        })
    }

    /// Lets other commands see and end the lease, where that can be remembered; it goes on where it cannot.
    fn attend(&mut self, config: &Config, folder: Option<PathBuf>) {
        let facts = alone::Facts {
            public_key: self.terms.server_key,
            endpoint: format!("{}:{}", self.terms.endpoint.0, self.terms.endpoint.1),
            listen_port: self.gateway.listen_port(),
            plane: self.gateway.plane().to_string(),
            addresses: self.gateway.addresses().to_vec(),
            peers: self
                .clients
                .iter()
                .map(|(name, client)| (name.to_string(), client.public_key, client.addresses.clone()))
                .collect(),
        };
        let open = |folder: PathBuf| {
            let book = Book::open(&folder)?;
            Attended::begin(book, config.lifetime, &config.allowed_ips, facts)
        };
        self.row = folder.and_then(|folder| open(folder).ok());
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
            let addresses = client.addresses.iter().map(brief).collect::<Vec<_>>().join(", ");
            screen.line(&format!("{name:width$}   {addresses}   → {}", path.display()));
            self.show_qr(config, screen, client)?;
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

    /// Shows a client's configuration as a QR code, unless nobody can be expected to scan it.
    fn show_qr(&self, config: &Config, screen: &mut Screen, client: &Client) -> anyhow::Result<()> {
        let is_unasked = match config.qr {
            ShowQr::Never => return Ok(()),
            ShowQr::Always => false,
            ShowQr::Auto if !screen.is_terminal() || self.clients.len() > MAX_UNASKED_QR => return Ok(()),
            ShowQr::Auto => true,
        };
        let qr = Qr::new(&client.conf(&self.terms))?;
        let columns = qr
            .terminal(Ink::Plain)
            .lines()
            .next()
            .map_or(0, |line| line.chars().count());
        if is_unasked && !screen.fits(columns) {
            screen.line("the terminal is too narrow for the QR code; --qr shows it all the same");
            return Ok(());
        }
        screen.block(&qr.terminal(Ink::Colours));
        Ok(())
    }

    /// Reports on the peers until the time is over or a signal comes. Gives the reason for the end.
    fn watch(&mut self, config: &Config, screen: &mut Screen, signals: &Signals) -> anyhow::Result<&'static str> {
        let mut before: Vec<PeerState> = Vec::new();
        loop {
            let peers = self.gateway.peers()?;
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
            if self.answer(config, screen)? {
                return Ok("asked");
            }
            if config.json {
                output::is_read()?;
            }
            let rest = self.due.saturating_sub(moment::since_boot());
            if rest.is_zero() {
                return Ok("lifetime");
            }
            let waiting = before.iter().any(|peer| peer.latest_handshake.is_none());
            let tick = if waiting { QUICK_TICK } else { TICK };
            match signals.wait(Some(tick.min(rest))).context("cannot wait for signals")? {
                Some(Signal::Interrupt) => return Ok("interrupt"),
                Some(Signal::Terminate) => return Ok("terminate"),
                Some(Signal::Hangup) => return Ok("hangup"),
                None => {}
            }
        }
    }

    /// Does what other commands ask; whether it is to end.
    fn answer(&mut self, config: &Config, screen: &mut Screen) -> anyhow::Result<bool> {
        loop {
            let Some(row) = &mut self.row else { return Ok(false) };
            let Some(Asked { ask, reply }) = row.desk().and_then(alone::Desk::next) else {
                return Ok(false);
            };
            let mut ends = false;
            let done = match ask {
                Ask::Read {} => Ok(()),
                Ask::End {} => {
                    ends = true;
                    Ok(())
                }
                Ask::Extend { by_secs } => {
                    let by = Duration::from_secs(by_secs);
                    let left = config::MAX_LIFETIME.saturating_sub(Duration::from_secs(row.lease().granted_secs));
                    if by.is_zero() || by > left {
                        Err(anyhow::anyhow!(
                            "a lease lives at most 30 days; this one can have {} more",
                            duration::humane(left)
                        ))
                    } else {
                        row.extend(by).inspect(|()| {
                            self.due += by;
                            self.ends += by;
                        })
                    }
                }
            };
            let is_longer = done.is_ok() && matches!(ask, Ask::Extend { .. });
            let answer = match done {
                Ok(()) => Reply::Lease {
                    lease: Box::new(row.lease().clone().into()),
                    folder: std::path::absolute(&config.output).unwrap_or_else(|_| config.output.clone()),
                },
                Err(error) => Reply::Refused {
                    message: format!("{error:#}"),
                },
            };
            // Who asked may have gone.
            let _unheard = reply.send(answer);
            if is_longer {
                screen.line(&format!("ends {} (extended)", moment::wall(self.ends)));
                self.emit(
                    config,
                    &Event::Extended {
                        ends: &moment::rfc3339(self.ends),
                    },
                )?;
            }
            if ends {
                return Ok(true);
            }
        }
    }

    /// Emits what is different from the last time.
    fn report(&self, config: &Config, before: &[PeerState], peers: &[PeerState]) -> anyhow::Result<()> {
        for (index, peer) in peers.iter().enumerate() {
            let old = before.get(index);
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
        let peers = self.gateway.peers().unwrap_or_default();
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

/// An address as people tell it apart: the middle of a long one is left out.
fn brief(address: &IpAddr) -> String {
    let text = address.to_string();
    match (address, text.find(':'), text.find("::")) {
        (IpAddr::V6(_), Some(first), Some(gap)) if first + 1 < gap => format!("{}:…{}", &text[..first], &text[gap..]),
        _ => text,
    }
}
