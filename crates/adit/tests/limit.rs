//! Gateways whose own clock is held up end all the same: by the kernel's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    fs,
    io::{BufRead, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long after its time the kernel ends a gateway.
const MARGIN: Duration = Duration::from_secs(5);

/// More than enough on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

fn adit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command
        .args(arguments)
        .env_clear()
        .env("ADIT_PLANE", "netstack")
        .stdin(Stdio::null());
    command
}

/// Ended at the latest when dropped.
struct Stopped {
    child: Child,
    since: Instant,
    /// Where it writes: one that nobody reads is over.
    _said: Box<dyn BufRead>,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Stopped {
    /// Nothing of the process runs from here on.
    fn new(child: Child, said: impl BufRead + 'static) -> Self {
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        Self {
            child,
            since: Instant::now(),
            _said: Box::new(said),
        }
    }

    /// Waits for its end, which is the kernel's and no earlier than that of a gateway with a second left.
    fn ends(mut self, what: &str) {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(self.since.elapsed() < PATIENCE, "{what} lives for ever");
            thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{what}: {status}");
        assert!(
            self.since.elapsed() > MARGIN - Duration::from_secs(1),
            "{what}: {:?}",
            self.since.elapsed()
        );
    }
}

/// The gateway of a lease, which was told that a second is left.
fn node(folder: &Path) -> Stopped {
    let socket = folder.join("node/socket");
    let socket = socket.to_str().unwrap();
    let lease = "01kb2w0v9hq3k1yv8s4n6t2m5e";
    let arguments = [
        "node",
        "--lease",
        lease,
        "--lifetime",
        "600",
        "--listen",
        "0",
        "--socket",
        socket,
    ];
    let mut child = adit(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    assert!(
        said.by_ref()
            .lines()
            .any(|line| line.unwrap().contains("gateway ready"))
    );
    let bring = r#"{"ask":"bring","peers":[],"remaining_secs":1}"#;
    let asked = adit(&["ask", "--socket", socket, bring]).output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    Stopped::new(child, said)
}

/// A lease of one second in a process of its own.
fn launch(folder: &Path, data: &str) -> Stopped {
    let output = folder.join("output");
    let arguments = [
        "launch",
        "--json",
        "--lifetime",
        "1s",
        "--endpoint",
        "192.0.2.1",
        "--listen",
        "0",
    ];
    let mut command = adit(&arguments);
    command.args(["--data", data, "--output"]).arg(output);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    assert!(said.by_ref().lines().any(|line| line.unwrap().contains(r#""ready""#)));
    Stopped::new(child, said)
}

#[test]
fn a_gateway_that_stands_still_is_ended_a_little_after_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    fs::create_dir(data).unwrap();
    let (node, launch) = (node(folder.path()), launch(folder.path(), data));
    node.ends("the process of a lease");
    launch.ends("the launching process");
    // Its row was kept before the gateway was there, and the next command sees what became of it.
    let listed = adit(&["launch", "list", "--all", "--json", "--data", data])
        .output()
        .unwrap();
    let lease: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        (&lease["state"], &lease["outcome"]),
        (&"removed".into(), &"expired".into()),
        "{lease}"
    );
}
