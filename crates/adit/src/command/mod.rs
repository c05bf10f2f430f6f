//! The subcommands, one file each.

pub(crate) mod completions;
mod genkey;
mod genpsk;
pub(crate) mod man;
mod pubkey;

use crate::cli::Command;

/// Runs what was asked for.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Genkey => genkey::run(),
        Command::Pubkey => pubkey::run(),
        Command::Genpsk => genpsk::run(),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}
