//! The daemon, for commands that need it: one that runs, or else one that they start.

use std::{
    fs::OpenOptions,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use link::{
    control::{self, Answer, ControlError},
    store::Store,
};

use super::DaemonArguments;

/// How long a daemon may take to start.
const LIMIT: Duration = Duration::from_secs(20);

/// How often it is looked.
const INTERVAL: Duration = Duration::from_millis(20);

/// Where a unit of systemd may be.
const UNITS: [&str; 2] = [
    "/etc/systemd/system/adit-link.service",
    "/usr/lib/systemd/system/adit-link.service",
];

/// The directory that is there where systemd runs: *sd_booted(3)*.
const SYSTEMD: &str = "/run/systemd/system";

/// Where the daemon's log is if a command has started it, beside the links.
const LOG: &str = "log";

/// Has the daemon carry out a command; starts it first if none runs. Gives what the person may want to know of that, too.
pub(super) fn ask(arguments: &DaemonArguments, command: &control::Command) -> anyhow::Result<(Answer, Option<String>)> {
    match control::ask(&arguments.socket, command) {
        Err(ControlError::Nobody { .. }) => {}
        answered => return Ok((answered?, None)),
    }
    if Path::new(SYSTEMD).exists() && UNITS.iter().any(|unit| Path::new(unit).exists()) {
        bail!("the daemon does not run: systemctl start adit-link");
    }
    let note = start(arguments)?;
    Ok((control::ask(&arguments.socket, command)?, Some(note)))
}

fn start(arguments: &DaemonArguments) -> anyhow::Result<String> {
    Store::open(&arguments.state)?;
    let log = arguments.state.join(LOG);
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
    let file = file.with_context(|| format!("cannot write the daemon's log {}", log.display()))?;
    let begun = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
    let mut child = Command::new("/proc/self/exe")
        .arg0("adit")
        .args(["link", "run"])
        .arg("--state")
        .arg(&arguments.state)
        .arg("--socket")
        .arg(&arguments.socket)
        .arg("--docker")
        .arg(&arguments.engine)
        .arg("--driver")
        .arg(&arguments.driver)
        .arg("--namespaces")
        .arg(&arguments.namespaces)
        .args(["--plane", &arguments.plane.to_string()])
        .env(super::run::CHILD_VARIABLE, "1")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(file.try_clone().context("cannot write the daemon's log")?))
        .stderr(Stdio::from(file))
        .spawn()
        .context("cannot start the daemon")?;
    let until = Instant::now() + LIMIT;
    let status = control::Command::Status { link: None };
    while Instant::now() < until {
        if control::ask(&arguments.socket, &status).is_ok() {
            return Ok(format!(
                "the daemon runs in the background (process {}, log {}); docs/guide/link.md says how systemd starts it at \
                 boot",
                child.id(),
                log.display()
            ));
        }
        if let Ok(Some(_)) = child.try_wait() {
            let said = std::fs::read(&log).unwrap_or_default();
            let said = said
                .get(usize::try_from(begun).unwrap_or_default()..)
                .unwrap_or_default();
            let said = String::from_utf8_lossy(said);
            let last = said.trim().lines().last().unwrap_or("it says nothing").to_owned();
            bail!("the daemon does not start: {}", last.trim_start_matches("error: "));
        }
        thread::sleep(INTERVAL);
    }
    bail!("the daemon does not answer; its log is {}", log.display())
}
