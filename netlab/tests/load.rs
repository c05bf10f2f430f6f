//! Loads between two hosts: what is counted is what flowed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use netlab::load::{self, Bulk, Connections, Direction, Exchange, Flood};
use netlab::{Host, Lab};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// How long a counter may take to move.
const LIMIT: Duration = Duration::from_secs(20);

fn pair(lab: &Lab) -> (Host, Host) {
    let (client, server) = (lab.host("client"), lab.host("server"));
    client.link("eth0", &["192.0.2.1/24"], &server, "eth0", &["192.0.2.2/24"]);
    (client, server)
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((SERVER, port))
}

/// The bytes that a host's link received and sent.
fn link_bytes(host: &Host) -> [u64; 2] {
    ["rx_bytes", "tx_bytes"].map(|name| {
        let path = format!("/sys/class/net/eth0/statistics/{name}");
        let text = host
            .run(|| std::fs::read_to_string(path))
            .expect("a link has statistics");
        text.trim().parse().expect("a number")
    })
}

#[test]
fn streams_carry_bytes_in_their_direction() {
    netlab::requires!("root", "ip");
    let lab = Lab::new();
    let (client, server) = pair(&lab);
    for (port, direction, from_client) in [(5001, Direction::Up, true), (5002, Direction::Down, false)] {
        let [received, sent] = link_bytes(&client);
        let bulk = Bulk::start(&client, &server, at(port), 2, direction).expect("streams");
        netlab::wait_until("20 MB have arrived", LIMIT, || {
            (bulk.received() > 20_000_000).then_some(())
        });
        let counted = bulk.received();
        drop(bulk);
        let [received, sent] = [link_bytes(&client)[0] - received, link_bytes(&client)[1] - sent];
        let (with, against) = if from_client {
            (sent, received)
        } else {
            (received, sent)
        };
        assert!(
            with >= counted,
            "{direction:?}: {counted} bytes counted, {with} on the link"
        );
        assert!(against < with / 2, "{direction:?}: {against} bytes the other way");
    }
}

#[test]
fn a_flood_counts_what_is_sent_and_what_arrives() {
    netlab::requires!("root", "ip");
    let lab = Lab::new();
    let (client, server) = pair(&lab);
    let flood = Flood::start(&client, &server, at(5001), 100).expect("sockets");
    netlab::wait_until("datagrams arrive", LIMIT, || (flood.counts().1 > 10_000).then_some(()));
    client.ip("link set eth0 down");
    let (_, received) = flood.counts();
    // Those in the receiver's buffer still come; then none does.
    netlab::wait_until("none arrives any more", LIMIT, || {
        let before = flood.counts().1;
        std::thread::sleep(Duration::from_millis(200));
        (flood.counts().1 == before).then_some(())
    });
    assert!(flood.counts().0 >= received, "more arrived than were sent");
}

#[test]
fn requests_are_answered_and_connections_are_opened() {
    netlab::requires!("root", "ip");
    let lab = Lab::new();
    let (client, server) = pair(&lab);
    let exchange = Exchange::start(&client, &server, at(5001)).expect("a connection");
    netlab::wait_until("a thousand answers", LIMIT, || (exchange.done() > 1_000).then_some(()));
    drop(exchange);
    let connections = Connections::start(&client, &server, at(5002), 4);
    netlab::wait_until("a thousand connections", LIMIT, || {
        (connections.counts().0 > 1_000).then_some(())
    });
    assert_eq!(connections.counts().1, 0, "some failed");
    drop(connections);
    let nobody = Connections::start(&client, &client, at(5003), 1);
    netlab::wait_until("connections to nobody fail", LIMIT, || {
        (nobody.counts().1 > 10).then_some(())
    });
    assert_eq!(nobody.counts().0, 0);
}

#[test]
fn connections_are_held_open() {
    netlab::requires!("root", "ip");
    let lab = Lab::new();
    let (client, server) = pair(&lab);
    let (ready, listens) = std::sync::mpsc::channel();
    // It keeps for good: the thread ends with the test process.
    let _keeper = server.spawn(move || load::keep(5001, || ready.send(()).expect("the test waits")));
    listens.recv_timeout(LIMIT).expect("it listens");
    let held = client.run(|| load::hold(at(5001), 300)).expect("connections");
    assert_eq!(held.len(), 300);
    let mut streams = held.iter();
    assert!(streams.all(|stream| {
        stream.set_nonblocking(true).expect("a stream");
        matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }));
}

#[test]
fn echoes_are_timed_and_lost_ones_are_counted() {
    netlab::requires!("root", "ip");
    let lab = Lab::new();
    let (client, server) = pair(&lab);
    let length = Duration::from_millis(500);
    let pings = load::ping(&client, SERVER, Duration::from_millis(5), length).expect("a socket");
    let (answered, lost) = pings.counts();
    assert!(answered > 5 && lost == 0, "{answered} answered, {lost} lost");
    let (median, most) = (
        pings.within(0.5).expect("a median"),
        pings.within(1.0).expect("a last one"),
    );
    assert!(median <= most && most < Duration::from_secs(1), "{median:?}, {most:?}");
    server.sysctl("net.ipv4.icmp_echo_ignore_all", "1");
    let pings = load::ping(&client, SERVER, Duration::from_millis(5), length).expect("a socket");
    assert_eq!(pings.counts(), (0, 1), "one question, unanswered for a second");
}
