//! `cargo xtask bench`: measures a release build and writes `docs/benchmarks.md`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{machine, run};

/// How long a compilation may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also compiles everything from nothing, to measure how long that takes.
    #[arg(long)]
    cold: bool,
}

/// Measures; fails only if something cannot be measured.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let root = crate::root();
    let machine = machine::prepare(&root, true)?;
    let build = if arguments.cold { Some(cold_build(&root)?) } else { None };
    let folder = root.join("target/bench");
    compile(&root, &folder)?;
    let binary = folder.join("release/adit");
    let size = std::fs::metadata(&binary).context("look at the release binary")?.len();
    let mut command = Command::new("cargo");
    command
        .args(["test", "--quiet", "--package", "adit", "--bench", "lab"])
        .current_dir(&root);
    command.env("ADIT_BIN", &binary).env("ADIT_TOOLS", &machine.tools);
    let ran = run::show(&mut command, LIMIT)?;
    anyhow::ensure!(ran.success, "the measurements in the lab failed");
    let tables: Vec<_> = ran
        .lines
        .iter()
        .filter(|line| line.starts_with('|') || line.is_empty())
        .cloned()
        .collect();
    let text = page(&tables.join("\n"), size, build);
    std::fs::write(root.join("docs/benchmarks.md"), &text).context("write docs/benchmarks.md")?;
    println!("wrote docs/benchmarks.md");
    Ok(true)
}

fn compile(root: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["build", "--release", "--package", "adit", "--locked"])
        .current_dir(root);
    let ran = run::show(command.env("CARGO_TARGET_DIR", folder), LIMIT)?;
    anyhow::ensure!(ran.success, "the release build failed");
    Ok(())
}

/// How long `cargo build --release` takes when nothing is compiled yet; crates are downloaded before.
fn cold_build(root: &Path) -> Result<Duration> {
    let folder = root.join("target/bench-cold");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("remove an earlier build")?;
    }
    run::show(
        Command::new("cargo").args(["fetch", "--locked"]).current_dir(root),
        LIMIT,
    )?;
    let start = Instant::now();
    compile(root, &folder)?;
    let took = start.elapsed();
    std::fs::remove_dir_all(&folder).context("remove the build")?;
    Ok(took)
}

fn page(tables: &str, size: u64, build: Option<Duration>) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let mut tables = tables.split("\n\n").map(str::trim);
    let [start, many, throughput] = [(); 3].map(|()| tables.next().unwrap_or_default());
    let mut rows = format!("| the release binary | {:.1} MB | 12 MB |\n", size as f64 / 1e6);
    if let Some(build) = build {
        rows += &format!("| cold `cargo build --release` | {} s | 240 s |\n", build.as_secs());
    }
    format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench --cold`; each figure is a median. Measured on {cores} cores ({}), Linux {}.\n\n\
         ## Start and size\n\n{start}\n{rows}\n\
         ## Ten thousand peers\n\n{many}\n\n\
         ## Throughput\n\n\
         iperf3 over TCP through one tunnel, inner MTU 1420, in network namespaces joined by veth: both ends of the\n\
         tunnel and both ends of iperf3 share the cores. `up` is from the client to the server behind the gateway.\n\
         wireguard-go is the newest of Debian sid.\n\n{}\n",
        processor.map_or("unknown processor", |(_, name)| name),
        kernel
            .trim()
            .split_once('-')
            .map_or(kernel.trim(), |(version, _)| version),
        throughput.trim(),
    )
}
