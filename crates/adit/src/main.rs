//! The command line: reads the arguments, runs one subcommand, says once what went wrong.

mod amount;
mod cli;
mod cloud;
mod columns;
mod command;
mod duration;
mod failure;
mod folders;
mod limit;
mod log;
mod moment;
mod node_socket;
mod opening;
mod options;
mod output;
#[cfg(test)]
mod snapshot;
mod variable;

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    path::Path,
    process::ExitCode,
    time::Instant,
};

use clap::{CommandFactory as _, Parser as _};

use crate::failure::Kind;

/// Names that stand for a subcommand: the one under which `WG_QUICK_USERSPACE_IMPLEMENTATION` calls this binary, and
/// the one that linuxserver's image has for QR codes.
const NAMES: [(&str, &str); 2] = [("adit-device", "device"), ("show-peer", "show-peer")];

fn main() -> ExitCode {
    let started = Instant::now();
    let typed = with_subcommand(std::env::args_os().collect());
    let cli = cli::Cli::try_parse_from(&typed)
        .unwrap_or_else(|error| variable::name(error, &cli::Cli::command(), &typed).exit());
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
        // As a shell says it of a program that a signal ended.
        Kind::Ended(signal) => ExitCode::from(128 + u8::try_from(signal.number()).unwrap_or_default()),
    }
}

/// Called as `adit-device wg0`, the arguments become those of `adit device wg0`.
fn with_subcommand(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    let meant = NAMES.iter().find(|(called, _)| name == Some(OsStr::new(called)));
    if let Some((_, subcommand)) = meant {
        arguments.insert(1, subcommand.into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_subcommand() {
        for (typed, meant) in [
            (
                vec!["/usr/bin/adit-device", "wg0"],
                vec!["/usr/bin/adit-device", "device", "wg0"],
            ),
            (
                vec!["/app/show-peer", "1", "myPC"],
                vec!["/app/show-peer", "show-peer", "1", "myPC"],
            ),
            (vec!["adit", "genkey"], vec!["adit", "genkey"]),
            (vec![], vec![]),
        ] {
            let typed = typed.into_iter().map(OsString::from).collect();
            assert_eq!(with_subcommand(typed), meant);
        }
    }
}
