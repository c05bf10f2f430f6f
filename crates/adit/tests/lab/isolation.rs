//! What a peer must not do: take another's address, reach the gateway's own host, its cloud's metadata, other peers.
//!
//! ```text
//!   client 10.13.13.2 ══╗
//!                       gateway (nobody) ── server
//!   other  10.13.13.3 ══╝  └ lo: 127.0.0.1:8000, [::1]:8000, 169.254.169.254:80
//! ```

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use netlab::{serve, traffic};

use crate::gateway::Gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_clients_cannot_forge_each_other_s_addresses() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let client = Peer::up(&network.client, &gateway.file("peer1"));
    let other = Peer::up(&network.other, &gateway.file("peer2"));
    for host in [&network.client, &network.other] {
        host.run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
    }
    let answered = network.datagrams.served();
    for (forger, addresses) in [(&client, other.addresses()), (&other, client.addresses())] {
        for (address, server) in addresses.into_iter().zip(network::servers(7)) {
            let length = if address.is_ipv4() { 32 } else { 128 };
            forger
                .host
                .add_address(&forger.interface, &format!("{address}/{length}"));
            let sent_before = forger.transferred().1;
            forger.host.run(|| {
                let socket = UdpSocket::bind((address, 0)).expect("the address is the host's own");
                for _ in 0..20 {
                    socket.send_to(b"forged", server).expect("send");
                }
            });
            netlab::wait_until("the forged datagrams went out", SECOND * 5, || {
                (forger.transferred().1 > sent_before).then_some(())
            });
        }
        // What is sent after them under the own address arrives after them.
        forger.host.run(|| {
            for (address, server) in forger.addresses().into_iter().zip(network::servers(7)) {
                let socket = UdpSocket::bind((address, 0)).expect("the address is the host's own");
                socket
                    .set_read_timeout(Some(SECOND * 2 * netlab::slowness()))
                    .expect("set a time limit");
                socket.send_to(b"honest", server).expect("send");
                socket.recv(&mut [0; 16]).expect("the honest one is answered");
            }
        });
    }
    assert_eq!(network.datagrams.served(), answered + 4, "only the honest ones arrived");
}

#[test]
fn peers_do_not_reach_each_other_unless_told_so() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let client = Peer::up(&network.client, &gateway.file("peer1"));
    let other = Peer::up(&network.other, &gateway.file("peer2"));
    network
        .other
        .run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
    let (tcp, udp) = (serve::tcp_echo(&network.other, 7), serve::udp_echo(&network.other, 7));
    client.host.run(|| {
        for address in other.addresses() {
            let server = SocketAddr::new(address, 7);
            assert!(TcpStream::connect_timeout(&server, SECOND).is_err(), "TCP to {server}");
            assert!(
                traffic::echo_datagram(server, b"hello", SECOND / 2).is_err(),
                "UDP to {server}"
            );
        }
    });
    assert_eq!((tcp.served(), udp.served()), (0, 0));
}

#[test]
fn peers_do_not_reach_the_gateway_s_loopback_or_its_cloud_s_metadata() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    network.gateway.ip("address add 169.254.169.254/32 dev lo");
    let (private, metadata) = (
        serve::tcp_echo(&network.gateway, 8000),
        serve::http(&network.gateway, 80),
    );
    let datagrams = serve::udp_echo(&network.gateway, 8000);
    let gateway = Gateway::launch(&network);
    let peer = Peer::up(&network.client, &gateway.file("peer1"));
    // Let the client send what a careful host would keep to itself.
    network.client.ip("address del 127.0.0.1/8 dev lo");
    network
        .client
        .sysctl(&format!("net.ipv4.conf.{}.route_localnet", peer.interface), "1");
    network
        .client
        .ip(&format!("route add 127.0.0.0/8 dev {}", peer.interface));
    let mut targets: Vec<String> = [
        "127.0.0.1:8000",
        "127.1.2.3:8000",
        "169.254.169.254:80",
        "169.254.169.254:8000",
    ]
    .map(str::to_owned)
    .into();
    // On an interface, what the host offers on all its addresses is offered in the tunnel, too.
    let own = if crate::gateway::host_plane().is_none() {
        gateway.own_addresses()
    } else {
        Vec::new()
    };
    for address in own {
        let address = if address.contains(':') {
            format!("[{address}]")
        } else {
            address
        };
        targets.extend([format!("{address}:8000"), format!("{address}:80")]);
    }
    network.client.run(|| {
        traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works");
        for target in &targets {
            let server: SocketAddr = target.parse().expect("a test's address is right");
            assert!(TcpStream::connect_timeout(&server, SECOND).is_err(), "TCP to {server}");
            assert!(
                traffic::echo_datagram(server, b"hello", SECOND / 5).is_err(),
                "UDP to {server}"
            );
        }
    });
    assert_eq!((private.served(), metadata.served(), datagrams.served()), (0, 0, 0));
}
