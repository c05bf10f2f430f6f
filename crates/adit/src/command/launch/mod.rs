//! `adit launch`: a gateway on this machine, or at another place, that is gone when its time is over.

mod alone;
mod azure;
mod commands;
mod config;
mod elsewhere;
mod event;
mod files;
mod follow;
mod here;
mod leases;
mod login;
mod peers;
pub(crate) mod places;
mod progress;
mod rehearsal;
mod remote;
mod screen;
pub(crate) mod simulation;
pub(crate) mod target;
#[cfg(test)]
mod tests;
mod wanted;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use gateway::Name;

use self::{commands::Command, config::QrOptions, elsewhere::Elsewhere, target::Target};
use crate::{duration, options::GatewayOptions};

/// The arguments of `adit launch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    adit launch                                  one peer, 30 minutes\n  \
    adit launch --peer phone --peer laptop --lifetime 2h\n  \
    adit launch --endpoint vpn.example.com --listen 443 --dns 9.9.9.9\n  \
    adit launch --json --output /run/user/1000/lease | jq\n  \
    adit launch --on docker                      the gateway is a container\n  \
    adit launch --on azure-vm --region westeurope --image registry.example/adit:1\n  \
    adit launch --hub https://vpn.example.com --peer phone\n  \
    adit launch list; adit launch extend ID 1h; adit launch end ID\n  \
    adit launch peer add ID tablet               another one for a gateway that runs\n\n\
    The private keys are in the files of the output directory only. The files are removed when the lease ends: they \
    are worthless then.\n\
    Exit code: 0 when the lease has ended, by itself or by Ctrl-C, SIGTERM or SIGHUP; 1 if it could not begin; \
    2 for wrong usage.")]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// Name of a peer, 1 to 15 letters, digits, `-` and `_`; may be repeated [default: peer1].
    #[arg(long, value_name = "NAME", conflicts_with = "peers")]
    peer: Vec<Name>,
    /// Number of peers, called peer1, peer2 and so on, 1 to 1000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    peers: Option<u32>,
    /// How long the gateway lives, 1s to 30d: 45s, 30m, 2h, 1h30m.
    ///
    /// Default: 30m; with --hub and --profile the profile's.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    lifetime: Option<Duration>,
    #[command(flatten)]
    gateway: GatewayOptions,
    /// Directory for the peers' configurations. It is made if it is missing; nothing foreign in it is overwritten.
    #[arg(long, value_name = "DIR", default_value = "./adit")]
    output: PathBuf,
    /// Prints one JSON object a line for each event: progress, ready, ssh, peer, handshake, transfer, extended, rekeyed,
    /// peer_added, peer_removed, ended.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    qr: QrOptions,
}

/// Does what was asked for.
pub(crate) fn run(arguments: Arguments, started: Instant) -> anyhow::Result<()> {
    if let Some(command) = &arguments.command {
        return commands::run(command, &arguments.target);
    }
    if arguments.elsewhere.azure.is_rehearsal() {
        return rehearsal::run(arguments);
    }
    let is_here =
        arguments.target.hub.is_none() && arguments.elsewhere.place().is_none_or(|place| place == alone::PLACE);
    if is_here {
        here::run(arguments, started)
    } else {
        follow::run(arguments, started)
    }
}
