//! The end of a gateway: by a signal or by its lifetime, with nothing left behind.
//!
//! ```text
//!   client ══ tunnel ══ gateway (nobody) ✝
//! ```

use std::path::Path;
use std::time::Duration;

use netlab::traffic;

use crate::gateway::Gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

#[test]
fn after_a_signal_the_gateway_is_gone() {
    crate::needs_a_lab!();
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let network = Network::new();
        let before = network.gateway.network_state();
        let mut gateway = Gateway::launch(&network);
        let _peer = Peer::up(&network.client, &gateway.file("peer1"));
        network
            .client
            .run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
        gateway.process.signal(signal);
        let status = gateway.process.wait(Duration::from_secs(3));
        if !crate::reference::wanted() {
            assert!(status.success(), "{status}: {}", gateway.process.log());
            assert_eq!(network.gateway.network_state(), before);
            assert_eq!(
                files(gateway.folder()),
                [""; 0],
                "the clients' files work no longer, and are gone"
            );
        }
        assert_eq!(network.gateway.processes(), []);
        network.client.run(|| {
            let late = std::net::TcpStream::connect_timeout(&network::server_v4(7), Duration::from_millis(500));
            assert!(late.is_err(), "nothing goes through a gateway that is gone");
        });
    }
}

#[test]
fn at_the_end_of_its_lifetime_the_gateway_is_gone() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let mut gateway = Gateway::launch_with(&network, &["--lifetime", "4s", "--json"]);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    let private = std::fs::read_to_string(gateway.file("peer1")).expect("read a peer's file");
    let private = private
        .lines()
        .find_map(|line| line.strip_prefix("PrivateKey = "))
        .expect("it has a key")
        .to_owned();
    network
        .client
        .run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
    let status = gateway.process.wait(Duration::from_secs(8));
    assert!(status.success(), "{status}: {}", gateway.process.log());
    assert_eq!(files(gateway.folder()), [""; 0]);
    let told = gateway.process.stdout();
    let events: Vec<serde_json::Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let kinds: Vec<_> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(
        kinds.iter().filter(|kind| **kind != "transfer").collect::<Vec<_>>(),
        [&"ready", &"peer", &"peer", &"handshake", &"ended"]
    );
    assert!(
        events[0]["endpoint"]
            .as_str()
            .is_some_and(|endpoint| endpoint == "203.0.113.2:51820"),
        "{told}"
    );
    let handshake = events
        .iter()
        .find(|event| event["event"] == "handshake")
        .expect("counted above");
    assert!(
        handshake["endpoint"]
            .as_str()
            .is_some_and(|endpoint| endpoint.starts_with("192.0.2.7:")),
        "{told}"
    );
    assert_eq!(events.last().map(|event| &event["reason"]), Some(&"lifetime".into()));
    assert!(!gateway.process.log().contains(&private), "a private key is told");
}

/// The names in a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect()
}
