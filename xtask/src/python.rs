//! Programs from Python's registry, each in an environment of its own beside the other tools.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{apt, run};

/// How long an installation may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The programs, each of a package of the same name, and their versions.
const PROGRAMS: [(&str, &str); 2] = [("kubernetes-validate", "1.37.0"), ("schemathesis", "4.32.5")];

/// Installs the programs that are not there yet in their versions; says so if they cannot be had.
pub(crate) fn install(tools: &Path, may_install: bool) -> Result<()> {
    let programs = tools.join("usr/bin");
    // The link's target names the version, so that it tells what is there.
    let environment = |program: &str, version: &str| tools.join("python").join(program).join(version);
    for (program, version) in PROGRAMS {
        let (environment, link) = (environment(program, version), programs.join(program));
        let target = environment.join("bin").join(program);
        if link.exists() && std::fs::read_link(&link).is_ok_and(|had| had == target) {
            continue;
        }
        if !run::works("python3", &["-m", "ensurepip", "--version"]) {
            if !may_install {
                println!("not installed (tests that need it are skipped): {program}, for want of python3-venv");
                continue;
            }
            println!("installing: python3-venv");
            apt::machine(&["install", "-y", "-qq", "--no-install-recommends", "python3-venv"])?;
        }
        println!("installing: {program} {version}, in {} only", tools.display());
        make(&environment, &format!("{program}=={version}"))?;
        std::fs::create_dir_all(&programs).context("make a folder for programs")?;
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link).with_context(|| format!("remove an older {program}"))?;
        }
        std::os::unix::fs::symlink(target, link).with_context(|| format!("put {program} beside the other tools"))?;
    }
    Ok(())
}

/// Makes an environment that holds `package`, instead of all others beside it.
fn make(environment: &Path, package: &str) -> Result<()> {
    if let Some(others) = environment.parent().filter(|others| others.exists()) {
        std::fs::remove_dir_all(others).context("remove an older environment for Python")?;
    }
    let ran = run::show(Command::new("python3").args(["-m", "venv"]).arg(environment), LIMIT)?;
    ensure!(ran.success, "no environment for Python could be made");
    let mut pip = Command::new(environment.join("bin/pip"));
    let ran = run::show(pip.args(["install", "--quiet", package]), LIMIT)?;
    ensure!(ran.success, "{package} could not be installed");
    Ok(())
}
