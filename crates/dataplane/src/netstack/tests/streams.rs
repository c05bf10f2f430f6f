//! TCP through the plane.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use smoltcp::{iface::SocketHandle, socket::tcp::State};

use super::client::{Client, Gateway};
use crate::{
    ip::{self, icmp},
    netstack::{Policy, Protocol, tcp},
};

/// A server on the loopback that does this with each connection, as many times as said.
fn server(address: &str, connections: usize, serve: fn(TcpStream)) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    // The library's own backlog of 128 would make the kernel drop connections that it has confirmed.
    rustix::net::listen(&listener, 4_096).unwrap();
    let at = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let workers: Vec<_> = (0..connections)
            .map(|_| {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(super::client::LIMIT)).unwrap();
                thread::Builder::new()
                    .stack_size(1 << 17)
                    .spawn(move || serve(stream))
                    .unwrap()
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
    });
    (at, thread)
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 65_536];
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return,
            len => stream.write_all(&buffer[..len]).unwrap(),
        }
    }
}

fn is_established(client: &mut Client, handle: SocketHandle) -> bool {
    client.socket(handle).state() == State::Established
}

/// Reads until the other side has ended; `None` if it was a reset.
fn read_all(client: &mut Client, handle: SocketHandle) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut is_reset = false;
    client.until("the stream ends", |client| {
        let socket = client.socket(handle);
        while socket.can_recv() {
            socket
                .recv(|bytes| (bytes.len(), data.extend_from_slice(bytes)))
                .unwrap();
        }
        is_reset = socket.state() == State::Closed;
        !socket.may_recv() && socket.state() != State::SynSent
    });
    (!is_reset).then_some(data)
}

/// Writes all of this.
fn write_all(client: &mut Client, handle: SocketHandle, mut data: &[u8]) {
    client.until("all is written", |client| {
        let len = client.socket(handle).send_slice(data).unwrap();
        data = &data[len..];
        data.is_empty()
    });
}

fn until_no_flows(gateway: &Gateway, client: &mut Client) {
    client.until("no flow is left", |_| gateway.plane.counters().tcp_flows == 0);
}

