//! `adit down`: takes a tunnel down.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use tunnel::{
    Choice,
    quick::{self, Options},
};

use super::up::say;

/// What to take down.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The tunnel's name, or its configuration file.
    #[arg(value_name = "NAME|FILE")]
    target: PathBuf,
}

/// Takes the tunnel down.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let target = arguments.target.as_path();
    let options = Options {
        target,
        text: None,
        plane: Choice::Auto,
        retries: None,
        resolv_conf: Path::new(linux::resolv::PATH),
        signals: None,
        say: &mut say,
    };
    let down = quick::down(options).with_context(|| format!("cannot take {} down cleanly", target.display()));
    // A killed gateway's rules, if its interface is gone by now.
    let cleared = gateway::firewall::clear().context("cannot remove a gateway's rules");
    down.and(cleared)
}
