//! Azure's blob storage, played by npm's `azurite` on this machine's loopback: blobs, shared keys, signatures.
//!
//! A test needs `"node"` and `"npm:azurite"`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::{account, node, tool};

/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(30);

/// The account's key, which is no secret. *Azure Storage: Azurite, well-known storage account and key.*
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What it says when it listens, before its address.
const LISTENING: &str = "successfully listens on ";

/// A running service; its one account is `devstoreaccount1`. What it holds is in its memory. Dropping it ends it.
#[derive(Debug)]
pub struct Azurite {
    port: u16,
    child: Child,
    _folder: tempfile::TempDir,
}

/// Starts it at `port`; 0 is any.
///
/// # Panics
///
/// If it does not start.
#[track_caller]
#[must_use]
pub fn azurite(port: u16) -> Azurite {
    let folder = tempfile::tempdir().expect("make a folder");
    let mut command = Command::new(tool("node").expect("needs node"));
    command
        .arg(program())
        .args(["--blobHost", "127.0.0.1", "--inMemoryPersistence", "--disableTelemetry"])
        .args(["--blobPort", &port.to_string()])
        .current_dir(folder.path())
        .env(account::OWNER, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = crate::command::started(&mut command, "azurite");
    let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
    let (say, said) = mpsc::channel();
    // It goes on reading to the end, so that the program never waits for a reader.
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _unheard = say.send(line);
        }
    });
    let mut azurite = Azurite {
        port,
        child,
        _folder: folder,
    };
    let begun = std::time::Instant::now();
    loop {
        let line = said
            .recv_timeout(LIMIT.saturating_sub(begun.elapsed()))
            .expect("azurite starts");
        if let Some((_, address)) = line.split_once(LISTENING) {
            let port = address.trim().trim_end_matches('/').rsplit(':').next();
            azurite.port = port.and_then(|port| port.parse().ok()).expect("an address has a port");
            return azurite;
        }
    }
}

impl Azurite {
    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address of its account, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/devstoreaccount1", self.port)
    }

    /// A connection string with the account's key.
    #[must_use]
    pub fn connection_string(&self) -> String {
        format!("UseDevelopmentStorage=true;BlobEndpoint={}", self.url())
    }
}

impl Azurite {
    /// Makes a container, and gives its address.
    ///
    /// # Panics
    ///
    /// If it is not made.
    #[track_caller]
    #[must_use]
    pub fn make_container(&self, name: &str) -> String {
        let url = format!("{}/{name}", self.url());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/azurite.mjs");
        let mut command = Command::new(tool("node").expect("needs node"));
        let output = command.arg(script).args([&url, KEY]).output().expect("node runs");
        assert!(output.status.success(), "{output:?}");
        url
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn program() -> PathBuf {
    node::packages().join("node_modules/azurite/dist/src/blob/main.js")
}
