//! Client mode: every `.conf` in `wg_confs` is brought up, followed while it is edited, and down at the end. DNS is served
//! if it is asked for.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use gateway::{
    daemon::Reception,
    dns::{DnsError, Forwarder, Names},
    environment::Environment,
    http,
    notify::{self, Notifier},
    servers::Servers,
    upstream::{DNS_PORT, Upstreams},
};
use linux::signal::{Signal, Signals};
use tunnel::Choice;

use super::tunnels::{DIRECTORY, MARK, Tunnels};
use crate::{failure, log};

/// How often the directory is looked at.
const TICK: Duration = Duration::from_secs(2);

/// How long the files must have been the same before they are put in force: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// Brings the tunnels up, follows the changes of their files, and takes them down when a signal comes.
pub(super) fn run(
    config_dir: &Path,
    plane: Choice,
    dns: Option<Upstreams>,
    environment: &Environment,
    started: Instant,
) -> anyhow::Result<()> {
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let notifier = Notifier::new(std::env::var_os(notify::VARIABLE).as_deref()).context("NOTIFY_SOCKET is wrong")?;
    gateway::move_old_conf(config_dir)
        .with_context(|| format!("cannot move wg0.conf to {DIRECTORY} in {}", config_dir.display()))?;
    if config_dir.is_dir()
        && let Err(error) = gateway::make_defaults(config_dir)
    {
        log::line(&format!("note: templates and coredns are not made: {error}"));
    }
    let mut tunnels = Tunnels::new(config_dir, None, plane);
    if tunnels.wanted()?.is_empty() {
        return Err(failure::usage(format!(
            "PEERS is not set, so this is client mode, and no .conf with an {MARK} is in {}: put one there, or give \
             the number of peers or their names for a server, PEERS=3 or --peers laptop,phone",
            tunnels.directory.display()
        )));
    }
    // Before the tunnels come up, which may change the system's resolvers.
    let mut servers = Servers::new(log::entry);
    let pages = || Arc::clone(servers.board()) as Arc<dyn http::Pages>;
    let serve = |address| http::Server::start(address, pages());
    let _metrics = environment
        .metrics
        .map(serve)
        .transpose()
        .context("METRICS or --metrics")?;
    log::line("client mode: PEERS is not set");
    let forwarder = dns.map(serve_dns).transpose()?;
    if let Some(forwarder) = &forwarder {
        // It answers on all addresses.
        let address = (Ipv4Addr::LOCALHOST, DNS_PORT).into();
        servers.ask_dns(address).context("cannot look whether DNS answers")?;
        for address in forwarder.addresses() {
            log::line(&format!("DNS queries are answered on {address}"));
        }
    }
    if tunnels.start(&signals)?.is_some() {
        return Ok(());
    }
    if let Err(error) = gateway::give_to(config_dir, environment.user, environment.group) {
        log::line(&format!("note: not every file belongs to PUID and PGID: {error}"));
    }
    let _reception = Reception::open(config_dir, Arc::clone(servers.board()))
        .inspect_err(|error| log::line(&format!("note: {error}; `adit health` cannot ask")))
        .ok();
    let after = started.elapsed();
    let summary = format!("{} up", tunnels.names());
    log::line(&format!(
        "{summary} after {}.{:03} s",
        after.as_secs(),
        after.subsec_millis()
    ));
    notifier
        .ready(&summary)
        .context("cannot tell the service manager that the tunnels are up")?;
    let watched = watch(&mut tunnels, &mut servers, &signals);
    // It may have gone before us.
    let _unheard = notifier.stopping();
    let down = tunnels.take_down();
    watched.and(down)
}

/// DNS on all addresses, as CoreDNS has it in that image.
fn serve_dns(upstreams: Upstreams) -> anyhow::Result<Forwarder> {
    let start = |address: SocketAddr| Forwarder::start(&[address], upstreams.clone(), Arc::new(Names::of_client()));
    let started = match start((Ipv6Addr::UNSPECIFIED, DNS_PORT).into()) {
        // A kernel without IPv6.
        Err(DnsError::Bind { cause, .. })
            if cause.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
        {
            start((Ipv4Addr::UNSPECIFIED, DNS_PORT).into())
        }
        started => started,
    };
    match started {
        Err(DnsError::Bind { address, cause }) if cause.kind() == io::ErrorKind::AddrInUse => {
            Err(DnsError::Bind { address, cause }).context(
                "USE_COREDNS=true: another program answers DNS queries here; end it, or leave them to it with \
                 USE_COREDNS=false",
            )
        }
        started => started.context("USE_COREDNS=true"),
    }
}

/// Applies what changes in the directory, and follows the servers, until a signal comes.
fn watch(tunnels: &mut Tunnels, servers: &mut Servers, signals: &Signals) -> anyhow::Result<()> {
    // The files as they were seen last, while somebody writes them.
    let mut seen = None;
    loop {
        tunnels.mend();
        servers.follow(tunnels.texts());
        servers.set_down(tunnels.missing());
        servers.look(Instant::now());
        let limit = if seen.is_some() { QUIET } else { TICK };
        if signals.wait(Some(limit)).context("cannot wait for signals")?.is_some() {
            return Ok(());
        }
        let wanted = tunnels.wanted().ok();
        let is_new = wanted.as_ref().is_none_or(|wanted| !tunnels.are_in_line(wanted));
        if is_new && wanted == seen {
            tunnels.bring_in_line();
            seen = None;
        } else {
            seen = wanted.filter(|_| is_new);
        }
    }
}
