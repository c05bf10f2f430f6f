//! The daemon's arguments, and how it is run.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use attach::{
    control,
    daemon::{self, Providers, Settings},
    inside::probe::Targets,
    provider::file::File,
};
use clap::Args;
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
    /// The provider of containers that name none: file.
    #[arg(long, value_name = "NAME", env = "ADIT_ATTACH_PROVIDER", value_parser = ["file"])]
    provider: Option<String>,
    /// Where the provider file has its configurations.
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "ADIT_ATTACH_CONF_DIR",
        default_value = "/etc/adit/tunnels"
    )]
    conf_dir: PathBuf,
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
        })
    }
}

/// Runs the daemon until a signal ends it. Tunnels live on.
pub(super) fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let settings = arguments.settings()?;
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
    let done = runtime.block_on(daemon::run(settings, log::line, end));
    runtime.shutdown_background();
    done.context("cannot run")?;
    log::line("adit attach ends; the containers keep their tunnels");
    Ok(())
}
