//! `cargo xtask image`: a static binary, and the container image that holds nothing else.

mod archive;
mod contents;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};

use crate::run;

/// How long a compilation may take.
const LIMIT: Duration = Duration::from_secs(2400);

/// The largest image, in bytes.
const MOST: usize = 31_000_000;

/// What `cargo xtask image` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What the image is called where it is loaded.
    #[arg(long, default_value = "adit:latest")]
    tag: String,
    /// Where the archive goes [default: image/adit.tar in the folder for what cargo builds].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also loads it: `docker load`.
    #[arg(long)]
    load: bool,
    /// Takes this binary instead of a release build; it has to be static.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Builds the image; fails if it cannot.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let root = crate::root();
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => compile(&root)?,
    };
    let output = arguments.output.clone().unwrap_or_else(|| default_output(&root));
    write(&root, &binary, &arguments.tag, &output)?;
    if arguments.load {
        let ran = run::show(
            Command::new("docker").args(["load", "--input"]).arg(&output),
            Duration::from_secs(120),
        )?;
        ensure!(ran.success, "docker load failed");
    }
    Ok(true)
}

/// Builds the image from a release build and gives its archive.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let output = default_output(root);
    write(root, &compile(root)?, "adit:latest", &output)?;
    Ok(output)
}

/// Compiles a binary that needs no file of the system: glibc is inside, with its resolver.
///
/// The flags are for this call only, and with `--target` they are not for build scripts.
pub(crate) fn compile(root: &Path) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("there is no CARGO_HOME")?;
    // Messages of panics name files as they stand in the repository, wherever that is.
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=cargo", home.display()),
        format!("--remap-path-prefix={}=adit", root.display()),
    ];
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "build",
            "--release",
            "--package",
            "adit",
            "--locked",
            "--target",
            &triple,
        ])
        .current_dir(root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let ran = run::show(&mut command, LIMIT)?;
    ensure!(ran.success, "the release build failed");
    Ok(build_folder(root).join(triple).join("release/adit"))
}

/// Puts `binary` into an image called `tag`, as an archive in the file `output`.
fn write(root: &Path, binary: &Path, tag: &str, output: &Path) -> Result<()> {
    let program = std::fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
    ensure!(
        is_static(&program),
        "{} is not a static binary of this machine's kind",
        binary.display()
    );
    let made = made_at(root)?;
    let licences = ["LICENSE-APACHE", "LICENSE-MIT"]
        .map(|name| std::fs::read(root.join(name)).map(|text| (name, text)))
        .into_iter()
        .collect::<std::io::Result<Vec<_>>>()
        .context("read the licences")?;
    let layer = contents::layer(&program, &licences, made)?;
    ensure!(
        layer.len() <= MOST,
        "the image has {} bytes, more than {MOST}",
        layer.len()
    );
    let config = contents::config(made, &revision(root));
    let archive = archive::write(&layer, config, tag, made)?;
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder).context("make a folder for the image")?;
    }
    std::fs::write(output, archive).with_context(|| format!("write {}", output.display()))?;
    println!(
        "image {tag}: {:.1} MB in {}",
        layer.len() as f64 / 1e6,
        output.display()
    );
    Ok(())
}

fn default_output(root: &Path) -> PathBuf {
    build_folder(root).join("image/adit.tar")
}

/// Where cargo puts what it builds.
fn build_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// The moment that everything in the image bears, in seconds since 1970: `SOURCE_DATE_EPOCH`, else that of the commit.
///
/// So the same commit gives the same image, bit for bit.
fn made_at(root: &Path) -> Result<u64> {
    if let Some(given) = std::env::var_os("SOURCE_DATE_EPOCH") {
        let given = given.to_string_lossy();
        return given
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH={given} is no number"));
    }
    let commit = run::ask(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(root),
    );
    Ok(commit.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// The commit, or nothing outside of git.
fn revision(root: &Path) -> String {
    run::ask(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root))
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// A moment as RFC 3339 writes it.
fn rfc3339(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// Whether `program` is a 64-bit little-endian ELF file that asks for no loader (`PT_INTERP`).
fn is_static(program: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = program.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let asks = || -> Option<bool> {
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let mut kinds = (0..count).map(|index| number(table.checked_add(index * size)?, 4));
        Some(kinds.any(|kind| kind.is_none_or(|kind| kind == PT_INTERP as usize)))
    };
    program.starts_with(b"\x7fELF\x02\x01") && asks() == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_that_asks_for_a_loader_is_not_static() {
        let mut program = vec![0_u8; 64 + 2 * 56];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (program[32], program[54], program[56]) = (64, 56, 2);
        // (kind of the second segment, static?)
        for (kind, expected) in [(1, true), (3, false)] {
            program[64 + 56] = kind;
            assert_eq!(is_static(&program), expected, "{kind}");
        }
        for broken in [&program[..100], b"", b"#!/bin/sh"] {
            assert!(!is_static(broken));
        }
    }

    #[test]
    fn a_moment_is_written_as_the_image_format_wants_it() {
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
