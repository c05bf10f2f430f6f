//! `adit device`: a bare interface for other programs to configure.

use anyhow::Context as _;
use clap::Args;
use tunnel::device::{self, Form, Mode};

/// Which interface to make.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The interface's name.
    name: String,
    /// Stays in the foreground until the interface is gone.
    #[arg(short, long)]
    foreground: bool,
    /// Lets the interface be moved to another network namespace, where it lives on with this MTU.
    #[arg(long, value_name = "MTU", value_parser = clap::value_parser!(u16).range(576..=65_455))]
    movable: Option<u16>,
}

/// Makes the interface and, in the foreground, waits for its end.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mode = if arguments.foreground {
        Mode::Foreground
    } else {
        Mode::Detached
    };
    let form = arguments.movable.map_or(Form::Fixed, Form::Movable);
    device::run(&arguments.name, form, mode).with_context(|| format!("cannot make the interface {}", arguments.name))
}
