//! A launch as it will be carried out: every argument checked, every default filled in.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use gateway::{
    Name,
    reach::{Endpoint, Host},
};
use ipnet::IpNet;
use launch::order::everything;

use super::Arguments;
use crate::{failure, opening::Opening};

/// Longest name that WireGuard's apps take for a tunnel, which they name after the file.
const MAX_NAME: usize = 15;

/// Lifetime of a lease, unless another one is asked for.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Longest lifetime of a lease: what is meant for good is `adit serve`.
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// Which QR codes are asked for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct QrOptions {
    /// Shows the QR codes even where there is no terminal, or many peers.
    #[arg(long, conflicts_with_all = ["no_qr", "json"])]
    qr: bool,
    /// Shows no QR codes.
    #[arg(long)]
    no_qr: bool,
}

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

/// What a launch does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) peers: Vec<Name>,
    pub(crate) lifetime: Duration,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) opening: Opening,
    /// `None`: the gateway itself.
    pub(crate) dns: Option<Vec<Host>>,
    pub(crate) allowed_ips: Vec<IpNet>,
    pub(crate) output: PathBuf,
    pub(crate) json: bool,
    pub(crate) qr: ShowQr,
}

impl Config {
    /// Checks the arguments; `random` makes the network of the peers' IPv6 addresses.
    pub(crate) fn new(arguments: Arguments, random: [u8; 7]) -> anyhow::Result<Self> {
        let Arguments {
            command: _,
            target: _,
            elsewhere: _,
            peer,
            peers,
            lifetime,
            gateway: options,
            output,
            json,
            qr,
        } = arguments;
        let peers = match peers {
            Some(number) => (1..=number).map(Name::numbered).collect(),
            None if peer.is_empty() => vec![Name::numbered(1)],
            None => peer,
        };
        check_names(&peers)?;
        let lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME);
        if lifetime.is_zero() || lifetime > MAX_LIFETIME {
            return Err(failure::usage(
                "--lifetime must be between 1s and 30d; for good there is `adit serve`",
            ));
        }
        Ok(Self {
            lifetime,
            opening: Opening::new(&options, peers.len(), random)?,
            peers,
            endpoint: options.endpoint,
            dns: options.dns.map(|dns| dns.0),
            allowed_ips: options.allowed_ips.map_or_else(everything, |networks| networks.0),
            output,
            json,
            qr: qr.show(),
        })
    }

    /// Clients' resolvers and search domains as a lease has them.
    pub(crate) fn dns_texts(&self) -> Option<Vec<String>> {
        let text = |host: &Host| match host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        };
        Some(self.dns.as_ref()?.iter().map(text).collect())
    }
}

impl QrOptions {
    /// What they come to.
    pub(crate) fn show(self) -> ShowQr {
        match (self.qr, self.no_qr) {
            (true, _) => ShowQr::Always,
            (_, true) => ShowQr::Never,
            (false, false) => ShowQr::Auto,
        }
    }
}

/// Refuses names that a file on some machine could not have, and what is there twice.
pub(crate) fn check_names(names: &[Name]) -> anyhow::Result<()> {
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
