//! `adit health`: asks the running gateway whether it does its work.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use gateway::control::{Reply, Request};

use super::peer;
use crate::{failure, output};

/// Which gateway is asked.
#[derive(Debug, Args)]
#[command(after_help = "Example, in a container's image:\n  \
    HEALTHCHECK CMD [\"/adit\", \"health\"]\n\n\
    A gateway is healthy if its tunnel runs and its DNS answers; a client's tunnel, if there was a handshake in the \
    last 180 seconds or nothing wants to get through. docs/guide/observe.md says it in full.\n\n\
    Exit code: 0 if it is healthy; 1 if it is not, or if there is none; 2 for wrong usage.")]
pub(crate) struct Arguments {
    /// Directory of the gateway, if several run on this machine.
    #[arg(long, value_name = "DIR", env = "ADIT_CONFIG_DIR", hide_env_values = true)]
    config_dir: Option<PathBuf>,
    /// Prints one JSON object with each part.
    #[arg(long)]
    json: bool,
}

/// Prints how the gateway is; an error if it is not healthy.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut client = peer::connect(arguments.config_dir.as_deref())?;
    let health = match client.ask(&Request::Health {})? {
        Reply::Health { health } => health,
        Reply::Refused { message } => bail!(message),
        Reply::Changed { .. } | Reply::Peers { .. } | Reply::Conf { .. } | Reply::Token { .. } => {
            bail!("the gateway answered something else")
        }
    };
    output::line(&if arguments.json {
        serde_json::to_string(&health)?
    } else {
        health.line()
    })?;
    if health.healthy { Ok(()) } else { Err(failure::said()) }
}
