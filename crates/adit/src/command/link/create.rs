//! `adit link create`: a new link.

use clap::Args;
use link::{LinkName, control::Command};
use wg::Ipv4Net;

use super::{DaemonArguments, PartArguments, daemon, invite};

/// What it is to be.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The link's name, and its Docker network's: 1 to 10 of a to z, 0 to 9 and -, beginning with a letter.
    #[arg(value_name = "LINK")]
    link: LinkName,
    /// The IPv4 addresses of the link; each host has a /24 of it [default: the first free of 10.77.0.0/16, 10.78.0.0/16 …].
    #[arg(long, value_name = "CIDR")]
    subnet: Option<Ipv4Net>,
    #[command(flatten)]
    part: PartArguments,
    #[command(flatten)]
    token: invite::TokenArguments,
    #[command(flatten)]
    daemon: DaemonArguments,
}

/// Makes the link, and prints the token.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let command = Command::Create {
        link: arguments.link.clone(),
        pool: arguments.subnet,
        host: arguments.part.part(),
        lifetime: arguments.token.lifetime.as_secs(),
    };
    let (answer, note) = daemon::ask(&arguments.daemon, &command)?;
    let first = format!("{} is up.  ", arguments.link);
    invite::print(answer, &first, note, arguments.token.json)
}
