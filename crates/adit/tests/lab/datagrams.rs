//! UDP: datagrams of every size, each flow by itself.
//!
//! ```text
//!   client ══ tunnel (IP fragments) ══ gateway (nobody) ── whole datagrams ── server: UDP echo
//! ```

use std::time::Duration;

use netlab::traffic;

use crate::gateway::Gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn datagrams_up_to_the_largest_come_back_whole_in_both_families() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    network.client.run(|| {
        for (server, largest) in network::servers(7).into_iter().zip([65_507, 65_527]) {
            for size in [0, 1, 1200, 1372, 1373, 1472, 4000, 20_000, 65_000, largest] {
                let data: Vec<u8> = (0..size)
                    .map(|at: usize| at.to_le_bytes()[0] ^ at.to_le_bytes()[1])
                    .collect();
                // A datagram may be lost on any path: three tries.
                let tried: Vec<_> = (0..3)
                    .map_while(|_| traffic::echo_datagram(server, &data, SECOND).err())
                    .collect();
                assert!(tried.len() < 3, "{size} bytes to {server}: {tried:?}");
            }
        }
    });
}

#[test]
fn each_flow_gets_its_own_answers() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    let lost = network.client.run(|| {
        let sockets: Vec<_> = (0..200_usize)
            .map(|number| {
                let socket = traffic::datagram_socket(network::servers(7)[number % 2]).expect("a socket");
                socket
                    .set_read_timeout(Some(SECOND * netlab::slowness()))
                    .expect("set a time limit");
                socket.send(&number.to_be_bytes()).expect("send");
                socket
            })
            .collect();
        let mut lost = 0;
        for (number, socket) in sockets.iter().enumerate() {
            let mut back = [0; 16];
            match socket.recv(&mut back) {
                Ok(count) => assert_eq!(back[..count], number.to_be_bytes(), "another flow's answer"),
                Err(_) => lost += 1,
            }
        }
        lost
    });
    assert!(lost <= 2, "{lost} of 200 were lost");
}

#[test]
fn the_gateway_s_own_address_answers_for_names() {
    crate::needs_a_lab!();
    netlab::requires!("dig");
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    for address in gateway.own_addresses() {
        let server = format!("@{address}");
        let ask = |arguments: &[&str]| {
            let command = network
                .client
                .command("dig")
                .args(["+time=3", "+tries=2", &server])
                .args(arguments);
            command.run()
        };
        assert_eq!(ask(&["+short", network::NAME, "A"]).trim(), "198.51.100.2", "{server}");
        assert_eq!(
            ask(&["+short", network::NAME, "AAAA"]).trim(),
            "2001:db8:2::2",
            "{server}"
        );
        assert_eq!(
            ask(&["+short", "+tcp", network::NAME, "A"]).trim(),
            "198.51.100.2",
            "{server} over TCP"
        );
        assert!(ask(&["nowhere.example"]).contains("NXDOMAIN"), "{server}");
        let long = ask(&["+short", &format!("big.{}", network::NAME), "TXT"]);
        assert_eq!(
            long.matches('x').count(),
            2000,
            "{server}: an answer that is too long for UDP comes by TCP"
        );
    }
}
