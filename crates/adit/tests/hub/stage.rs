//! A hub on the host `gateway`, where its browser is, too.
//!
//! ```text
//!   client ══ tunnel ══ gateway: adit hub ◄── browser, curl, adit launch --hub
//!                                └── adit node ──── server
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use netlab::{Command, Host, Process};
use serde_json::Value;

/// How long what takes a moment may take.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A hub that runs.
pub(crate) struct Hub {
    pub(crate) process: Process,
    host: Host,
    data: PathBuf,
    arguments: Vec<String>,
    /// The link that signs in.
    pub(crate) link: String,
}

impl Hub {
    /// Starts `adit hub` with these arguments, on a store of its own.
    #[track_caller]
    pub(crate) fn start(host: &Host, arguments: &[&str]) -> Self {
        let data = host.folder().join("hub");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (process, link) = spawn(host, &data, &arguments);
        Self {
            process,
            host: host.clone(),
            data,
            arguments,
            link,
        }
    }

    /// Ends it as `kill -9` does, and starts it again.
    #[track_caller]
    pub(crate) fn die_and_return(&mut self) {
        self.process.signal(libc::SIGKILL);
        self.process.wait(SOON);
        (self.process, self.link) = spawn(&self.host, &self.data, &self.arguments);
    }

    /// Ends it as `kill -9` does, and starts it again with an empty store.
    #[track_caller]
    pub(crate) fn lose_store_and_return(&mut self) {
        self.process.signal(libc::SIGKILL);
        self.process.wait(SOON);
        for file in std::fs::read_dir(&self.data).expect("the hub has a folder").flatten() {
            std::fs::remove_file(file.path()).expect("remove a file of the store");
        }
        (self.process, self.link) = spawn(&self.host, &self.data, &self.arguments);
    }

    /// Where it keeps its store.
    pub(crate) fn data(&self) -> &PathBuf {
        &self.data
    }

    /// Its address, without a path.
    pub(crate) fn address(&self) -> &str {
        self.link.split_once("/login").expect("a link to sign in").0
    }

    /// What signs in.
    pub(crate) fn token(&self) -> &str {
        self.link.split_once("token=").expect("a link with a token").1
    }

    /// Asks its API by curl; the status, and the answer if it is JSON.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!("{}/api/v1/{path}", self.address());
        let mut curl = self
            .host
            .command("curl")
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "60",
                "--write-out",
                "\n%{http_code}",
            ])
            .args([
                "--request",
                method,
                "--header",
                &format!("Authorization: Bearer {}", self.token()),
            ]);
        if let Some(body) = body {
            curl = curl.args([
                "--header",
                "Content-Type: application/json",
                "--data",
                &body.to_string(),
            ]);
        }
        let output = curl.arg(&url).run();
        let (text, status) = output.rsplit_once('\n').expect("curl tells the status");
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        (status.trim().parse().expect("a status is a number"), value)
    }

    /// Waits until a lease is in a state, and gives it.
    #[track_caller]
    pub(crate) fn wait_for_state(&self, id: &str, state: &str) -> Value {
        netlab::wait_until(&format!("the lease is {state}"), SOON, || {
            let (_, lease) = self.ask("GET", &format!("leases/{id}"), None);
            (lease["state"] == state).then_some(lease)
        })
    }

    /// `adit launch` with the hub's address and token.
    #[must_use]
    pub(crate) fn launch(&self, words: &[&str]) -> Command {
        self.host
            .command(adit(&self.host))
            .arg("launch")
            .args(words)
            .env("ADIT_HUB", self.address())
            .env("ADIT_HUB_TOKEN", self.token())
    }
}

#[track_caller]
fn spawn(host: &Host, data: &PathBuf, arguments: &[String]) -> (Process, String) {
    let command = host
        .command(adit(host))
        .args(["hub", "--listen", "127.0.0.1:8790", "--data"])
        .arg(data)
        .args(arguments)
        .env("ADIT_LOG_LEVEL", "debug");
    let mut process = command.spawn();
    let started = Instant::now();
    let link = loop {
        let said = process.stdout();
        if let Some(line) = said.lines().find(|line| line.contains("/login?token=")) {
            break line.trim().to_owned();
        }
        assert!(
            process.poll().is_none() && started.elapsed() < SOON,
            "the hub does not come up:\n{}",
            process.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    (process, link)
}

/// The binary under test on `host`.
pub(crate) fn adit(host: &Host) -> PathBuf {
    host.install(env!("CARGO_BIN_EXE_adit"))
}
