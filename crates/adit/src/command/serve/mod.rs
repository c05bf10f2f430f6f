//! `adit serve`: a gateway for good, its peers in a directory.

mod client;
mod config;
mod server;
mod source;
mod tunnels;

use std::{net::SocketAddr, path::PathBuf, time::Instant};

use gateway::{
    environment::{self, Environment, LogFormat, PeerId},
    upstream::Upstreams,
};

use self::config::Config;
use crate::{
    failure, log,
    options::{self, GatewayOptions},
};

/// The arguments of `adit serve`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    PEERS=laptop,phone SERVERURL=vpn.example.com adit serve\n  \
    adit serve --config-dir ./config --peers 3 --endpoint vpn.example.com\n\n\
    Environment, in the form of linuxserver/wireguard: PEERS, SERVERURL, SERVERPORT, INTERNAL_SUBNET, ALLOWEDIPS, \
    PEERDNS, PERSISTENTKEEPALIVE_PEERS, SERVER_ALLOWEDIPS_PEER_<peer>, LOG_CONFS, USE_COREDNS, PUID, PGID, UMASK, TZ, \
    FILE__<variable>; and adit's own: INTERNAL_SUBNET6, DNS_UPSTREAM, ALLOWED_DESTINATIONS, \
    ALLOWED_DESTINATIONS_PEER_<peer>, PEER_TO_PEER, METRICS, LOG_FORMAT. docs/environment.md says what each does. An \
    argument wins over its variable. NOTIFY_SOCKET, as systemd sets it, is told when the gateway is ready.\n\n\
    Exit code: 0 after SIGTERM, SIGINT or SIGHUP; 1 if the gateway could not be opened; 2 for wrong usage.")]
pub(crate) struct Arguments {
    /// Directory with the gateway's and the peers' keys and configurations. It is made if it is missing.
    #[arg(
        long,
        value_name = "DIR",
        env = "ADIT_CONFIG_DIR",
        hide_env_values = true,
        default_value = "/config"
    )]
    config_dir: PathBuf,
    /// How many peers, or their names between commas [environment: PEERS].
    #[arg(long, value_name = "N|NAME,…", value_parser = peers)]
    peers: Option<Peers>,
    #[command(flatten)]
    gateway: GatewayOptions,
    /// Where `/healthz` and `/metrics` are served, `:PORT` for all addresses [environment: METRICS; default: off].
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = environment::listen)]
    metrics: Option<SocketAddr>,
    /// Where the API is served by which clients with a token add peers, over TLS; `:PORT` for all addresses. Default: off.
    ///
    /// `adit peer token` prints the token.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "ADIT_API",
        hide_env_values = true,
        value_parser = environment::listen
    )]
    api: Option<SocketAddr>,
    /// How the log is written, `text` or `json` [environment: LOG_FORMAT; default: text].
    #[arg(long, value_name = "FORMAT", value_parser = environment::log_format)]
    log_format: Option<LogFormat>,
}

/// A list of peers.
#[derive(Clone, Debug)]
struct Peers(Vec<PeerId>);

fn peers(text: &str) -> Result<Peers, String> {
    environment::peers(text).map(Peers)
}

/// Serves until a signal comes.
pub(crate) fn run(arguments: Arguments, started: Instant) -> anyhow::Result<()> {
    let mut environment = environment()?;
    if let Some(mask) = environment.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    }
    if arguments.peers.is_none() && environment.peers.is_none() {
        if arguments.api.is_some() {
            return Err(failure::usage(
                "--api and ADIT_API are for a gateway, and without PEERS this is client mode: give PEERS, 0 for a gateway \
                 whose peers all come by the API",
            ));
        }
        log::set_format(arguments.log_format.or(environment.log_format).unwrap_or_default());
        environment.metrics = arguments.metrics.or(environment.metrics);
        let plane = arguments.gateway.plane.into();
        let dns = client_dns(&arguments.gateway, &mut environment)?;
        return client::run(&arguments.config_dir, plane, dns, &environment, started);
    }
    let config = Config::new(arguments.clone(), environment)?;
    log::set_format(config.log_format);
    server::run(&config, arguments, started)
}

/// Whom a client's DNS asks; `None` if it has none.
fn client_dns(options: &GatewayOptions, environment: &mut Environment) -> anyhow::Result<Option<Upstreams>> {
    if environment.dns != Some(true) {
        return Ok(None);
    }
    let named = environment
        .dns_upstream
        .take()
        .filter(|_| options.dns_upstream.is_empty());
    let servers = named.unwrap_or_else(|| options.dns_upstream.clone());
    options::check_upstreams(&servers)?;
    Ok(Some(options::upstreams(&servers, options.dns_ca.as_deref())))
}

/// What is asked for at this moment: variables may be files.
fn config(arguments: &Arguments) -> anyhow::Result<Config> {
    Config::new(arguments.clone(), environment()?)
}

fn environment() -> anyhow::Result<Environment> {
    Environment::read(std::env::vars_os()).map_err(|error| failure::usage(error.to_string()))
}
