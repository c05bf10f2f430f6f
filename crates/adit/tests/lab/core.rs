//! What every plane has to carry, whoever is at the other end.

use std::io::ErrorKind;
use std::time::Duration;

use netlab::traffic;

use crate::network::{self, Network};

const SECOND: Duration = Duration::from_secs(1);

/// Sends a bit of everything from the host `client` to the server, and checks what comes back.
#[track_caller]
pub(crate) fn everything_passes(network: &Network) {
    network.client.run(|| {
        let size = netlab::amount(50_000_000);
        let whole = traffic::pattern_digest(size);
        for server in network::servers(80) {
            assert_eq!(
                traffic::download(server, size).expect("download"),
                whole,
                "from {server}"
            );
            assert_eq!(traffic::upload(server, size).expect("upload"), whole, "to {server}");
        }
        for server in network::servers(7) {
            for number in 0..netlab::amount(100) {
                traffic::echo(server, &[7; 3000]).unwrap_or_else(|error| panic!("echo {number} of {server}: {error}"));
            }
            for size in [0, 1, 1372, 1373, 20_000, 65_507] {
                let tried: Vec<_> = (0..3)
                    .map_while(|_| traffic::echo_datagram(server, &vec![1; size], SECOND).err())
                    .collect();
                assert!(tried.len() < 3, "{size} bytes to {server}: {tried:?}");
            }
        }
        for server in network::servers(4444) {
            let refused = traffic::connect(server).expect_err("nobody listens");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "TCP to {server}");
            let refused = traffic::echo_datagram(server, b"hello", SECOND).expect_err("nobody listens");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "UDP to {server}");
        }
    });
    for server in network::servers(0) {
        let address = server.ip().to_string();
        let said = network
            .client
            .command("ping")
            .args(["-i0.05", "-c5", "-w5", "-s2000", &address])
            .output();
        // It asks for five, and on a busy machine has asked for more when they come.
        let mut words = said.stdout.split_whitespace();
        let received = words
            .position(|word| word == "received,")
            .and_then(|at| said.stdout.split_whitespace().nth(at - 1));
        let received: Option<u32> = received.and_then(|number| number.parse().ok());
        assert!(
            received.is_some_and(|received| received >= 5),
            "ping {address}: {said:?}"
        );
    }
}
