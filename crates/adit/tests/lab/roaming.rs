//! A client that changes its address, and a path that is bad.
//!
//! ```text
//!   client 192.0.2.7 → 192.0.2.77 ══ tunnel ══ gateway (nobody) ── server
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use netlab::relay::{Path, Relay};
use netlab::traffic;

use crate::gateway::Gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

const SIZE: u64 = 150_000_000;

/// Downloads while `meanwhile` happens after a part of it has come, and checks what came.
fn download_while(network: &Network, peer: &Peer, meanwhile: impl FnOnce()) {
    let server = network::server_v4(80);
    let transfer = network
        .client
        .spawn(move || traffic::download(server, netlab::amount(SIZE)));
    netlab::wait_until("a part has come", Duration::from_secs(20), || {
        (peer.transferred().0 > netlab::amount(SIZE) / 10).then_some(())
    });
    assert!(
        !transfer.is_finished(),
        "the transfer was over before anything happened"
    );
    meanwhile();
    // The gateway learns the new address from what the client sends; one that only downloads has nothing to say.
    network
        .client
        .run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works from there"));
    let came = transfer.join().expect("the client does not panic");
    assert_eq!(came.expect("download"), traffic::pattern_digest(netlab::amount(SIZE)));
}

#[test]
fn a_transfer_goes_on_when_the_client_s_address_changes() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let peer = Peer::up(&network.client, &gateway.file("peer1"));
    download_while(&network, &peer, || {
        network.internet.route("192.0.2.77 dev to-client");
        network.client.sysctl("net.ipv4.conf.all.promote_secondaries", "1");
        network.client.add_address("eth0", "192.0.2.77/24");
        network.client.remove_address("eth0", "192.0.2.7/24");
    });
}

#[test]
fn a_transfer_goes_on_when_the_client_moves_to_ipv6() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let peer = Peer::up(&network.client, &gateway.file("peer1"));
    let port = peer.gateway_port();
    download_while(&network, &peer, || {
        network.client.remove_address("eth0", "192.0.2.7/24");
        let endpoint = format!("[2001:db8:3::2]:{port}");
        // What came from the old address and waits in a buffer turns the client back: it is told until it stays.
        netlab::wait_until("the client stays on IPv6", Duration::from_secs(10), || {
            let stays = peer.show("endpoints").contains(&endpoint);
            if !stays {
                peer.set_endpoint(&endpoint);
            }
            stays.then_some(())
        });
    });
    assert!(peer.show("endpoints").contains("2001:db8:3::2"));
}

#[test]
fn a_path_that_loses_doubles_and_reorders_costs_time_but_no_data() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let peer = Peer::up(&network.client, &gateway.file("peer1"));
    let front = SocketAddr::from(([192, 0, 2, 254], 5000));
    let path = Path {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(2),
        loss: 5_000,
        doubled: 10_000,
        seed: 7,
    };
    let target = SocketAddr::from(([203, 0, 113, 2], peer.gateway_port()));
    let relay = Relay::start(&network.internet, front, target, path);
    let endpoint = relay.address().to_string();
    peer.set_endpoint(&endpoint);
    let (server, size) = (network::server_v4(80), 10_000_000);
    let (down, up) = network
        .client
        .run(|| (traffic::download(server, size), traffic::upload(server, size)));
    let whole = traffic::pattern_digest(size);
    assert_eq!((down.expect("download"), up.expect("upload")), (whole.clone(), whole));
    let (passed, lost) = relay.counts();
    assert!(
        passed > 10_000 && lost > 50,
        "it went this way: {passed} passed, {lost} lost"
    );
}
