//! `adit link remove`: another host is out.

use clap::Args;
use link::{
    HostName,
    control::{self, Command},
};

use super::{LinkArguments, leave};

/// Which host of which link.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    link: LinkArguments,
    /// The host, by its name in `adit link status`.
    #[arg(value_name = "HOST")]
    host: HostName,
}

/// Removes it.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let command = Command::Remove {
        link: arguments.link.link,
        host: arguments.host,
    };
    leave::print(&control::ask(&arguments.link.socket.socket, &command)?)
}
