//! `adit up`: brings the tunnel of a configuration up.

use std::{io::Write as _, path::Path, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use linux::signal::{Signal, Signals};
use tunnel::{
    Choice, Plane,
    quick::{self, Options},
};

/// What to bring up.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A configuration file, whose name becomes the tunnel's, or the NAME of /etc/wireguard/NAME.conf.
    #[arg(value_name = "FILE|NAME")]
    target: PathBuf,
    /// Who handles the packets.
    #[arg(long, value_enum, default_value_t, env = "ADIT_PLANE", hide_env_values = true)]
    plane: InterfacePlane,
}

/// Who handles the packets of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum InterfacePlane {
    /// The kernel's own WireGuard where it is there, else a TUN device.
    #[default]
    Auto,
    /// The kernel's own WireGuard.
    Kernel,
    /// adit itself, on a TUN device, in a process of its own.
    Tun,
    /// Has no interface: an error that says so.
    #[value(hide = true)]
    Netstack,
}

impl From<InterfacePlane> for Choice {
    fn from(plane: InterfacePlane) -> Self {
        match plane {
            InterfacePlane::Auto => Self::Auto,
            InterfacePlane::Kernel => Self::Only(Plane::Kernel),
            InterfacePlane::Tun => Self::Only(Plane::Tun),
            InterfacePlane::Netstack => Self::Only(Plane::Netstack),
        }
    }
}

/// Brings the tunnel up and says how it is.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // Until it is up, a signal undoes what was done so far.
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let target = arguments.target.as_path();
    let options = Options {
        target,
        text: None,
        plane: arguments.plane.into(),
        retries: None,
        resolv_conf: Path::new(linux::resolv::PATH),
        signals: Some(&signals),
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
        "{} is up · {} · {peers} · mtu {}{table}",
        up.name, up.chosen, up.mtu
    ));
    Ok(())
}

/// Tells people something.
pub(super) fn say(text: &str) {
    // There is nobody left to tell if standard error is closed.
    let _unreachable = writeln!(std::io::stderr(), "{text}");
}
