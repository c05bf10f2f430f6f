//! A lease whose gateway is elsewhere: asked for, watched on its way, followed while it runs, and ended.

mod hand_out;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail};
use gateway::{Name, server::PeerState};
use hub::api::words::{Lease, LeaseRequest, Peer};
use launch::{LeaseId, Moment, State, lease::End};
use linux::signal::{Signal, Signals};
use tokio::runtime::Runtime;
use wg::PrivateKey;

use self::hand_out::Stale;
use super::{
    Arguments,
    config::Config,
    event::{Event, Total},
    files::Files,
    leases::Leases,
    login::Login,
    places,
    progress::Progress,
    screen::Screen,
    wanted::Wanted,
};
use crate::{duration, failure, moment, options::PlaneChoice, output};

/// How often a lease is asked how it is, on its way and afterwards.
const QUICK_TICK: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_secs(1);

/// How long a removal is waited for.
const REMOVAL_LIMIT: Duration = Duration::from_secs(120);

/// How long a lease is out of sight before the command gives up following it.
const BLIND_LIMIT: Duration = Duration::from_secs(60);

/// Where the clients' keys are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KeysChoice {
    /// In this program; only public keys leave it.
    #[default]
    Client,
    /// On the gateway, for places that want it so.
    Gateway,
}

/// Runs a lease that is elsewhere.
pub(super) fn run(arguments: Arguments, started: Instant) -> anyhow::Result<()> {
    let (target, elsewhere) = (arguments.target.clone(), arguments.elsewhere.clone());
    let is_hub = target.hub.is_some();
    let azure = match elsewhere.azure.first_given().filter(|_| is_hub) {
        Some(option) => return Err(failure::usage(format!("{option} is for a launch without --hub"))),
        None if is_hub => None,
        None => elsewhere.at_azure(target.docker.image.as_ref())?,
    };
    check(&arguments, is_hub || azure.is_some())?;
    let Wanted {
        config,
        clients,
        login,
        request,
    } = Wanted::new(arguments, azure.as_ref())?;
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let _inside = runtime.enter();
    if let Some(place) = elsewhere.place().filter(|_| !is_hub && azure.is_none()) {
        places::check(place)?;
    }
    let leases = target.open(config.endpoint.as_ref(), azure.as_ref(), &config.output)?;
    let files = Files::open(&config.output)?;
    config.peers.iter().try_for_each(|peer| files.check(peer))?;
    let mut follower = Follower {
        screen: Screen::new(config.json),
        config,
        leases,
        runtime: &runtime,
        signals,
        is_hub,
        files,
        clients,
        login,
        seen: 0,
        stale: None,
    };
    let result = follower.follow(&request, elsewhere.detach, started);
    runtime.block_on(follower.leases.close());
    result
}

/// Options that only a gateway in this process has, or on this machine.
pub(super) fn check(arguments: &Arguments, has_own_address: bool) -> anyhow::Result<()> {
    let gateway = &arguments.gateway;
    let given = [
        ("--subnet", !gateway.subnet.is_empty()),
        ("--dns-upstream", !gateway.dns_upstream.is_empty()),
        ("--dns-ca", gateway.dns_ca.is_some()),
        ("--plane", gateway.plane != PlaneChoice::Auto),
        ("--endpoint", has_own_address && gateway.endpoint.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) => Err(failure::usage(format!(
            "{name} is for a gateway on this machine, without --hub and --on"
        ))),
        None => Ok(()),
    }
}

struct Follower<'a> {
    config: Config,
    screen: Screen,
    leases: Arc<dyn Leases>,
    runtime: &'a Runtime,
    signals: Signals,
    is_hub: bool,
    files: Files,
    clients: Vec<(Name, Option<PrivateKey>)>,
    /// What logs in to the gateway's machine.
    login: Option<Login>,
    /// The number of the last notice that was shown.
    seen: u64,
    /// Whose configurations lead to a gateway that is not there any more.
    stale: Option<Stale>,
}

