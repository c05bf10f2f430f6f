//! A hub's options: flag over environment over file, made into one configuration.

use std::path::PathBuf;

use clap::Args;
use gateway::{
    environment::{self, LogFormat},
    reach::Host,
};
use hub::config::{Typed, TypedTls};
use launch::place::Place;
use std::sync::Arc;

use super::{
    file::Settings,
    places::{self, PlaceName},
    run,
};
use crate::{
    command::launch::{simulation::SimulateOptions, target::DockerOptions},
    failure, folders,
    options::PlaneChoice,
};

/// Where the data is.
#[derive(Clone, Debug, Args)]
pub(super) struct DataArguments {
    /// Directory in which leases, accounts and the audit are kept. Default: /var/lib/adit/hub for root, else adit/hub in
    /// $XDG_DATA_HOME or ~/.local/share.
    #[arg(
        long,
        value_name = "DIR",
        env = "ADIT_HUB_DATA",
        hide_env_values = true,
        global = true
    )]
    data: Option<PathBuf>,
    /// File of settings, YAML or JSON.
    #[arg(
        long,
        value_name = "FILE",
        env = "ADIT_HUB_CONFIG",
        hide_env_values = true,
        global = true
    )]
    config: Option<PathBuf>,
}

/// How a hub runs.
#[derive(Clone, Debug, Args)]
pub(super) struct HubArguments {
    /// Where to listen. Default: 127.0.0.1:8790. Anything beyond this machine needs sign-in (oidc or api_tokens in the file)
    /// and encryption.
    #[arg(long, value_name = "ADDRESS:PORT", env = "ADIT_HUB_LISTEN", hide_env_values = true)]
    listen: Option<String>,
    /// Where people reach the hub, if not there where it listens, such as `https://vpn.example.org`.
    #[arg(long, value_name = "URL", env = "ADIT_HUB_PUBLIC_URL", hide_env_values = true)]
    public_url: Option<String>,
    /// File with a certificate and those above it, PEM. It is read anew when it changes.
    #[arg(
        long,
        value_name = "FILE",
        env = "ADIT_HUB_TLS_CERTIFICATE",
        hide_env_values = true,
        requires = "tls_key"
    )]
    tls_certificate: Option<PathBuf>,
    /// File with the certificate's private key, PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "ADIT_HUB_TLS_KEY",
        hide_env_values = true,
        requires = "tls_certificate"
    )]
    tls_key: Option<PathBuf>,
    /// Address or network of a proxy that encrypts, and that is believed about where requests come from.
    #[arg(
        long = "trusted-proxy",
        value_name = "ADDRESS",
        env = "ADIT_HUB_TRUSTED_PROXIES",
        hide_env_values = true,
        value_delimiter = ','
    )]
    trusted_proxies: Vec<String>,
    /// Where Prometheus reads /metrics without signing in. Default: where the hub listens, for this machine and admins.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "ADIT_HUB_METRICS_LISTEN",
        hide_env_values = true
    )]
    metrics_listen: Option<String>,
    /// File with the token that Prometheus brings there, at least 20 characters. Needed beyond this machine.
    #[arg(
        long,
        value_name = "FILE",
        env = "ADIT_HUB_METRICS_TOKEN_FILE",
        hide_env_values = true
    )]
    metrics_token_file: Option<PathBuf>,
    /// Lets /metrics leave this machine in the clear and to whoever asks, where the network itself keeps others away.
    #[arg(
        long,
        env = "ADIT_HUB_METRICS_INSECURE",
        hide_env_values = true,
        value_parser = clap::builder::FalseyValueParser::new(),
    )]
    metrics_insecure: bool,
    /// File with the token that signs in on this machine, at least 20 characters. Default: a random one, printed at the
    /// start.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Where gateways run, the default first. Default: local.
    #[arg(
        long = "place",
        value_name = "PLACE",
        env = "ADIT_HUB_PLACES",
        hide_env_values = true,
        value_delimiter = ','
    )]
    places: Vec<PlaceName>,
    /// Launches nothing: the place is `simulate` alone, which hands out samples.
    #[arg(
        long,
        env = "DRY_RUN",
        hide_env_values = true,
        value_parser = clap::builder::FalseyValueParser::new(),
    )]
    dry_run: bool,
    #[command(flatten)]
    engine: DockerOptions,
    #[command(flatten)]
    simulate: SimulateOptions,
    /// Where clients reach this machine. Default: found out.
    #[arg(long, value_name = "HOST", env = "ADIT_HUB_ENDPOINT", hide_env_values = true)]
    endpoint: Option<Host>,
    /// Who handles the packets of gateways on this machine. Default: the first that works.
    #[arg(long, value_name = "PLANE", env = "ADIT_PLANE", hide_env_values = true)]
    plane: Option<PlaneChoice>,
    /// Where spans of requests go by OTLP over HTTP, such as `http://127.0.0.1:4318`.
    #[arg(
        long,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true
    )]
    otlp_endpoint: Option<String>,
    /// How the log is written, `text` or `json`.
    #[arg(long, value_name = "FORMAT", env = "LOG_FORMAT", default_value = "text", value_parser = environment::log_format)]
    pub(super) log_format: LogFormat,
    /// How much is logged: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", env = "ADIT_LOG_LEVEL", default_value = "info")]
    pub(super) log_level: tracing::Level,
}

