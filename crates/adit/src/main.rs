//! The command line: reads the arguments, runs one subcommand, says once what went wrong.

mod amount;
mod cli;
mod command;
mod duration;
mod failure;
mod log;
mod moment;
mod options;
mod output;
#[cfg(test)]
mod snapshot;

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    path::Path,
    process::ExitCode,
    time::Instant,
};

use clap::Parser as _;

use crate::failure::Kind;

/// The name under which `WG_QUICK_USERSPACE_IMPLEMENTATION` calls this binary.
const DEVICE_NAME: &str = "adit-device";

fn main() -> ExitCode {
    let started = Instant::now();
    let cli = cli::Cli::parse_from(with_subcommand(std::env::args_os().collect()));
    let Err(error) = command::run(cli.command, started) else {
        return ExitCode::SUCCESS;
    };
    let kind = failure::kind(&error);
    if !matches!(kind, Kind::OutputClosed | Kind::Said) {
        // There is nobody left to tell if standard error is closed.
        let _unreachable = writeln!(std::io::stderr(), "error: {error:#}");
    }
    match kind {
        Kind::OutputClosed => ExitCode::SUCCESS,
        Kind::Failed | Kind::Said => ExitCode::from(1),
        Kind::Usage => ExitCode::from(2),
    }
}

/// Called as `adit-device wg0`, the arguments become those of `adit device wg0`.
fn with_subcommand(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if name == Some(OsStr::new(DEVICE_NAME)) {
        arguments.insert(1, "device".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_adit_device_stands_for_the_subcommand() {
        for (typed, meant) in [
            (
                vec!["/usr/bin/adit-device", "wg0"],
                vec!["/usr/bin/adit-device", "device", "wg0"],
            ),
            (vec!["adit", "genkey"], vec!["adit", "genkey"]),
            (vec![], vec![]),
        ] {
            let typed = typed.into_iter().map(OsString::from).collect();
            assert_eq!(with_subcommand(typed), meant);
        }
    }
}