#[test]
fn a_client_ends_its_direction_and_still_hears_the_server() {
    // smoltcp would take ::1 for itself.
    for is_service in [false, true] {
        let (at, server) = server(if is_service { "::1" } else { "127.0.0.1" }, 1, |mut stream| {
            let mut data = Vec::new();
            stream.read_to_end(&mut data).unwrap();
            data.reverse();
            stream.write_all(&data).unwrap();
        });
        let gateway = Gateway::start(|config| {
            config.services.insert((Protocol::Tcp, 80), at);
        });
        let mut client = gateway.client(2);
        let own = SocketAddr::new(super::client::GATEWAY_V6.parse().unwrap(), 80);
        let handle = client.connect(if is_service { own } else { at }, 65_536);
        client.until("it is connected", |client| is_established(client, handle));
        let data: Vec<u8> = (0..50_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        write_all(&mut client, handle, &data);
        client.socket(handle).close();
        let mut answer = read_all(&mut client, handle).unwrap();
        answer.reverse();
        assert_eq!(answer, data);
        server.join().unwrap();
        until_no_flows(&gateway, &mut client);
    }
}

#[test]
fn a_server_ends_its_direction_and_still_hears_the_client() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let (at, server) = server("127.0.0.1", 1, |mut stream| {
        stream.write_all(&[7; 100_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut data = Vec::new();
        stream.read_to_end(&mut data).unwrap();
        assert!(data == [9; 200_000]);
    });
    let handle = client.connect(at, 65_536);
    assert!(read_all(&mut client, handle) == Some(vec![7; 100_000]));
    assert_eq!(client.socket(handle).state(), State::CloseWait);
    write_all(&mut client, handle, &[9; 200_000]);
    client.socket(handle).close();
    client.until("the server has all", |_| server.is_finished());
    server.join().unwrap();
}

#[test]
fn a_reset_passes_through_both_ways() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let (at, from_client) = server("127.0.0.1", 1, |mut stream| {
        let error = stream.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
    let handle = client.connect(at, 4_096);
    client.until("it is connected", |client| is_established(client, handle));
    client.socket(handle).abort();
    client.until("the server knows", |_| from_client.is_finished());
    from_client.join().unwrap();

    let (at, from_server) = server("127.0.0.1", 1, |stream| {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    });
    let handle = client.connect(at, 4_096);
    client.until("it was reset", |client| {
        let socket = client.socket(handle);
        socket.state() == State::Closed
    });
    from_server.join().unwrap();
    until_no_flows(&gateway, &mut client);
}

#[test]
fn what_a_server_says_before_it_resets_arrives_before_the_reset() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    // A server that answers early and closes with the question unread, which resets. The answer fits into our socket.
    let (at, server) = server("127.0.0.1", 1, |mut stream| {
        stream.write_all(&[7; 50_000]).unwrap();
        stream.read_exact(&mut [0; 1_000]).unwrap();
    });
    let handle = client.connect(at, 16_384);
    client.until("it is connected", |client| is_established(client, handle));
    write_all(&mut client, handle, &[9; 16_000]);
    client.until("the server has closed", |_| server.is_finished());
    let mut answer = 0;
    client.until("it is reset", |client| {
        let _ = client.socket(handle).send_slice(&[9; 1_000]);
        let socket = client.socket(handle);
        while let Ok(len @ 1..) = socket.recv(|bytes| (bytes.len(), bytes.len())) {
            answer += len;
        }
        socket.state() == State::Closed
    });
    assert_eq!(answer, 50_000);
    server.join().unwrap();
    until_no_flows(&gateway, &mut client);
}

#[test]
fn segments_follow_a_smaller_path_to_the_client() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let (at, server) = server("127.0.0.1", 1, |mut stream| {
        stream.write_all(&[7; 20_000]).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(&[7; 200_000]).unwrap();
    });
    let handle = client.connect(at, 65_536);
    let mut got = 0;
    let mut receive = |client: &mut Client, len: usize| {
        client.until("data comes", |client| {
            let socket = client.socket(handle);
            while socket.can_recv() {
                got += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap();
            }
            got >= len
        });
    };
    receive(&mut client, 20_000);
    assert_eq!(client.largest, 1_420);
    // A router on the client's side says that 1,000 bytes are the most.
    let local = client.socket(handle).local_endpoint().unwrap();
    let mut lost = vec![0; 40];
    ip::header::Header::new(at.ip(), client.v4, ip::TCP).write(&mut lost, 20);
    lost[20..24].copy_from_slice(&[at.port().to_be_bytes(), local.port.to_be_bytes()].concat());
    let mut message = vec![0; 100];
    let error = icmp::Error::TooBig { mtu: 1_000 };
    let lost = ip::Packet::parse(&lost).unwrap();
    // The loopback is no router's concern, so the error is about the packet as another host would have sent it.
    let len = icmp::write_error(
        &mut message,
        client.v4,
        &ip::Packet {
            source: client.v4,
            ..lost
        },
        error,
    );
    client.send_ip(
        &ip::header::Header::new(client.v4, at.ip(), ip::ICMP),
        &message[20..len],
    );
    client.largest = 0;
    write_all(&mut client, handle, b"!");
    receive(&mut client, 220_000);
    assert!((900..=1_000).contains(&client.largest), "{}", client.largest);
    client.socket(handle).close();
    server.join().unwrap();
}

#[test]
fn a_closed_port_is_refused_within_50_ms() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let mut fastest = Duration::MAX;
    // The best of several: a busy machine delays one, not all.
    for _ in 0..20 {
        let start = Instant::now();
        let handle = client.connect(closed, 4_096);
        client.until("it is refused", |client| client.socket(handle).state() == State::Closed);
        fastest = fastest.min(start.elapsed());
    }
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
    assert_eq!(gateway.plane.counters().tcp_refused, 20);
    until_no_flows(&gateway, &mut client);
}

