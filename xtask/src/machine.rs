//! Prepares a Debian machine for the tests, and says what it does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::apt::{self, Suite};
use crate::{node, openapi, python, run};

/// How long it may take to compile cargo-deny.
const LIMIT: Duration = Duration::from_secs(900);

/// A program that tests call, and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("wg", "wireguard-tools"),
    ("wg-quick", "wireguard-tools"),
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("curl", "curl"),
    ("iperf3", "iperf3"),
    ("ethtool", "ethtool"),
    ("nft", "nftables"),
    ("dig", "bind9-dnsutils"),
    ("promtool", "prometheus"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("pkill", "procps"),
    ("systemd-analyze", "systemd"),
    ("ignition-validate", "ignition"),
    ("zbarimg", "zbar-tools"),
    ("rsvg-convert", "librsvg2-bin"),
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("dbus-daemon", "dbus-daemon"),
    ("docker-compose", "docker-compose"),
    ("chromium", "chromium"),
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// The user-space WireGuard that stands at the other end. Debian 12's own is of 2022; the newest runs there too.
const PEER: &str = "wireguard-go";

/// What the machine is fit for.
pub(crate) struct Machine {
    /// Whether network namespaces can be made.
    pub(crate) root: bool,
    /// Where unpacked programs are; tests find it as `ADIT_TOOLS`.
    pub(crate) tools: PathBuf,
}

impl Machine {
    /// Where cargo-deny is.
    pub(crate) fn licence_checker(&self) -> Option<PathBuf> {
        let unpacked = self.tools.join("bin/cargo-deny");
        if unpacked.exists() {
            Some(unpacked)
        } else {
            found("cargo-deny")
        }
    }

    /// Installs cargo-deny where there is none.
    pub(crate) fn install_licence_checker(&self) -> Result<()> {
        if self.licence_checker().is_some() {
            return Ok(());
        }
        println!("installing: cargo-deny, in {} only", self.tools.display());
        // Unoptimised: it is compiled in a third of the time and runs for a second.
        let mut command = Command::new("cargo");
        command
            .args(["install", "cargo-deny", "--locked", "--debug", "--quiet", "--root"])
            .arg(&self.tools);
        let ran = run::show(&mut command, LIMIT)?;
        anyhow::ensure!(ran.success, "cargo-deny could not be installed");
        Ok(())
    }
}

/// Installs what is missing, if `install` and if this is root on Debian; says what cannot be had.
pub(crate) fn prepare(root: &Path, install: bool) -> Result<Machine> {
    let tools = root.join("target/tools");
    let is_root = run::ask(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0");
    let mut missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| found(program).is_none())
        .map(|(_, name)| *name)
        .collect();
    missing.dedup();
    let may_install = install && is_root && run::works("apt-get", &["--version"]);
    if !missing.is_empty() {
        if may_install {
            println!("installing: {}", missing.join(" "));
            apt::machine(&["update", "-qq"])?;
            apt::machine(&[&["install", "-y", "-qq", "--no-install-recommends"][..], &missing].concat())?;
        } else {
            println!(
                "not installed (tests that need them are skipped): {}",
                missing.join(" ")
            );
        }
    }
    if tools.join("usr/bin").join(PEER).exists() {
        println!("{PEER}: in {}", tools.display());
    } else if may_install {
        println!("installing: {PEER} of Debian's sid, in {} only", tools.display());
        if let Err(error) = unpack_peer(&tools) {
            println!("{error:#}; this machine's own instead");
            apt::machine(&["install", "-y", "-qq", "--no-install-recommends", PEER])?;
        }
    }
    if install {
        python::install(&tools, may_install)?;
        node::install(&tools)?;
        openapi::install(&tools)?;
    }
    Ok(Machine { root: is_root, tools })
}

/// Where `program` is installed.
pub(crate) fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder: PathBuf| folder.join(program))
        .find(|file| file.is_file())
}

/// Fetches the peer from the suite sid.
fn unpack_peer(tools: &Path) -> Result<()> {
    apt::unpack(&Suite::open(tools, "sid")?.download(PEER)?, tools)
}
