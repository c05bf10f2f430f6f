//! How a hub is set up: as typed, and checked.
//!
//! [`Typed`] is what flags, the environment and a file say together. [`Config::new`] makes of it what the hub acts on, or
//! says what is wrong and what would mend it. A hub that others can reach has somebody sign in, over an encrypted way.

mod azure_monitor;
mod oidc;
mod origin;
#[cfg(test)]
mod tests;
mod typed;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use launch::{order::Profile, policy::Policy};

pub(crate) use self::origin::is_loopback_host;
pub use self::{
    azure_monitor::AzureMonitor,
    oidc::Oidc,
    origin::Origin,
    typed::{Typed, TypedAzureMonitor, TypedLimits, TypedOidc, TypedRates, TypedRetention, TypedTls},
};
use crate::retention::Retention;

/// Where a hub listens unless something else is asked for.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8790);

/// How a hub is set up, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where Prometheus reads `/metrics` without signing in; `None` keeps them with the rest, for this machine and admins.
    pub metrics: Option<Metrics>,
    /// Where people reach it.
    pub origin: Origin,
    /// `None`: it speaks plain HTTP, on loopback or to a proxy that is trusted.
    pub tls: Option<Tls>,
    /// Who is believed about where a request came from.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether only this machine reaches it: the token that is printed at the start signs in.
    pub is_local: bool,
    /// Sign-in by OpenID Connect.
    pub oidc: Option<Oidc>,
    /// Whether people may make API tokens.
    pub has_api_tokens: bool,
    /// How long a session lasts at most.
    pub session: Duration,
    /// What may be asked for.
    pub policy: Policy,
    /// Sets of options by name.
    pub profiles: BTreeMap<String, Profile>,
    /// How often somebody may ask.
    pub rates: RateLimits,
    /// What a client may use up.
    pub limits: Limits,
    /// How long leases that are over, and the audit, are kept.
    pub retention: Retention,
    /// Where spans go by OTLP over HTTP; `None` is nowhere.
    pub otlp_endpoint: Option<String>,
    /// Where custom metrics go; `None` is nowhere.
    pub azure_monitor: Option<AzureMonitor>,
}

/// Where a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and those above it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// A listener for `/metrics` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The file with the token that has to be brought; `None` is none.
    pub token_file: Option<PathBuf>,
    /// Whether it has the hub's certificate.
    pub is_encrypted: bool,
}

/// How often somebody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests a minute of one user.
    pub per_user: NonZeroU32,
    /// Requests a minute from one address, whoever asks; for IPv6 from one /64.
    pub per_address: NonZeroU32,
}

/// What a client may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of a request, in bytes.
    pub body_bytes: usize,
    /// Largest head of a request, in bytes.
    pub header_bytes: usize,
    /// How long a client may take for the head of a request.
    pub header: Duration,
    /// How long a client may take for the body.
    pub answer: Duration,
    /// How long nothing of an answer may be taken by the client.
    pub stall: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Streams of events that one user may hold open.
    pub streams_per_user: usize,
    /// How long `StartVPN` waits until the gateway is ready.
    pub start_vpn: Duration,
    /// How long a stopping hub waits for answers that are being written.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 10,
            header_bytes: 16 << 10,
            header: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            connections: 1_000,
            streams_per_user: 8,
            start_vpn: Duration::from_secs(180),
            stop: Duration::from_secs(20),
        }
    }
}

/// Why a hub cannot be set up so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Others reach it, and nobody would have to sign in.
    #[error(
        "{reach} is reached from beyond this machine, and nobody would have to sign in: configure OpenID Connect \
         (oidc: issuer, client_id, client_secret_file) or API tokens alone (api_tokens: true), or listen on {DEFAULT_LISTEN}"
    )]
    NoSignIn {
        /// What is reached.
        reach: String,
    },
    /// Others reach it, and tokens would travel in the clear.
    #[error(
        "{reach} is reached from beyond this machine without encryption: give a certificate (tls: certificate, key), or \
         name the proxy that encrypts (trusted_proxies)"
    )]
    Plain {
        /// What is reached.
        reach: String,
    },
    /// Others reach it by a name that it does not know.
    #[error("which address people use is not known: give it as public_url, such as https://vpn.example.org")]
    NoPublicUrl,
    /// A value is wrong.
    #[error("{field}: {problem}")]
    Wrong {
        /// Which.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl ConfigError {
    pub(crate) fn wrong(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Wrong {
            field,
            problem: problem.into(),
        }
    }
}

