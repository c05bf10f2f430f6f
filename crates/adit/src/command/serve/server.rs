//! Server mode: opens the gateway, and goes on until a signal comes.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use gateway::{
    client::Terms,
    directory::{Directory, Kind},
    notify::{self, Notifier},
    reach::{Endpoint, Host, How, Reach, Sources},
    roster::Roster,
    server::{DEFAULT_MTU, Gateway, Plan},
};
use linux::signal::{Signal, Signals};
use wg::qr::{Ink, Qr};

use super::Config;
use crate::{
    log,
    options::{self, DEFAULT_PORT},
};

/// How often the gateway is asked how its peers are.
const TICK: Duration = Duration::from_secs(2);

/// What the gateway's interface is called.
const INTERFACE: &str = "wg0";

/// Pixels to a module of the QR codes' pictures.
const PIXELS: u32 = 4;

/// Serves until a signal comes.
pub(super) fn run(config: &Config, started: Instant) -> anyhow::Result<()> {
    // Before the first thread: every thread leaves the signals to this one.
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let notifier = Notifier::new(std::env::var_os(notify::VARIABLE).as_deref()).context("NOTIFY_SOCKET is wrong")?;
    let directory = Directory::open(&config.config_dir)?;
    let roster = Roster::new(&directory, &config.wish)?;
    let reach = reach(config, &directory)?;
    let gateway = open(config, &roster)?;
    let port = config.port.unwrap_or(gateway.listen_port());
    let terms = terms(config, &roster, (reach.host.clone(), port));
    keep(config, &directory, &roster, &terms)?;
    let summary = format!(
        "{} plane · udp {} · {} · clients connect to {}:{port}",
        gateway.plane(),
        gateway.listen_port(),
        count(roster.members().len()),
        reach.host,
    );
    let after = started.elapsed();
    log::line(&format!(
        "gateway ready in {}.{:03} s · {summary}",
        after.as_secs(),
        after.subsec_millis()
    ));
    if let Some(advice) = reach.advice(port) {
        log::line(&format!("note: {advice}"));
    }
    notifier
        .ready(&summary)
        .context("cannot tell the service manager that the gateway is ready")?;
    let watched = watch(&gateway, &signals);
    // It may have gone before us.
    let _unheard = notifier.stopping();
    gateway.close();
    log::line("the gateway is gone; its peers' configurations work again at the next start");
    watched
}

/// Logs who connects until a signal comes.
fn watch(gateway: &Gateway, signals: &Signals) -> anyhow::Result<()> {
    let mut before: Vec<Option<SocketAddr>> = Vec::new();
    loop {
        let peers = gateway.peers()?;
        before.resize(peers.len(), None);
        for (peer, before) in peers.iter().zip(&mut before) {
            let connected = peer.latest_handshake.and(peer.endpoint);
            if let Some(endpoint) = connected.filter(|_| connected != *before) {
                log::line(&format!("{}: handshake from {endpoint}", peer.name));
            }
            *before = connected;
        }
        if signals.wait(Some(TICK)).context("cannot wait for signals")?.is_some() {
            return Ok(());
        }
    }
}

/// Where clients connect to. A guess does not replace what the clients were told before.
fn reach(config: &Config, directory: &Directory) -> anyhow::Result<Reach> {
    let found = Reach::find(config.host.clone(), Sources::of_this_machine());
    if found.as_ref().is_ok_and(|reach| !reach.is_guess()) {
        return Ok(found?);
    }
    for peer in &config.wish.peers {
        let before = directory
            .peer(peer)?
            .endpoint
            .and_then(|endpoint| endpoint.parse::<Endpoint>().ok());
        if let Some(Endpoint { host, .. }) = before {
            return Ok(Reach { host, how: How::Given });
        }
    }
    Ok(found?)
}

fn open(config: &Config, roster: &Roster) -> anyhow::Result<Gateway> {
    let options = &config.options;
    Ok(Gateway::open(Plan {
        name: INTERFACE.to_owned(),
        plane: options.plane.plane(),
        private_key: roster.private_key().clone(),
        listen_port: config.listen_port,
        addresses: roster.addresses().to_owned(),
        mtu: options.mtu.unwrap_or(DEFAULT_MTU),
        dns: config
            .serve_dns
            .then(|| options::upstreams(&options.dns_upstream, options.dns_ca.as_deref())),
        peer_to_peer: true,
        peers: roster.peers(),
    })?)
}

fn terms(config: &Config, roster: &Roster, endpoint: (Host, u16)) -> Terms {
    // Without its own DNS the gateway is no resolver for anybody: the clients keep theirs.
    let own = roster.addresses().iter().filter(|_| config.serve_dns);
    let own_dns = || own.map(|address| Host::Address(address.addr())).collect();
    Terms {
        server_key: roster.private_key().public_key(),
        endpoint,
        dns: config.client_dns.clone().unwrap_or_else(own_dns),
        allowed_ips: config.allowed_ips.clone(),
        mtu: config.options.mtu,
        listen_port: Some(DEFAULT_PORT),
    }
}

/// Writes what is to be kept, and shows the configurations that are not what they were.
fn keep(config: &Config, directory: &Directory, roster: &Roster, terms: &Terms) -> anyhow::Result<()> {
    // A configuration is far shorter than the longest text that fits.
    let picture = |conf: &str| Qr::new(conf).map(|qr| qr.png(PIXELS).to_vec()).unwrap_or_default();
    for member in roster.keep(directory, terms, config.listen_port, picture)? {
        let path = directory.peer_path(&member.id, Kind::Conf);
        let what = if member.is_new { "new" } else { "changed" };
        log::line(&format!(
            "{}: {what} configuration in {}",
            member.id.file_name(),
            path.display()
        ));
        if config.log_confs {
            log::block(&Qr::new(&member.client.conf(terms))?.terminal(Ink::Colours));
        }
    }
    Ok(())
}

fn count(peers: usize) -> String {
    if peers == 1 {
        "1 peer".to_owned()
    } else {
        format!("{peers} peers")
    }
}
