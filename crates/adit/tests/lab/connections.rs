//! Many TCP connections: none is lost, nothing is kept of them.
//!
//! ```text
//!   client ══ tunnel ══ gateway (nobody) ══ 1,000 at once, 10,000 in sequence ══ server: TCP echo
//! ```

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use netlab::traffic;

use crate::gateway::Gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

/// How much memory may be kept after all connections have ended: what an allocator keeps, not what a flow needs.
const KEPT_KIB: u64 = 4096;

#[test]
fn a_thousand_connections_at_once_all_answer() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    let before = gateway.settled(&network);
    network.client.run(|| {
        let mut streams: Vec<_> = (0..1000)
            .map(|number| {
                let server = network::servers(7)[number % 2];
                traffic::connect(server).unwrap_or_else(|error| panic!("connection {number}: {error}"))
            })
            .collect();
        netlab::wait_until("all are open at the server", Duration::from_secs(10), || {
            (network.echo.open() == 1000).then_some(())
        });
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&number.to_be_bytes()).expect("write");
        }
        for (number, stream) in streams.iter_mut().enumerate() {
            let mut back = [0; 8];
            stream
                .read_exact(&mut back)
                .unwrap_or_else(|error| panic!("connection {number}: {error}"));
            assert_eq!(usize::from_be_bytes(back), number);
        }
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.shutdown(Shutdown::Write).expect("end this side");
            let mut rest = Vec::new();
            stream
                .read_to_end(&mut rest)
                .unwrap_or_else(|error| panic!("connection {number}: {error}"));
            assert!(rest.is_empty(), "connection {number}: {rest:?}");
        }
    });
    netlab::wait_until("all are closed at the server", Duration::from_secs(10), || {
        (network.echo.open() == 0).then_some(())
    });
    gateway.wait_until_idle(&before, Duration::from_secs(30));
}

#[test]
fn of_ten_thousand_connections_in_sequence_none_is_lost_and_nothing_is_left() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    let connect = |count: usize| {
        network.client.run(|| {
            for number in 0..count {
                let said = traffic::echo(network::servers(7)[number % 2], &[7; 100]);
                said.unwrap_or_else(|error| panic!("connection {number}: {error}"));
            }
        });
    };
    // Whatever is made once is made by these.
    connect(500);
    let before = gateway.settled(&network);
    connect(10_000);
    gateway.wait_until_idle(&before, Duration::from_secs(30));
    let after = gateway.process.account();
    if crate::reference::wanted() {
        return; // its collector of garbage takes what it likes
    }
    assert!(
        after.resident_kib <= before.resident_kib + KEPT_KIB,
        "memory is left over: {before:?} {after:?}"
    );
    assert_eq!(after.threads, before.threads);
}

#[test]
fn a_reset_reaches_the_other_end_from_either_side() {
    crate::needs_a_lab!();
    let network = Network::new();
    let resetting = netlab::serve::tcp(&network.server, 1000, |mut stream| {
        stream.read_exact(&mut [0])?;
        traffic::reset_on_close(&stream)
    });
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    network.client.run(|| {
        for server in network::servers(resetting.port()) {
            let mut stream = traffic::connect(server).expect("connect");
            stream.write_all(b"x").expect("write");
            let error = stream.read(&mut [0]).expect_err("the server resets");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{server}");
        }
        for server in network::servers(7) {
            let stream = traffic::connect(server).expect("connect");
            traffic::reset_on_close(&stream).expect("ask for a reset");
        }
    });
    netlab::wait_until("the server has seen the resets", Duration::from_secs(5), || {
        (network.echo.served() == 2 && network.echo.open() == 0).then_some(())
    });
}

