//! What a gateway does where the host forwards nothing yet, may not, or forwards by others' rules.
//!
//! ```text
//!   client ══ gateway (root): adit serve ── server
//!               ├ /proc/sys read-only, forwarding off
//!               ├ FORWARD drops, as beside Docker
//!               └ FORWARD rejects what its rules do not know; another table drops it
//! ```

use std::path::Path;
use std::time::Duration;

use netlab::{Command, Process, traffic};

use crate::gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

/// Runs a program with `/proc/sys` as containers have it.
const READ_ONLY: &str = "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec \"$@\"";

fn serve(network: &Network, folder: &Path, plane: &str, is_read_only: bool) -> Command {
    let host = &network.gateway;
    let adit = gateway::adit(host);
    let command = if is_read_only {
        host.command("unshare")
            .args(["-m", "sh", "-c", READ_ONLY, "sh"])
            .arg(adit)
    } else {
        host.command(adit)
    };
    let command = command.args(["serve", "--plane", plane, "--config-dir"]).arg(folder);
    command.env("PEERS", "1").env("SERVERURL", "203.0.113.2")
}

fn start(network: &Network, folder: &Path) -> Process {
    let mut process = serve(network, folder, &gateway::interface_plane(), false).spawn();
    process.wait_for("ready", Duration::from_secs(10));
    process
}

fn switch_off(network: &Network) {
    for setting in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        network.gateway.sysctl(setting, "0");
    }
}

#[test]
fn where_forwarding_cannot_be_had_auto_does_without_and_an_error_names_the_setting() {
    crate::needs_a_lab!();
    netlab::requires!("unshare", "sh");
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    switch_off(&network);
    let folder = network.gateway.nobodys_folder("config");
    let before = network.gateway.network_state();
    let output = serve(&network, &folder, &gateway::interface_plane(), true).output();
    assert!(!output.status.success());
    assert!(output.stderr.contains("net.ipv4.ip_forward is 0"), "{}", output.stderr);
    assert_eq!(
        network.gateway.network_state(),
        before,
        "nothing is left of the attempt"
    );
    let mut gateway = serve(&network, &folder, "auto", true).spawn();
    gateway.wait_for(
        "netstack plane, since net.ipv4.ip_forward is 0",
        Duration::from_secs(10),
    );
    let _peer = Peer::up(&network.client, &folder.join("peer1/peer1.conf"));
    network
        .client
        .run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
    assert!(gateway.terminate(Duration::from_secs(3)).success());
}

#[test]
fn a_gateway_forwards_beside_docker_s_rules_and_gives_everything_back() {
    crate::needs_a_lab!();
    netlab::requires!("iptables", "ip6tables");
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    switch_off(&network);
    let host = &network.gateway;
    for program in ["iptables", "ip6tables"] {
        host.command(program).args(["-P", "FORWARD", "DROP"]).run();
        host.command(program).args(["-N", "DOCKER-USER"]).run();
        host.command(program).args(["-I", "FORWARD", "-j", "DOCKER-USER"]).run();
    }
    let rules = || host.command("nft").args(["-s", "list", "ruleset"]).run();
    let before = (rules(), host.links());
    let folder = host.nobodys_folder("config");
    let mut gateway = start(&network, &folder);
    let peer = Peer::up(&network.client, &folder.join("peer1/peer1.conf"));
    let works = || {
        for server in network::servers(7) {
            network
                .client
                .run(|| traffic::echo(server, b"hello").expect("the tunnel works"));
        }
    };
    works();
    // The next start replaces what a killed one left.
    gateway.signal(libc::SIGKILL);
    gateway.wait(Duration::from_secs(3));
    let mut gateway = start(&network, &folder);
    works();
    peer.down();
    assert!(gateway.terminate(Duration::from_secs(3)).success());
    // Forwarding stays on: Docker needs it, too.
    assert_eq!((rules(), host.links()), before);
}

#[test]
fn a_gateway_forwards_past_a_last_rule_that_rejects_the_rest_and_names_what_it_cannot_pass() {
    crate::needs_a_lab!();
    netlab::requires!("iptables", "ip6tables");
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let host = &network.gateway;
    for program in ["iptables", "ip6tables"] {
        host.command(program).args(["-A", "FORWARD", "-j", "REJECT"]).run();
    }
    let rules = || host.command("nft").args(["-s", "list", "ruleset"]).run();
    let before = rules();
    let folder = host.nobodys_folder("config");
    let mut gateway = start(&network, &folder);
    assert!(!gateway.log().contains("warning"), "{}", gateway.log());
    let peer = Peer::up(&network.client, &folder.join("peer1/peer1.conf"));
    for server in network::servers(7) {
        network
            .client
            .run(|| traffic::echo(server, b"hello").expect("the tunnel works"));
    }
    peer.down();
    assert!(gateway.terminate(Duration::from_secs(3)).success());
    assert_eq!(rules(), before);
    host.command("nft")
        .arg("table inet fw { chain passing { type filter hook forward priority 0; policy drop; }; }")
        .run();
    let mut gateway = start(&network, &folder);
    let log = gateway.log();
    assert!(
        log.contains("inet fw passing drops") && log.contains("nft insert rule inet fw passing oifname wg0 accept"),
        "{log}"
    );
    assert!(gateway.terminate(Duration::from_secs(3)).success());
}

#[test]
fn rules_that_somebody_flushes_are_made_again() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let host = &network.gateway;
    let before = host.network_state();
    let folder = host.nobodys_folder("config");
    let mut gateway = start(&network, &folder);
    let peer = Peer::up(&network.client, &folder.join("peer1/peer1.conf"));
    host.command("nft").args(["flush", "ruleset"]).run();
    gateway.wait_for("they were made again", Duration::from_secs(10));
    for server in network::servers(7) {
        network
            .client
            .run(|| traffic::echo(server, b"hello").expect("the tunnel works"));
    }
    peer.down();
    assert!(gateway.terminate(Duration::from_secs(3)).success());
    assert_eq!(host.network_state(), before);
}
