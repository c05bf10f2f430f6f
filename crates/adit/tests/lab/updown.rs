//! `adit up`, `adit show`, `adit down`: a configuration file becomes a tunnel on the tun plane, and goes without trace.
//!
//! ```text
//!   client: adit up ══ gateway: wireguard-go, or adit launch as nobody ── server
//! ```

use std::path::PathBuf;
use std::time::Duration;

use netlab::{Command, Host};

use crate::core::everything_passes;
use crate::gateway::{self, Gateway};
use crate::network::{self, Network};

fn adit(host: &Host, arguments: &str) -> Command {
    host.command(gateway::adit(host)).args(arguments.split(' '))
}

fn up(host: &Host, file: &PathBuf) {
    host.command(gateway::adit(host)).arg("up").arg(file).run();
}

/// The process behind the tunnel sees its interface go, and goes.
fn ends(host: &Host) {
    netlab::wait_until("the device's process has ended", Duration::from_secs(5), || {
        host.processes().is_empty().then_some(())
    });
}

#[test]
fn up_brings_a_file_to_life_and_down_leaves_nothing() {
    crate::needs_a_lab!();
    netlab::requires!("ping", "curl");
    let network = Network::new();
    let gateway = Gateway::of_wireguard_go(&network);
    let client = &network.client;
    client.set_resolv_conf("nameserver 192.0.2.53\n");
    let before = (client.network_state(), client.resolv_conf());
    up(client, &gateway.file("peer1"));
    everything_passes(&network);
    let url = format!("http://{}/address", network::NAME);
    assert_eq!(
        client.command("curl").args(["-sS", "-4", &url]).run(),
        "203.0.113.2",
        "by name, so by its DNS"
    );
    assert_eq!(client.command("wg").args(["show", "interfaces"]).run().trim(), "peer1");
    let shown = adit(client, "show").run();
    for part in ["peer1", "203.0.113.2:51820"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let shown = adit(client, "show peer1 --json").run();
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("what --json prints is JSON");
    assert!(!shown.to_string().contains("PrivateKey"), "{shown}");
    client
        .command(gateway::adit(client))
        .arg("down")
        .arg(gateway.file("peer1"))
        .run();
    assert_eq!(
        (client.network_state(), client.resolv_conf()),
        before,
        "nothing is left behind"
    );
    ends(client);
}

#[test]
fn our_own_client_works_with_our_own_gateway() {
    crate::needs_a_lab!();
    netlab::requires!("ping");
    let network = Network::new();
    network.gateway.allow_ping_sockets(true);
    let gateway = Gateway::launch_as_nobody(&network);
    up(&network.client, &gateway.file("peer1"));
    everything_passes(&network);
    adit(&network.client, "down peer1").current_dir(gateway.folder()).run();
    ends(&network.client);
}

#[test]
fn a_file_that_cannot_work_changes_nothing() {
    crate::needs_a_lab!();
    let network = Network::new();
    let client = &network.client;
    let before = client.network_state();
    for (text, words) in [
        ("[Interface]\nPrivateKey = x\n", "PrivateKey"),
        ("[Interface]\nAddress = 10.0.0.300/24\n", "10.0.0.300"),
        ("[Peer]\nAllowedIPs = 0.0.0.0/0\n", ""),
    ] {
        let file = client.folder().join("bad.conf");
        std::fs::write(&file, text).expect("write a file");
        let said = client.command(gateway::adit(client)).arg("up").arg(&file).output();
        assert!(!said.status.success(), "{text:?}: {said:?}");
        assert!(
            said.stderr.contains(words) && said.stderr.contains("bad.conf"),
            "{text:?}: {said:?}"
        );
        assert_eq!(client.network_state(), before, "{text:?}");
    }
}
