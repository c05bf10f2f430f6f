//! `cargo xtask test`: every check and every test, and a summary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::guest::{self, Guest};
use crate::image;
use crate::lab;
use crate::machine::{self, Machine};
use crate::report::{Count, Report};
use crate::run;

/// How long a compilation may take, and a program of tests.
const LIMIT: Duration = Duration::from_secs(1800);

/// The program of tests that runs the image.
const IN_DOCKER: &str = "adit: docker";

/// The program of tests whose machines at Azure are guests, and the image's containers in them.
const AT_AZURE: &str = "adit: azure";

/// The variable that gives the tests the file that tells how a guest is started.
const GUEST: &str = "ADIT_TEST_GUEST";

/// The variable that gives the tests in Docker the image's archive.
pub(crate) const IMAGE: &str = "ADIT_TEST_IMAGE";

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Installs nothing; what is missing is skipped.
    #[arg(long)]
    no_install: bool,
    /// Runs the tests only, without format, lints, documents and licences.
    #[arg(long)]
    tests_only: bool,
    /// Runs only programs of tests whose name holds this, such as `lab` or `wg`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Runs everything; whether nothing failed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let root = crate::root();
    let machine = machine::prepare(&root, !arguments.no_install)?;
    if !machine.root {
        println!("not root: tests that need network namespaces are skipped");
    }
    let mut report = Report::default();
    if !arguments.tests_only && arguments.only.is_none() {
        if !arguments.no_install {
            machine.install_licence_checker()?;
        }
        checks(&root, &machine, &mut report)?;
    }
    tests(&root, &machine, arguments, &mut report)?;
    let (summary, success) = report.close();
    print!("{summary}");
    Ok(success)
}

/// What is read, not run.
fn checks(root: &Path, machine: &Machine, report: &mut Report) -> Result<()> {
    // Lints before documents: both want the metadata of every dependency, and the lints say more.
    let checks: [(&str, &[&str]); 3] = [
        ("format", &["fmt", "--all", "--check"]),
        (
            "lints",
            &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        ),
        ("documents", &["doc", "--workspace", "--no-deps"]),
    ];
    for (name, arguments) in checks {
        heading(name);
        let mut command = cargo(root);
        command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
        let ran = run::show(&mut command, LIMIT)?;
        report.add(name, Count::one(ran.success), ran.took);
    }
    heading("licences");
    let start = Instant::now();
    let count = match machine.licence_checker() {
        Some(checker) => {
            let mut command = Command::new(checker);
            command.args(["check", "bans", "licenses", "sources"]).current_dir(root);
            Count::one(run::show(&mut command, LIMIT)?.success)
        }
        None => Count::skip("licences: needs cargo-deny"),
    };
    report.add("licences", count, start.elapsed());
    Ok(())
}

/// Compiles all tests once, then runs each program by itself.
fn tests(root: &Path, machine: &Machine, arguments: &Arguments, report: &mut Report) -> Result<()> {
    heading("compile the tests");
    let start = Instant::now();
    let programs = compile(root)?;
    report.add("compile the tests", Count::one(programs.is_some()), start.elapsed());
    let Some(programs) = programs else { return Ok(()) };
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|text| name.contains(text.as_str()));
    let image = if (wanted(IN_DOCKER) || wanted(AT_AZURE) || wanted(guest::NAME)) && machine.root {
        image(root, report)
    } else {
        None
    };
    let recipe = if wanted(AT_AZURE) {
        recipe(root, machine, !arguments.no_install)?
    } else {
        None
    };
    for program in programs.iter().filter(|program| wanted(&program.name)) {
        let mut command = run_of(program, machine);
        if let Some(image) = &image {
            command.env(IMAGE, image);
        }
        if let Some(recipe) = recipe.as_ref().filter(|_| program.name == AT_AZURE) {
            command.env(GUEST, recipe);
        }
        show(&program.name, &mut command, report)?;
        if program.name == lab::NAME && machine.root {
            let mut command = run_of(program, machine);
            command
                .envs([(lab::PLANE, "tun"), (lab::LANES, "2")])
                .args(lab::without(lab::OF_ONE_PLANE))
                .args(lab::without(lab::NOT_TWICE));
            show(lab::ON_TUN, &mut command, report)?;
        }
    }
    if wanted(guest::NAME) {
        heading(guest::NAME);
        let install = !arguments.no_install;
        guest::test(root, machine, install, &programs, image.as_deref(), report)?;
    }
    if wanted("examples in documents") {
        heading("examples in documents");
        let mut command = cargo(root);
        command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
        prepare(&mut command, machine);
        let ran = run::show(&mut command, LIMIT)?;
        report.add("examples in documents", Count::read(&ran.lines, ran.success), ran.took);
    }
    Ok(())
}

