//! The programs that are measured side by side: each makes an interface, and takes its configuration as wireguard-go does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use netlab::{Host, Process};

use crate::gateway;

/// Who carries the packets of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// adit's tun plane.
    Adit,
    /// Debian's newest wireguard-go.
    WireguardGo,
    /// gotatun-cli of crates.io.
    Gotatun,
    /// boringtun-cli of crates.io.
    Boringtun,
    /// Nobody: the packets cross the veth as they are.
    Veth,
}

impl Contender {
    /// The contender of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "adit" => Self::Adit,
            "wireguard-go" => Self::WireguardGo,
            "gotatun" => Self::Gotatun,
            "boringtun" => Self::Boringtun,
            "veth" => Self::Veth,
            _ => return None,
        })
    }

    /// What can be run as `NAME -f INTERFACE` on `host`; `None` if it is not installed, or if it is nobody.
    pub(crate) fn program(self, host: &Host) -> Option<PathBuf> {
        match self {
            Self::Adit => Some(host.install_as(gateway::binary(), "adit-device")),
            Self::WireguardGo => netlab::tool("wireguard-go"),
            Self::Gotatun => netlab::tool("gotatun"),
            Self::Boringtun => netlab::tool("boringtun-cli"),
            Self::Veth => None,
        }
    }

    /// Starts `program`, which is this contender's, and waits for the interface.
    pub(crate) fn start(self, program: &Path, host: &Host, interface: &str) -> Process {
        let mut command = host.command(program).args(["-f", interface]);
        if matches!(self, Self::Gotatun | Self::Boringtun) {
            // Else they run as the user who logged in, and nobody did.
            command = command.arg("--disable-drop-privileges");
        }
        let mut process = command.spawn();
        let control = format!("/run/wireguard/{interface}.sock");
        netlab::wait_until(
            &format!("{} has made {interface}", program.display()),
            Duration::from_secs(10),
            || {
                assert!(
                    process.poll().is_none(),
                    "{} ended: {}",
                    program.display(),
                    process.log()
                );
                let made = host.links().iter().any(|link| link == interface);
                (made && host.run(|| Path::new(&control).exists() || Path::new("/var").join(&control[1..]).exists()))
                    .then_some(())
            },
        );
        process
    }
}
