//! Runs a program to its end, shows what it says, and keeps it.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How a program ended and what it said.
pub(crate) struct Ran {
    /// Whether it ended with 0 within its limit.
    pub(crate) success: bool,
    /// The lines of both outputs, in the order in which they came.
    pub(crate) lines: Vec<String>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Runs `command` without standard input, shows its output line by line, and kills it after `limit`.
pub(crate) fn show(command: &mut Command, limit: Duration) -> Result<Ran> {
    watch(command, limit, |line| println!("{line}"))
}

/// Runs `command` without standard input, calls `each` with every line that it says, and kills it after `limit`.
pub(crate) fn watch(command: &mut Command, limit: Duration, each: impl Fn(&str)) -> Result<Ran> {
    let start = Instant::now();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", name(command)))?;
    let (sender, receiver) = mpsc::channel();
    pass_on(child.stdout.take(), &sender);
    pass_on(child.stderr.take(), &sender);
    drop(sender);
    let (mut lines, mut late) = (Vec::new(), false);
    loop {
        match receiver.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                each(&line);
                lines.push(line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let notice = format!("{} took longer than {} s: killed", name(command), limit.as_secs());
                each(&notice);
                lines.push(notice);
                child.kill().context("kill a child")?;
                late = true;
                break;
            }
        }
    }
    let status = child.wait().context("wait for a child")?;
    Ok(Ran {
        success: status.success() && !late,
        lines,
        took: start.elapsed(),
    })
}

/// Runs `command` without showing what it says; gives its standard output if it ended with 0.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `program` can be started with `arguments` and ends with 0.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    ask(Command::new(program).args(arguments)).is_some()
}

fn pass_on(pipe: Option<impl Read + Send + 'static>, sender: &mpsc::Sender<String>) {
    let sender = sender.clone();
    thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}

fn name(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .collect();
    words
        .iter()
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
