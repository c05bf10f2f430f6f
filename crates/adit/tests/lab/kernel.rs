//! The kernel's own WireGuard as a client of ours, and as our gateway.
//!
//! ```text
//!   client: the kernel ═════╗
//!                           gateway: adit launch as nobody, or adit on the kernel plane ── server
//!   other: wireguard-go ════╝
//! ```
//!
//! These run where the kernel knows WireGuard: in the guest of `cargo xtask test`.

use std::time::Duration;

use netlab::Host;

use crate::core::everything_passes;
use crate::gateway::{self, Gateway};
use crate::network::{NAME, Network};
use crate::peer::Peer;

/// What a test of this file needs of the machine.
macro_rules! needs_the_kernel {
    () => {
        crate::needs_a_lab!();
        netlab::requires!("/sys/module/wireguard", "ping", "curl", "dig");
    };
}

#[test]
fn a_kernel_client_pings_fetches_and_resolves_through_a_gateway_of_nobody_s() {
    needs_the_kernel!();
    let network = Network::new();
    network.gateway.allow_ping_sockets(true);
    let gateway = Gateway::launch_as_nobody(&network);
    let peer = Peer::up_in_kernel(&network.client, &gateway.file("peer1"));
    assert!(is_the_kernel_s(&network.client, &peer.interface));
    everything_passes(&network);
    fetches_and_resolves(&network.client, &gateway.own_addresses());
}

#[test]
fn a_kernel_client_works_with_a_gateway_on_each_plane_of_the_host_s() {
    needs_the_kernel!();
    for plane in ["tun", "kernel"] {
        let network = Network::new();
        let before = network.gateway.network_state();
        let mut gateway = Gateway::launch_on(&network, plane);
        let interface = network.gateway.command("wg").args(["show", "interfaces"]).run();
        assert_eq!(
            is_the_kernel_s(&network.gateway, interface.trim()),
            plane == "kernel",
            "{interface}"
        );
        let peer = Peer::up_in_kernel(&network.client, &gateway.file("peer1"));
        everything_passes(&network);
        fetches_and_resolves(&network.client, &gateway.own_addresses());
        peer.down();
        assert!(gateway.process.terminate(Duration::from_secs(3)).success());
        assert_eq!(network.gateway.network_state(), before, "{plane}");
    }
}

#[test]
fn serve_on_the_kernel_plane_lets_the_kernel_and_wireguard_go_in() {
    needs_the_kernel!();
    let network = Network::new();
    let host = &network.gateway;
    let before = host.network_state();
    let folder = host.nobodys_folder("config");
    let command = host
        .command(gateway::adit(host))
        .args(["serve", "--plane", "kernel", "--config-dir"])
        .arg(&folder);
    let mut process = command.env("PEERS", "2").env("SERVERPORT", "51820").spawn();
    process.wait_for("ready", Duration::from_secs(10));
    let file = |peer: &str| folder.join(format!("{peer}/{peer}.conf"));
    let _peers = (
        Peer::up_in_kernel(&network.client, &file("peer1")),
        Peer::up(&network.other, &file("peer2")),
    );
    let own = gateway::dns_servers(&file("peer1"));
    for client in [&network.client, &network.other] {
        fetches_and_resolves(client, &own);
        let said = client
            .command("ping")
            .args(["-i0.05", "-c3", "-w9", "198.51.100.2"])
            .output();
        assert!(said.stdout.contains("3 received"), "{said:?}");
    }
    everything_passes(&network);
    assert!(process.terminate(Duration::from_secs(3)).success());
    assert_eq!(host.network_state(), before);
}

#[test]
fn access_rules_hold_on_the_kernel_plane() {
    needs_the_kernel!();
    crate::access::hold_on_the_kernel_plane();
}

/// Whether an interface is one of the kernel's WireGuard.
fn is_the_kernel_s(host: &Host, interface: &str) -> bool {
    let command = host.command("ip").args(["-details", "link", "show", interface]);
    command.run().split_whitespace().any(|word| word == "wireguard")
}

/// Fetches by name, from a server that sees the gateway, and asks each of the gateway's addresses for the name.
fn fetches_and_resolves(client: &Host, own: &[String]) {
    let url = format!("http://{NAME}/address");
    for (family, address) in [("-4", "203.0.113.2"), ("-6", "2001:db8:3::2")] {
        let command = client.command("curl").args(["-sS", "--max-time", "30", family, &url]);
        assert_eq!(command.run(), address, "{family}");
    }
    for address in own {
        let server = format!("@{address}");
        let command = client.command("dig").args(["+short", "+time=9", &server, NAME, "A"]);
        assert_eq!(command.run().trim(), "198.51.100.2", "{server}");
    }
}
