//! `adit peer set`.

use std::net::IpAddr;

use gateway::control::{Client, Request};

use super::settings::Settings;
use crate::failure;

/// The arguments of `adit peer set`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Who.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Another address; the peer's client has to import its configuration again.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    #[command(flatten)]
    settings: Settings,
    /// Prints what was done as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(client: &mut Client, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.settings.is_empty() && arguments.address.is_none() {
        return Err(failure::usage(
            "say what to change: --allow, --peer-to-peer, --networks, --keepalive or --address",
        ));
    }
    let request = Request::Set {
        names: arguments.names.clone(),
        settings: arguments.settings.record(),
        address: arguments.address,
    };
    super::report(&super::change(client, &request)?, arguments.json)
}
