//! A gateway that is killed and started anew with what it kept, under the eyes of its peer.
//!
//! ```text
//!   client ══ tunnel ══ gateway: adit node --state DIR  ✝  adit node --state DIR
//! ```

use std::path::Path;
use std::time::Duration;

use launch::node::{Answer, Question, Report};
use netlab::{Process, wait_until};

use crate::gateway;
use crate::network::Network;
use crate::node::{LEASE, bring, command, key, reaches, up};

const LIMIT: Duration = Duration::from_secs(20);

#[track_caller]
fn start(network: &Network, folder: &Path) -> Process {
    let state_key = wg::PresharedKey::from_bytes([9; 32]).danger_base64().to_string();
    let command = command(&network.gateway, &folder.join("mine/socket"))
        .args(["--listen", "51820", "--state"])
        .arg(folder)
        .env("ADIT_STATE_KEY", state_key);
    let mut process = gateway::as_its_user(command).spawn();
    process.wait_for("gateway ready", Duration::from_secs(10));
    process
}

#[track_caller]
fn ask(network: &Network, folder: &Path, question: &Question) -> Report {
    let host = &network.gateway;
    let question = String::from_utf8(question.line()).expect("JSON is text");
    let command = host.command(gateway::adit(host)).args(["ask", "--socket"]);
    let command = command.arg(folder.join("mine/socket")).arg(question.trim());
    let output = gateway::as_its_user(command).output();
    match Answer::read(output.stdout.as_bytes()) {
        Ok(Answer::Report(report)) => report,
        other => panic!("{output:?}: {other:?}"),
    }
}

#[test]
fn a_peer_goes_on_with_a_gateway_that_was_killed_and_started_anew() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let folder = network.gateway.nobodys_folder("state");
    let mut first = start(&network, &folder);
    let report = ask(&network, &folder, &bring(&[("client", Some(&key(1)))], 600));
    let _client = up(&network.client, &report, "client", &key(1));
    reaches(&network.client);
    let file = folder.join(format!("adit-{LEASE}.state"));
    wait_until("the peer is written", LIMIT, || {
        let written = std::fs::metadata(&file).ok()?;
        (written.len() > 400).then_some(())
    });
    first.signal(libc::SIGKILL);
    first.wait(LIMIT);
    let mut second = start(&network, &folder);
    let again = ask(&network, &folder, &Question::Report {});
    assert_eq!((again.public_key, again.peers.len()), (report.public_key, 1));
    assert_eq!(again.peers[0].addresses, report.peers[0].addresses);
    // Nobody told the client: it shakes hands anew with the key that it knows.
    reaches(&network.client);
    second.terminate(LIMIT);
}
