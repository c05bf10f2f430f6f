//! Server mode: opens the gateway, and goes on until a signal comes.

use std::{cell::RefCell, io, rc::Rc, sync::Arc, time::Instant};

use anyhow::Context as _;
use gateway::{
    api::Api,
    client::Terms,
    daemon::{self, Daemon, Desk, Observer, Socket},
    directory::{Directory, DirectoryError, Kind},
    dns::DnsError,
    environment::PeerId,
    form::{EndpointOf, Form, ServerSettings},
    hooks, http,
    notify::{self, Notifier},
    pictures::{Pictures, Turn},
    reach::{Endpoint, Host, How, Reach, Sources},
    roster::{Roster, RosterError},
    server::{DEFAULT_MTU, Gateway, GatewayError, PeerState, Plan},
    servers::Servers,
    watcher::Watcher,
};
use linux::signal::{Signal, Signals};
use tunnel::{Choice, Plane};
use wg::qr::{Ink, Qr};

use super::{Arguments, Config, source::Files, tunnels::Tunnels};
use crate::{
    failure, log,
    options::{self, DEFAULT_PORT},
};

/// What the gateway's interface is called.
const INTERFACE: &str = "wg0";

/// The file of the gateway's own tunnel among those of other tunnels.
pub(super) const OWN_CONF: &str = "wg0.conf";

/// Most QR codes that a start writes to the log: as many peers as linuxserver's image can have, and a second's work.
const MAX_CODES: usize = 253;

/// Pixels to a module of the QR codes' pictures.
const PIXELS: u32 = 4;

/// Serves until a signal comes.
pub(super) fn run(config: &Config, arguments: Arguments, started: Instant) -> anyhow::Result<()> {
    // Before the first thread: every thread leaves the signals to this one.
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let notifier = Notifier::new(std::env::var_os(notify::VARIABLE).as_deref()).context("NOTIFY_SOCKET is wrong")?;
    let directory = Directory::open(&config.config_dir)?;
    let pictures = Pictures::new(picture, log::line).context("cannot start the thread that draws QR codes")?;
    let pictures = Arc::new(pictures);
    let roster = Roster::new(&directory, &config.wish).map_err(|error| match error {
        error @ RosterError::Taken { .. } => failure::usage(error.to_string()),
        error @ (RosterError::Directory(_) | RosterError::Network(_) | RosterError::Random(_)) => error.into(),
    })?;
    let reach = reach(config, &directory)?;
    let settings = settings(config, &roster, &reach.host)?;
    for note in &settings.notes {
        log::line(&format!("note: {note}"));
    }
    let chosen = config.options.plane.choose(&roster.addresses())?;
    let template = config.config_dir.join("templates/server.conf");
    let run =
        |word, commands: &[String]| hooks::run(chosen.plane, word, commands, (INTERFACE, &template), &mut log::line);
    run("PreUp", &settings.hooks.pre_up)?;
    let gateway = open(config, &roster, chosen.plane, &settings)?;
    run("PostUp", &settings.hooks.post_up)?;
    for wall in gateway.walls() {
        log::line(&format!("warning: {wall}"));
    }
    if let Some(slowness) = gateway.slowness() {
        log::line(&format!("note: {slowness}"));
    }
    // Goes on after an error of a command: the gateway goes in any case.
    let take_down = |close: &mut dyn FnMut()| {
        let before = run("PreDown", &settings.hooks.pre_down);
        close();
        before.and(run("PostDown", &settings.hooks.post_down))
    };
    // A free port is another one at the next start: the file keeps what the template says.
    let listen_port = config.listen_port.filter(|port| *port != 0).or(settings.listen_port);
    let listen_port = listen_port.unwrap_or(DEFAULT_PORT);
    let prepared = prepare(config, &directory, &roster, &reach, &gateway, &pictures, listen_port);
    let Prepared {
        port,
        terms,
        watcher,
        metrics: _metrics,
        api,
    } = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let mut gateway = Some(gateway);
            if let Err(error) = take_down(&mut || drop(gateway.take())) {
                log::line(&error.to_string());
            }
            return Err(error);
        }
    };
    let summary = format!(
        "{chosen} · udp {} · {} · clients connect to {}:{port}",
        gateway.listen_port(),
        count(roster.len()),
        reach.host,
    );
    let tunnels = Rc::new(RefCell::new(Tunnels::new(
        &config.config_dir,
        Some(OWN_CONF),
        Choice::Auto,
    )));
    let form = terms.form.clone();
    let mut daemon = Daemon::new(
        Desk {
            gateway,
            directory,
            roster,
            terms,
            listen_port,
            pictures,
            owner: (config.user, config.group),
        },
        Box::new(Files::new(
            arguments,
            config,
            (reach.host.clone(), port),
            form,
            Rc::clone(&tunnels),
        )),
        log::line,
    );
    // Before the tunnels come up, which may change the system's resolvers.
    let servers = Servers::beside(Arc::clone(watcher.board()), log::entry);
    daemon.watch(watcher);
    if let Some(api) = api {
        daemon.serve(api);
    }
    daemon.observe(Box::new(Followed {
        tunnels: Rc::clone(&tunnels),
        servers,
    }));
    let socket = Socket::open(&config.config_dir)
        .inspect_err(|error| {
            log::line(&format!(
                "note: {error}; `adit peer` and `adit health` cannot reach this gateway"
            ))
        })
        .ok();
    // Whether no signal came before.
    let begin = || -> anyhow::Result<bool> {
        if tunnels.borrow_mut().start(&signals)?.is_some() {
            return Ok(false);
        }
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
        Ok(true)
    };
    let ended = match begin() {
        Ok(true) => daemon::run(&mut daemon, &signals, socket).map_err(Into::into),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    // It may have gone before us.
    let _unheard = notifier.stopping();
    let _said = tunnels.borrow_mut().take_down();
    let mut daemon = Some(daemon);
    let hooked = take_down(&mut || {
        if let Some(daemon) = daemon.take() {
            daemon.close();
        }
    });
    log::line("the gateway is gone; its peers' configurations work again at the next start");
    if let (Err(_), Err(error)) = (&ended, &hooked) {
        log::line(&error.to_string());
    }
    ended?;
    Ok(hooked?)
}