#[test]
fn a_thousand_connections_at_once_all_carry_their_own_data() {
    const COUNT: usize = 1_000;
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let (at, server) = server("127.0.0.1", COUNT, echo);
    let handles: Vec<_> = (0..COUNT).map(|_| client.connect(at, 2_048)).collect();
    client.until("all are connected", |client| {
        handles.iter().all(|&handle| is_established(client, handle))
    });
    assert_eq!(gateway.plane.counters().tcp_flows, COUNT as u64);
    for (n, &handle) in handles.iter().enumerate() {
        client.socket(handle).send_slice(&n.to_le_bytes()).unwrap();
        client.socket(handle).close();
    }
    let mut answers = vec![Vec::new(); COUNT];
    client.until("all have ended", |client| {
        let mut all = true;
        for (&handle, answer) in handles.iter().zip(&mut answers) {
            let socket = client.socket(handle);
            if socket.can_recv() {
                socket
                    .recv(|bytes| (bytes.len(), answer.extend_from_slice(bytes)))
                    .unwrap();
            }
            all &= !socket.may_recv();
        }
        all
    });
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer, &n.to_le_bytes(), "{:?}", client.socket(handles[n]).state());
    }
    server.join().unwrap();
    until_no_flows(&gateway, &mut client);
}

#[test]
fn connections_one_after_the_other_leave_no_descriptor_behind() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let (at, server) = server("127.0.0.1", 300, |mut stream| {
        stream.write_all(b"hello").unwrap();
    });
    for _ in 0..300 {
        let handle = client.connect(at, 2_048);
        assert_eq!(read_all(&mut client, handle), Some(b"hello".to_vec()));
        client.socket(handle).close();
        client.until("it is closed", |client| {
            matches!(client.socket(handle).state(), State::Closed | State::TimeWait)
        });
        client.tcp.remove(handle);
    }
    server.join().unwrap();
    // We ended first, so the flows wait for stray segments; their sockets are gone.
    client.until("the flows' sockets are gone", |_| sockets_to(at) == 0);
}

