//! The DNS forwarder against an upstream that this test plays.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use gateway::{
    dns::{DnsError, Forwarder, Names},
    upstream::{Upstream as Resolver, Upstreams},
};
use hickory_server::proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, SOA, TXT},
    },
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

const LIMIT: Duration = Duration::from_secs(20);
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A resolver on a port of the loopback that counts what it is asked.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    /// Answers `A` questions with `address`, and other names as [`answer`] says.
    fn start(address: Ipv4Addr) -> Self {
        let (udp, tcp) = pair();
        let local = udp.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((len, client)) = udp.recv_from(&mut buffer) {
                counter.fetch_add(1, Ordering::SeqCst);
                let reply = answer(&buffer[..len], address);
                let reply = if reply.to_vec().unwrap().len() > 1232 {
                    reply.truncate()
                } else {
                    reply
                };
                udp.send_to(&reply.to_vec().unwrap(), client).unwrap();
            }
        });
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                std::thread::spawn(move || {
                    while let Some(query) = read_framed(&mut stream) {
                        let reply = answer(&query, address).to_vec().unwrap();
                        write_framed(&mut stream, &reply);
                    }
                });
            }
        });
        Self { address: local, asked }
    }
}

/// A port of the loopback for both UDP and TCP; a free one of UDP may be somebody's of TCP.
fn pair() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind(LOOPBACK).unwrap();
        match TcpListener::bind(udp.local_addr().unwrap()) {
            Ok(tcp) => return (udp, tcp),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse),
        }
    }
}

/// A resolver over TLS whose certificate is made out to `dns.example`, signed by the authority of `ca.pem`.
fn start_tls(address: Ipv4Addr) -> Upstream {
    let file = |name| format!("{TLS_FILES}/{name}");
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let tcp = TcpListener::bind(LOOPBACK).unwrap();
    let local = tcp.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = tcp.accept() {
            let (config, counter) = (Arc::clone(&config), Arc::clone(&counter));
            std::thread::spawn(move || {
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                while let Some(query) = read_framed(&mut stream) {
                    counter.fetch_add(1, Ordering::SeqCst);
                    write_framed(&mut stream, &answer(&query, address).to_vec().unwrap());
                }
            });
        }
    });
    Upstream { address: local, asked }
}

fn answer(query: &[u8], address: Ipv4Addr) -> Message {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let name = question.name().clone();
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_desired = true;
    reply.metadata.recursion_available = true;
    reply.add_query(question.clone());
    let soa = SOA::new(
        Name::from_str("ns.example.").unwrap(),
        Name::from_str("x.example.").unwrap(),
        1,
        60,
        60,
        60,
        60,
    );
    let zone = Name::from_str("example.").unwrap();
    match (
        name.to_ascii().to_lowercase().trim_end_matches('.'),
        question.query_type(),
    ) {
        ("missing.example", _) => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.add_authority(Record::from_rdata(zone, 60, RData::SOA(soa)));
        }
        ("alias.example", RecordType::A) => {
            let real = Name::from_str("www.example.").unwrap();
            reply.add_answer(Record::from_rdata(name, 60, RData::CNAME(CNAME(real.clone()))));
            reply.add_answer(Record::from_rdata(real, 60, RData::A(A(address))));
        }
        ("large.example", RecordType::TXT) => {
            for index in 0..20 {
                let text = format!("{index:0>200}");
                reply.add_answer(Record::from_rdata(name.clone(), 60, RData::TXT(TXT::new(vec![text]))));
            }
        }
        ("www.example", RecordType::A) => {
            reply.add_answer(Record::from_rdata(name, 60, RData::A(A(address))));
        }
        ("www.example", RecordType::AAAA) => {
            let address = Ipv6Addr::from_str("2001:db8::80").unwrap();
            reply.add_answer(Record::from_rdata(name, 60, RData::AAAA(AAAA(address))));
        }
        _ => {
            reply.add_authority(Record::from_rdata(zone, 60, RData::SOA(soa)));
        }
    }
    reply
}

fn read_framed(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

fn write_framed(stream: &mut impl Write, message: &[u8]) {
    let len = u16::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&len[..], message].concat()).unwrap();
}

/// The certificates for a resolver over TLS. They are nobody's: their authority's key was thrown away.
const TLS_FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dns-tls");

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message
}

