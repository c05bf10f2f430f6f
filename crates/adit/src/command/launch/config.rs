//! A launch as it will be carried out: every argument checked, every default filled in.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use gateway::{
    Name,
    network::Network,
    reach::{Endpoint, Host},
    roster::DEFAULT_SUBNET,
    upstream::Upstream,
};
use ipnet::IpNet;

use super::Arguments;
use crate::{
    failure,
    options::{DEFAULT_PORT, PlaneChoice, check_subnets, check_upstreams, everything},
};

/// Longest name that WireGuard's apps take for a tunnel, which they name after the file.
const MAX_NAME: usize = 15;

/// Longest lifetime of a lease: what is meant for good is `adit serve`.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// When the QR codes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShowQr {
    /// On a terminal, if there are few.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// This one and no other; 0 is any.
    Exactly(u16),
    /// This one, or any if it is taken.
    Prefer(u16),
}

/// What a launch does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) peers: Vec<Name>,
    pub(crate) lifetime: Duration,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) listen: Listen,
    pub(crate) subnets: Vec<IpNet>,
    /// `None`: the gateway itself.
    pub(crate) dns: Option<Vec<Host>>,
    /// Empty: this machine's.
    pub(crate) dns_upstream: Vec<Upstream>,
    /// `None`: the web's.
    pub(crate) dns_ca: Option<PathBuf>,
    pub(crate) allowed_ips: Vec<IpNet>,
    pub(crate) mtu: Option<u16>,
    pub(crate) plane: PlaneChoice,
    pub(crate) output: PathBuf,
    pub(crate) json: bool,
    pub(crate) qr: ShowQr,
}

impl Config {
    /// Checks the arguments; `random` makes the network of the peers' IPv6 addresses.
    pub(crate) fn new(arguments: Arguments, random: [u8; 7]) -> anyhow::Result<Self> {
        let Arguments {
            peer,
            peers,
            lifetime,
            gateway: options,
            output,
            json,
            qr,
            no_qr,
        } = arguments;
        let peers = match peers {
            Some(number) => (1..=number).map(Name::numbered).collect(),
            None if peer.is_empty() => vec![Name::numbered(1)],
            None => peer,
        };
        check_names(&peers)?;
        if lifetime.is_zero() || lifetime > MAX_LIFETIME {
            return Err(failure::usage(
                "--lifetime must be between 1s and 30d; for good there is `adit serve`",
            ));
        }
        let subnets = if options.subnet.is_empty() {
            default_subnets(random)
        } else {
            options.subnet
        };
        check_subnets(&subnets, peers.len())?;
        check_upstreams(&options.dns_upstream)?;
        Ok(Self {
            peers,
            lifetime,
            endpoint: options.endpoint,
            listen: options.listen.map_or(Listen::Prefer(DEFAULT_PORT), Listen::Exactly),
            subnets,
            dns: options.dns.map(|dns| dns.0),
            dns_upstream: options.dns_upstream,
            dns_ca: options.dns_ca,
            allowed_ips: options.allowed_ips.map_or_else(everything, |networks| networks.0),
            mtu: options.mtu,
            plane: options.plane,
            output,
            json,
            qr: match (qr, no_qr) {
                (true, _) => ShowQr::Always,
                (_, true) => ShowQr::Never,
                (false, false) => ShowQr::Auto,
            },
        })
    }
}

/// 10.13.13.0/24, and a unique local /64 that is this lease's own (RFC 4193, section 3.2).
fn default_subnets(random: [u8; 7]) -> Vec<IpNet> {
    vec![IpNet::V4(DEFAULT_SUBNET), IpNet::V6(Network::random_local(random))]
}

fn check_names(names: &[Name]) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        if name.as_str().len() > MAX_NAME {
            let message = format!(
                "the peer's name `{name}` is too long: WireGuard's apps name the tunnel after the file, \
                 and take {MAX_NAME} characters at most"
            );
            return Err(failure::usage(message));
        }
        // Two files whose names differ in case alone are one file on a phone's or a Mac's file system.
        if !seen.insert(name.as_str().to_ascii_lowercase()) {
            return Err(failure::usage(format!("the peer's name `{name}` is given twice")));
        }
    }
    Ok(())
}
