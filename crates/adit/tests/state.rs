//! What a gateway keeps: in a folder, and in blobs at npm's Azurite.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use azure::blob::{Access, Blob, ConnectionString, Location};
use launch::node::{Answer, Question, Ready, Report, Terms, WantedPeer};
use netlab::{serve::azurite::azurite, wait_until};
use wg::{PresharedKey, PrivateKey};

const LEASE: &str = "01kb2w0v9hq3k1yv8s4n6t2m5e";

/// More than enough, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(30);

fn key(number: u8) -> String {
    PresharedKey::from_bytes([number; 32]).danger_base64().to_string()
}

fn file() -> String {
    format!("adit-{LEASE}.state")
}

/// `adit node`, ended at the latest when dropped.
struct Node {
    child: Child,
    folder: tempfile::TempDir,
    ready: Option<Ready>,
}

impl Node {
    /// With what the test says of the state.
    fn command(folder: &Path, lease: &str, state: &str, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command
            .args(["node", "--plane", "netstack", "--listen", "0", "--lifetime", "600"])
            .args(["--lease", lease, "--state", state, "--socket"])
            .arg(folder.join("node/socket"))
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(state: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Self::command(folder.path(), LEASE, state, variables).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let ready = Ready::find(&line);
        let mut node = Self { child, folder, ready };
        if node.ready.is_none() {
            panic!("it is not ready: {}", node.log());
        }
        node
    }

    /// What `adit ask` prints.
    fn ask(&self, question: &Question) -> Vec<u8> {
        let question = String::from_utf8(question.line()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_adit"))
            .args(["ask", "--socket"])
            .arg(self.folder.path().join("node/socket"))
            .arg(question.trim())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    fn report(&self, question: &Question) -> Report {
        let told = self.ask(question);
        match Answer::read(&told) {
            Ok(Answer::Report(report)) => report,
            other => panic!("{other:?}"),
        }
    }

    /// What it says until it ends.
    fn log(&mut self) -> String {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }

    fn status(&mut self) -> ExitStatus {
        wait_until("it ends", LIMIT, || self.child.try_wait().unwrap())
    }

    /// As the platform ends what does not answer: by SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Two peers: one with a key of its own, one whose key the gateway makes; for 900 s.
fn bring() -> Question {
    let peer = |name: &str, public_key| WantedPeer {
        name: name.to_owned(),
        public_key,
    };
    let own = PrivateKey::from_random([1; 32]).public_key();
    Question::Bring {
        peers: vec![peer("phone", Some(own)), peer("laptop", None)],
        remaining_secs: 900,
    }
}

fn keys() -> Question {
    Question::Keys {
        name: "laptop".to_owned(),
        terms: Terms {
            endpoint: "192.0.2.1:443".to_owned(),
            dns: Vec::new(),
            allowed_ips: launch::order::everything(),
            mtu: None,
        },
    }
}

/// Starts a gateway, gives it peers, kills it once `is_kept` says that all of it is written, and starts it anew.
fn goes_on(state: &str, variables: &[(&str, &str)], mut content: impl FnMut() -> Option<Vec<u8>>) {
    let node = Node::start(state, variables);
    let public_key = node.ready.as_ref().unwrap().public_key;
    let first = wait_until("a state is written", LIMIT, &mut content);
    node.report(&bring());
    let second = wait_until("the peers are written", LIMIT, || content().filter(|now| *now != first));
    let configuration = String::from_utf8(node.ask(&keys())).unwrap();
    assert!(configuration.contains("PrivateKey"));
    let third = wait_until("the key is written", LIMIT, || content().filter(|now| *now != second));
    let before = node.report(&Question::Report {});
    assert_eq!(
        content(),
        Some(third.clone()),
        "a question that changes nothing writes nothing"
    );
    node.kill();
    let mut node = Node::start(state, variables);
    let after = node.report(&Question::Report {});
    assert_eq!(node.ready.as_ref().unwrap().public_key, public_key);
    let peers = |report: &Report| {
        let peers = report.peers.iter();
        let told = peers.map(|peer| (peer.name.clone(), peer.public_key, peer.addresses.clone()));
        told.collect::<Vec<_>>()
    };
    assert_eq!(peers(&after), peers(&before));
    assert!(after.peers.iter().all(|peer| peer.public_key.is_some()), "{after:?}");
    assert_eq!(
        (after.public_key, &after.addresses),
        (before.public_key, &before.addresses)
    );
    assert!((600..=900).contains(&after.remaining_secs), "{}", after.remaining_secs);
    // What is asked to end does not go on, and leaves nothing.
    node.ask(&Question::End {});
    assert!(node.status().success());
    assert_eq!(content(), None);
}

#[test]
fn a_gateway_that_was_killed_goes_on_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file());
    let state = folder.path().to_str().unwrap();
    goes_on(state, &[("ADIT_STATE_KEY", &key(1))], || fs::read(&path).ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_killed_goes_on_from_a_blob() {
    netlab::requires!("node", "npm:azurite");
    let azurite = azurite(0);
    let string = azurite.connection_string();
    let container = azurite.make_container("gateways");
    let location: Location = container.parse().unwrap();
    let location = location.join(&file());
    let access: Access = string.parse::<ConnectionString>().unwrap().access(&location).unwrap();
    let blob = Blob::new(location, access).unwrap();
    let runtime = tokio::runtime::Handle::current();
    let content = move || {
        runtime
            .block_on(blob.read(1 << 20))
            .unwrap()
            .map(|content| content.bytes)
    };
    tokio::task::spawn_blocking(move || {
        let variables = [
            ("ADIT_STATE_KEY", &*key(1)),
            ("AZURE_STORAGE_CONNECTION_STRING", &string),
        ];
        goes_on(&format!("blob:{container}"), &variables, content);
    })
    .await
    .unwrap();
}

#[test]
fn what_cannot_be_opened_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file());
    let state = folder.path().to_str().unwrap();
    let node = Node::start(state, &[("ADIT_STATE_KEY", &key(1))]);
    let whole = wait_until("a state is written", LIMIT, || fs::read(&path).ok());
    node.kill();
    let other = "01kb2w0v9hq3k1yv8s4n6t2m5f";
    let cut = &whole[..whole.len() / 2];
    let wrong = key(2);
    let right = key(1);
    // (content, lease, key, exit code, what is said)
    for (content, lease, key, code, said) in [
        (&whole[..], LEASE, &*wrong, 1, "ADIT_STATE_KEY does not open it"),
        (cut, LEASE, &right, 1, "ADIT_STATE_KEY does not open it"),
        (&whole[..20], LEASE, &right, 1, "it was cut off"),
        (b"[Interface]\n", LEASE, &right, 1, "it is no state of a gateway"),
        (
            &whole,
            other,
            &right,
            1,
            &format!("it is the state of the lease {LEASE}"),
        ),
        (&whole, LEASE, "short", 2, "ADIT_STATE_KEY is no key of 32 bytes"),
        (&whole, LEASE, "", 2, "--state needs a key in ADIT_STATE_KEY"),
    ] {
        let path = folder.path().join(format!("adit-{lease}.state"));
        fs::write(&path, content).unwrap();
        let own = tempfile::tempdir().unwrap();
        let output = Node::command(own.path(), lease, state, &[("ADIT_STATE_KEY", key)])
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{log}");
        assert!(log.contains(said), "{said}: {log}");
        assert_eq!(fs::read(&path).unwrap(), content, "{said}");
        assert!(!log.contains(&right) && !log.contains(&wrong), "{log}");
    }
}

#[test]
fn storage_that_goes_away_does_not_end_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let state = kept.to_str().unwrap();
    // Not there at the start: it fails, for nobody knows what was in it.
    let own = tempfile::tempdir().unwrap();
    let variables = [("ADIT_STATE_KEY", &*key(1))];
    let output = Node::command(own.path(), LEASE, state, &variables).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    fs::create_dir(&kept).unwrap();
    let node = Node::start(state, &variables);
    wait_until("a state is written", LIMIT, || fs::read(kept.join(file())).ok());
    let away = folder.path().join("away");
    fs::rename(&kept, &away).unwrap();
    assert_eq!(node.report(&bring()).peers.len(), 2);
    // It comes back, and is written without anything else being asked.
    let before = fs::read(away.join(file())).unwrap();
    fs::rename(&away, &kept).unwrap();
    wait_until("the peers are written", LIMIT, || {
        fs::read(kept.join(file())).ok().filter(|now| *now != before)
    });
    assert_eq!(node.report(&Question::Report {}).peers.len(), 2);
}

#[test]
fn a_wrong_account_key_fails_before_a_gateway_is_opened() {
    netlab::requires!("node", "npm:azurite");
    let azurite = azurite(0);
    let container = azurite.make_container("gateways");
    let string = format!("{};AccountKey=d3Jvbmc=", azurite.connection_string());
    let own = tempfile::tempdir().unwrap();
    let variables = [
        ("ADIT_STATE_KEY", &*key(1)),
        ("AZURE_STORAGE_CONNECTION_STRING", &string),
    ];
    let state = format!("blob:{container}");
    let output = Node::command(own.path(), LEASE, &state, &variables).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("AZURE_STORAGE_CONNECTION_STRING"), "{log}");
    assert!(!log.contains("d3Jvbmc="), "{log}");
    assert!(output.stdout.is_empty());
}
