//! Programs from Python's registry, each in an environment of its own beside the other tools.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{apt, run};

/// How long an installation may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Installs `program`, a package of the same name, where it is not there yet; says so if it cannot be had.
pub(crate) fn install(tools: &Path, program: &str, may_install: bool) -> Result<()> {
    let (environment, folder) = (tools.join("python").join(program), tools.join("usr/bin"));
    let link = folder.join(program);
    if link.exists() {
        return Ok(());
    }
    if !run::works("python3", &["-m", "ensurepip", "--version"]) {
        if !may_install {
            println!("not installed (tests that need it are skipped): {program}, for want of python3-venv");
            return Ok(());
        }
        println!("installing: python3-venv");
        apt::machine(&["install", "-y", "-qq", "--no-install-recommends", "python3-venv"])?;
    }
    println!("installing: {program}, in {} only", tools.display());
    let ran = run::show(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
        LIMIT,
    )?;
    anyhow::ensure!(ran.success, "no environment for Python could be made");
    let mut pip = Command::new(environment.join("bin/pip"));
    let ran = run::show(pip.args(["install", "--quiet", program]), LIMIT)?;
    anyhow::ensure!(ran.success, "{program} could not be installed");
    std::fs::create_dir_all(&folder).context("make a folder for programs")?;
    std::os::unix::fs::symlink(environment.join("bin").join(program), link)
        .with_context(|| format!("put {program} beside the other tools"))
}
