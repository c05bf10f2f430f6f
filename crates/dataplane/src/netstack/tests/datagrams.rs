//! UDP and echo through the plane.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread::{self, JoinHandle},
    time::Duration,
};

use wg::{Access, Destination};

use super::client::{Client, GATEWAY_V4, GATEWAY_V6, Gateway};
use crate::{
    ip::{
        self, Packet,
        header::Header,
        icmp::{self, Echo, EchoKind},
    },
    netstack::{
        Policy, Protocol,
        reassembly::{Outcome, Reassembler},
    },
    time::Time,
};

/// A server on the loopback that sends back what comes, as many times as said.
fn echo_server(address: &str, count: usize) -> (SocketAddr, JoinHandle<()>) {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(super::client::LIMIT)).unwrap();
    let at = socket.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        for _ in 0..count {
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to(&buffer[..len], from).unwrap();
        }
    });
    (at, thread)
}

/// Waits for a UDP datagram from a server, put together from its fragments.
fn expect_udp(client: &mut Client, server: SocketAddr) -> Vec<u8> {
    let mut reassembler = Reassembler::new(1 << 20);
    client.expect("a datagram", |packet| {
        assert!(packet.bytes.len() <= 1_420);
        let whole = match packet.fragment {
            None => packet.bytes.to_vec(),
            Some(fragment) => match reassembler.add(Time::ZERO, packet, fragment) {
                Outcome::Whole(whole) => whole.to_vec(),
                Outcome::Waiting => return None,
                Outcome::Rejected => panic!("a fragment was rejected"),
            },
        };
        let packet = Packet::parse(&whole).unwrap();
        assert!(packet.is_payload_intact());
        assert_eq!((packet.source, packet.protocol), (server.ip(), ip::UDP));
        Some(packet.payload[8..].to_vec())
    })
}

#[test]
fn datagrams_of_every_length_come_back() {
    for address in ["127.0.0.1", "::1"] {
        let gateway = Gateway::start(|_| {});
        let mut client = gateway.client(2);
        // The greatest that UDP over IPv4 carries is 65,507.
        let lengths = [0, 1, 1_372, 1_373, 1_392, 1_393, 9_000, 65_507];
        let (at, server) = echo_server(address, lengths.len());
        for len in lengths {
            let data: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[1]).collect();
            client.send_udp(4_000, at, &data);
            assert!(expect_udp(&mut client, at) == data, "{len}");
        }
        server.join().unwrap();
        let counters = gateway.plane.counters();
        assert_eq!(
            (counters.udp_flows, counters.udp_opened, counters.fragments_rejected),
            (1, 1, 0)
        );
    }
}

#[test]
fn batches_of_several_flows_and_lengths_come_back_whole_and_in_order() {
    for address in ["127.0.0.1", "::1"] {
        let gateway = Gateway::start(|_| {});
        let mut client = gateway.client(2);
        let lengths: Vec<usize> = [(12, 1_200), (2, 300), (1, 0), (9, 64), (3, 65), (1, 1_372), (1, 1)]
            .into_iter()
            .flat_map(|(count, len)| vec![len; count])
            .collect();
        let ports = [4_000, 4_001];
        let batch: Vec<(u16, Vec<u8>)> = (0_u8..)
            .zip(&lengths)
            .flat_map(|(number, len)| ports.map(|port| (port, vec![number; *len])))
            .collect();
        let rounds = 4;
        let (at, server) = echo_server(address, rounds * batch.len());
        for _ in 0..rounds {
            client.send_udp_batch(at, &batch);
            let mut back: [Vec<Vec<u8>>; 2] = Default::default();
            for _ in 0..batch.len() {
                let (port, data) = client.expect("a datagram", |packet| {
                    assert!(packet.is_payload_intact() && packet.source == at.ip());
                    let port = u16::from_be_bytes([packet.payload[2], packet.payload[3]]);
                    Some((port, packet.payload[8..].to_vec()))
                });
                back[usize::from(port - ports[0])].push(data);
            }
            for (port, back) in ports.iter().zip(back) {
                let sent = batch.iter().filter(|(of, _)| of == port);
                assert!(sent.map(|(_, data)| data).eq(&back), "port {port}");
            }
        }
        server.join().unwrap();
        let counters = gateway.plane.counters();
        assert_eq!((counters.udp_flows, counters.outside_full), (2, 0));
    }
}

