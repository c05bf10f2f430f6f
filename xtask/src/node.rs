//! Packages from npm's registry that scripts of tests import, and a Node that is new enough for them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::machine::found;
use crate::run;

/// How long an installation may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The packages, and what came of them when they were chosen: every version, with its hash.
///
/// To change one: edit `package.json`, then `npm install --package-lock-only` beside it.
const PACKAGES: [(&str, &str); 2] = [
    ("package.json", include_str!("node/package.json")),
    ("package-lock.json", include_str!("node/package-lock.json")),
];

/// What npm writes last.
const DONE: &str = "node_modules/.package-lock.json";

/// The oldest Node that takes the packages. Debian 12's own is 18.
const OLDEST: u32 = 20;

/// The Node that is fetched where the machine's own is older.
const NEWER: &str = "24.21.0";

/// Installs the packages in `tools/node`, and a Node in `tools` if need be; says so if it cannot.
pub(crate) fn install(tools: &Path) -> Result<()> {
    let folder = tools.join("node");
    let own = tools.join("usr/bin/node");
    let (fits, installed) = (own.exists() || is_new_enough(), is_installed(&folder));
    if fits && installed {
        return Ok(());
    }
    if found("npm").is_none() {
        println!("not installed (tests that need them are skipped): packages of npm's, for want of npm");
        return Ok(());
    }
    std::fs::create_dir_all(&folder).context("make a folder for npm's packages")?;
    if !fits {
        println!("installing: Node {NEWER}, in {} only", tools.display());
        fetch_node(&folder.join("runtime"), &own)?;
    }
    if !installed {
        println!("installing: packages of npm's, in {} only", folder.display());
        fetch_packages(&folder)?;
    }
    Ok(())
}

/// Whether the packages of the list are there, all of them.
fn is_installed(folder: &Path) -> bool {
    let same = |(name, text): &(&str, &str)| std::fs::read_to_string(folder.join(name)).is_ok_and(|had| had == *text);
    PACKAGES.iter().all(same) && folder.join(DONE).exists()
}

/// Whether the machine's own Node takes the packages.
fn is_new_enough() -> bool {
    let version = run::ask(Command::new("node").arg("--version"));
    let major = version.as_deref().and_then(major);
    major.is_some_and(|major| major >= OLDEST)
}

/// The first number of a version such as `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Fetches the packages of the list, instead of those that are there.
fn fetch_packages(folder: &Path) -> Result<()> {
    // What was there is no sign of what is about to come.
    let modules = folder.join("node_modules");
    if modules.exists() {
        std::fs::remove_dir_all(&modules).context("remove older packages of npm's")?;
    }
    for (name, text) in PACKAGES {
        std::fs::write(folder.join(name), text).with_context(|| format!("write {name}"))?;
    }
    npm(&["ci"], folder)
}

/// Fetches Node itself, which npm's registry has as a package for each machine, and puts it at `link`.
fn fetch_node(folder: &Path, link: &Path) -> Result<()> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = format!("node-linux-{machine}");
    std::fs::create_dir_all(folder).context("make a folder for Node")?;
    npm(&["install", "--no-save", &format!("{package}@{NEWER}")], folder)?;
    let program = folder.join("node_modules").join(package).join("bin/node");
    ensure!(program.exists(), "npm installed no {}", program.display());
    if let Some(programs) = link.parent() {
        std::fs::create_dir_all(programs).context("make a folder for programs")?;
    }
    std::os::unix::fs::symlink(program, link).context("put Node beside the other tools")
}

/// Calls npm in `folder`; no package runs a script of its own, so that none downloads anything else.
fn npm(task: &[&str], folder: &Path) -> Result<()> {
    let mut command = Command::new("npm");
    command
        .args(task)
        .args([
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--prefix",
        ])
        .arg(folder)
        .current_dir(folder);
    let ran = run::show(&mut command, LIMIT)?;
    ensure!(ran.success, "npm {} failed", task.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_s_first_number_is_read() {
        for (version, number) in [("v20.20.2\n", Some(20)), ("v9.1.0", Some(9)), ("20", None), ("", None)] {
            assert_eq!(major(version), number, "{version}");
        }
    }

    #[test]
    fn the_list_of_versions_is_of_the_packages_and_names_no_place() {
        let [(_, packages), (_, lock)] = PACKAGES;
        let read = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let (packages, lock) = (read(packages), read(lock));
        assert_eq!(lock["packages"][""]["dependencies"], packages["dependencies"]);
        for (name, package) in lock["packages"].as_object().unwrap() {
            assert!(package["resolved"].is_null(), "{name}");
            assert!(name.is_empty() || package["integrity"].is_string(), "{name}");
        }
    }
}