/// What a hub runs by.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) config: hub::Config,
    pub(super) places: Vec<Arc<dyn Place>>,
    pub(super) data: PathBuf,
}

impl DataArguments {
    /// What the file says, and where the data is.
    pub(super) fn read(self) -> anyhow::Result<(Settings, PathBuf)> {
        let settings = match &self.config {
            None => Settings::default(),
            Some(path) => Settings::read(path)?,
        };
        let data = self
            .data
            .or_else(|| settings.machine.data.clone())
            .or_else(default_data);
        let data = data.ok_or_else(|| {
            failure::usage("there is no home directory in which the hub could keep its data: name one with --data DIR")
        })?;
        Ok((settings, data))
    }
}

fn default_data() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/adit/hub"));
    }
    Some(folders::data()?.join("adit/hub"))
}

impl HubArguments {
    /// Merges the options into what the file says, and checks all of it.
    pub(super) fn setup(self, data: DataArguments) -> anyhow::Result<Setup> {
        let (settings, data) = data.read()?;
        let Settings { hub, machine } = settings;
        let config = hub::Config::new(self.merge(hub)).map_err(|error| failure::usage(error.to_string()))?;
        let wanted = places::Wanted {
            names: self.places,
            dry_run: self.dry_run,
            engine: self.engine,
            simulate: self.simulate,
            endpoint: self.endpoint.or(machine.endpoint),
            plane: self.plane.or(machine.plane).unwrap_or_default(),
            data: data.clone(),
        };
        run::make_folder(&data)?;
        Ok(Setup {
            places: places::make(wanted, machine.places)?,
            config,
            data,
        })
    }

    fn merge(&self, file: Typed) -> Typed {
        let tls = self
            .tls_certificate
            .clone()
            .zip(self.tls_key.clone())
            .map(|(certificate, key)| TypedTls {
                certificate: Some(certificate),
                key: Some(key),
            });
        Typed {
            listen: self.listen.clone().or(file.listen),
            metrics_listen: self.metrics_listen.clone().or(file.metrics_listen),
            metrics_token_file: self.metrics_token_file.clone().or(file.metrics_token_file),
            metrics_insecure: Some(self.metrics_insecure || file.metrics_insecure.unwrap_or_default()),
            public_url: self.public_url.clone().or(file.public_url),
            tls: tls.or(file.tls),
            trusted_proxies: if self.trusted_proxies.is_empty() {
                file.trusted_proxies
            } else {
                self.trusted_proxies.clone()
            },
            otlp_endpoint: self.otlp_endpoint.clone().or(file.otlp_endpoint),
            oidc: file.oidc,
            api_tokens: file.api_tokens,
            session_secs: file.session_secs,
            limits: file.limits,
            rates: file.rates,
            retention: file.retention,
            azure_monitor: file.azure_monitor,
            profiles: file.profiles,
        }
    }
}