#[test]
fn a_closed_port_is_told_with_what_was_sent() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let closed = UdpSocket::bind(address).unwrap().local_addr().unwrap();
        let gateway = Gateway::start(|_| {});
        let mut client = gateway.client(2);
        client.send_udp(4_000, closed, b"anybody?");
        client.expect("an error", |packet| {
            let report = icmp::Report::parse(packet)?;
            assert_eq!(report.error, icmp::Error::PortUnreachable);
            assert_eq!((packet.source, report.destination), (closed.ip(), closed.ip()));
            assert_eq!(
                report.transport[..4],
                [4_000_u16.to_be_bytes(), closed.port().to_be_bytes()].concat()
            );
            assert_eq!(&report.transport[8..], b"anybody?");
            Some(())
        });
    }
}

#[test]
fn a_port_that_opens_later_is_reached_at_once() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    client.send_udp(4_000, closed, b"one");
    client.expect("an error", |packet| icmp::Report::parse(packet).map(drop));
    // The flow's socket may still hold an error of the first datagram; the second must not pay for it.
    let server = UdpSocket::bind(closed).unwrap();
    server.set_read_timeout(Some(super::client::LIMIT)).unwrap();
    client.send_udp(4_000, closed, b"two");
    client.poll();
    let mut buffer = [0; 10];
    assert_eq!(server.recv(&mut buffer).unwrap(), 3);
}

#[test]
fn idle_flows_end() {
    let gateway = Gateway::start(|config| {
        config.timeouts.udp = Duration::from_millis(30);
        config.timeouts.udp_unreplied = Duration::from_millis(30);
    });
    let mut client = gateway.client(2);
    let (at, server) = echo_server("127.0.0.1", 1);
    client.send_udp(4_000, at, b"hello");
    assert_eq!(expect_udp(&mut client, at), b"hello");
    server.join().unwrap();
    client.until("the flow has ended", |_| gateway.plane.counters().udp_flows == 0);
}

#[test]
fn flows_beyond_a_peers_limit_are_dropped_and_counted() {
    let gateway = Gateway::start(|config| config.limits.udp = 10);
    let (mut one, mut two) = (gateway.client(2), gateway.client(3));
    let (at, server) = echo_server("127.0.0.1", 11);
    for port in 0..20 {
        one.send_udp(4_000 + port, at, b"hello");
    }
    one.until("ten are dropped", |_| gateway.plane.counters().udp_limit == 10);
    two.send_udp(4_000, at, b"me too");
    assert_eq!(expect_udp(&mut two, at), b"me too");
    server.join().unwrap();
    assert_eq!(gateway.plane.counters().udp_flows, 11);
}

#[test]
fn services_answer_queries_on_the_gateways_own_addresses() {
    let (service, server) = echo_server("127.0.0.1", 2);
    let gateway = Gateway::start(|config| {
        config.policy = Policy::default();
        config.services.insert((Protocol::Udp, 53), service);
    });
    let mut client = gateway.client(2);
    for own in [GATEWAY_V4, GATEWAY_V6] {
        let at = SocketAddr::new(own.parse().unwrap(), 53);
        client.send_udp(4_000, at, b"who is there?");
        assert_eq!(expect_udp(&mut client, at), b"who is there?");
        client.send_udp(4_000, SocketAddr::new(own.parse().unwrap(), 54), b"and there?");
        let error = client.expect("an error", |packet| {
            icmp::Report::parse(packet).map(|report| report.error)
        });
        assert_eq!(error, icmp::Error::PortUnreachable);
    }
    server.join().unwrap();
}

#[test]
fn a_service_sees_each_peer_under_an_address_of_its_own() {
    let receive = |client: &mut Client, socket: &UdpSocket| {
        let mut received = None;
        client.until("a datagram arrives", |_| {
            received = socket.recv_from(&mut [0; 100]).ok();
            received.is_some()
        });
        received.unwrap().1
    };
    let service = UdpSocket::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let at = service.local_addr().unwrap();
    let gateway = Gateway::start(|config| {
        config.services.insert((Protocol::Udp, 53), at);
    });
    let own = SocketAddr::new(GATEWAY_V4.parse().unwrap(), 53);
    let ask = |client: &mut Client, port| {
        client.send_udp(port, own, b"who am I?");
        let source = receive(client, &service);
        service.send_to(b"you", source).unwrap();
        assert_eq!(expect_udp(client, own), b"you");
        source.ip()
    };
    let (mut one, mut two) = (gateway.client(2), gateway.client(3));
    let first = ask(&mut one, 4_000);
    assert_eq!(ask(&mut one, 4_001), first);
    assert_ne!(ask(&mut two, 4_000), first);
    assert!(first.is_loopback());
    // A server that the peer names itself sees this host.
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    one.send_udp(4_002, server.local_addr().unwrap(), b"hello");
    assert_eq!(receive(&mut one, &server).ip(), Ipv4Addr::LOCALHOST);
}

