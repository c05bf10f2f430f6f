//! `adit attach once`: one container, one configuration, no daemon.

use std::path::PathBuf;

use anyhow::Context as _;
use attach::once::{self, Once};
use clap::Args;

use super::EngineArguments;
use crate::output;

/// Which container, and which tunnel.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The container's name or ID.
    container: String,
    /// The tunnel's configuration file, as for `adit up`.
    #[arg(long, value_name = "FILE")]
    conf: PathBuf,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Sets it up, and says whether the other end answers.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let plane = tunnel::choose_interface(arguments.engine.plane)?.plane;
    let once = Once {
        engine: arguments.engine.engine.clone(),
        container: arguments.container.clone(),
        conf: arguments.conf.clone(),
        plane,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let done = runtime
        .block_on(once::run(&once))
        .with_context(|| format!("cannot give {} a tunnel", arguments.container))?;
    output::line(&format!(
        "{} has its tunnel {} by {} ({plane} plane)",
        arguments.container,
        done.tunnel,
        arguments.conf.display()
    ))
}