fn ask_udp(server: SocketAddr, query: &Message) -> Message {
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.send_to(&query.to_vec().unwrap(), server).unwrap();
    let mut buffer = vec![0; 65_535];
    let len = socket.recv(&mut buffer).unwrap();
    Message::from_vec(&buffer[..len]).unwrap()
}

fn ask_tcp(server: SocketAddr, query: &Message) -> Message {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write_framed(&mut stream, &query.to_vec().unwrap());
    Message::from_vec(&read_framed(&mut stream).unwrap()).unwrap()
}

/// The names of a gateway with one peer.
fn names() -> Arc<Names> {
    let names = Names::new(&["10.13.13.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()]);
    names.set(
        &"peer_phone".parse().unwrap(),
        &["10.13.13.2".parse().unwrap(), "fd00::2".parse().unwrap()],
    );
    Arc::new(names)
}

fn start(upstreams: Upstreams) -> Result<Forwarder, DnsError> {
    Forwarder::start(&[LOOPBACK], upstreams, names())
}

fn forwarder(upstreams: &[SocketAddr]) -> Forwarder {
    start(Upstreams::fixed(upstreams.iter().copied().map(Resolver::Plain))).unwrap()
}

#[test]
fn answers_of_every_kind_come_through_over_udp_and_tcp() {
    let upstream = Upstream::start(Ipv4Addr::new(192, 0, 2, 80));
    let forwarder = forwarder(&[upstream.address]);
    let server = forwarder.addresses()[0];
    // (name, type, code, answers)
    for (name, kind, code, answers) in [
        ("www.example.", RecordType::A, ResponseCode::NoError, 1),
        ("www.example.", RecordType::AAAA, ResponseCode::NoError, 1),
        ("alias.example.", RecordType::A, ResponseCode::NoError, 2),
        ("www.example.", RecordType::MX, ResponseCode::NoError, 0),
        ("missing.example.", RecordType::A, ResponseCode::NXDomain, 0),
    ] {
        let query = query(name, kind);
        for reply in [ask_udp(server, &query), ask_tcp(server, &query)] {
            assert_eq!(reply.metadata.id, query.metadata.id, "{name} {kind}");
            assert_eq!(
                (reply.metadata.response_code, reply.answers.len()),
                (code, answers),
                "{name} {kind}: {reply:?}"
            );
            assert!(reply.metadata.recursion_available, "{name} {kind}");
            if answers == 0 {
                assert_eq!(
                    reply.authorities.len(),
                    1,
                    "{name} {kind}: negative answers need the zone's SOA: {reply:?}"
                );
            }
        }
    }
}

#[test]
fn an_answer_too_large_for_udp_is_cut_and_whole_over_tcp() {
    let upstream = Upstream::start(Ipv4Addr::LOCALHOST);
    let forwarder = forwarder(&[upstream.address]);
    let server = forwarder.addresses()[0];
    let mut query = query("large.example.", RecordType::TXT);
    let cut = ask_udp(server, &query);
    assert!(cut.metadata.truncation, "{cut:?}");
    assert_eq!(ask_tcp(server, &query).answers.len(), 20);
    let mut edns = Edns::new();
    edns.set_max_payload(8192);
    query.set_edns(edns);
    assert_eq!(ask_udp(server, &query).answers.len(), 20);
}

/// A TCP connection to `server` from an address of the loopback.
fn connect_from(asker: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((asker, 0))).unwrap();
    rustix::net::connect(&socket, &server).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Whether a query on this connection is answered; else the connection was closed.
fn is_answered(stream: &mut TcpStream) -> bool {
    let message = query("phone.adit.internal.", RecordType::A).to_vec().unwrap();
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    // What is written to a connection that was closed may be refused, or only its answer stay away.
    stream.write_all(&framed).is_ok() && read_framed(stream).is_some()
}

#[test]
fn connections_are_bounded_in_all_and_of_each_asker() {
    let upstream = Upstream::start(Ipv4Addr::LOCALHOST);
    let forwarder = forwarder(&[upstream.address]);
    let server = forwarder.addresses()[0];
    let [greedy, modest] = [2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let mut open: Vec<TcpStream> = (0..8).map(|_| connect_from(greedy, server)).collect();
    assert!(open.iter_mut().all(is_answered));
    assert!(!is_answered(&mut connect_from(greedy, server)));
    assert!(is_answered(&mut connect_from(modest, server)));
    open.pop();
    let limit = Instant::now() + LIMIT;
    while !is_answered(&mut connect_from(greedy, server)) {
        assert!(Instant::now() < limit, "a closed connection keeps its room");
    }
    // Of the host's own address, as many as there is room for.
    let mut full = false;
    while !full {
        let mut connection = connect_from(Ipv4Addr::LOCALHOST, server);
        full = !is_answered(&mut connection);
        open.push(connection);
        assert!(open.len() <= 257, "there is no bound");
    }
    assert!(open.len() > 240, "{}", open.len());
    assert!(!is_answered(&mut connect_from(modest, server)));
    // Over UDP, everybody is answered.
    assert_eq!(ask_udp(server, &query("www.example.", RecordType::A)).answers.len(), 1);
}

#[test]
fn a_connection_that_asks_nothing_is_closed() {
    let upstream = Upstream::start(Ipv4Addr::LOCALHOST);
    let forwarder = forwarder(&[upstream.address]);
    let server = forwarder.addresses()[0];
    let began = Instant::now();
    // One never asks, one begins a query and leaves it, and one asks once.
    let mut idle = [(); 3].map(|()| connect_from(Ipv4Addr::LOCALHOST, server));
    idle[1].write_all(&[0, 40, 1]).unwrap();
    assert!(is_answered(&mut idle[2]));
    for connection in &mut idle {
        connection.set_read_timeout(Some(2 * LIMIT)).unwrap();
        assert_eq!(connection.read(&mut [0; 10]).unwrap(), 0);
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(5), "closed after {took:?} already");
}

#[test]
fn a_repeated_question_is_answered_from_the_cache() {
    let upstream = Upstream::start(Ipv4Addr::LOCALHOST);
    let forwarder = forwarder(&[upstream.address]);
    let server = forwarder.addresses()[0];
    for _ in 0..10 {
        assert_eq!(ask_udp(server, &query("www.example.", RecordType::A)).answers.len(), 1);
    }
    assert_eq!(upstream.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_dead_upstream_is_passed_over() {
    let upstream = Upstream::start(Ipv4Addr::LOCALHOST);
    // A port that was free a moment ago: the kernel answers with "port unreachable".
    let dead = UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let forwarder = forwarder(&[dead, upstream.address]);
    assert_eq!(
        ask_udp(forwarder.addresses()[0], &query("www.example.", RecordType::A))
            .answers
            .len(),
        1
    );
}

#[test]
fn a_changed_resolv_conf_is_taken_up() {
    let (old, new) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let upstreams = [Upstream::start(old), Upstream::start(new)];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    let name = |upstream: &Upstream| std::fs::write(&path, format!("nameserver {}\n", upstream.address)).unwrap();
    name(&upstreams[0]);
    let forwarder = start(Upstreams::File(path.clone())).unwrap();
    let address = || {
        let reply = ask_udp(forwarder.addresses()[0], &query("www.example.", RecordType::A));
        let RData::A(address) = reply.answers[0].data else {
            panic!("{reply:?}")
        };
        address.0
    };
    assert_eq!(address(), old);
    name(&upstreams[1]);
    let limit = Instant::now() + LIMIT;
    while address() != new {
        assert!(Instant::now() < limit, "still asks the old resolver");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn a_forwarder_does_not_forward_to_itself() {
    let free = UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let error = Forwarder::start(&[free], Upstreams::fixed([Resolver::Plain(free)]), names()).unwrap_err();
    assert!(matches!(error, DnsError::NoUpstream), "{error}");
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let taken = UdpSocket::bind(LOOPBACK).unwrap();
    let address = taken.local_addr().unwrap();
    let error = Forwarder::start(&[address], Upstreams::system(), names()).unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn dropping_the_forwarder_frees_its_port() {
    let upstream = Upstream::start(Ipv4Addr::LOCALHOST);
    let forwarder = forwarder(&[upstream.address]);
    let address = forwarder.addresses()[0];
    drop(forwarder);
    UdpSocket::bind(address).unwrap();
    TcpListener::bind(address).unwrap();
}

#[test]
fn a_resolver_over_tls_is_asked_if_its_certificate_is_right_and_else_nothing_gets_out() {
    let upstream = start_tls(Ipv4Addr::new(192, 0, 2, 80));
    let ours = Some(format!("{TLS_FILES}/ca.pem").into());
    // (whom the certificate must be made out to, who may sign it, is it answered?)
    for (name, ca, answered) in [
        ("dns.example", ours.clone(), true),
        ("other.example", ours, false),
        ("dns.example", None, false),
    ] {
        let asked = upstream.asked.load(Ordering::SeqCst);
        let server = format!("tls://{}#{name}", upstream.address).parse().unwrap();
        let forwarder = start(Upstreams::Fixed {
            servers: vec![server],
            ca: ca.clone(),
        });
        let forwarder = forwarder.unwrap();
        for _ in 0..2 {
            let reply = ask_udp(forwarder.addresses()[0], &query("www.example.", RecordType::A));
            let code = if answered {
                ResponseCode::NoError
            } else {
                ResponseCode::ServFail
            };
            assert_eq!(
                (reply.metadata.response_code, reply.answers.len()),
                (code, usize::from(answered)),
                "{name} {ca:?}"
            );
        }
        let asked = upstream.asked.load(Ordering::SeqCst) - asked;
        assert_eq!(asked, usize::from(answered), "the second answer is the cache's");
    }
}

#[test]
fn a_file_without_certificates_is_an_error_that_names_it() {
    for file in ["server.key", "missing.pem"] {
        let error = start(Upstreams::Fixed {
            servers: vec!["tls://192.0.2.1".parse().unwrap()],
            ca: Some(format!("{TLS_FILES}/{file}").into()),
        })
        .unwrap_err();
        assert!(matches!(error, DnsError::Certificates { .. }), "{error}");
        assert!(error.to_string().contains(file), "{error}");
    }
}

#[test]
fn names_of_the_tunnel_are_answered_with_authority_and_never_forwarded() {
    let upstream = Upstream::start(Ipv4Addr::LOCALHOST);
    let forwarder = forwarder(&[upstream.address]);
    let server = forwarder.addresses()[0];
    for (name, kind, code, answers) in [
        ("phone.adit.internal.", RecordType::A, ResponseCode::NoError, 1),
        ("phone.adit.internal.", RecordType::AAAA, ResponseCode::NoError, 1),
        ("gateway.adit.internal.", RecordType::A, ResponseCode::NoError, 1),
        ("2.13.13.10.in-addr.arpa.", RecordType::PTR, ResponseCode::NoError, 1),
        ("phone.adit.internal.", RecordType::TXT, ResponseCode::NoError, 0),
        ("tablet.adit.internal.", RecordType::A, ResponseCode::NXDomain, 0),
        ("7.13.13.10.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain, 0),
    ] {
        let mut query = query(name, kind);
        query.set_edns(Edns::new());
        for reply in [ask_udp(server, &query), ask_tcp(server, &query)] {
            assert_eq!(
                (
                    reply.metadata.response_code,
                    reply.answers.len(),
                    reply.authorities.len()
                ),
                (code, answers, usize::from(answers == 0)),
                "{name} {kind}: {reply:?}"
            );
            assert!(
                reply.metadata.authoritative && reply.edns.is_some(),
                "{name} {kind}: {reply:?}"
            );
        }
    }
    assert_eq!(upstream.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_peer_that_comes_or_goes_is_known_at_once() {
    let upstream = Upstream::start(Ipv4Addr::LOCALHOST);
    let names = names();
    let upstreams = Upstreams::fixed([Resolver::Plain(upstream.address)]);
    let forwarder = Forwarder::start(&[LOOPBACK], upstreams, Arc::clone(&names)).unwrap();
    let answers = || {
        let reply = ask_udp(forwarder.addresses()[0], &query("tablet.adit.internal.", RecordType::A));
        reply.answers.len()
    };
    let tablet = "peer_tablet".parse().unwrap();
    assert_eq!(answers(), 0);
    names.set(&tablet, &["10.13.13.3".parse().unwrap()]);
    assert_eq!(answers(), 1);
    names.remove(&tablet);
    assert_eq!(answers(), 0);
}
