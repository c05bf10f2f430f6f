//! `adit device`: a bare interface on the tun plane that wg configures, as wireguard-go is.
//!
//! ```text
//!   client: wg-quick, adit-device ══ gateway: wireguard-go ── server
//!   client: wg-quick, wireguard-go ══ gateway: adit-device ── server
//! ```

use std::path::PathBuf;

use netlab::Host;

use crate::core::everything_passes;
use crate::gateway::{self, Gateway};
use crate::network::Network;
use crate::peer::Peer;

/// Our binary under the name by which wg-quick calls it.
fn adit_device(host: &Host) -> PathBuf {
    host.install_as(gateway::binary(), "adit-device")
}

#[test]
fn wg_quick_drives_our_device_and_everything_passes() {
    crate::needs_a_lab!();
    netlab::requires!("ping");
    let network = Network::new();
    let gateway = Gateway::of_wireguard_go(&network);
    let before = network.client.network_state();
    let peer = Peer::up_with(&network.client, &gateway.file("peer1"), &adit_device(&network.client));
    everything_passes(&network);
    let (received, sent) = peer.transferred();
    assert!(
        received > netlab::amount(100_000_000) && sent > netlab::amount(100_000_000),
        "wg counts what passed: {received} {sent}"
    );
    let handshake: Vec<_> = peer
        .show("latest-handshakes")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert!(
        handshake[1].parse::<u64>().expect("a time") > 1_700_000_000,
        "{handshake:?}"
    );
    assert!(peer.show("endpoints").contains("203.0.113.2:51820"));
    assert!(peer.show("allowed-ips").contains("0.0.0.0/0 ::/0"));
    peer.down();
    netlab::wait_until(
        "the device's process has ended",
        std::time::Duration::from_secs(5),
        || network.client.processes().is_empty().then_some(()),
    );
    assert_eq!(network.client.network_state(), before, "nothing is left behind");
}

#[test]
fn our_device_serves_wireguard_go() {
    crate::needs_a_lab!();
    netlab::requires!("ping");
    let network = Network::new();
    let gateway = Gateway::of_device(&network, &adit_device(&network.gateway));
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    everything_passes(&network);
    let shown = network.gateway.command("wg").args(["show", "wg0", "endpoints"]).run();
    assert!(shown.contains("192.0.2.7:"), "{shown}");
}

#[test]
fn wg_changes_a_device_while_it_runs() {
    crate::needs_a_lab!();
    let network = Network::new();
    let host = &network.client;
    host.command(adit_device(host)).arg("wg7").run();
    assert_eq!(host.links(), ["eth0", "lo", "wg7"]);
    let wg = |arguments: &str| host.command("wg").args(arguments.split(' ')).run();
    let keys: Vec<_> = (0..3).map(|_| host.command("wg").arg("genkey").run()).collect();
    let peers = keys.iter().map(|key| {
        host.command("wg")
            .arg("pubkey")
            .input(key.clone())
            .run()
            .trim()
            .to_owned()
    });
    let peers: Vec<_> = peers.collect();
    host.command("wg")
        .args(["set", "wg7", "private-key", "/dev/stdin", "listen-port", "5555"])
        .input(&*keys[0])
        .run();
    wg(&format!(
        "set wg7 peer {} allowed-ips 10.0.0.0/8,fd00::/8 endpoint 192.0.2.9:1 persistent-keepalive 25",
        peers[1]
    ));
    wg(&format!(
        "set wg7 peer {} allowed-ips 10.1.0.0/16 endpoint [2001:db8::9]:2",
        peers[2]
    ));
    assert_eq!(wg("show wg7 public-key").trim(), peers[0]);
    assert_eq!(wg("show wg7 listen-port").trim(), "5555");
    let shown = wg("show wg7 dump");
    for part in [
        "192.0.2.9:1\t10.0.0.0/8,fd00::/8\t0\t0\t",
        "[2001:db8::9]:2\t10.1.0.0/16",
    ] {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    wg(&format!("set wg7 peer {} remove", peers[1]));
    assert_eq!(wg("show wg7 peers").trim(), peers[2]);
    host.ip("link del wg7");
    netlab::wait_until(
        "a device without its interface ends",
        std::time::Duration::from_secs(5),
        || host.processes().is_empty().then_some(()),
    );
    let sockets = host.command("ls").arg("/run/wireguard").output().stdout;
    assert_eq!(sockets, "", "its socket is gone");
}
