//! `adit link`: hosts that pair up by one token, and whose containers talk.

mod create;
mod daemon;
mod direct;
mod invite;
mod join;
mod leave;
mod remove;
mod run;
mod status;

use std::{io::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use link::{HostName, LinkName, control, driver, link::Settings, store};

/// What to do.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// What to do; each has a file of its own.
#[derive(Debug, Subcommand)]
enum What {
    /// Makes a link, and prints a token for the second host.
    ///
    /// The link is a Docker network of its name on each of its hosts. Containers in it reach each other by their own
    /// addresses, wherever they run, and by name as NAME.LINK. Starts the daemon if none runs.
    Create(create::Arguments),
    /// Takes this host into a link, by a token.
    ///
    /// The token is used up by it. This host makes its own key; no private key travels.
    Join(join::Arguments),
    /// Prints a token for another host. Any host of a link may.
    Invite(invite::Arguments),
    /// Takes this host out of a link, and clears away all that it has of it.
    Leave(leave::Arguments),
    /// Takes another host out of a link; the others hear of it at once.
    Remove(remove::Arguments),
    /// Lists the links of this host.
    List(status::ListArguments),
    /// Says of each host of a link how it is.
    Status(status::Arguments),
    /// Runs the daemon, which keeps this host's links.
    Run(run::Arguments),
    /// Waits for one other host, without a daemon and without Docker, until Ctrl-C.
    ///
    /// Prints what to type there. Both hosts get an address in a tunnel of their own; everything is gone at the end.
    Listen(direct::ListenArguments),
    /// Connects to a host that listens, until Ctrl-C.
    Dial(direct::DialArguments),
}

/// Where the daemon is, and how it runs.
#[derive(Clone, Debug, Args)]
struct DaemonArguments {
    /// Where links are kept; for root alone.
    #[arg(long, value_name = "DIRECTORY", env = "ADIT_LINK_STATE", default_value = store::FOLDER)]
    state: PathBuf,
    /// The daemon's socket.
    #[arg(long, value_name = "FILE", env = "ADIT_LINK_SOCKET", default_value = control::SOCKET)]
    socket: PathBuf,
    /// The socket of Docker; `none` does without.
    #[arg(
        long = "docker",
        value_name = "SOCKET",
        env = "DOCKER_HOST",
        default_value = "/var/run/docker.sock"
    )]
    engine: PathBuf,
    /// Where Docker finds the network driver adit-link.
    #[arg(long, value_name = "FILE", env = "ADIT_LINK_DRIVER", default_value = driver::SOCKET)]
    driver: PathBuf,
    /// Where Docker keeps the files of network namespaces.
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "ADIT_LINK_NAMESPACES",
        default_value = "/run/docker/netns"
    )]
    namespaces: PathBuf,
    /// Who handles the tunnels' packets: auto, kernel or tun.
    #[arg(long, value_name = "PLANE", env = "ADIT_PLANE", default_value_t)]
    plane: tunnel::Choice,
}

/// Where the daemon is.
#[derive(Debug, Args)]
struct SocketArguments {
    /// The daemon's socket.
    #[arg(long, value_name = "FILE", env = "ADIT_LINK_SOCKET", default_value = control::SOCKET)]
    socket: PathBuf,
}

/// How this host takes part.
#[derive(Debug, Args)]
struct PartArguments {
    /// Where the other hosts reach this one, if not at the address that its packets have; the port is the tunnel's
    /// unless it is named. A name is looked up when it is needed.
    #[arg(long, value_name = "HOST[:PORT]", env = "ADIT_LINK_ENDPOINT")]
    endpoint: Option<String>,
    /// The UDP port of the tunnel on this host [default: the first that is free, from 51820 on].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// This host's name in the link [default: its hostname].
    #[arg(long = "name", value_name = "NAME")]
    host: Option<HostName>,
    /// Makes no Docker network: the link's addresses are this host's own, for processes outside containers.
    #[arg(long)]
    plain: bool,
    /// Leaves containers no other way out: no Internet, no published ports.
    #[arg(long, conflicts_with = "plain")]
    internal: bool,
}

impl PartArguments {
    fn part(self) -> control::Part {
        control::Part {
            name: self.host,
            endpoint: self.endpoint,
            port: self.port,
            settings: Settings {
                plain: self.plain,
                internal: self.internal,
            },
        }
    }
}

/// A link that there is.
#[derive(Debug, Args)]
struct LinkArguments {
    /// The link.
    #[arg(value_name = "LINK")]
    link: LinkName,
    #[command(flatten)]
    socket: SocketArguments,
}

/// Says something to the person.
fn say(text: &str) {
    // There is nobody left to tell if standard error is closed.
    let _unreachable = writeln!(std::io::stderr(), "{text}");
}

/// Runs what was asked for.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.what {
        What::Create(arguments) => create::run(arguments),
        What::Join(arguments) => join::run(arguments),
        What::Invite(arguments) => invite::run(arguments),
        What::Leave(arguments) => leave::run(arguments),
        What::Remove(arguments) => remove::run(arguments),
        What::List(arguments) => status::list(&arguments),
        What::Status(arguments) => status::run(arguments),
        What::Run(arguments) => run::run(arguments),
        What::Listen(arguments) => direct::listen(arguments),
        What::Dial(arguments) => direct::dial(arguments),
    }
}