fn ping(client: &mut Client, destination: &str, data: &[u8]) {
    let destination = destination.parse().unwrap();
    let (source, protocol) = match destination {
        std::net::IpAddr::V4(_) => (client.v4, ip::ICMP),
        std::net::IpAddr::V6(_) => (client.v6, ip::ICMPV6),
    };
    let request = Echo {
        kind: EchoKind::Request,
        ident: 77,
        sequence: 3,
        data,
    };
    let mut message = vec![0; request.message_len()];
    request.write_message(&mut message, source, destination);
    client.send_ip(&Header::new(source, destination, protocol), &message);
}

fn expect_reply(client: &mut Client) -> (std::net::IpAddr, Vec<u8>) {
    client.expect("a reply", |packet| {
        let echo = Echo::parse(packet)?;
        assert_eq!((echo.kind, echo.ident, echo.sequence), (EchoKind::Reply, 77, 3));
        Some((packet.source, echo.data.to_vec()))
    })
}

#[test]
fn the_gateway_answers_pings() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    for own in [GATEWAY_V4, GATEWAY_V6] {
        ping(&mut client, own, b"hello");
        assert_eq!(expect_reply(&mut client), (own.parse().unwrap(), b"hello".to_vec()));
    }
    assert_eq!(gateway.plane.counters().echo_flows, 0);
}

#[test]
fn pings_pass_where_the_kernel_allows_and_are_never_forged_where_not() {
    let (v4, v6) = crate::netstack::probe_echo();
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    for (host, allowed) in [("127.0.0.1", v4), ("::1", v6)] {
        ping(&mut client, host, b"hello");
        match allowed {
            Ok(()) => assert_eq!(expect_reply(&mut client), (host.parse().unwrap(), b"hello".to_vec())),
            Err(error) => {
                println!("ping sockets are denied here: {error}");
                let error = client.expect("an error", |packet| {
                    icmp::Report::parse(packet).map(|report| report.error)
                });
                assert_eq!(error, icmp::Error::Prohibited);
            }
        }
    }
}

#[test]
fn peers_reach_each_other_only_if_told_so() {
    let gateway = Gateway::start(|_| {});
    let (mut one, mut two) = (gateway.client(2), gateway.client(3));
    // A packet tells the gateway where the other client is.
    ping(&mut two, GATEWAY_V4, b"");
    expect_reply(&mut two);
    ping(&mut one, "10.13.13.3", b"psst");
    let error = one.expect("an error", |packet| {
        icmp::Report::parse(packet).map(|report| report.error)
    });
    assert_eq!(error, icmp::Error::Prohibited);
    ping(&mut one, "10.13.13.4", b"psst");
    let error = one.expect("an error", |packet| {
        icmp::Report::parse(packet).map(|report| report.error)
    });
    assert_eq!(error, icmp::Error::HostUnreachable);

    gateway.plane.configure(|config| config.policy.peer_to_peer = true);
    let mut hop_limit = 0;
    two.is_raw = true;
    two.until("a peer's packet comes", |two| {
        ping(&mut one, "10.13.13.3", b"hello");
        one.poll();
        let got = two.received.pop_front();
        let packet = got.as_deref().map(|bytes| Packet::parse(bytes).unwrap());
        hop_limit = packet.map_or(0, |packet| packet.hop_limit);
        packet.is_some_and(|packet| Echo::parse(&packet).is_some_and(|echo| echo.data == b"hello"))
    });
    assert_eq!(hop_limit, 63);
}

