//! `cargo xtask bench`: measures a release build beside its contenders, and writes `docs/benchmarks.md` and its plots.

mod alone;
mod bars;
mod build;
mod contenders;
mod measure;
mod page;
mod plot;
mod rows;
mod samples;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::machine;
use measure::Lab;
use rows::{ROWS, Row, Table};
use samples::Samples;

/// What a page is written of; less is a trial, and is only printed.
const ROUNDS: usize = 5;
const SECONDS: u64 = 3;

/// What is measured of adit alone: in the place of a row's name.
const ALONE: [&str; 2] = ["start", "many"];

/// The sections of the page that are written.
const SECTIONS: [&str; 7] = ["machine", "bars", "start", "many", "tunnels", "mixed", "netstack"];

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measures only these rows, and leaves what the page says of others.
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = known)]
    rows: Vec<String>,
    /// How often each row is measured of each contender; with fewer than five nothing is written.
    #[arg(long, default_value_t = ROUNDS)]
    rounds: usize,
    /// How long each measurement lasts; with less than 3 nothing is written.
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// Takes measurements as they are while other work keeps the processors busy, and does not repeat them.
    #[arg(long)]
    noisy: bool,
    /// Also compiles everything from nothing, to measure how long that takes.
    #[arg(long)]
    cold: bool,
}

fn known(name: &str) -> Result<String, String> {
    if rows::named(name).is_some() || ALONE.contains(&name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = ALONE.into_iter().chain(ROWS.iter().map(|row| row.name)).collect();
    Err(format!("no such row; there are {}", names.join(", ")))
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| row == name)
    }

    /// The seconds that one measurement of `row` takes.
    fn expected(&self, row: &Row) -> u64 {
        row.stretches * (self.seconds + 1) + row.setup
    }
}

/// Measures; fails only if nothing can be measured. A bar that is missed is said.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let root = crate::root();
    let machine = machine::prepare(&root, true)?;
    anyhow::ensure!(machine.root, "benchmarks make network namespaces: run them as root");
    contenders::install(&root, &machine.tools);
    let cold = if arguments.cold {
        Some(build::cold(&root)?)
    } else {
        None
    };
    let lab = Lab {
        program: build::lab(&root)?,
        adit: build::release(&root)?,
        tools: machine.tools.clone(),
        noisy: arguments.noisy,
    };
    let written = arguments.rounds >= ROUNDS && arguments.seconds >= SECONDS;
    let kept = root.join(if written {
        "target/bench/rows"
    } else {
        "target/bench/trial"
    });
    if (arguments.rows.is_empty() || !written) && kept.exists() {
        std::fs::remove_dir_all(&kept).context("remove what was measured before")?;
    }
    plan(arguments, written);
    for name in ALONE.into_iter().filter(|name| arguments.wants(name)) {
        let mut samples = lab.alone(name)?;
        if name == "start" {
            samples.add("adit", &build::figures(&lab.adit, cold)?);
        }
        samples.save(&kept.join(format!("{name}.json")))?;
    }
    for row in ROWS.iter().filter(|row| arguments.wants(row.name)) {
        let limit = Duration::from_secs(60 + 3 * arguments.expected(row));
        let samples = lab.row(row, arguments.rounds, arguments.seconds, limit)?;
        samples.save(&kept.join(format!("{}.json", row.name)))?;
    }
    report(&root, &kept, &machine.tools, written)?;
    Ok(true)
}

/// Says what will be done, and how long it will take.
fn plan(arguments: &Arguments, written: bool) {
    let rows: Vec<_> = ROWS.iter().filter(|row| arguments.wants(row.name)).collect();
    let mut seconds = 0;
    println!(
        "{} rounds of {} s, all contenders in turn:",
        arguments.rounds, arguments.seconds
    );
    for row in rows {
        println!("  {:<22}{}: {}", row.name, row.title, row.contenders.join(", "));
        seconds += arguments.expected(row) * row.contenders.len() as u64 * arguments.rounds as u64;
    }
    for name in ALONE.into_iter().filter(|name| arguments.wants(name)) {
        println!("  {name:<22}adit alone");
        seconds += 60;
    }
    let then = if written {
        "writes docs/benchmarks.md"
    } else {
        "writes nothing: a trial"
    };
    println!("This takes about {} minutes, and {then}.", seconds.div_ceil(60));
}

/// Prints what is known, and writes the page and its plots if `written`.
fn report(root: &Path, kept: &Path, tools: &Path, written: bool) -> Result<()> {
    let load = |name: &str| Samples::load(&kept.join(format!("{name}.json")));
    let mut measured = Vec::new();
    for row in ROWS {
        measured.extend(load(row.name)?.map(|samples| (row, samples)));
    }
    let find = |name: &str| {
        let found = measured.iter().find(|(row, _)| row.name == name);
        found.map(|(_, samples)| samples.clone())
    };
    let (bars, missed) = bars::table(&find);
    let foreign = measured
        .iter()
        .map(|(_, samples)| samples.foreign())
        .fold(0.0, f64::max);
    let sections = [
        machine_text(&contenders::versions(tools), foreign),
        bars,
        alone::start(load("start")?.as_ref()),
        alone::many(load("many")?.as_ref()),
        page::table(Table::Tunnel, &measured),
        page::table(Table::Mixed, &measured),
        page::table(Table::Netstack, &measured),
    ];
    for section in &sections {
        println!("\n{}", section.trim());
    }
    println!("\nbars missed: {missed}");
    if !written {
        return page::plots(&kept.join("plots"), &measured);
    }
    let file = root.join("docs/benchmarks.md");
    let mut text = std::fs::read_to_string(&file).context("read docs/benchmarks.md")?;
    for (name, section) in SECTIONS.iter().zip(&sections) {
        text = page::replace(&text, name, section)?;
    }
    page::plots(&root.join("docs/plots"), &measured)?;
    std::fs::write(&file, &text).context("write docs/benchmarks.md")?;
    println!("wrote docs/benchmarks.md and docs/plots");
    Ok(())
}

fn machine_text(versions: &str, foreign: f64) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim();
    let kernel = kernel.split_once('-').map_or(kernel, |(version, _)| version);
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = processor.lines();
    let model = lines.find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let control = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    format!(
        "Measured on {cores} cores ({model}), Linux {kernel}, TCP by {}. Beside adit: {versions}. Other work on the machine \
         took at most {foreign:.2} cores during a measurement.\n",
        control.trim()
    )
}
