//! Installs what adit is measured beside. Who cannot be had is left out, and a line says so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::apt::{self, Suite};
use crate::run;

/// How long it may take to compile one.
const LIMIT: Duration = Duration::from_secs(1800);

/// Crates of crates.io, and their programs.
const CRATES: &[(&str, &str)] = &[
    ("boringtun-cli", "boringtun-cli"),
    ("gotatun-cli", "gotatun"),
    ("onetun", "onetun"),
];

/// wireguard-go and gVisor as libraries, and what they import.
const LIBRARIES: &[&str] = &[
    "golang-golang.zx2c4-wireguard-dev",
    "golang-gvisor-gvisor-dev",
    "golang-golang-x-crypto-dev",
    "golang-golang-x-exp-dev",
    "golang-golang-x-net-dev",
    "golang-golang-x-sys-dev",
    "golang-golang-x-time-dev",
    "golang-github-google-btree-dev",
];

/// The program that [`NETSTACK`] becomes.
const NETSTACK_PROGRAM: &str = "wireguard-go-netstack";

/// Our own gateway around wireguard-go and gVisor.
const NETSTACK: &str = include_str!("netstack.go");

/// Installs all of them below `tools`, where they are not there yet.
pub(crate) fn install(root: &Path, tools: &Path) {
    for (name, program) in CRATES {
        attempt(tools, program, || compile_crate(root, tools, name));
    }
    attempt(tools, NETSTACK_PROGRAM, || compile_netstack(tools));
}

/// The installed programs with the versions that they tell, in Markdown.
pub(crate) fn versions(tools: &Path) -> String {
    let mut versions = Vec::new();
    let version = |program: &Path| {
        let said = run::ask(Command::new(program).arg("--version"))?;
        let word = said.lines().next()?.split_whitespace().next_back()?;
        Some(word.trim_start_matches('v').to_owned())
    };
    let listed = debian_version(tools);
    versions.extend(listed.map(|version| format!("wireguard-go {version} of Debian sid")));
    for (_, program) in CRATES {
        versions.extend(version(&program_file(tools, program)).map(|version| format!("{program} {version}")));
    }
    versions.join(", ")
}

/// The version in the name of wireguard-go's package.
fn debian_version(tools: &Path) -> Option<String> {
    let files = std::fs::read_dir(tools.join("apt/sid")).ok()?;
    let mut names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    names.find_map(|name| Some(name.strip_prefix("wireguard-go_")?.split('_').next()?.to_owned()))
}

fn program_file(tools: &Path, program: &str) -> PathBuf {
    tools.join("bin").join(program)
}

fn attempt(tools: &Path, program: &str, install: impl FnOnce() -> Result<()>) {
    if program_file(tools, program).exists() {
        return;
    }
    println!("installing: {program}, in {} only", tools.display());
    if let Err(error) = install() {
        println!("{program} cannot be had and is not measured: {error:#}");
    }
}

fn compile_crate(root: &Path, tools: &Path, name: &str) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["install", name, "--locked", "--quiet", "--root"])
        .arg(tools);
    command.env("CARGO_TARGET_DIR", root.join("target/contenders"));
    let ran = run::show(&mut command, LIMIT)?;
    anyhow::ensure!(ran.success, "cargo install {name} failed");
    Ok(())
}

/// Compiles [`NETSTACK`] by Debian's newest Go and against Debian's libraries, none of which touch the machine's own.
fn compile_netstack(tools: &Path) -> Result<()> {
    let sid = Suite::open(tools, "sid")?;
    let unpacked = tools.join("go");
    let compiler = sid.dependency("golang-go", "golang-1.")?;
    let sources = sid.dependency(&compiler, "golang-1.")?;
    for package in [compiler.as_str(), sources.as_str()].iter().chain(LIBRARIES) {
        let file = sid.download(package)?;
        apt::unpack(&file, &unpacked)?;
        std::fs::remove_file(file).context("remove a package")?;
    }
    let version = compiler.trim_start_matches("golang-").trim_end_matches("-go");
    let go = unpacked.join(format!("usr/lib/go-{version}"));
    let source = unpacked.join("netstack.go");
    std::fs::write(&source, NETSTACK).context("write the gateway's source")?;
    let mut command = Command::new(go.join("bin/go"));
    command
        .args(["build", "-o"])
        .arg(program_file(tools, NETSTACK_PROGRAM))
        .arg(&source);
    command
        .env("GOROOT", &go)
        .env("GOPATH", unpacked.join("usr/share/gocode"))
        .env("GOCACHE", unpacked.join("cache"))
        // Debian's libraries are a GOPATH; nothing is to be fetched.
        .env("GO111MODULE", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-buildvcs=false")
        .env("CGO_ENABLED", "0");
    let ran = run::show(&mut command, LIMIT)?;
    anyhow::ensure!(ran.success, "go build failed");
    Ok(())
}