/// What runs a program of tests, but for those that are the guest's.
fn run_of(program: &Program, machine: &Machine) -> Command {
    let mut command = Command::new(&program.path);
    command
        .arg("--test-threads=2")
        .current_dir(&program.folder)
        .env("CARGO_MANIFEST_DIR", &program.folder);
    prepare(&mut command, machine);
    if machine.root {
        command.args(guest::left_to_it(&program.name));
    }
    command
}

fn show(name: &str, command: &mut Command, report: &mut Report) -> Result<()> {
    heading(name);
    let ran = run::show(command, LIMIT)?;
    report.add(name, Count::read(&ran.lines, ran.success), ran.took);
    Ok(())
}

/// Builds the image that the tests in Docker run; `None` if that fails, which has then been shown.
fn image(root: &Path, report: &mut Report) -> Option<PathBuf> {
    heading("image");
    let start = Instant::now();
    let built = image::build(root);
    report.add("image", Count::one(built.is_ok()), start.elapsed());
    built.inspect_err(|error| println!("{error:#}")).ok()
}

/// How a guest is started, in a file; `None` if none can be had, which has then been said.
fn recipe(root: &Path, machine: &Machine, install: bool) -> Result<Option<PathBuf>> {
    match Guest::prepare(root, machine, install)? {
        Ok(guest) => Ok(Some(guest.recipe())),
        Err(missing) => {
            println!("no guest: needs {missing}");
            Ok(None)
        }
    }
}

/// Root skips nothing: a test that cannot run fails.
fn prepare(command: &mut Command, machine: &Machine) {
    command.env("ADIT_TOOLS", &machine.tools);
    if machine.root {
        command.env("ADIT_TEST_ALL", "1");
    }
}

/// A compiled program of tests.
pub(crate) struct Program {
    /// Its package and its target, as in the summary.
    pub(crate) name: String,
    /// The executable.
    pub(crate) path: PathBuf,
    /// The folder of its package, in which cargo would run it.
    pub(crate) folder: PathBuf,
}

/// Compiles every test of the workspace; `None` if that fails, which has then been shown.
fn compile(root: &Path) -> Result<Option<Vec<Program>>> {
    let arguments = [
        "test",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ];
    let output = cargo(root)
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        return Ok(None);
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages are text")?;
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("read a message of cargo's")?;
        programs.extend(program(&message));
    }
    // The quick ones first; the lab last.
    programs.sort_by_key(|program| (program.name.contains("lab"), program.name.clone()));
    Ok(Some(programs))
}

fn program(message: &Value) -> Option<Program> {
    let is_test = message["profile"]["test"].as_bool()?;
    let path = message["executable"].as_str().filter(|_| is_test)?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let package = folder.file_name()?.to_str()?;
    let (target, kind) = (
        message["target"]["name"].as_str()?,
        message["target"]["kind"][0].as_str()?,
    );
    let name = if kind == "test" {
        format!("{package}: {target}")
    } else {
        format!("{package}: units")
    };
    Some(Program {
        name,
        path: path.into(),
        folder: folder.to_owned(),
    })
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn heading(text: &str) {
    println!("\n=== {text}");
}