/// How many sockets of this process are connected to a server: the kernel's list, which shows no closed ones.
fn sockets_to(server: SocketAddr) -> usize {
    let port = format!(":{:04X}", server.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    // sl local_address rem_address st ... inode; state 06 is TIME_WAIT, which belongs to no process.
    let fields = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter(|fields| fields[2].ends_with(&port) && fields[3] != "06")
        .count()
}

#[test]
fn a_destination_that_the_policy_forbids_is_refused_at_once() {
    let gateway = Gateway::start(|config| config.policy = Policy::default());
    let mut client = gateway.client(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for forbidden in [
        listener.local_addr().unwrap(),
        "169.254.169.254:80".parse().unwrap(),
        "[64:ff9b::169.254.169.254]:80".parse().unwrap(),
    ] {
        let handle = client.connect(forbidden, 2_048);
        client.until("it is refused", |client| client.socket(handle).state() == State::Closed);
    }
    assert_eq!(gateway.plane.counters().prohibited, 3);
    assert_eq!(gateway.plane.counters().tcp_flows, 0);
}

#[test]
fn this_hosts_own_addresses_have_a_switch_of_their_own() {
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let Some(own) = own.ok().filter(|own| !own.ip().is_loopback()) else {
        println!("skipped: this host has no address but the loopback's");
        return;
    };
    for allowed in [true, false] {
        let (at, server) = server("0.0.0.0", 1, |_| {});
        let gateway = Gateway::start(|config| config.policy.host_addresses = allowed);
        let mut client = gateway.client(2);
        let handle = client.connect(SocketAddr::new(own.ip(), at.port()), 2_048);
        client.until("it is decided", |client| {
            client.socket(handle).state() != State::SynSent
        });
        assert_eq!(client.socket(handle).state() != State::Closed, allowed);
        assert_eq!(gateway.plane.counters().prohibited, u64::from(!allowed));
        if !allowed {
            // The loopback was allowed by name.
            client.connect(SocketAddr::new("127.0.0.1".parse().unwrap(), at.port()), 2_048);
        }
        client.until("the server was reached", |_| server.is_finished());
    }
}

#[test]
fn flows_that_share_little_memory_all_come_through() {
    const COUNT: usize = 20;
    let gateway = Gateway::start(|config| config.limits.buffer_bytes = 256 * 1024);
    let mut client = gateway.client(2);
    let (at, server) = server("127.0.0.1", COUNT, |mut stream| {
        stream.write_all(&[7; 200_000]).unwrap()
    });
    let handles: Vec<_> = (0..COUNT).map(|_| client.connect(at, 32_768)).collect();
    let mut got = [0; COUNT];
    client.until("all have ended", |client| {
        for (&handle, got) in handles.iter().zip(&mut got) {
            let socket = client.socket(handle);
            while socket.can_recv() {
                *got += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap();
            }
        }
        got.iter().all(|&got| got == 200_000)
    });
    server.join().unwrap();
}

#[test]
fn services_answer_on_the_gateways_own_address_and_other_ports_refuse() {
    let (at, service) = server("127.0.0.1", 1, echo);
    let gateway = Gateway::start(|config| {
        config.policy = Policy::default();
        config.services.insert((Protocol::Tcp, 53), at);
    });
    let mut client = gateway.client(2);
    let own = |port| SocketAddr::new(super::client::GATEWAY_V6.parse().unwrap(), port);
    let handle = client.connect(own(53), 2_048);
    client.until("it is connected", |client| is_established(client, handle));
    write_all(&mut client, handle, b"query");
    client.socket(handle).close();
    assert_eq!(read_all(&mut client, handle), Some(b"query".to_vec()));
    service.join().unwrap();
    let refused = client.connect(own(54), 2_048);
    client.until("it is refused", |client| {
        client.socket(refused).state() == State::Closed
    });
}

#[test]
fn a_segment_of_no_flow_is_reset_and_a_reset_is_not() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let server = "127.0.0.1".parse().unwrap();
    let segment = |flags, seq| {
        let header = tcp::Header {
            seq: tcp::Seq(seq),
            ack: tcp::Seq(99),
            flags,
            ..tcp::Header::default()
        };
        let mut bytes = vec![0; header.len()];
        header.write(1, 2, &mut bytes);
        tcp::write_checksum("10.13.13.2".parse().unwrap(), server, &mut bytes);
        bytes
    };
    let header = ip::header::Header::new(client.v4, server, ip::TCP);
    client.send_ip(&header, &segment(tcp::Flags::RST, 5));
    client.send_ip(&header, &segment(tcp::Flags::ACK, 7));
    let seq = client.expect("a reset", |packet| {
        let segment = tcp::Segment::parse(packet.payload)?;
        segment.has(tcp::Flags::RST).then_some(segment.seq)
    });
    assert_eq!(seq, tcp::Seq(99));
    assert_eq!(gateway.plane.counters().no_flow, 2);
}

#[test]
fn a_hop_limit_of_one_ends_at_the_gateway() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    for (source, server) in [(client.v4, "192.0.2.1"), (client.v6, "2001:db8::1")] {
        let header = ip::header::Header {
            hop_limit: 1,
            ..ip::header::Header::new(source, server.parse().unwrap(), ip::TCP)
        };
        client.send_ip(&header, &[0; 20]);
        let (from, error) = client.expect("an error", |packet| {
            icmp::Report::parse(packet).map(|report| (packet.source, report.error))
        });
        let own = if source.is_ipv4() {
            super::client::GATEWAY_V4
        } else {
            super::client::GATEWAY_V6
        };
        assert_eq!((from.to_string(), error), (own.into(), icmp::Error::HopLimitExceeded));
    }
}

#[test]
fn flows_of_a_removed_peer_end() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let (at, server) = server("127.0.0.1", 1, |mut stream| {
        let error = stream.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
    let handle = client.connect(at, 4_096);
    client.until("it is connected", |client| is_established(client, handle));
    gateway.remove(&client);
    server.join().unwrap();
    until_no_flows(&gateway, &mut client);
}

#[test]
fn a_stopped_plane_resets_what_it_served() {
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let (at, server) = server("127.0.0.1", 1, |mut stream| {
        assert!(stream.read(&mut [0; 10]).is_err());
    });
    let handle = client.connect(at, 4_096);
    client.until("it is connected", |client| is_established(client, handle));
    gateway.plane.stop().unwrap();
    server.join().unwrap();
    client.until("the client knows", |client| {
        client.socket(handle).state() == State::Closed
    });
}
