//! `adit up`: brings the tunnel of a configuration up.

use std::{io::Write as _, path::Path, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use tunnel::quick::{self, Options};

/// What to bring up.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A configuration file, whose name becomes the tunnel's, or the NAME of /etc/wireguard/NAME.conf.
    #[arg(value_name = "FILE|NAME")]
    target: PathBuf,
}

/// Brings the tunnel up and says how it is.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let target = arguments.target.as_path();
    let options = Options {
        target,
        resolv_conf: Path::new(linux::resolv::PATH),
        say: &mut say,
    };
    let up = quick::up(options).with_context(|| format!("cannot bring {} up", target.display()))?;
    let peers = if up.peers == 1 {
        "1 peer".to_owned()
    } else {
        format!("{} peers", up.peers)
    };
    let table = up
        .table
        .map(|table| format!(" · default route, table {table}"))
        .unwrap_or_default();
    say(&format!(
        "{} is up · tun plane · {peers} · mtu {}{table}",
        up.name, up.mtu
    ));
    Ok(())
}

/// Tells people something.
pub(super) fn say(text: &str) {
    // There is nobody left to tell if standard error is closed.
    let _unreachable = writeln!(std::io::stderr(), "{text}");
}
