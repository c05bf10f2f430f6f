//! The daemon's arguments, and how it is run.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use attach::{
    control,
    daemon::{self, DriverPlace, Providers, Settings},
    driver,
    inside::probe::Targets,
    provider::{
        file::File,
        gateway::Gateway,
        pia::{self, Credentials, Login, Pia, Secret},
    },
};
use clap::Args;
use gateway::{
    entry::Entry,
    environment::{self, LogFormat},
    notify::{self, Notifier},
};
use linux::signal::{Signal, Signals};

use super::EngineArguments;
use crate::{failure, log};

/// How the daemon runs.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    engine: EngineArguments,
    /// Where the engine keeps the files of network namespaces; they are watched, so that containers are closed before
    /// their processes run.
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "ADIT_ATTACH_NAMESPACES",
        default_value = "/run/docker/netns"
    )]
    namespaces: PathBuf,
    /// The provider of containers that name none: file, gateway or pia.
    #[arg(long, value_name = "NAME", env = "ADIT_ATTACH_PROVIDER", value_parser = ["file", "gateway", "pia"])]
    provider: Option<String>,
    /// Where the provider file has its configurations.
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "ADIT_ATTACH_CONF_DIR",
        default_value = "/etc/adit/tunnels"
    )]
    conf_dir: PathBuf,
    /// The token of an `adit serve` with an API (`adit peer token`), or a directory of NAME.token: the provider gateway.
    #[arg(
        long,
        value_name = "PATH",
        env = "ADIT_ATTACH_GATEWAYS",
        default_value = "/etc/adit/gateways"
    )]
    gateways: PathBuf,
    #[command(flatten)]
    pia: PiaArguments,
    /// Serves /metrics and /healthz here.
    #[arg(long, value_name = "ADDRESS:PORT", env = "ADIT_ATTACH_METRICS")]
    metrics: Option<SocketAddr>,
    /// Where the numbers of forwarded ports are written, a file for each container's name.
    #[arg(long, value_name = "DIRECTORY", env = "ADIT_ATTACH_PORT_DIR")]
    port_dir: Option<PathBuf>,
    /// A TCP connection to here says whether a tunnel works; `none` tries none.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "ADIT_ATTACH_PROBE",
        default_value = "1.1.1.1:443"
    )]
    probe: String,
    /// The name whose address is asked of the tunnel's name server for the same purpose; `none` asks none.
    #[arg(
        long,
        value_name = "NAME",
        env = "ADIT_ATTACH_PROBE_NAME",
        default_value = "example.com"
    )]
    probe_name: String,
    /// Where the daemon serves as Docker's network driver `adit`; `none` does not.
    #[arg(long, value_name = "FILE", env = "ADIT_ATTACH_DRIVER", default_value = driver::SOCKET)]
    driver: PathBuf,
    /// What the driver keeps of its networks, over a boot.
    #[arg(
        long,
        value_name = "FILE",
        env = "ADIT_ATTACH_NETWORKS",
        default_value = "/var/lib/adit/networks.json"
    )]
    networks: PathBuf,
    /// How the log is written, `text` or `json`.
    #[arg(long, value_name = "FORMAT", env = "LOG_FORMAT", default_value = "text", value_parser = environment::log_format)]
    log_format: LogFormat,
    /// Where the daemon keeps what its next start needs.
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "ADIT_ATTACH_STATE",
        default_value = "/run/adit/attach"
    )]
    state: PathBuf,
    /// The daemon's socket, for `adit attach status`.
    #[arg(long, value_name = "FILE", env = "ADIT_ATTACH_SOCKET", default_value = control::SOCKET)]
    socket: PathBuf,
}

