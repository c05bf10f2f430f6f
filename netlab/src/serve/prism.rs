//! What stands between a client and a server and compares both with the API's description: npm's `prism`.
//!
//! A request that is not as described is answered by 422, an answer by 500, each with what is wrong; `complaints` has
//! both. A test needs `"node"`, `"npm:@stoplight/prism-cli"` and `"openapi:FILE"` for each description.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use crate::{account, need, node, tool, wait_until};

/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(30);

/// What it says when it listens, before its address.
const LISTENING: &str = "Prism is listening on ";

/// A description of an API: a file that `cargo xtask test` fetches, and the paths of it that are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The file's name.
    pub file: &'static str,
    /// A regular expression.
    pub paths: &'static str,
}

/// A running judge. Dropping it ends it; if the test is failing, its complaints are printed first.
#[derive(Debug)]
pub struct Prism {
    url: String,
    said: Arc<Mutex<Vec<String>>>,
    child: Child,
    reader: Option<JoinHandle<()>>,
    // It goes on as long as this is open, so that it does not outlive the test.
    _input: ChildStdin,
    _folder: tempfile::TempDir,
}

/// Starts a judge in front of `upstream`; what is only in `open`, as paths with names in braces, passes unjudged.
///
/// # Panics
///
/// If it does not start.
#[track_caller]
#[must_use]
pub fn prism(upstream: &str, described: &[Description], open: &[&str]) -> Prism {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/prism.mjs");
    let folder = tempfile::tempdir().expect("make a folder");
    let mut command = Command::new(tool("node").expect("needs node"));
    command
        .args(node::arguments(&script))
        .env(node::PACKAGES, node::packages())
        .env(account::OWNER, std::process::id().to_string())
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = crate::command::started(&mut command, "prism");
    let described = described
        .iter()
        .map(|description| json!({ "file": need::description(description.file), "paths": description.paths }));
    let settings = json!({
        "upstream": upstream, "port": 0, "file": folder.path().join("all.json"),
        "described": described.collect::<Vec<_>>(), "open": open,
    });
    let mut input = child.stdin.take().expect("its input is a pipe");
    writeln!(input, "{settings}").expect("hand over the settings");
    let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
    let said = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&said);
    let reader = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            locked(&lines).push(line);
        }
    });
    let mut prism = Prism {
        url: String::new(),
        said,
        child,
        reader: Some(reader),
        _input: input,
        _folder: folder,
    };
    prism.url = wait_until("prism starts", LIMIT, || {
        let said = locked(&prism.said);
        let listening = said.iter().find_map(|line| line.split_once(LISTENING));
        let url = listening.map(|(_, url)| url.trim().to_owned());
        let ended = prism.child.try_wait().expect("ask after a child");
        assert!(ended.is_none() || url.is_some(), "prism ended: {}", said.join("\n"));
        url
    });
    prism
}

impl Prism {
    /// Where it listens, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it found wrong, in its words. A status that is not described is not wrong: descriptions leave out refusals.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let said = locked(&self.said);
        // Before it listens it lists what it knows, by words of its own.
        let since = said.iter().skip_while(|line| !line.contains(LISTENING));
        let wrong = since.filter(|line| {
            let is_status = line.contains("returned status code");
            line.contains("terminated with error") || line.contains("Violation") && !is_status
        });
        wrong.cloned().collect()
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _end = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("--- prism said: {}---", self.complaints().join("\n"));
        }
    }
}

fn locked(said: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}
