//! `adit attach status`: how each container's tunnel is.

use std::path::PathBuf;

use anyhow::Context as _;
use attach::control;
use clap::Args;

use crate::output;

/// How to say it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Prints a JSON object.
    #[arg(long)]
    json: bool,
    /// The daemon's socket.
    #[arg(long, value_name = "FILE", env = "ADIT_ATTACH_SOCKET", default_value = control::SOCKET)]
    socket: PathBuf,
}

/// Prints a table, or JSON.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let status = control::ask(&arguments.socket)?;
    if arguments.json {
        return output::line(&serde_json::to_string_pretty(&status).context("cannot write JSON")?);
    }
    if status.containers.is_empty() {
        return output::line("no container asks for a tunnel: give one the label adit.enable=true");
    }
    output::bytes(status.table().as_bytes())
}
