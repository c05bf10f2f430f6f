//! `adit show`: says what tunnels there are and how they are.

use std::time::SystemTime;

use anyhow::Context as _;
use clap::Args;
use tunnel::show::{self, Shown, TunnelData};

use crate::output;

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The tunnel's name; without it, all tunnels are shown.
    name: Option<String>,
    /// Prints a JSON array with one object for each tunnel.
    #[arg(long)]
    json: bool,
}

/// Prints the tunnels, without their secrets.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (shown, errors) = match &arguments.name {
        Some(name) => (vec![show::one(name).context("cannot show the tunnel")?], Vec::new()),
        None => show::all(),
    };
    print(&shown, arguments.json)?;
    match errors.into_iter().next() {
        Some(error) => Err(error).context("cannot show every tunnel"),
        None => Ok(()),
    }
}

fn print(shown: &[Shown], json: bool) -> anyhow::Result<()> {
    if json {
        let data: Vec<_> = shown.iter().map(TunnelData::from).collect();
        return output::line(&serde_json::to_string_pretty(&data).context("cannot write JSON")?);
    }
    output::bytes(show::text(shown, SystemTime::now()).as_bytes())
}
