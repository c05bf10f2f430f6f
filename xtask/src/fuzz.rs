//! `cargo xtask fuzz`: each fuzz target for a while.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::report::{Count, Report};
use crate::run;

/// How long a compilation may take.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// What `cargo xtask fuzz` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Runs only this target.
    target: Option<String>,
}

/// Runs the targets; whether none crashed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let root = crate::root();
    anyhow::ensure!(
        run::works("cargo", &["+nightly", "--version"]),
        "fuzzing needs Rust's nightly: rustup toolchain install nightly"
    );
    if !run::works("cargo", &["fuzz", "--version"]) {
        println!("installing: cargo-fuzz");
        let ran = run::show(
            Command::new("cargo").args(["install", "cargo-fuzz", "--locked"]),
            Duration::from_secs(900),
        )?;
        anyhow::ensure!(ran.success, "cargo-fuzz could not be installed");
    }
    let nightly = |subcommand: &str| {
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", subcommand]).current_dir(&root);
        command
    };
    let targets = run::ask(&mut nightly("list")).context("list the fuzz targets")?;
    let wanted = |target: &&str| arguments.target.as_ref().is_none_or(|wanted| wanted == target);
    let targets: Vec<_> = targets.lines().filter(wanted).collect();
    anyhow::ensure!(!targets.is_empty(), "there is no such fuzz target");
    let built = run::show(&mut nightly("build"), BUILD_LIMIT)?;
    anyhow::ensure!(built.success, "the fuzz targets do not compile");
    let mut report = Report::default();
    for target in targets {
        println!("\n=== {target}");
        // What it finds goes to the first folder; the committed corpus grows by hand only.
        let found = root.join("target/fuzz").join(target);
        std::fs::create_dir_all(&found).context("make a folder for what is found")?;
        let mut command = nightly("run");
        command
            .arg(target)
            .arg(found)
            .arg(root.join("fuzz/corpus").join(target));
        command.args([
            "--",
            &format!("-max_total_time={}", arguments.seconds),
            "-print_final_stats=1",
        ]);
        let ran = run::show(&mut command, Duration::from_secs(arguments.seconds + 120))?;
        report.add(target, Count::one(ran.success), ran.took);
    }
    let (summary, success) = report.close();
    print!("{summary}");
    Ok(success)
}
