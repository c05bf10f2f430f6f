//! What cannot be reached is told as the real network would tell it, and at once.
//!
//! ```text
//!   client ══ tunnel ══ gateway (nobody) ── internet: no way to 198.18.0.0/16; swallows 198.19.0.0/16
//!                                              └── server: nobody listens on 4444
//! ```

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use netlab::traffic;

use crate::gateway::Gateway;
use crate::network::{self, Network, ip};
use crate::peer::Peer;

/// As the issue has it.
const AT_ONCE: Duration = Duration::from_millis(50);

const UNREACHABLE: [ErrorKind; 2] = [ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];

/// The quickest of five tries of `attempt`, each of which has to fail with one of `kinds`.
///
/// The quickest, because a client whose connect() is still at work when the answer comes, as happens on a busy
/// machine, hears it only when it tries again a second later.
fn fails(what: &str, kinds: &[ErrorKind], attempt: impl Fn() -> std::io::Result<()>) -> Duration {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        let error = attempt().expect_err(what);
        assert!(kinds.contains(&error.kind()), "{what}: {error}");
        start.elapsed()
    });
    times.min().expect("there are five")
}

#[test]
fn refused_and_unreachable_ports_are_told_within_50_ms() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    let unreachable = [
        SocketAddr::from(([198, 18, 0, 1], 80)),
        SocketAddr::new(ip("2001:db8:bad::1"), 80),
    ];
    let refused = [ErrorKind::ConnectionRefused];
    network.client.run(|| {
        // The handshake is not part of the time.
        traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works");
        let cases = network::servers(4444).map(|server| (server, &refused[..]));
        for (server, kinds) in cases
            .into_iter()
            .chain(unreachable.map(|server| (server, &UNREACHABLE[..])))
        {
            let what = format!("TCP to {server}");
            let took = fails(&what, kinds, || TcpStream::connect(server).map(drop));
            assert!(took <= AT_ONCE, "{what} took {took:?}");
            let what = format!("UDP to {server}");
            let took = fails(&what, kinds, || {
                traffic::echo_datagram(server, b"hello", Duration::from_secs(2))
            });
            assert!(took <= AT_ONCE, "{what} took {took:?}");
        }
    });
}

#[test]
fn a_server_that_never_answers_is_not_answered_for() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    network.client.run(|| {
        traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works");
        for dead in [
            SocketAddr::from(([198, 19, 0, 1], 80)),
            SocketAddr::new(ip("2001:db8:dead::1"), 80),
        ] {
            let error = TcpStream::connect_timeout(&dead, Duration::from_secs(1)).expect_err("nobody is there");
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{dead}");
        }
        traffic::echo(network::server_v4(7), b"hello").expect("others go on");
    });
}
