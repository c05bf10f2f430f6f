//! `adit device`: a bare interface for other programs to configure.

use anyhow::Context as _;
use clap::Args;
use tunnel::device::{self, Mode};

/// Which interface to make.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The interface's name.
    name: String,
    /// Stays in the foreground until the interface is gone.
    #[arg(short, long)]
    foreground: bool,
}

/// Makes the interface and, in the foreground, waits for its end.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mode = if arguments.foreground {
        Mode::Foreground
    } else {
        Mode::Detached
    };
    device::run(&arguments.name, mode).with_context(|| format!("cannot make the interface {}", arguments.name))
}
