//! `adit peer remove`.

use gateway::control::{Client, Request};

/// The arguments of `adit peer remove`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Who.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Keeps the keys and configurations: added again, the peers are who they were.
    #[arg(long)]
    keep: bool,
    /// Prints what was done as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(client: &mut Client, arguments: &Arguments) -> anyhow::Result<()> {
    let request = Request::Remove {
        names: arguments.names.clone(),
        keep: arguments.keep,
    };
    super::report(&super::change(client, &request)?, arguments.json)
}