impl Config {
    /// Checks what was typed.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, or not safe.
    pub fn new(typed: Typed) -> Result<Self, ConfigError> {
        let listen = address("listen", typed.listen.as_deref())?.unwrap_or(DEFAULT_LISTEN);
        let tls = typed.tls.map(TypedTls::check).transpose()?;
        let metrics = metrics(
            address("metrics_listen", typed.metrics_listen.as_deref())?,
            typed.metrics_token_file,
            typed.metrics_insecure.unwrap_or_default(),
            tls.is_some(),
        )?;
        let trusted_proxies = proxies(&typed.trusted_proxies)?;
        let public = typed.public_url.as_deref().map(Origin::parse).transpose()?;
        let oidc = typed.oidc.map(TypedOidc::check).transpose()?;
        let is_local =
            listen.ip().is_loopback() && trusted_proxies.is_empty() && public.as_ref().is_none_or(Origin::is_loopback);
        if !is_local {
            let reach = public.as_ref().map_or_else(|| listen.to_string(), Origin::to_string);
            if oidc.is_none() && !typed.api_tokens.unwrap_or_default() {
                return Err(ConfigError::NoSignIn { reach });
            }
            if tls.is_none() && trusted_proxies.is_empty() {
                return Err(ConfigError::Plain { reach });
            }
            let public = public.as_ref().ok_or(ConfigError::NoPublicUrl)?;
            if !public.is_https() {
                return Err(ConfigError::wrong(
                    "public_url",
                    "begins with https:// where others reach the hub",
                ));
            }
        }
        if let (Some(public), true) = (&public, is_local)
            && public.is_https() != tls.is_some()
        {
            return Err(ConfigError::wrong(
                "public_url",
                "says https:// exactly if the hub has a certificate (tls), or a proxy (trusted_proxies)",
            ));
        }
        Ok(Self {
            origin: public.unwrap_or_else(|| Origin::of_listener(listen, tls.is_some())),
            listen,
            metrics,
            tls,
            trusted_proxies,
            is_local,
            oidc,
            has_api_tokens: typed.api_tokens.unwrap_or(true),
            session: Duration::from_secs(typed::within(
                "session_secs",
                typed.session_secs,
                12 * 3600,
                300..=30 * 86_400,
            )?),
            policy: typed.limits.check()?,
            profiles: typed.profiles,
            rates: typed.rates.check()?,
            limits: Limits::default(),
            retention: typed.retention.check()?,
            otlp_endpoint: typed.otlp_endpoint.map(otlp).transpose()?,
            azure_monitor: typed.azure_monitor.map(azure_monitor::check).transpose()?,
        })
    }
}

impl Config {
    /// The configuration once the listener is open: with its port, where any was asked for.
    #[must_use]
    pub fn listening_at(mut self, address: SocketAddr) -> Self {
        if self.listen.port() == 0 && self.is_local {
            self.origin = self.origin.with_port(address.port());
        }
        self.listen = address;
        self
    }
}

fn address(field: &'static str, text: Option<&str>) -> Result<Option<SocketAddr>, ConfigError> {
    text.map(|text| {
        text.parse().map_err(|_| {
            ConfigError::wrong(
                field,
                format!("`{text}` is not ADDRESS:PORT, such as 127.0.0.1:8790 or [::1]:8790"),
            )
        })
    })
    .transpose()
}

/// On loopback in the clear, as every other exporter; beyond it encrypted and with a token, unless it is said otherwise.
fn metrics(
    listen: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    is_insecure: bool,
    has_certificate: bool,
) -> Result<Option<Metrics>, ConfigError> {
    let Some(listen) = listen else {
        if token_file.is_some() {
            let problem = "opens nothing: metrics_listen is missing";
            return Err(ConfigError::wrong("metrics_token_file", problem));
        }
        return Ok(None);
    };
    let is_local = listen.ip().to_canonical().is_loopback();
    if !is_local && !is_insecure && (!has_certificate || token_file.is_none()) {
        let problem = format!(
            "{listen} is reached from beyond this machine: give a certificate (tls: certificate, key) and a token \
             (metrics_token_file), or say metrics_insecure: true where the network itself keeps others away"
        );
        return Err(ConfigError::wrong("metrics_listen", problem));
    }
    Ok(Some(Metrics {
        listen,
        token_file,
        is_encrypted: !is_local && !is_insecure,
    }))
}

fn proxies(texts: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    let read = |text: &String| {
        let net = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map_err(|_| {
            let problem = format!("`{text}` is neither an address nor a network, such as 10.0.0.7 or 10.0.0.0/24");
            ConfigError::wrong("trusted_proxies", problem)
        })
    };
    let nets = texts.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if nets.iter().any(|net| net.prefix_len() == 0) {
        return Err(ConfigError::wrong(
            "trusted_proxies",
            "would trust everybody: name the proxy alone",
        ));
    }
    Ok(nets)
}

fn otlp(text: String) -> Result<String, ConfigError> {
    let is_url = (text.starts_with("http://") || text.starts_with("https://")) && !text.contains(char::is_whitespace);
    if is_url {
        Ok(text)
    } else {
        Err(ConfigError::wrong(
            "otlp_endpoint",
            "is not a URL such as http://127.0.0.1:4318",
        ))
    }
}