#[test]
fn peers_reach_each_other_if_both_are_willing_and_the_senders_list_lets_them() {
    let access = |peer_to_peer, list: Option<&str>| Access {
        destinations: list.map(|list| Destination::list(list).unwrap()),
        peer_to_peer,
    };
    // (the gateway's word, one's access, two's access, one reaches two)
    for (all, of_one, of_two, reached) in [
        (true, access(None, None), access(None, None), true),
        (true, access(Some(false), None), access(None, None), false),
        (true, access(None, None), access(Some(false), None), false),
        (false, access(Some(true), None), access(None, None), false),
        (false, access(Some(true), None), access(Some(true), None), true),
        (true, access(None, Some("10.13.13.3/icmp")), access(None, None), true),
        (true, access(None, Some("10.13.13.3/udp")), access(None, None), false),
        // Two may answer what one was allowed to ask.
        (true, access(None, None), access(None, Some("none")), true),
    ] {
        let gateway = Gateway::start(|config| config.policy.peer_to_peer = all);
        let (mut one, mut two) = (gateway.client(2), gateway.client(3));
        let case = format!("{all} {of_one:?} {of_two:?}");
        gateway
            .plane
            .set_access(&[(one.public_key, of_one), (two.public_key, of_two)]);
        // Each tells the gateway where it is.
        for client in [&mut one, &mut two] {
            ping(client, GATEWAY_V4, b"");
            expect_reply(client);
        }
        ping(&mut one, "10.13.13.3", b"hello");
        if !reached {
            let error = one.expect("an error", |packet| {
                icmp::Report::parse(packet).map(|report| report.error)
            });
            assert_eq!(error, icmp::Error::Prohibited, "{case}");
            continue;
        }
        let asked = two.expect("a peer's packet", |packet| Some(packet.bytes.to_vec()));
        let asked = Packet::parse(&asked).unwrap();
        let echo = Echo::parse(&asked).unwrap();
        let reply = Echo {
            kind: EchoKind::Reply,
            ..echo
        };
        let mut message = vec![0; reply.message_len()];
        reply.write_message(&mut message, asked.destination, asked.source);
        two.send_ip(&Header::new(asked.destination, asked.source, ip::ICMP), &message);
        one.expect("the answer", |packet| {
            Echo::parse(packet).filter(|echo| echo.data == b"hello").map(|_| ())
        });
    }
}

#[test]
fn a_list_holds_for_datagrams_and_a_change_ends_what_it_forbids() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let (server, _thread) = echo_server("127.0.0.1", 2);
    let list = |text: &str| Access {
        destinations: Some(Destination::list(text).unwrap()),
        peer_to_peer: None,
    };
    gateway
        .plane
        .set_access(&[(client.public_key, list(&format!("{server}/udp")))]);
    client.send_udp(4_000, server, b"hello");
    client.expect("the echo", |packet| (packet.protocol == ip::UDP).then_some(()));
    assert_eq!(gateway.plane.counters().udp_flows, 1);
    gateway.plane.set_access(&[(client.public_key, list("192.0.2.1"))]);
    client.until("the flow ends", |_| gateway.plane.counters().udp_flows == 0);
    client.send_udp(4_000, server, b"hello");
    let error = client.expect("an error", |packet| {
        icmp::Report::parse(packet).map(|report| report.error)
    });
    assert_eq!(error, icmp::Error::Prohibited);
    // The gateway itself answers in any case.
    ping(&mut client, GATEWAY_V4, b"");
    expect_reply(&mut client);
    gateway.plane.set_access(&[(client.public_key, Access::OPEN)]);
    client.send_udp(4_000, server, b"hello");
    client.expect("the echo", |packet| (packet.protocol == ip::UDP).then_some(()));
}

#[test]
fn hostile_packets_are_counted_and_nothing_else() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let header = Header::new(client.v4, "127.0.0.1".parse().unwrap(), ip::UDP);
    // (payload of a UDP packet)
    for payload in [
        &[][..],
        &[0; 7],
        &[0, 1, 0, 2, 0, 7, 0, 0],
        &[0, 1, 0, 2, 0xff, 0xff, 0, 0],
    ] {
        client.send_ip(&header, payload);
    }
    client.send_ip(
        &Header {
            protocol: ip::TCP,
            ..header
        },
        &[0xff; 19],
    );
    client.send_ip(
        &Header {
            protocol: 132,
            ..header
        },
        &[0xff; 19],
    );
    client.send_ip(
        &Header {
            protocol: ip::ICMP,
            ..header
        },
        &[8, 0, 0, 0],
    );
    for destination in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "10.13.13.255"] {
        client.send_ip(
            &Header {
                destination: destination.parse().unwrap(),
                ..header
            },
            &[0; 8],
        );
    }
    client.until("all are counted", |_| gateway.plane.counters().bad_destination == 4);
    let counters = gateway.plane.counters();
    assert_eq!((counters.malformed, counters.unsupported), (5, 2));
    assert_eq!((counters.udp_flows, counters.tcp_flows, counters.echo_flows), (0, 0, 0));
}
