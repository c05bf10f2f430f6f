//! The arguments as typed: names, descriptions and the list of subcommands.

use clap::{Parser, Subcommand};

use crate::command::{completions, man};

/// Brings WireGuard to containers: gateways, tunnels and keys from one binary.
///
/// Needs no root, no kernel module and no TUN device; uses them where they are there.
#[derive(Debug, Parser)]
#[command(
    name = "adit",
    version,
    max_term_width = 100,
    propagate_version = true,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Start here: `adit launch` makes a gateway on this machine and prints its QR code.\n\
                        Will it work here? `adit doctor` says."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do; each has a file of its own in `command/`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a private key and prints it.
    ///
    /// Prints 44 characters of base64 to standard output, as `wg genkey` does. Keep them in a file that only
    /// you can read: `(umask 077; adit genkey > privatekey)`.
    Genkey,
    /// Reads a private key from standard input and prints its public key.
    ///
    /// As `wg pubkey` does: `adit pubkey < privatekey > publickey`.
    Pubkey,
    /// Makes a preshared key and prints it.
    ///
    /// Prints 44 characters of base64 to standard output, as `wg genpsk` does.
    Genpsk,
    /// Prints the completions for a shell.
    Completions(completions::Arguments),
    /// Prints the manual page, or writes one page for each subcommand.
    Man(man::Arguments),
}
