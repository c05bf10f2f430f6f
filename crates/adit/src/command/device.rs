//! `adit device`: a bare interface for other programs to configure.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use tunnel::device::{self, Home, Mode};

/// Which interface to make.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The interface's name.
    name: String,
    /// Stays in the foreground until the interface is gone.
    #[arg(short, long)]
    foreground: bool,
    /// Makes the interface in the network namespace of this file; the UDP sockets stay here.
    #[arg(long, value_name = "FILE", requires = "interface")]
    namespace: Option<PathBuf>,
    /// The interface's name in that namespace; NAME is that of its socket here.
    #[arg(long, value_name = "NAME", requires = "namespace")]
    interface: Option<String>,
    /// Ends when this process does; it is one of that namespace.
    #[arg(long, value_name = "PID", requires = "namespace")]
    process: Option<i32>,
}

/// Makes the interface and, in the foreground, waits for its end.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mode = if arguments.foreground {
        Mode::Foreground
    } else {
        Mode::Detached
    };
    let home = match (&arguments.namespace, &arguments.interface) {
        (Some(namespace), Some(interface)) => Home::Inside {
            namespace: namespace.clone(),
            interface: interface.clone(),
            process: arguments.process,
        },
        _ => Home::Here,
    };
    device::run(&arguments.name, &home, mode).with_context(|| format!("cannot make the interface {}", arguments.name))
}
