//! ICMP echo, where the kernel lets nobody open ping sockets and where it does not.
//!
//! ```text
//!   client ══ tunnel ══ gateway (nobody): a ping socket, if net.ipv4.ping_group_range allows ── server
//! ```

use crate::gateway::Gateway;
use crate::network::Network;
use crate::peer::Peer;

const SERVER: [&str; 2] = ["198.51.100.2", "2001:db8:2::2"];

fn ping(network: &Network, arguments: &[&str]) -> netlab::Output {
    network
        .client
        .command("ping")
        .args(["-i0.05", "-W3", "-w8"])
        .args(arguments)
        .output()
}

#[test]
fn the_server_answers_pings_where_ping_sockets_are_allowed() {
    crate::needs_a_lab!();
    netlab::requires!("ping");
    let network = Network::new();
    network.gateway.allow_ping_sockets(true);
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    let own = gateway.own_addresses();
    for address in SERVER.into_iter().chain(own.iter().map(String::as_str)) {
        for size in ["0", "56", "1200", "8000"] {
            let said = ping(&network, &["-c5", "-s", size, address]);
            assert!(
                said.stdout.contains("5 received"),
                "{size} bytes to {address}: {said:?}"
            );
            assert!(!said.stdout.contains("DUP"), "{said:?}");
        }
    }
}

#[test]
fn without_ping_sockets_the_gateway_answers_for_itself_and_says_no_for_others() {
    crate::needs_a_lab!();
    netlab::requires!("ping");
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    network.gateway.allow_ping_sockets(false);
    let gateway = Gateway::launch_as_nobody(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    for address in gateway.own_addresses() {
        let said = ping(&network, &["-c3", &address]);
        assert!(said.stdout.contains("3 received"), "{address}: {said:?}");
    }
    for address in SERVER {
        let said = ping(&network, &["-c2", address]);
        assert!(said.stdout.contains(" 0 received"), "{address}: {said:?}");
        let told = ["filtered", "prohibited"]
            .iter()
            .any(|word| said.stdout.to_lowercase().contains(word));
        assert!(told, "{address}: {said:?}");
    }
}