#[test]
fn either_side_may_end_its_half_and_go_on_reading() {
    crate::needs_a_lab!();
    let network = Network::new();
    // Ends its own half at once, then counts what still comes.
    let (sender, counts) = std::sync::mpsc::channel();
    let early = netlab::serve::tcp(&network.server, 1000, move |mut stream| {
        stream.write_all(b"bye")?;
        stream.shutdown(Shutdown::Write)?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        sender.send(rest.len()).map_err(std::io::Error::other)
    });
    let discard = netlab::serve::tcp_discard(&network.server, 9);
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    let size = 3_000_000;
    network.client.run(|| {
        for [early, discard] in
            [0, 1].map(|family| [early.port(), discard.port()].map(|port| network::servers(port)[family]))
        {
            let mut stream = traffic::connect(early).expect("connect");
            let mut word = String::new();
            stream.read_to_string(&mut word).expect("read to the server's end");
            assert_eq!(word, "bye");
            stream.write_all(&vec![1; size]).expect("write after the server's end");
            drop(stream);
            let mut stream = traffic::connect(discard).expect("connect");
            stream.write_all(&vec![1; size]).expect("write");
            stream.shutdown(Shutdown::Write).expect("end this side");
            let mut count = String::new();
            stream.read_to_string(&mut count).expect("read the answer");
            assert_eq!(count, size.to_string());
        }
    });
    for _ in 0..2 {
        assert_eq!(
            counts.recv_timeout(Duration::from_secs(5)).expect("the server counts"),
            size
        );
    }
}

#[test]
fn a_server_that_does_not_read_slows_the_client_down_and_costs_the_gateway_little() {
    crate::needs_a_lab!();
    let network = Network::new();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let stubborn = netlab::serve::tcp(&network.server, 1000, move |mut stream| {
        let _ = wait.lock().expect("one connection only").recv();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        write!(stream, "{}", rest.len())
    });
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    let before = gateway.settled(&network);
    let size = 200_000_000;
    network.client.run(|| {
        let mut stream = traffic::connect(network::server_v4(stubborn.port())).expect("connect");
        stream
            .set_write_timeout(Some(Duration::from_secs(2)))
            .expect("set a time limit");
        let chunk = vec![1; 1 << 20];
        let mut sent = 0;
        // A write that stands still for two seconds shows that the server's slowness has come this far.
        while let Ok(count) = stream.write(&chunk) {
            sent += count;
            assert!(sent < size, "nothing holds the client back");
        }
        let during = gateway.process.account();
        assert!(
            during.resident_kib < before.resident_kib + 32 * 1024,
            "{before:?} {during:?}"
        );
        go.send(()).expect("the server waits");
        stream.shutdown(Shutdown::Write).expect("end this side");
        let mut count = String::new();
        stream.read_to_string(&mut count).expect("read the answer");
        assert_eq!(count, sent.to_string());
    });
}

#[test]
fn one_client_cannot_use_up_what_another_needs() {
    crate::needs_a_lab!();
    netlab::requires!("prlimit");
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let gateway = Gateway::launch_with_descriptors(&network, 512);
    let _greedy = Peer::up(&network.client, &gateway.file("peer1"));
    let _modest = Peer::up(&network.other, &gateway.file("peer2"));
    let held = network.client.run(|| {
        let wait = Duration::from_millis(300);
        let tries = (0..400).map_while(|_| TcpStream::connect_timeout(&network::server_v4(7), wait).ok());
        tries.collect::<Vec<_>>()
    });
    assert!((100..250).contains(&held.len()), "the greedy one holds {}", held.len());
    network.other.run(|| {
        for number in 0..20 {
            let said = traffic::echo(network::servers(7)[number % 2], b"hello");
            said.unwrap_or_else(|error| panic!("connection {number} of the modest one: {error}"));
        }
        let said = traffic::echo_datagram(network::server_v4(7), b"hello", Duration::from_secs(1));
        said.expect("the modest one's datagram");
    });
    drop(held);
    network.client.run(|| {
        netlab::wait_until(
            "the greedy one can go on when it has let go",
            Duration::from_secs(10),
            || traffic::echo(network::server_v4(7), b"hello").ok(),
        );
    });
}
