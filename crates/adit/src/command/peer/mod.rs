//! `adit peer`: adds, changes, removes and shows the peers of a gateway that runs.

mod add;
mod conf;
mod list;
mod remove;
mod set;
mod settings;
mod token;

use std::path::{Path, PathBuf};

use gateway::control::{self, Change, Changed, Client, Found, Reply, Request};
use serde::Serialize;

use crate::output;

/// The arguments of `adit peer`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    adit peer add phone tablet\n  \
    adit peer add laptop --public-key \"$(adit pubkey < privatekey)\" --allow 10.0.0.0/8\n  \
    adit peer list\n  \
    docker exec wireguard adit peer add phone\n\n\
    The gateway is found by its socket in /run/adit, $XDG_RUNTIME_DIR/adit or /config; where several run, \
    --config-dir says which is meant. Only the gateway's own user and root may ask it.\n\n\
    Exit code: 0 done; 1 nothing is done; 2 for wrong usage.")]
pub(crate) struct Arguments {
    /// Directory of the gateway that is meant. Default: that of the one that runs.
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        env = "ADIT_CONFIG_DIR",
        hide_env_values = true
    )]
    config_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// What to do; each has a file of its own.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Adds peers, makes their keys and configurations, and lets them in at once.
    ///
    /// All of them or none. A peer that is there already, as asked for, stays as it is. What is added survives a restart
    /// as soon as the command is done. Other peers notice nothing.
    Add(add::Arguments),
    /// Removes peers: they are cut off at once, and their addresses are free.
    ///
    /// All of them or none. Their keys and configurations are deleted unless --keep is given. A peer that PEERS names
    /// stays removed until it is added again, or until PEERS has left it out once.
    Remove(remove::Arguments),
    /// Changes the networks, the rules, the keepalives or the address of peers, without a dropped tunnel.
    Set(set::Arguments),
    /// Lists peers: addresses, and what has happened with them.
    List(list::Arguments),
    /// Prints the configuration that a peer's client imports.
    Show(conf::Arguments),
    /// Shows a peer's configuration as a QR code.
    Qr(conf::QrArguments),
    /// Prints the token by which clients of the API, such as `adit attach`, add peers.
    ///
    /// Needs a gateway with --api. Who has the token adds peers that bring their own keys, changes and removes those; keep
    /// it in a file that only its user reads: `(umask 077; adit peer token > gateway.token)`.
    Token(token::Arguments),
}

/// Asks the gateway.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let directory = arguments.config_dir.as_deref();
    match &arguments.command {
        Command::Add(arguments) => add::run(&mut connect(directory)?, arguments),
        Command::Remove(arguments) => remove::run(&mut connect(directory)?, arguments),
        Command::Set(arguments) => set::run(&mut connect(directory)?, arguments),
        Command::List(arguments) => list::run(&mut connect(directory)?, arguments),
        Command::Show(arguments) => conf::run(&mut connect(directory)?, arguments),
        Command::Qr(arguments) => conf::run_qr(&mut connect(directory)?, arguments),
        Command::Token(arguments) => token::run(&mut connect(directory)?, arguments),
    }
}

/// The gateway that is meant.
pub(super) fn connect(directory: Option<&Path>) -> anyhow::Result<Client> {
    let socket = match directory {
        Some(directory) => control::in_directory(directory),
        None => match control::find() {
            Found::One(socket) => socket,
            Found::None => anyhow::bail!(
                "no gateway of this user runs here; start one with `adit serve`, or name its directory: --config-dir"
            ),
            Found::Several(sockets) => {
                let sockets: Vec<_> = sockets.iter().map(|socket| socket.display().to_string()).collect();
                anyhow::bail!(
                    "several gateways run here ({}); say with --config-dir which is meant",
                    sockets.join(", ")
                )
            }
        },
    };
    Client::connect(&socket).map_err(|error| match directory {
        Some(_) => anyhow::anyhow!("{error}; --config-dir or ADIT_CONFIG_DIR names the directory"),
        None => error.into(),
    })
}

/// Asks, and makes a refusal an error.
fn ask(client: &mut Client, request: &Request) -> anyhow::Result<Reply> {
    match client.ask(request)? {
        Reply::Refused { message } => anyhow::bail!(message),
        reply @ (Reply::Changed { .. }
        | Reply::Peers { .. }
        | Reply::Conf { .. }
        | Reply::Health { .. }
        | Reply::Token { .. }) => Ok(reply),
    }
}

/// Asks for a change.
fn change(client: &mut Client, request: &Request) -> anyhow::Result<Vec<Changed>> {
    match ask(client, request)? {
        Reply::Changed { peers } => Ok(peers),
        other @ (Reply::Peers { .. }
        | Reply::Conf { .. }
        | Reply::Health { .. }
        | Reply::Token { .. }
        | Reply::Refused { .. }) => unexpected(&other),
    }
}

fn unexpected<T>(reply: &Reply) -> anyhow::Result<T> {
    let kind = match reply {
        Reply::Changed { .. } => "changes",
        Reply::Peers { .. } => "peers",
        Reply::Conf { .. } => "a configuration",
        Reply::Health { .. } => "its health",
        Reply::Token { .. } => "a token",
        Reply::Refused { .. } => "a refusal",
    };
    anyhow::bail!("the gateway, perhaps of another version, answered with {kind}")
}

/// Prints what became of peers, one line each, or as JSON.
fn report(peers: &[Changed], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&serde_json::json!({ "peers": peers }));
    }
    for peer in peers {
        let what = match peer.change {
            Change::Added => "added",
            Change::Changed => "changed; its client notices nothing",
            Change::Moved => "changed; its client has to import the configuration again",
            Change::Unchanged => "there already, nothing to do",
            Change::Removed => "removed",
        };
        let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
        let config = peer.config.as_ref().map(|path| format!(" → {}", path.display()));
        output::line(&format!(
            "{}: {what} · {}{}",
            peer.name,
            addresses.join(", "),
            config.unwrap_or_default()
        ))?;
    }
    Ok(())
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    output::line(&serde_json::to_string(value)?)
}
