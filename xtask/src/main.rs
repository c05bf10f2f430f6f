//! What a developer runs: tests, fuzzers, benchmarks, the container image, a guest with another kernel.
#![allow(clippy::print_stdout, reason = "a developer's tool talks on standard output")]

mod apt;
mod bench;
mod fuzz;
mod guest;
mod image;
mod lab;
mod machine;
mod node;
mod openapi;
mod python;
mod report;
mod run;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// What a developer runs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Checks format, lints, documents and licences, and runs every test; installs what it needs first.
    Test(test::Arguments),
    /// Runs each fuzz target for a while, from the committed corpus.
    Fuzz(fuzz::Arguments),
    /// Measures a release build beside other programs, and writes docs/benchmarks.md and its plots.
    Bench(bench::Arguments),
    /// Builds a static binary and the container image around it, as an archive that `docker load` takes.
    Image(image::Arguments),
    /// Runs a command in a virtual machine with Debian's kernel, which has WireGuard; the host's files are there.
    Guest(guest::Arguments),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Test(arguments) => test::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Image(arguments) => image::run(&arguments),
        Task::Guest(arguments) => guest::run(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The top folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is in the top folder")
        .to_owned()
}