/// What clients are told, and what shows how the gateway is.
struct Prepared {
    /// The port that clients connect to.
    port: u16,
    terms: Terms,
    watcher: Watcher,
    /// Serves health and metrics while it lives.
    metrics: Option<http::Server>,
    api: Option<Api>,
}

/// Writes what is to be kept, and says what is to be known, before the gateway is followed.
fn prepare(
    config: &Config,
    directory: &Directory,
    roster: &Roster,
    reach: &Reach,
    gateway: &Gateway,
    pictures: &Pictures,
    listen_port: u16,
) -> anyhow::Result<Prepared> {
    let port = config.port.unwrap_or(gateway.listen_port());
    let terms = terms(config, roster, (reach.host.clone(), port), None)?;
    let known: Vec<_> = roster.peers().into_iter().map(|(_, peer)| peer.public_key).collect();
    let strangers = directory.keep_strangers(&known)?;
    if strangers > 0 {
        log::line(&format!(
            "note: wg_confs/wg0.conf had {} that no list names, and is kept as wg0.conf.before-adit: add them with \
             `adit peer add NAME --public-key KEY`",
            count(strangers)
        ));
    }
    // Until every file belongs to whom it should.
    let turn = pictures.turn();
    keep(config, directory, roster, &terms, listen_port, &turn)?;
    if let Err(error) = gateway::give_to(directory.root(), config.user, config.group) {
        log::line(&format!("note: not every file belongs to PUID and PGID: {error}"));
    }
    drop(turn);
    note_who_stays_behind(config, roster, reach);
    for note in roster.members().filter_map(|member| gateway.dns_note(&member.name())) {
        log::line(&note);
    }
    let watcher = Watcher::new(gateway, INTERFACE, log::entry);
    let pages = Arc::clone(watcher.board());
    let metrics = config
        .metrics
        .map(|address| http::Server::start(address, pages))
        .transpose()
        .context("METRICS or --metrics")?;
    let api = config
        .api
        .map(|address| Api::start(address, directory.root(), log::line))
        .transpose()
        .context("ADIT_API or --api")?;
    if let Some(api) = &api {
        log::line(&format!(
            "the API is on {}; `adit peer token` prints its token",
            api.address()
        ));
    }
    Ok(Prepared {
        port,
        terms,
        watcher,
        metrics,
        api,
    })
}

/// The other tunnels of `wg_confs`, whose servers are looked at when the gateway is.
struct Followed {
    tunnels: Rc<RefCell<Tunnels>>,
    servers: Servers,
}

impl Observer for Followed {
    fn look(&mut self, _gateway: &Gateway, _peers: &[PeerState], now: Instant) {
        let mut tunnels = self.tunnels.borrow_mut();
        tunnels.mend();
        if tunnels.are_due() {
            tunnels.bring_in_line();
        }
        self.servers.follow(tunnels.texts());
        self.servers.set_down(tunnels.missing());
        self.servers.look(now);
    }
}

