//! Programs from Python's registry, each in an environment of its own beside the other tools.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{apt, run};

/// How long an installation may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The programs, each of a package of the same name, and their versions.
const PROGRAMS: [(&str, &str); 2] = [("kubernetes-validate", "1.37.0"), ("schemathesis", "4.32.5")];

/// Pythons under names of their own, and the packages that each can import, the first of which gives the version.
const PYTHONS: [(&str, &[(&str, &str)]); 1] = [(
    "azure-python",
    &[
        ("azure-mgmt-compute", "39.0.0"),
        ("azure-mgmt-containerinstance", "10.1.0"),
        ("azure-mgmt-network", "33.1.0"),
        ("azure-mgmt-resource", "26.0.0"),
    ],
)];

/// Installs the programs that are not there yet in their versions; says so if they cannot be had.
pub(crate) fn install(tools: &Path, may_install: bool) -> Result<()> {
    let programs = PROGRAMS.map(|(program, version)| (program, vec![(program, version)]));
    let pythons = PYTHONS.map(|(program, packages)| (program, packages.to_vec()));
    for (program, packages) in programs.into_iter().chain(pythons) {
        install_one(tools, may_install, program, &packages)?;
    }
    Ok(())
}

/// Installs one program, with the packages that are its environment.
fn install_one(tools: &Path, may_install: bool, program: &str, packages: &[(&str, &str)]) -> Result<()> {
    let programs = tools.join("usr/bin");
    // The link's target names the versions, so that it tells what is there.
    let versions: Vec<_> = packages.iter().map(|(_, version)| *version).collect();
    let environment = tools.join("python").join(program).join(versions.join("-"));
    let (target, link) = (environment.join("bin").join(program), programs.join(program));
    if link.exists() && std::fs::read_link(&link).is_ok_and(|had| had == target) {
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
    println!("installing: {program} {}, in {} only", versions[0], tools.display());
    make(&environment, packages)?;
    if !target.exists() {
        write_python(&environment, &target)?;
    }
    std::fs::create_dir_all(&programs).context("make a folder for programs")?;
    if link.symlink_metadata().is_ok() {
        std::fs::remove_file(&link).with_context(|| format!("remove an older {program}"))?;
    }
    std::os::unix::fs::symlink(target, link).with_context(|| format!("put {program} beside the other tools"))
}

/// Writes a program that is the environment's Python: by a link Python would not find its environment.
fn write_python(environment: &Path, program: &Path) -> Result<()> {
    let script = format!("#!/bin/sh\nexec '{}/bin/python' \"$@\"\n", environment.display());
    std::fs::write(program, script).context("write a program for an environment of Python's")?;
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).context("make it a program")
}

/// Makes an environment that holds the packages, instead of all others beside it.
fn make(environment: &Path, packages: &[(&str, &str)]) -> Result<()> {
    if let Some(others) = environment.parent().filter(|others| others.exists()) {
        std::fs::remove_dir_all(others).context("remove an older environment for Python")?;
    }
    let ran = run::show(Command::new("python3").args(["-m", "venv"]).arg(environment), LIMIT)?;
    ensure!(ran.success, "no environment for Python could be made");
    let mut pip = Command::new(environment.join("bin/pip"));
    let wanted: Vec<_> = packages
        .iter()
        .map(|(package, version)| format!("{package}=={version}"))
        .collect();
    let ran = run::show(pip.args(["install", "--quiet"]).args(&wanted), LIMIT)?;
    ensure!(ran.success, "{} could not be installed", wanted.join(" "));
    Ok(())
}
