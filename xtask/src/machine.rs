//! Prepares a Debian machine for the tests, and says what it does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::run;

/// How long a package manager may take.
const LIMIT: Duration = Duration::from_secs(300);

/// A program that tests call, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 11] = [
    ("wg", "wireguard-tools"),
    ("wg-quick", "wireguard-tools"),
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("curl", "curl"),
    ("iperf3", "iperf3"),
    ("ethtool", "ethtool"),
    ("nft", "nftables"),
    ("dig", "bind9-dnsutils"),
    ("zbarimg", "zbar-tools"),
    ("rsvg-convert", "librsvg2-bin"),
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
            found("cargo-deny").then(|| "cargo-deny".into())
        }
    }
}

/// Installs what is missing, if `install` and if this is root on Debian; says what cannot be had.
pub(crate) fn prepare(root: &Path, install: bool) -> Result<Machine> {
    let tools = root.join("target/tools");
    let is_root = run::ask(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0");
    let mut missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| !found(program))
        .map(|(_, name)| *name)
        .collect();
    missing.dedup();
    let may_install = install && is_root && run::works("apt-get", &["--version"]);
    if !missing.is_empty() {
        if may_install {
            println!("installing: {}", missing.join(" "));
            apt(&["update", "-qq"])?;
            apt(&[&["install", "-y", "-qq", "--no-install-recommends"][..], &missing].concat())?;
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
            apt(&["install", "-y", "-qq", "--no-install-recommends", PEER])?;
        }
    }
    if !found("cargo-deny") && !tools.join("bin/cargo-deny").exists() && install {
        println!("installing: cargo-deny, in {} only", tools.display());
        // Unoptimised: it is compiled in a third of the time and runs for a second.
        let mut command = Command::new("cargo");
        command
            .args(["install", "cargo-deny", "--locked", "--debug", "--quiet", "--root"])
            .arg(&tools);
        let ran = run::show(&mut command, 3 * LIMIT)?;
        anyhow::ensure!(ran.success, "cargo-deny could not be installed");
    }
    Ok(Machine { root: is_root, tools })
}

fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder: PathBuf| folder.join(program).is_file())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    let ran = run::show(&mut command, LIMIT)?;
    anyhow::ensure!(ran.success, "apt-get {} failed", arguments.join(" "));
    Ok(())
}

/// Fetches the peer from the suite sid of the mirror that this machine uses, without touching the machine's own apt.
fn unpack_peer(tools: &Path) -> Result<()> {
    let folder = tools.join("apt");
    for part in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(folder.join(part)).context("make folders for apt")?;
    }
    let mirror = mirror().context("no mirror of Debian in this machine's apt sources")?;
    std::fs::write(folder.join("sources.list"), format!("deb {mirror} sid main\n")).context("write apt's sources")?;
    let own = |option: &str, path: &str| ["-o".to_owned(), format!("{option}={}", folder.join(path).display())];
    let options = [
        own("Dir::Etc::SourceList", "sources.list"),
        own("Dir::Etc::SourceParts", "none"),
        own("Dir::State::Lists", "lists"),
        own("Dir::Cache", "cache"),
        ["-o".to_owned(), "APT::Sandbox::User=root".to_owned()],
    ];
    for task in [&["update", "-qq"][..], &["download", "-qq", PEER]] {
        let ran = run::show(
            Command::new("apt-get")
                .args(options.concat())
                .args(task)
                .current_dir(&folder),
            LIMIT,
        )?;
        anyhow::ensure!(ran.success, "apt-get {} of sid failed", task.join(" "));
    }
    let archives = std::fs::read_dir(&folder).context("look for the package")?;
    let archive = archives
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get downloaded no package")?;
    let ran = run::show(Command::new("dpkg").arg("-x").arg(archive).arg(tools), LIMIT)?;
    anyhow::ensure!(ran.success, "dpkg -x failed");
    Ok(())
}

/// The options and the address of the mirror from which this machine gets Debian itself.
fn mirror() -> Option<String> {
    let format = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)|$(SIGNED_BY)";
    let targets = run::ask(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    targets.lines().find_map(|line| {
        let fields: Vec<_> = line.split('|').collect();
        let ["Debian", "Debian", "main", address, key] = fields[..] else {
            return None;
        };
        // Indices of packages only; and apt leaves the key's name as it is where the source gives none.
        let key = if key.starts_with('/') {
            format!("signed-by={key} ")
        } else {
            String::new()
        };
        Some(format!("[ {key}target=Packages ] {address}"))
    })
}