/// What the gateway's template says. Its commands may name the port, and the port may be the template's.
fn settings(config: &Config, roster: &Roster, host: &Host) -> anyhow::Result<ServerSettings> {
    let of = |port| -> anyhow::Result<ServerSettings> {
        let terms = terms(config, roster, (host.clone(), port), None)?;
        let form = terms.form.as_ref().context("there are no templates")?;
        Ok(form.server_settings(roster.private_key(), &terms)?)
    };
    let given = config.port.or(config.listen_port.filter(|port| *port != 0));
    let settings = of(given.unwrap_or(DEFAULT_PORT))?;
    match (given, settings.listen_port) {
        (None, Some(port)) if port != DEFAULT_PORT => of(port),
        _ => Ok(settings),
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
    found.context("SERVERURL is not set, or auto")
}

/// Says how many clients go on with an address that is not this machine's any more: nobody gave another one.
fn note_who_stays_behind(config: &Config, roster: &Roster, reach: &Reach) {
    if config.host.is_some() || reach.is_guess() {
        return;
    }
    let others = roster.members().filter_map(|member| member.told.as_ref());
    let others = others.filter(|told| **told != reach.host).count();
    if others > 0 {
        log::line(&format!(
            "note: this machine's address is {}, and {} would connect to another one; SERVERURL={0} brings all \
             configurations in line, a name that follows the address spares the next time",
            reach.host,
            count(others)
        ));
    }
}

/// The templates, and the values of their variables.
fn form(config: &Config, roster: &Roster) -> Result<Form, DirectoryError> {
    let endpoint = match config.host {
        Some(_) => EndpointOf::User,
        None => EndpointOf::Nobody,
    };
    Form::load(&config.config_dir, config.texts.clone(), endpoint, &roster.addresses())
}

/// Opens the gateway; without DNS if its port is taken, as that image does, unless DNS was asked for.
fn open(config: &Config, roster: &Roster, plane: Plane, settings: &ServerSettings) -> anyhow::Result<Gateway> {
    let options = &config.options;
    let plan = |serve_dns: bool| Plan {
        name: INTERFACE.to_owned(),
        plane,
        private_key: roster.private_key().clone(),
        listen_port: config.listen_port.or(settings.listen_port).unwrap_or(DEFAULT_PORT),
        addresses: roster.addresses(),
        mtu: options.mtu.or(settings.mtu).unwrap_or(DEFAULT_MTU),
        dns: serve_dns.then(|| options::upstreams(&options.dns_upstream, options.dns_ca.as_deref())),
        peer_to_peer: true,
        peers: roster.peers(),
        launcher: None,
    };
    match Gateway::open(plan(config.has_dns())) {
        Err(GatewayError::Dns(DnsError::Bind { address, cause })) if cause.kind() == io::ErrorKind::AddrInUse => {
            if config.dns == Some(true) {
                return Err(DnsError::Bind { address, cause }).context(
                    "another program answers DNS queries here; end it, or leave them to it with USE_COREDNS=false",
                );
            }
            log::line(&format!(
                "note: another program answers DNS queries on {address}; the gateway leaves them to it, as with \
                 USE_COREDNS=false"
            ));
            Ok(Gateway::open(plan(false))?)
        }
        opened => Ok(opened?),
    }
}

/// What all clients are told. A gateway that runs keeps its own template; what else is in its file waits for the next start.
pub(super) fn terms(
    config: &Config,
    roster: &Roster,
    endpoint: (Host, u16),
    running: Option<&Form>,
) -> Result<Terms, DirectoryError> {
    let mut form = form(config, roster)?;
    if running.is_some_and(|running| form.keep_server(running)) {
        log::line("templates/server.conf is another than at the start: it takes effect at the next start");
    }
    // Without its own DNS the gateway is no resolver for anybody: the clients keep theirs.
    let own = roster.addresses().into_iter().take(1).filter(|_| config.has_dns());
    let own_dns = || own.map(|address| Host::Address(address.addr())).collect();
    form.of(Terms {
        server_key: roster.private_key().public_key(),
        endpoint,
        dns: config.client_dns.clone().unwrap_or_else(own_dns),
        allowed_ips: config.allowed_ips.clone(),
        mtu: config.options.mtu,
        listen_port: Some(DEFAULT_PORT),
        form: None,
    })
}

/// A configuration's QR code as a picture; none if it is too long for one.
fn picture(conf: &str) -> Option<Vec<u8>> {
    Qr::new(conf).ok().map(|qr| qr.png(PIXELS).to_vec())
}

/// Writes what is to be kept, and shows the configurations that are not what they were.
fn keep(
    config: &Config,
    directory: &Directory,
    roster: &Roster,
    terms: &Terms,
    listen_port: u16,
    pictures: &Turn<'_>,
) -> anyhow::Result<()> {
    let changed = roster.keep(directory, terms, listen_port, pictures)?;
    let shows_codes = changed.len() <= MAX_CODES;
    if config.log_confs && !shows_codes {
        log::line(&format!(
            "LOG_CONFS: more than {MAX_CODES} QR codes are not shown; `adit peer qr NAME` shows one"
        ));
    }
    for member in changed {
        let path = directory.peer_path(&member.id, Kind::Conf);
        let what = if member.is_new { "new" } else { "changed" };
        log::line(&format!(
            "{}: {what} configuration in {}",
            member.id.file_name(),
            path.display()
        ));
        if shows_codes {
            show_code(config, &member.id, &member.conf(terms)?);
        }
    }
    Ok(())
}

/// Shows a configuration as a QR code in the log, if that is wanted.
pub(super) fn show_code(config: &Config, peer: &PeerId, conf: &str) {
    if !config.log_confs {
        return;
    }
    match Qr::new(conf) {
        Ok(code) => log::block(&code.terminal(Ink::Colours)),
        Err(_) => log::line(&format!(
            "{}: no QR code: the configuration is too long; import the file",
            peer.file_name()
        )),
    }
}

fn count(peers: usize) -> String {
    if peers == 1 {
        "1 peer".to_owned()
    } else {
        format!("{peers} peers")
    }
}
