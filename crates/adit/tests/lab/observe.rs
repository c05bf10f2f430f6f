//! What a gateway says of itself: its log, its health, its numbers, and the names of its peers.
//!
//! ```text
//!   client ══ tunnel ══ gateway: adit serve ── curl, dig, promtool
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use netlab::{Host, Process, traffic};
use serde_json::Value;

use crate::gateway::{adit, as_its_user, plane};
use crate::network::{self, Network};
use crate::peer::Peer;

const LIMIT: Duration = Duration::from_secs(20);

/// Where the numbers are served.
const METRICS: &str = "127.0.0.1:9586";

/// `adit serve` with the peers laptop and phone, its log as JSON.
fn serve(network: &Network) -> (Process, PathBuf) {
    let host = &network.gateway;
    let folder = host.nobodys_folder("config");
    let command = host
        .command(adit(host))
        .args(["serve", "--plane", &plane(), "--peers", "laptop,phone"])
        .args(["--endpoint", "203.0.113.2", "--metrics", METRICS, "--config-dir"])
        .arg(&folder)
        .env("LOG_FORMAT", "json")
        .env("XDG_RUNTIME_DIR", &folder);
    let mut process = as_its_user(command).spawn();
    process.wait_for("gateway ready", Duration::from_secs(10));
    (process, folder)
}

fn get(host: &Host, page: &str) -> String {
    let url = format!("http://{METRICS}{page}");
    host.command("curl").args(["-sS", &url]).run()
}

/// The value of a sample.
fn sample(page: &str, name: &str) -> Option<u64> {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// The events of a log, each line of which is an object.
fn events(process: &Process) -> Vec<Value> {
    let log = process.stderr();
    let lines = log.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value["time"].is_string() && value["message"].is_string(), "{line}");
        value
    });
    lines.collect()
}

/// Every key in the files of a directory.
fn keys(directory: &Path) -> Vec<String> {
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(directory).expect("list the directory") {
        let path = entry.expect("list the directory").path();
        if path.is_dir() {
            keys.extend(keys_in(&path));
        }
    }
    assert!(
        keys.len() >= 8,
        "a key pair of the server's, and three keys of each peer: {keys:?}"
    );
    keys
}

fn keys_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("list a folder");
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.expect("list a folder").path()).ok());
    let is_key = |word: &&str| word.len() == 44 && word.ends_with('=');
    texts
        .flat_map(|text| {
            text.split_whitespace()
                .filter(is_key)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn a_gateway_tells_who_is_there_and_how_it_is_and_never_a_key() {
    crate::needs_a_lab!();
    netlab::requires!("curl", "dig", "promtool");
    let network = Network::new();
    let host = &network.gateway;
    let (mut process, folder) = serve(&network);
    let peer = Peer::up(&network.client, &folder.join("peer_phone/peer_phone.conf"));
    network
        .client
        .run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
    process.wait_for("peer_phone: handshake from 192.0.2.7", LIMIT);

    // Numbers.
    let page = netlab::wait_until("the phone's numbers are there", LIMIT, || {
        let page = get(host, "/metrics");
        let is_there = sample(&page, "adit_peer_connected{peer=\"peer_phone\"}") == Some(1)
            && sample(&page, "adit_packets_total{direction=\"sent\"}") > Some(0);
        is_there.then_some(page)
    });
    for (name, least) in [
        ("adit_packets_total{direction=\"received\"}", 1),
        ("adit_peer_received_bytes_total{peer=\"peer_phone\"}", 148),
        ("adit_peer_sent_bytes_total{peer=\"peer_phone\"}", 92),
        (
            "adit_peer_latest_handshake_timestamp_seconds{peer=\"peer_phone\"}",
            1_700_000_000,
        ),
        ("adit_peer_sessions_total{peer=\"peer_phone\"}", 1),
        ("adit_peer_latest_handshake_timestamp_seconds{peer=\"peer_laptop\"}", 0),
        ("adit_gateway_connected_peers", 1),
    ]
    .into_iter()
    .chain((plane() == "netstack").then_some(("adit_opened_flows_total{protocol=\"tcp\"}", 1)))
    {
        let value = sample(&page, name);
        assert!(
            value.is_some_and(|value| value >= least),
            "{name} is {value:?} in\n{page}"
        );
    }
    let checked = host
        .command("promtool")
        .args(["check", "metrics"])
        .input(page.as_str())
        .output();
    assert!(
        checked.status.success() && checked.stdout.is_empty() && checked.stderr.is_empty(),
        "{checked:?}"
    );

    // Health.
    for said in [
        get(host, "/healthz"),
        host.command(adit(host))
            .args(["health", "--config-dir"])
            .arg(&folder)
            .run(),
    ] {
        assert!(
            said.starts_with(&format!("healthy · tunnel: {} plane, 1 of 2 peers connected", plane())),
            "{said}"
        );
        assert!(said.contains("dns: answers"), "{said}");
    }

    // Names, asked through the tunnel.
    let dig = |question: &str| {
        let command = network.client.command("dig").args(["+short", "+time=5", "@10.13.13.1"]);
        command.args(question.split(' ')).run().trim().to_owned()
    };
    for (question, answer) in [
        ("gateway.adit.internal A", "10.13.13.1"),
        ("phone.adit.internal A", "10.13.13.3"),
        ("laptop.adit.internal A", "10.13.13.2"),
        ("-x 10.13.13.3", "phone.adit.internal."),
        ("nobody-there.adit.internal A", ""),
        ("+tcp server.example A", "198.51.100.2"),
    ] {
        assert_eq!(dig(question), answer, "{question}");
    }

    // Refusals: a key that is no peer's. The kernel's WireGuard tells nobody.
    let tells_refusals = plane() != "kernel";
    let stranger = host.command("wg").arg("genkey").run();
    peer.host
        .command("wg")
        .args(["set", &peer.interface, "private-key", "/dev/stdin"])
        .input(stranger)
        .run();
    network
        .client
        .command("ping")
        .args(["-c1", "-W1", "10.13.13.1"])
        .output();
    if tells_refusals {
        process.wait_for("refused a handshake from 192.0.2.7", LIMIT);
    }

    let events = events(&process);
    let find = |event: &str| events.iter().find(|found| found["event"] == event);
    let connected = find("connected").expect("a peer has connected");
    assert_eq!(connected["peer"], "peer_phone");
    if tells_refusals {
        assert_eq!(find("refused").expect("one was refused")["cause"], "unknown_peer");
    }
    let log = process.log() + &page;
    for key in keys(&folder) {
        assert!(!log.contains(&key), "{key} is in the log or on the page");
    }
    peer.down();
}
