//! Access rules mean the same on every plane.
//!
//! ```text
//!   client peer1 ══╗
//!                  gateway: adit serve ── server: TCP 7, 80, UDP 7
//!   other  peer2 ══╝
//! ```

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use netlab::{Host, Process, serve, traffic};

use crate::gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

const SECOND: Duration = Duration::from_secs(1);

/// What a peer tries to reach, from the client.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// TCP of the server.
    Tcp(u16),
    /// UDP of the server, port 7.
    Udp,
    /// Echo to the server.
    Ping,
    /// Echo to the gateway's own address.
    Gateway,
    /// TCP of the other peer, port 7.
    Peer,
}

use Target::{Gateway, Ping, Tcp, Udp};

/// Variables, what peer1 reaches then, and what it does not.
type Case = (
    &'static [(&'static str, &'static str)],
    &'static [Target],
    &'static [Target],
);

/// The rules of peer1, and what it reaches then; peer2 has none.
const CASES: &[Case] = &[
    (&[], &[Tcp(7), Tcp(80), Udp, Ping, Gateway, Target::Peer], &[]),
    (
        &[("ALLOWED_DESTINATIONS_PEER_1", "198.51.100.2:7, [2001:db8:2::2]:7")],
        &[Tcp(7), Udp, Gateway],
        &[Tcp(80), Ping, Target::Peer],
    ),
    (
        &[("ALLOWED_DESTINATIONS", "198.51.100.0/24/icmp, 2001:db8:2::/64/icmp")],
        &[Ping, Gateway],
        &[Tcp(7), Udp, Target::Peer],
    ),
    (
        &[("ALLOWED_DESTINATIONS_PEER_1", "0.0.0.0/0:80/tcp, [::/0]:80/tcp")],
        &[Tcp(80), Gateway],
        &[Tcp(7), Udp, Ping],
    ),
    (
        &[("ALLOWED_DESTINATIONS_PEER_1", "none"), ("PEER_TO_PEER", "true")],
        &[Gateway],
        &[Tcp(7), Udp, Ping, Target::Peer],
    ),
    (
        &[("PEER_TO_PEER", "false")],
        &[Tcp(7), Udp, Ping, Gateway],
        &[Target::Peer],
    ),
    // Peer2 may not begin anything, and answers.
    (&[("ALLOWED_DESTINATIONS_PEER_2", "none")], &[Tcp(7), Target::Peer], &[]),
];

#[test]
fn access_rules_hold_on_the_netstack_plane() {
    crate::needs_a_lab!();
    netlab::requires!("ping");
    run_table("netstack", CASES);
}

#[test]
fn access_rules_hold_on_the_tun_plane() {
    crate::needs_a_lab!();
    netlab::requires!("ping");
    run_table("tun", CASES);
}

/// Those of a list and of peers among each other, on the kernel plane.
pub(crate) fn hold_on_the_kernel_plane() {
    run_table("kernel", &[CASES[1], CASES[5]]);
}

/// Serves by each case's rules on one plane.
fn run_table(plane: &str, cases: &[Case]) {
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let _peers_service = serve::tcp_echo(&network.other, 7);
    // Pings of nobody's gateway need it.
    network.gateway.sysctl("net.ipv4.ping_group_range", "0 2147483647");
    let folder = network.gateway.nobodys_folder("config");
    let before = network.gateway.network_state();
    for (rules, reached, refused) in cases {
        let mut gateway = start(&network, &folder, plane, rules);
        let file = |peer: &str| folder.join(format!("{peer}/{peer}.conf"));
        let client = Peer::up(&network.client, &file("peer1"));
        let other = Peer::up(&network.other, &file("peer2"));
        // The gateway hears where it is.
        assert!(reaches(&network.other, Gateway, &other, &other), "{rules:?}");
        for target in *reached {
            assert!(
                reaches(&network.client, *target, &client, &other),
                "{plane} {rules:?} {target:?}"
            );
        }
        for target in *refused {
            assert!(
                !reaches(&network.client, *target, &client, &other),
                "{plane} {rules:?} {target:?}"
            );
        }
        client.down();
        other.down();
        assert!(gateway.terminate(Duration::from_secs(3)).success());
        assert_eq!(network.gateway.network_state(), before, "{plane} leaves nothing");
    }
}

fn start(network: &Network, folder: &Path, plane: &str, rules: &[(&str, &str)]) -> Process {
    let host = &network.gateway;
    let mut command = host
        .command(gateway::adit(host))
        .args(["serve", "--plane", plane, "--config-dir"])
        .arg(folder)
        .env("PEERS", "2")
        .env("SERVERURL", "203.0.113.2");
    for (name, value) in rules {
        command = command.env(name, value);
    }
    if plane == "netstack" {
        command = command.as_nobody();
    }
    let mut process = command.spawn();
    process.wait_for("ready", Duration::from_secs(10));
    process
}

/// Whether the target answers in both families, or in neither.
fn reaches(host: &Host, target: Target, client: &Peer, other: &Peer) -> bool {
    let both: Vec<bool> = [0, 1]
        .into_iter()
        .map(|family| {
            let server = |port| network::servers(port)[family];
            let peer = SocketAddr::new(other.addresses()[family], 7);
            host.run(|| match target {
                Tcp(port) => TcpStream::connect_timeout(&server(port), SECOND * 2 * netlab::slowness()).is_ok(),
                Udp => traffic::echo_datagram(server(7), b"hello", SECOND).is_ok(),
                Ping => ping(host, &server(0).ip().to_string()),
                Gateway => ping(host, &gateway_of(client, family)),
                Target::Peer => TcpStream::connect_timeout(&peer, SECOND * 2 * netlab::slowness()).is_ok(),
            })
        })
        .collect();
    assert_eq!(both[0], both[1], "{target:?} in IPv4 and IPv6");
    both[0]
}

/// The gateway's address: the first of the client's network.
fn gateway_of(client: &Peer, family: usize) -> String {
    let address = client.addresses()[family].to_string();
    let end = address.rfind(['.', ':']).expect("an address has parts");
    format!("{}1", &address[..=end])
}

fn ping(host: &Host, address: &str) -> bool {
    let wait = format!("-W{}", netlab::slowness());
    let output = host.command("ping").args(["-c1", &wait, address]).output();
    output.status.success()
}
