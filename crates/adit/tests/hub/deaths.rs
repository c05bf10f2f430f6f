//! A hub that is killed at one write after another of a lease's life, and the hub that comes after it.
//!
//! `dying.c` counts the hub's writes to its store, or its requests that they be on the disk, and kills it before the one of
//! that number. So the hub dies before, within and after each commit.

use std::{
    os::unix::process::ExitStatusExt as _,
    time::{Duration, Instant},
};

use netlab::{Account, Host, wait_until};
use serde_json::{Value, json};

use crate::needs_a_lab;
use crate::network::Network;
use crate::stage::{Hub, SOON};

/// The hub of these tests: gateways are processes without a privilege.
const LOCAL: [&str; 2] = ["--plane", "netstack"];

/// No life has as many writes.
const MOST: usize = 2_000;

#[test]
fn a_hub_that_is_killed_at_any_commit_leaves_a_working_lease_or_nothing() {
    needs_a_lab!();
    netlab::requires!("curl", "cc");
    // Once a commit: what it says is written, nothing that follows from it is done.
    let deaths = kill_at("fsync", 1);
    assert!(deaths >= 12, "a life has more commits than {deaths}");
}

#[test]
fn a_hub_that_is_killed_within_a_commit_leaves_a_working_lease_or_nothing() {
    needs_a_lab!();
    netlab::requires!("curl", "cc");
    // Every page of a commit is two writes; 13 has no divisor in common with the usual commits.
    let deaths = kill_at("pwrite", 13);
    assert!(deaths >= 5, "a life has more writes than 13 times {deaths}");
}

/// Lets hubs die at this call, later by `step` each time, until one outlives the life of its lease; how many died.
fn kill_at(call: &str, step: usize) -> usize {
    let network = Network::new();
    let host = &network.gateway;
    let library = host.folder().join("dying.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hub/dying.c");
    host.command("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .run();
    let library = library.to_str().expect("a path of letters");
    let numbers = (1..MOST).step_by(step);
    numbers
        .take_while(|number| dies_and_is_mended(host, library, call, *number))
        .count()
}

/// Whether the hub dies in that life. The next hub brings its lease to ready or to removed, and nothing is left.
fn dies_and_is_mended(host: &Host, library: &str, call: &str, number: usize) -> bool {
    let at = format!("{call} {number}");
    let folder = format!("hub-{call}-{number}");
    let number = number.to_string();
    let dying = [
        ("LD_PRELOAD", library),
        ("DYING_CALL", call),
        ("DYING_AT", &number),
        ("DYING_FILE", "hub.db"),
    ];
    let (mut process, outlived) = match Hub::start_with(&dying, host, &folder, &LOCAL) {
        Err(process) => (process, false),
        Ok(mut hub) => {
            let outlived = live(&mut hub).is_some();
            (hub.process, outlived)
        }
    };
    if outlived {
        process.signal(libc::SIGKILL);
    }
    // A hub that hangs or gives up has not been killed.
    let ended = process.wait(SOON);
    assert_eq!(ended.signal(), Some(libc::SIGKILL), "{at}: {ended}\n{}", process.log());
    let hub = Hub::start_at(host, &folder, &LOCAL);
    let (status, page) = hub.ask("GET", "leases", None);
    let leases = page["items"]
        .as_array()
        .unwrap_or_else(|| panic!("{at}: {status} {page}"));
    assert!(leases.len() <= 1, "{at}: one lease was asked for: {page}");
    for lease in leases {
        let id = lease["id"].as_str().expect("a lease has an id");
        let lease = wait_until("the lease is ready or removed", SOON, || {
            let (_, lease) = hub.ask("GET", &format!("leases/{id}"), None);
            (lease["state"] == "ready" || lease["state"] == "removed").then_some(lease)
        });
        if lease["state"] == "ready" {
            assert_eq!(gateways(host), 1, "{at}: {lease}");
            let (status, problem) = hub.ask("DELETE", &format!("leases/{id}"), None);
            assert_eq!(status, 202, "{at}: {problem}");
            hub.wait_for_state(id, "removed");
        }
    }
    wait_until("no gateway is left", SOON, || (gateways(host) == 0).then_some(()));
    !outlived
}

/// Asks for a lease, and ends it once it is ready; `None` if the hub dies meanwhile.
fn live(hub: &mut Hub) -> Option<()> {
    let body = json!({ "lifetime_secs": 600, "keys": "gateway", "peers": [{ "name": "phone" }] });
    let (status, lease) = hub.try_ask("POST", "leases", Some(&body))?;
    assert_eq!(status, 202, "{lease}");
    let id = lease["id"].as_str().expect("a lease has an id").to_owned();
    reach(hub, &id, "ready")?;
    hub.try_ask("DELETE", &format!("leases/{id}"), None)?;
    reach(hub, &id, "removed")
}

fn reach(hub: &mut Hub, id: &str, state: &str) -> Option<()> {
    let begun = Instant::now();
    loop {
        let (_, lease): (u16, Value) = hub.try_ask("GET", &format!("leases/{id}"), None)?;
        if lease["state"] == state {
            return Some(());
        }
        assert!(begun.elapsed() < SOON, "the lease is not {state}: {lease}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many gateways run on the host.
fn gateways(host: &Host) -> usize {
    let is_gateway = |process: &Account| {
        let words = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == b"node")
    };
    host.processes().iter().filter(|process| is_gateway(process)).count()
}