/// The provider pia: Private Internet Access.
#[derive(Debug, Args)]
#[command(next_help_heading = "Private Internet Access")]
struct PiaArguments {
    /// The user's name and password, a line each, or as PIA_USERNAME=… and PIA_PASSWORD=…; without this file and without
    /// these variables in the environment there is no provider pia.
    #[arg(long, value_name = "FILE", env = "PIA_CREDENTIALS")]
    pia_credentials: Option<PathBuf>,
    /// Where the token, the server list and forwarded ports are kept.
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "PIA_CACHE",
        default_value = "/var/lib/adit/pia"
    )]
    pia_cache: PathBuf,
    /// The region of containers that name none.
    #[arg(long, value_name = "ID", env = "PIA_REGION", default_value = pia::DEFAULT_REGION)]
    pia_region: String,
    /// PIA's certificate authority (ca.rsa.4096.crt); without it, it is downloaded once and known by its SHA-256.
    #[arg(long, value_name = "FILE", env = "PIA_CA")]
    pia_ca: Option<PathBuf>,
    /// The public key that signs the server list, as PEM; without it, the list is trusted for the TLS that it came by.
    #[arg(long, value_name = "FILE", env = "PIA_LIST_KEY")]
    pia_list_key: Option<PathBuf>,
    /// The token of a dedicated IP, for the container with adit.region=dedicated-ip.
    #[arg(long, value_name = "FILE", env = "PIA_DEDICATED_IP_FILE")]
    pia_dedicated_ip: Option<PathBuf>,
}

impl PiaArguments {
    /// The provider, if there are credentials.
    fn provider(self) -> anyhow::Result<Option<Pia>> {
        let login = || {
            let user = std::env::var("PIA_USERNAME").ok()?;
            let password = Secret::new(std::env::var("PIA_PASSWORD").ok()?);
            Some(Credentials::Login(Login { user, password }))
        };
        let Some(credentials) = self.pia_credentials.map(Credentials::File).or_else(login) else {
            return Ok(None);
        };
        let mut config = pia::Config::new(credentials, self.pia_cache);
        config.ca = self.pia_ca;
        config.list_key = self.pia_list_key;
        config.region = self.pia_region;
        if let Some(path) = &self.pia_dedicated_ip {
            let token = std::fs::read_to_string(path);
            let token = token.with_context(|| format!("cannot read the dedicated IP's token in {}", path.display()))?;
            config.dedicated_ip = Some(Secret::new(token.trim()));
        }
        Pia::open(config).map(Some).context("cannot set up the provider pia")
    }
}

impl RunArguments {
    fn settings(self) -> anyhow::Result<Settings> {
        let tcp = match self.probe.as_str() {
            "none" => None,
            text => Some(text.parse().map_err(|_| {
                failure::usage(format!(
                    "--probe {text}: it takes an address and a port as 1.1.1.1:443, or none"
                ))
            })?),
        };
        let mut providers = Providers::new(self.provider);
        providers.add("file", Arc::new(File::new(self.conf_dir)));
        providers.add("gateway", Arc::new(Gateway::new(self.gateways)));
        if let Some(pia) = self.pia.provider()? {
            providers.add("pia", Arc::new(pia));
        }
        Ok(Settings {
            plane: tunnel::choose_interface(self.engine.plane)?.plane,
            engine: self.engine.engine,
            namespaces: self.namespaces,
            providers,
            state: self.state,
            socket: self.socket,
            metrics: self.metrics,
            targets: Targets {
                tcp,
                name: Some(self.probe_name).filter(|name| name != "none"),
            },
            ports: self.port_dir,
            driver: (self.driver.as_os_str() != "none").then_some(DriverPlace {
                socket: self.driver,
                networks: self.networks,
            }),
        })
    }
}

/// A line of the log.
fn say(container: Option<&str>, text: &str) {
    match container {
        Some(name) => log::entry(&Entry::new("container", format!("{name}: {text}")).with("container", name)),
        None => log::line(text),
    }
}

/// Runs the daemon until a signal ends it. Tunnels live on.
pub(super) fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    log::set_format(arguments.log_format);
    let settings = arguments.settings()?;
    let notifier = Notifier::new(std::env::var_os(notify::VARIABLE).as_deref()).context("NOTIFY_SOCKET is wrong")?;
    // Docker may start: its network driver is there.
    let ready = || {
        if let Err(error) = notifier.ready("watches the container engine") {
            log::line(&format!(
                "note: the service manager cannot be told that this is ready: {error}"
            ));
        }
    };
    log::line(&format!("tunnels are on the {} plane", settings.plane));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let (sender, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            while !matches!(signals.wait(None), Ok(Some(_)) | Err(_)) {}
            let _ends_already = sender.send(());
        })
        .context("cannot start a thread")?;
    let end = async {
        let _told_or_gone = ended.await;
    };
    let done = runtime.block_on(daemon::run(settings, say, ready, end));
    runtime.shutdown_background();
    done.context("cannot run")?;
    log::line("adit attach ends; the containers keep their tunnels");
    Ok(())
}
