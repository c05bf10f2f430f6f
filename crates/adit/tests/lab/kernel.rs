//! The kernel's own WireGuard as a client of ours.
//!
//! ```text
//!   client: wg-quick, the kernel ══ gateway: adit launch as nobody, or as root ── server
//! ```
//!
//! These run where the kernel knows WireGuard: in the guest of `cargo xtask test`.

use std::time::Duration;

use crate::core::everything_passes;
use crate::gateway::Gateway;
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
    let gateway = Gateway::launch(&network);
    let peer = Peer::up_in_kernel(&network.client, &gateway.file("peer1"));
    assert!(is_the_kernel_s(&peer));
    everything_passes(&network);
    fetches_and_resolves(&network, &gateway);
    peer.down();
}

#[test]
fn a_kernel_client_works_with_a_gateway_on_the_tun_plane() {
    needs_the_kernel!();
    let network = Network::new();
    crate::reference::forward(&network.gateway);
    let before = network.gateway.network_state();
    let mut gateway = Gateway::launch_on(&network, "tun");
    let peer = Peer::up_in_kernel(&network.client, &gateway.file("peer1"));
    everything_passes(&network);
    fetches_and_resolves(&network, &gateway);
    peer.down();
    assert!(gateway.process.terminate(Duration::from_secs(3)).success());
    assert_eq!(network.gateway.network_state(), before);
}

/// Whether no process is behind a peer's interface.
fn is_the_kernel_s(peer: &Peer) -> bool {
    let command = peer
        .host
        .command("ip")
        .args(["-details", "link", "show", &peer.interface]);
    command.run().contains("wireguard") && peer.host.processes().is_empty()
}

fn fetches_and_resolves(network: &Network, gateway: &Gateway) {
    let client = &network.client;
    let url = format!("http://{NAME}/address");
    for (family, address) in [("-4", "203.0.113.2"), ("-6", "2001:db8:3::2")] {
        let command = client.command("curl").args(["-sS", "--max-time", "30", family, &url]);
        assert_eq!(command.run(), address, "{family}");
    }
    for address in gateway.own_addresses() {
        let server = format!("@{address}");
        let command = client.command("dig").args(["+short", "+time=9", &server, NAME, "A"]);
        assert_eq!(command.run().trim(), "198.51.100.2", "{server}");
    }
}
