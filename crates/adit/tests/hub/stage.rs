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
        Self::start_at(host, "hub", arguments)
    }

    /// As [`Hub::start`], with its store in this folder of the host's, where one may be already.
    #[track_caller]
    pub(crate) fn start_at(host: &Host, folder: &str, arguments: &[&str]) -> Self {
        Self::start_with(&[], host, folder, arguments)
            .unwrap_or_else(|process| panic!("the hub does not come up:\n{}", process.log()))
    }

    /// As [`Hub::start_at`], with more variables; what is left of the process if that ends before the hub is up.
    #[track_caller]
    pub(crate) fn start_with(
        variables: &[(&str, &str)],
        host: &Host,
        folder: &str,
        arguments: &[&str],
    ) -> Result<Self, Process> {
        let data = host.folder().join(folder);
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (process, link) = spawn(variables, host, &data, &arguments)?;
        Ok(Self {
            process,
            host: host.clone(),
            data,
            arguments,
            link,
        })
    }

    /// Ends it as `kill -9` does, and starts it again.
    #[track_caller]
    pub(crate) fn die_and_return(&mut self) {
        self.process.signal(libc::SIGKILL);
        self.process.wait(SOON);
        self.start_again();
    }

    /// Ends it as `kill -9` does, and starts it again with an empty store.
    #[track_caller]
    pub(crate) fn lose_store_and_return(&mut self) {
        self.process.signal(libc::SIGKILL);
        self.process.wait(SOON);
        for file in std::fs::read_dir(&self.data).expect("the hub has a folder").flatten() {
            std::fs::remove_file(file.path()).expect("remove a file of the store");
        }
        self.start_again();
    }

    #[track_caller]
    fn start_again(&mut self) {
        (self.process, self.link) = spawn(&[], &self.host, &self.data, &self.arguments)
            .unwrap_or_else(|process| panic!("the hub does not come up again:\n{}", process.log()));
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
        self.try_ask(method, path, body).expect("the hub answers")
    }

    /// As [`Hub::ask`]; `None` if it gives no answer.
    #[track_caller]
    pub(crate) fn try_ask(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
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
        let output = curl.arg(&url).output();
        if !output.status.success() {
            return None;
        }
        let (text, status) = output.stdout.rsplit_once('\n').expect("curl tells the status");
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        Some((status.trim().parse().expect("a status is a number"), value))
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
fn spawn(
    variables: &[(&str, &str)],
    host: &Host,
    data: &PathBuf,
    arguments: &[String],
) -> Result<(Process, String), Process> {
    let mut command = host.command(adit(host));
    for (name, value) in variables {
        command = command.env(name, value);
    }
    let mut process = command
        .args(["hub", "--listen", "127.0.0.1:8790", "--data"])
        .arg(data)
        .args(arguments)
        .env("ADIT_LOG_LEVEL", "debug")
        .spawn();
    let started = Instant::now();
    loop {
        let said = process.stdout();
        if let Some(line) = said.lines().find(|line| line.contains("/login?token=")) {
            return Ok((process, line.trim().to_owned()));
        }
        if process.poll().is_some() || started.elapsed() > SOON {
            return Err(process);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The binary under test on `host`.
pub(crate) fn adit(host: &Host) -> PathBuf {
    host.install(env!("CARGO_BIN_EXE_adit"))
}
