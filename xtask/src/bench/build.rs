//! Compiles what is measured, and the program that measures.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::run;

/// How long a compilation may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// Cargo, without what the cargo that runs this program tells it of itself: build scripts would take that for a change,
/// and compile again what a plain build has compiled.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.current_dir(root);
    command
}

/// Compiles the release build, and gives its path.
pub(crate) fn release(root: &Path) -> Result<PathBuf> {
    compile(root, &root.join("target"))?;
    Ok(root.join("target/release/adit"))
}

/// How long `cargo build --release` takes when nothing is compiled yet; crates are downloaded before.
pub(crate) fn cold(root: &Path) -> Result<Duration> {
    let folder = root.join("target/bench-cold");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("remove an earlier build")?;
    }
    run::show(cargo(root).args(["fetch", "--locked"]), LIMIT)?;
    let start = Instant::now();
    compile(root, &folder)?;
    let took = start.elapsed();
    std::fs::remove_dir_all(&folder).context("remove the build")?;
    Ok(took)
}

/// The size of the binary in MB, and the seconds of a cold build if there was one.
pub(crate) fn figures(binary: &Path, cold: Option<Duration>) -> Result<Value> {
    let size = std::fs::metadata(binary).context("look at the release binary")?.len();
    let mut figures = json!({ "size": size as f64 / 1e6 });
    if let Some(cold) = cold {
        figures["cold"] = cold.as_secs_f64().into();
    }
    Ok(figures)
}

fn compile(root: &Path, folder: &Path) -> Result<()> {
    let mut command = cargo(root);
    command.args(["build", "--release", "--package", "adit", "--locked"]);
    let ran = run::show(command.env("CARGO_TARGET_DIR", folder), LIMIT)?;
    anyhow::ensure!(ran.success, "the release build failed");
    Ok(())
}

/// Compiles `crates/adit/benches/lab.rs`, and gives its path.
pub(crate) fn lab(root: &Path) -> Result<PathBuf> {
    let mut command = cargo(root);
    command
        .args(["test", "--package", "adit", "--bench", "lab", "--no-run", "--locked"])
        .args(["--message-format", "json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().context("start cargo")?;
    anyhow::ensure!(output.status.success(), "the program that measures cannot be compiled");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut artifacts = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = artifacts.find_map(|artifact| {
        let is_it = artifact["target"]["name"] == "lab" && artifact["target"]["kind"][0] == "bench";
        is_it
            .then(|| artifact["executable"].as_str().map(PathBuf::from))
            .flatten()
    });
    found.context("cargo names no program for the bench target lab")
}
