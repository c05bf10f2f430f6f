//! Headless Chromium on a host of a lab, led by a script.
//!
//! What a visit leaves is in `target/tmp/browser/TEST/NUMBER-SCRIPT`, until the test runs again: the screenshots,
//! `network.jsonl` (what pages sent and got), `sent.bin` (every byte that went out, as it was before TLS) and
//! `netlog.json` (Chromium's own record).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use netlab::{Host, Output};
use serde_json::{Value, json};

/// How long a visit may take.
const LIMIT: Duration = Duration::from_secs(150);

/// What every visit needs of the machine.
macro_rules! needs_a_browser {
    () => {
        netlab::requires!(
            "root",
            "ip",
            "chromium",
            "node",
            "npm:playwright-core",
            "npm:axe-core"
        );
    };
}

/// A visit that went well.
pub(crate) struct Visit {
    /// What the script said.
    pub(crate) said: Vec<Value>,
    folder: PathBuf,
}

impl Visit {
    /// What the pages sent and got, in the order in which it ended; `recorder.mjs` says how.
    pub(crate) fn exchanges(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.join("network.jsonl")).expect("read the record of a visit");
        netlab::node::lines(&text)
    }

    /// Every byte that the browser sent, as it was before TLS.
    pub(crate) fn sent(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("sent.bin")).expect("read what a browser sent")
    }

    /// The screenshot `name`, a PNG file.
    pub(crate) fn screenshot(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.png"))
    }
}

/// Runs the script `tests/hub/SCRIPT` with a browser on `host`, which gets `args`, and gives what it said.
///
/// # Panics
///
/// If the script fails, or a page did something wrong: see `browser.mjs`.
#[track_caller]
pub(crate) fn browse(host: &Host, script: &str, args: &Value) -> Vec<Value> {
    visit(host, script, args).said
}

/// The same, and gives what was recorded, too.
#[track_caller]
pub(crate) fn visit(host: &Host, script: &str, args: &Value) -> Visit {
    let (output, folder) = run(host, script, args);
    assert!(
        output.status.success(),
        "the visit of {script} failed; its record is in {}\n{}{}",
        folder.display(),
        output.stdout,
        output.stderr
    );
    Visit {
        said: netlab::node::lines(&output.stdout),
        folder,
    }
}

/// Runs a script that is to fail, and gives what it failed for, a line for each thing.
#[track_caller]
pub(crate) fn failure(host: &Host, script: &str, args: &Value) -> String {
    let (output, folder) = run(host, script, args);
    assert!(
        !output.status.success(),
        "the visit of {script} went well; its record is in {}",
        folder.display()
    );
    output.stderr
}

#[track_caller]
fn run(host: &Host, script: &str, args: &Value) -> (Output, PathBuf) {
    let folder = next_folder(script);
    let input = json!({
        "args": args,
        "chromium": netlab::tool("chromium"),
        "folder": folder,
        "profile": host.folder().join("browser"),
        "slowness": netlab::slowness(),
    });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hub").join(script);
    let output = netlab::node::script(host, file)
        .input(input.to_string())
        .limit(LIMIT)
        .output();
    (output, folder)
}

/// A new folder for what the visit leaves. The first one of a test removes those of its last run.
fn next_folder(script: &str) -> PathBuf {
    static VISITS: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);
    let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser").join(&test);
    let mut visits = VISITS.lock().unwrap_or_else(PoisonError::into_inner);
    let number = visits.entry(test).or_default();
    if *number == 0 && folder.exists() {
        std::fs::remove_dir_all(&folder).expect("remove what an older visit left");
    }
    *number += 1;
    let folder = folder.join(format!("{number}-{}", script.trim_end_matches(".mjs")));
    std::fs::create_dir_all(&folder).expect("make a folder for a visit");
    folder
}