impl Follower<'_> {
    fn follow(&mut self, request: &LeaseRequest, detach: bool, started: Instant) -> anyhow::Result<()> {
        let asked = Instant::now();
        let lease = self.runtime.block_on(self.leases.create(request))?;
        let id = lease.id;
        self.screen.line(&format!("lease {id} on {}", lease.place));
        let usual = self.runtime.block_on(self.leases.usual(&lease.place));
        let ready = match self.wait_until_ready(id, asked, usual) {
            Ok(Ready::Ready(lease)) => *lease,
            Ok(Ready::Signal(reason)) => return self.end(id, reason),
            Err(error) => {
                // Whatever came of it is removed by its driver; what it was is said once.
                let _gone = self.end(id, "failure");
                return Err(error);
            }
        };
        let announced = self.announce(&ready, started);
        if let Err(error) = announced {
            let _gone = self.end(id, "failure");
            return Err(error);
        }
        if detach {
            let left = self.files.leave();
            if let Err(error) = left {
                let _gone = self.end(id, "failure");
                return Err(error);
            }
            self.screen
                .line(&format!("it goes on by itself; `adit launch end {id}` ends it"));
            return Ok(());
        }
        match self.watch(ready) {
            Ok(Over::Signal(reason)) => self.end(id, reason),
            Ok(Over::Ended(lease)) => self.ended(&lease, reason_of(&lease)),
            Err(error) => {
                let _gone = self.end(id, "failure");
                Err(error)
            }
        }
    }

    /// Shows what happens until the gateway answers.
    fn wait_until_ready(&mut self, id: LeaseId, asked: Instant, usual: Option<Duration>) -> anyhow::Result<Ready> {
        let mut last_seen = Instant::now();
        loop {
            // What is missed now is shown next time.
            let _missed = self.show_notices(id);
            let lease = match self.runtime.block_on(self.leases.read(id)) {
                Ok(lease) => lease,
                // A hub that restarts is back in a moment, and goes on.
                Err(_) if last_seen.elapsed() < BLIND_LIMIT => {
                    if let Some(reason) = self.wait(TICK)? {
                        return Ok(Ready::Signal(reason));
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            last_seen = Instant::now();
            self.screen.progress(&Progress {
                state: lease.state,
                doing: &lease.doing,
                passed: asked.elapsed(),
                usual,
            });
            match lease.state {
                State::Ready => {
                    self.show_notices(id)?;
                    return Ok(Ready::Ready(Box::new(lease)));
                }
                State::Failed | State::Lost | State::Removing | State::Removed => {
                    self.show_notices(id)?;
                    let fault = lease.fault.context("the lease ended before it was ready")?;
                    let remedy = if fault.remedy.is_empty() {
                        String::new()
                    } else {
                        format!("; {}", fault.remedy)
                    };
                    bail!("{}{remedy}", fault.message);
                }
                State::Requested | State::Provisioning | State::Configuring => {}
            }
            if let Some(reason) = self.wait(QUICK_TICK)? {
                return Ok(Ready::Signal(reason));
            }
        }
    }

    fn show_notices(&mut self, id: LeaseId) -> anyhow::Result<()> {
        for notice in self.runtime.block_on(self.leases.notices(id, self.seen))? {
            self.seen = notice.number;
            self.screen.line(&notice.message);
            self.emit(&Event::Progress {
                lease: id.to_string(),
                kind: notice.kind.as_str(),
                message: &notice.message,
                at: notice.at.to_string(),
            })?;
        }
        Ok(())
    }

    fn announce(&mut self, lease: &Lease, started: Instant) -> anyhow::Result<()> {
        let gateway = lease
            .gateway
            .as_ref()
            .context("the lease is ready and has no gateway")?;
        let ends = lease.ends_at.to_system();
        let after = started.elapsed();
        let rest = ends.duration_since(SystemTime::now()).unwrap_or_default();
        self.screen.line(&format!(
            "{} gateway ready in {}.{} s · {} plane · {} · ends {} (in {})",
            lease.place,
            after.as_secs(),
            after.subsec_millis() / 100,
            gateway.plane,
            gateway.endpoint,
            moment::wall(ends),
            duration::humane(Duration::from_secs(rest.as_secs())),
        ));
        let is_given = self.config.endpoint.is_some();
        let advice = places::advice(&gateway.endpoint, self.is_hub).filter(|_| !is_given);
        self.emit(&Event::Ready {
            lease: Some(lease.id.to_string()),
            plane: &gateway.plane,
            listen_port: gateway
                .endpoint
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse().ok())
                .unwrap_or_default(),
            endpoint: &gateway.endpoint,
            endpoint_guessed: advice.is_some(),
            public_key: &gateway.public_key.to_string(),
            addresses: gateway.addresses.iter().map(ToString::to_string).collect(),
            ends: &lease.ends_at.to_string(),
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        })?;
        if lease.is_sample {
            self.screen.warning(
                "this is a trial run: there is no gateway, and the configurations are samples that lead nowhere",
            );
        }
        self.hand_out(lease)?;
        self.hand_login(lease, &gateway.endpoint)?;
        if let Some(advice) = &advice {
            self.screen.warning(advice);
        }
        Ok(())
    }

    /// Follows a lease until it ends or a signal comes.
    fn watch(&mut self, ready: Lease) -> anyhow::Result<Over> {
        let mut before = ready;
        self.screen.peers(&states(&before));
        let mut last_seen = Instant::now();
        loop {
            if let Some(reason) = self.wait(TICK)? {
                return Ok(Over::Signal(reason));
            }
            let lease = match self.runtime.block_on(self.leases.read(before.id)) {
                Ok(lease) => lease,
                // A hub that restarts is back in a moment; the lease goes on meanwhile.
                Err(_) if last_seen.elapsed() < BLIND_LIMIT => continue,
                Err(error) => return Err(error),
            };
            last_seen = Instant::now();
            self.report(&before, &lease)?;
            let is_over = !lease.state.is_running();
            if is_over && lease.state == State::Removed {
                return Ok(Over::Ended(Box::new(lease)));
            }
            if !is_over && (lease.peers != before.peers) {
                self.screen.peers(&states(&lease));
            }
            before = lease;
        }
    }

    fn report(&mut self, before: &Lease, lease: &Lease) -> anyhow::Result<()> {
        if lease.ends_at != before.ends_at && lease.state.is_running() {
            self.screen
                .line(&format!("ends {} (extended)", moment::wall(lease.ends_at.to_system())));
            self.emit(&Event::Extended {
                ends: &lease.ends_at.to_string(),
            })?;
        }
        if lease.state == State::Ready {
            self.look_at_gateway(before, lease)?;
        }
        self.report_peers(before, lease)?;
        for peer in &lease.peers {
            let old = before.peers.iter().find(|old| old.name == peer.name);
            let has_moved = |old: &Peer| peer.endpoint.is_some() && old.endpoint != peer.endpoint;
            if peer.first_handshake_at.is_some()
                && old.is_none_or(|old| old.first_handshake_at.is_none() || has_moved(old))
            {
                self.emit(&Event::Handshake {
                    peer: &peer.name,
                    endpoint: peer.endpoint.map(|endpoint| endpoint.to_string()),
                })?;
            }
            let transfer = |peer: &Peer| (peer.received_bytes, peer.sent_bytes);
            if transfer(peer) != old.map_or((0, 0), transfer) {
                let (received_bytes, sent_bytes) = transfer(peer);
                self.emit(&Event::Transfer {
                    peer: &peer.name,
                    received_bytes,
                    sent_bytes,
                })?;
            }
        }
        Ok(())
    }

    /// Says who has come and gone.
    fn report_peers(&mut self, before: &Lease, lease: &Lease) -> anyhow::Result<()> {
        let is_of = |lease: &Lease, name: &str| lease.peers.iter().any(|peer| peer.name == name);
        for gone in before.peers.iter().filter(|peer| !is_of(lease, &peer.name)) {
            self.screen.line(&format!("{} may connect no more", gone.name));
            self.emit(&Event::PeerRemoved { peer: &gone.name })?;
        }
        for peer in &lease.peers {
            let old = before.peers.iter().find(|old| old.name == peer.name);
            // A key that the gateway has made is no other one.
            let is_rekeyed = old.is_some_and(|old| old.public_key.is_some() && old.public_key != peer.public_key);
            if old.is_none() || is_rekeyed {
                self.screen.line(&format!("{} may connect", peer.name));
                self.emit(&Event::PeerAdded {
                    peer: &peer.name,
                    public_key: peer.public_key.map(|key| key.to_string()),
                    addresses: &peer.addresses,
                })?;
            }
        }
        Ok(())
    }

    /// Ends the lease, and waits until nothing is left of it.
    fn end(&mut self, id: LeaseId, reason: &str) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut lease = self.runtime.block_on(self.leases.end(id))?;
        if lease.state != State::Removed {
            self.screen.line("the gateway is being removed …");
        }
        while lease.state != State::Removed {
            if started.elapsed() > REMOVAL_LIMIT {
                bail!("the gateway is not removed yet; `adit launch show {id}` says how far it is");
            }
            std::thread::sleep(QUICK_TICK);
            lease = self.runtime.block_on(self.leases.read(id))?;
        }
        self.ended(&lease, reason)
    }

    fn ended(&mut self, lease: &Lease, reason: &str) -> anyhow::Result<()> {
        let problems = self.files.remove();
        self.screen
            .line("the gateway is gone; its configurations are worthless and were removed");
        for problem in &problems {
            self.screen.warning(problem);
        }
        let states = states(lease);
        self.emit(&Event::Ended {
            reason,
            peers: states.iter().map(Total::of).collect(),
        })
    }

    /// Waits; the reason for the end if a signal comes.
    fn wait(&self, tick: Duration) -> anyhow::Result<Option<&'static str>> {
        if self.config.json {
            output::is_read()?;
        }
        Ok(
            match self.signals.wait(Some(tick)).context("cannot wait for signals")? {
                Some(Signal::Interrupt) => Some("interrupt"),
                Some(Signal::Terminate) => Some("terminate"),
                Some(Signal::Hangup) => Some("hangup"),
                None => None,
            },
        )
    }

    fn emit(&self, event: &Event<'_>) -> anyhow::Result<()> {
        if self.config.json {
            output::line(&event.line()?)
        } else {
            Ok(())
        }
    }
}

enum Ready {
    Ready(Box<Lease>),
    Signal(&'static str),
}

enum Over {
    Signal(&'static str),
    Ended(Box<Lease>),
}

fn reason_of(lease: &Lease) -> &'static str {
    match lease.outcome {
        Some(End::Expired) => "lifetime",
        Some(End::Idle) => "idle",
        Some(End::Asked) => "asked",
        Some(End::Failed | End::Lost) | None => {
            if lease.outcome.is_some() {
                "failure"
            } else {
                "asked"
            }
        }
    }
}

/// The peers of a lease as the screen shows them.
fn states(lease: &Lease) -> Vec<PeerState> {
    let peers = lease.peers.iter().filter_map(|peer| {
        Some(PeerState {
            name: peer.name.parse().ok()?,
            public_key: peer.public_key.unwrap_or_else(|| wg::PublicKey::from_bytes([0; 32])),
            endpoint: peer.endpoint,
            latest_handshake: peer.latest_handshake_at.map(Moment::to_system),
            received_bytes: peer.received_bytes,
            sent_bytes: peer.sent_bytes,
        })
    });
    peers.collect()
}
