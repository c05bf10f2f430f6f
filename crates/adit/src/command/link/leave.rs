//! `adit link leave`: out of a link.

use clap::Args;
use link::control::{self, Answer, Command};

use super::LinkArguments;
use crate::output;

/// Which link.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    link: LinkArguments,
}

/// Leaves it.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let command = Command::Leave {
        link: arguments.link.link,
    };
    print(&control::ask(&arguments.link.socket.socket, &command)?)
}

/// Prints what was done.
pub(super) fn print(answer: &Answer) -> anyhow::Result<()> {
    match answer {
        Answer::Done { notes } => notes.iter().try_for_each(|note| output::line(note)),
        Answer::Token(_) | Answer::Joined(_) | Answer::Status { .. } | Answer::Failed { .. } => {
            anyhow::bail!("the daemon answers something else: it may be of another version")
        }
    }
}
