//! The subcommands, one file each.

pub(crate) mod ask;
pub(crate) mod attach;
pub(crate) mod completions;
pub(crate) mod device;
pub(crate) mod doctor;
pub(crate) mod down;
mod genkey;
mod genpsk;
pub(crate) mod health;
pub(crate) mod hub;
pub(crate) mod launch;
pub(crate) mod link;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod peer;
mod pubkey;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod show_peer;
pub(crate) mod up;

use std::time::Instant;

use crate::{cli::Command, failure};

/// Runs what was asked for. The program started at `started`.
pub(crate) fn run(command: Command, started: Instant) -> anyhow::Result<()> {
    if matches!(
        command,
        Command::Launch(_)
            | Command::Serve(_)
            | Command::Attach(_)
            | Command::Link(_)
            | Command::Up(_)
            | Command::Device(_)
            | Command::Node(_)
    ) {
        tunnel::check_environment().map_err(|error| failure::usage(error.to_string()))?;
    }
    match command {
        Command::Launch(arguments) => launch::run(*arguments, started),
        Command::Serve(arguments) => serve::run(*arguments, started),
        Command::Peer(arguments) => peer::run(&arguments),
        Command::Health(arguments) => health::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Hub(arguments) => hub::run(*arguments),
        Command::Attach(arguments) => attach::run(*arguments),
        Command::Link(arguments) => link::run(*arguments),
        Command::Up(arguments) => up::run(&arguments),
        Command::Down(arguments) => down::run(&arguments),
        Command::Show(arguments) => show::run(&arguments),
        Command::ShowPeer(arguments) => show_peer::run(&arguments),
        Command::Device(arguments) => device::run(&arguments),
        Command::Node(arguments) => node::run(&arguments, started),
        Command::Ask(arguments) => ask::run(arguments),
        Command::Genkey => genkey::run(),
        Command::Pubkey => pubkey::run(),
        Command::Genpsk => genpsk::run(),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}
