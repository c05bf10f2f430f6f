//! The gateway of a lease, which its launcher tells what it is to be: `adit node` and `adit ask`.
//!
//! ```text
//!   client ══ tunnel ══╗
//!                      gateway: adit node ◀─ adit ask '{"ask":"bring",…}'
//!   other  ══ tunnel ══╝
//! ```

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use launch::node::{Answer, END, PeerReport, Question, Report, START, Terms, WantedPeer, extract};
use netlab::{Command, Host, Process, serve, traffic};
use wg::PrivateKey;

use crate::gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) const LEASE: &str = "01kb2w0v9hq3k1yv8s4n6t2m5e";

/// How long a transfer may stand still. TCP's own patience is shorter: a dropped session would show.
const LONGEST_STALL: Duration = Duration::from_secs(2);

struct Node {
    process: Process,
    host: Host,
    socket: PathBuf,
}

/// `adit node` on the plane of these tests, for ten minutes, answering at this socket.
pub(crate) fn command(host: &Host, socket: &Path) -> Command {
    host.command(gateway::adit(host))
        .args(["node", "--plane", &gateway::plane(), "--lease", LEASE])
        .args(["--lifetime", "600", "--socket"])
        .arg(socket)
}

impl Node {
    #[track_caller]
    fn start(network: &Network) -> Self {
        let socket = network.gateway.nobodys_folder("node").join("mine/socket");
        Self::start_at(network, socket)
    }

    #[track_caller]
    fn start_at(network: &Network, socket: PathBuf) -> Self {
        let host = &network.gateway;
        let command = command(host, &socket);
        let mut process = gateway::as_its_user(command).spawn();
        process.wait_for("gateway ready", Duration::from_secs(10));
        Self {
            process,
            host: host.clone(),
            socket,
        }
    }

    /// `adit ask` with these arguments, as whose gateway it is.
    fn ask_with(&self, arguments: &[&str]) -> netlab::Output {
        let command = self
            .host
            .command(gateway::adit(&self.host))
            .args(["ask", "--socket"])
            .arg(&self.socket);
        gateway::as_its_user(command.args(arguments)).output()
    }

    #[track_caller]
    fn ask(&self, question: &Question) -> String {
        let question = String::from_utf8(question.line()).expect("JSON is text");
        let output = self.ask_with(&[question.trim()]);
        assert!(output.status.success(), "{question}: {output:?}");
        output.stdout
    }

    #[track_caller]
    fn report(&self, question: &Question) -> Report {
        let told = self.ask(question);
        match Answer::read(told.as_bytes()) {
            Ok(Answer::Report(report)) => report,
            other => panic!("{told}: {other:?}"),
        }
    }

    #[track_caller]
    fn bring(&self, peers: &[(&str, Option<&PrivateKey>)]) -> Report {
        self.report(&bring(peers, 600))
    }
}

pub(crate) fn bring(peers: &[(&str, Option<&PrivateKey>)], remaining_secs: u64) -> Question {
    let wanted = |(name, key): &(&str, Option<&PrivateKey>)| WantedPeer {
        name: (*name).to_owned(),
        public_key: key.map(PrivateKey::public_key),
    };
    Question::Bring {
        peers: peers.iter().map(wanted).collect(),
        remaining_secs,
    }
}

pub(crate) fn key(number: u8) -> PrivateKey {
    PrivateKey::from_random([number; 32])
}

fn terms(report: &Report) -> Terms {
    Terms {
        endpoint: format!("203.0.113.2:{}", report.listen_port),
        dns: report
            .addresses
            .iter()
            .map(|address| address.addr().to_string())
            .collect(),
        allowed_ips: launch::order::everything(),
        mtu: None,
    }
}

#[track_caller]
fn peer<'a>(report: &'a Report, name: &str) -> &'a PeerReport {
    report
        .peers
        .iter()
        .find(|peer| peer.name == name)
        .expect("the peer is there")
}

/// A client that made its key itself.
#[track_caller]
pub(crate) fn up(host: &Host, report: &Report, name: &str, key: &PrivateKey) -> Peer {
    let terms = terms(report);
    let addresses = peer(report, name).addresses.iter().map(ToString::to_string);
    let conf = format!(
        "[Interface]\nPrivateKey = {}\nAddress = {}\nDNS = {}\n\n[Peer]\nPublicKey = {}\nEndpoint = {}\n\
         AllowedIPs = 0.0.0.0/0, ::/0\n",
        *key.danger_base64(),
        addresses.collect::<Vec<_>>().join(", "),
        terms.dns.join(", "),
        report.public_key,
        terms.endpoint,
    );
    up_by(host, name, &conf)
}

#[track_caller]
fn up_by(host: &Host, name: &str, conf: &str) -> Peer {
    let file = host.folder().join(format!("{name}.conf"));
    std::fs::write(&file, conf).expect("write a configuration");
    Peer::up(host, &file)
}

#[track_caller]
pub(crate) fn reaches(host: &Host) {
    host.run(|| {
        for server in network::servers(7) {
            traffic::echo(server, b"hello").expect("the tunnel works");
        }
    });
}

#[track_caller]
pub(crate) fn does_not_reach(host: &Host) {
    host.run(|| {
        let late = TcpStream::connect_timeout(&network::server_v4(7), SECOND);
        assert!(late.is_err(), "it still comes through");
    });
}

/// Says, when it is dropped, that it is done: also when a test fails, which waits for its threads.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_peer_comes_and_goes_while_another_downloads() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let before = network.gateway.network_state();
    let mut node = Node::start(&network);
    let report = node.report(&Question::Report {});
    assert_eq!((&*report.plane, &*report.peers), (&*gateway::plane(), &[][..]));
    let keys = [key(1), key(2)];
    let first = node.bring(&[("phone", Some(&keys[0]))]);
    let _phone = up(&network.client, &first, "phone", &keys[0]);
    reaches(&network.client);

    let server = network::server_v4(80);
    let mut stream = network.client.run(|| {
        let mut stream = traffic::connect(server).expect("connect through the tunnel");
        write!(stream, "GET /bytes/100000000000 HTTP/1.1\r\nHost: {server}\r\n\r\n").expect("ask");
        stream.set_read_timeout(Some(SECOND * 10)).expect("set a time limit");
        stream
    });
    let done = AtomicBool::new(false);
    let both = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut buffer, mut longest, mut last) = (vec![0; 64 << 10], Duration::ZERO, Instant::now());
            while !done.load(Ordering::Relaxed) {
                assert!((&stream).read(&mut buffer).expect("the download goes on") > 0);
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            longest
        });
        let reading = Until(&done);
        let both = node.bring(&[("phone", Some(&keys[0])), ("laptop", Some(&keys[1]))]);
        let laptop = up(&network.other, &both, "laptop", &keys[1]);
        reaches(&network.other);
        // Nor do they reach each other.
        let echo = serve::tcp_echo(&network.other, 7);
        network.client.run(|| {
            for address in laptop.addresses() {
                let server = SocketAddr::new(address, 7);
                assert!(TcpStream::connect_timeout(&server, SECOND).is_err(), "TCP to {server}");
            }
        });
        assert_eq!(echo.served(), 0);
        drop(reading);
        let longest = reader.join().expect("the reader is well");
        assert!(
            longest < LONGEST_STALL * netlab::slowness(),
            "the transfer stood still for {longest:?}"
        );
        both
    });
    assert_eq!(peer(&both, "phone").addresses, peer(&first, "phone").addresses);
    let report = node.report(&Question::Report {});
    assert!(peer(&report, "phone").sent_bytes > 100_000, "{report:?}");
    let handshake = peer(&report, "phone").latest_handshake;
    assert!(
        handshake.is_some_and(|at| at.as_millis() > 1_700_000_000_000),
        "{both:?}"
    );

    let left = node.bring(&[("laptop", Some(&keys[1]))]);
    assert_eq!(left.peers.len(), 1);
    // What was under way is dead at once, and nothing new comes.
    stream.set_read_timeout(Some(SECOND)).expect("set a time limit");
    let mut rest = vec![0; 1 << 20];
    let began = Instant::now();
    while stream.read(&mut rest).is_ok_and(|count| count > 0) {
        assert!(began.elapsed() < SECOND * 10, "the removed peer still downloads");
    }
    does_not_reach(&network.client);
    reaches(&network.other);

    assert_eq!(node.ask(&Question::End {}), "{\"answer\":\"ending\"}\n");
    let status = node.process.wait(Duration::from_secs(3));
    assert!(status.success(), "{status}: {}", node.process.log());
    assert!(!node.socket.exists());
    assert_eq!(network.gateway.network_state(), before);
    does_not_reach(&network.other);
}

#[test]
fn it_ends_by_its_own_clock() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let before = network.gateway.network_state();
    let mut node = Node::start(&network);
    let own = key(1);
    let report = node.bring(&[("phone", Some(&own))]);
    assert!((598..=600).contains(&report.remaining_secs), "{report:?}");
    let _phone = up(&network.client, &report, "phone", &own);
    reaches(&network.client);
    let report = node.report(&bring(&[("phone", Some(&own))], 2));
    assert_eq!(report.remaining_secs, 2);
    let status = node.process.wait(Duration::from_secs(6));
    assert!(status.success(), "{status}: {}", node.process.log());
    assert!(node.process.log().contains("its time is over"));
    assert_eq!(network.gateway.network_state(), before);
    does_not_reach(&network.client);
}

#[test]
fn after_a_kill_the_next_one_takes_its_place() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let before = network.gateway.network_state();
    let mut killed = Node::start(&network);
    let own = key(1);
    let report = killed.bring(&[("phone", Some(&own))]);
    let phone = up(&network.client, &report, "phone", &own);
    reaches(&network.client);
    killed.process.signal(libc::SIGKILL);
    killed.process.wait(Duration::from_secs(3));
    let output = killed.ask_with(&[r#"{"ask":"report"}"#]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    let mut next = Node::start_at(&network, killed.socket.clone());
    let report = next.report(&Question::Report {});
    assert_eq!(report.peers, [], "what a gateway knew is gone with it");
    does_not_reach(&network.client);
    phone.down();
    let report = next.bring(&[("phone", Some(&own))]);
    let _phone = up(&network.client, &report, "phone", &own);
    reaches(&network.client);
    assert!(next.process.terminate(Duration::from_secs(3)).success());
    assert_eq!(network.gateway.network_state(), before);
}

#[test]
fn it_makes_keys_for_who_cannot_and_tells_nobody_else() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let mut node = Node::start(&network);
    let report = node.bring(&[("phone", None)]);
    assert_eq!(peer(&report, "phone").public_key, None);
    let question = Question::Keys {
        name: "phone".to_owned(),
        terms: terms(&report),
    };
    let told = node.ask(&question);
    assert!(
        told.starts_with(&format!("{START}\n[Interface]\n")) && told.ends_with(&format!("{END}\n")),
        "{told}"
    );
    let first = extract(&told).expect("a whole configuration");
    let phone = up_by(&network.client, "phone", first.danger_text());
    reaches(&network.client);
    let report = node.bring(&[("phone", None)]);
    let received = peer(&report, "phone").received_bytes;
    assert!(
        received > 0 && peer(&report, "phone").latest_handshake.is_some(),
        "{report:?}"
    );

    // Other keys: those of before open nothing any more, and the traffic goes on from what it was.
    let second = extract(&node.ask(&question)).expect("a whole configuration");
    does_not_reach(&network.client);
    phone.down();
    let _phone = up_by(&network.other, "phone", second.danger_text());
    reaches(&network.other);
    let report = node.bring(&[("phone", None)]);
    assert!(peer(&report, "phone").received_bytes > received, "{report:?}");

    let refused = node
        .ask_with(&[r#"{"ask":"keys","name":"nobody","terms":{"endpoint":"a:1","dns":[],"allowed_ips":["::/0"]}}"#]);
    assert_eq!((refused.status.code(), &*refused.stdout), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains("there is no peer `nobody`"), "{refused:?}");
    assert_eq!(node.ask_with(&[r#"{"ask":"fly"}"#]).status.code(), Some(2));
    let as_json = node.ask_with(&[
        "--json",
        r#"{"ask":"keys","name":"nobody","terms":{"endpoint":"a:1","dns":[],"allowed_ips":["::/0"]}}"#,
    ]);
    assert!(
        as_json.status.success() && as_json.stdout.starts_with(r#"{"answer":"refused""#),
        "{as_json:?}"
    );

    assert!(node.process.terminate(Duration::from_secs(3)).success());
    for text in [first, second] {
        let private = text
            .danger_text()
            .lines()
            .find_map(|line| line.strip_prefix("PrivateKey = "))
            .expect("it has a key");
        assert!(!node.process.log().contains(private), "a private key is told");
    }
}

#[test]
fn who_asks_badly_is_told_so_and_disturbs_nobody() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let mut node = Node::start(&network);
    network.gateway.run(|| {
        let connect = || {
            let stream = UnixStream::connect(&node.socket).expect("it lets root in");
            stream.set_read_timeout(Some(SECOND * 10)).expect("set a time limit");
            stream
        };
        // Who begins and says no more; who goes before the answer; who reads none.
        let half: Vec<UnixStream> = (0..32).map(|_| connect()).collect();
        half.iter()
            .for_each(|mut stream| stream.write_all(b"{\"ask\":").expect("write"));
        drop(half.into_iter().take(16).collect::<Vec<_>>());
        let deaf = connect();
        (&deaf)
            .write_all(&b"{\"ask\":\"report\"}\n".repeat(100))
            .expect("write");
        for (said, reason) in [
            (&b"\n"[..], "not a question"),
            (b"\xff\xfe\n", "not a question"),
            (b"{\"ask\":\"report\",\"more\":1}\n", "unknown field"),
            (&b"x".repeat(300_000), "at most 262144 bytes"),
        ] {
            let mut stream = connect();
            // It may be hung up on before all is said.
            let _cut = stream.write_all(said);
            let mut told = String::new();
            let _cut = (&stream).take(10_000).read_to_string(&mut told);
            if told.is_empty() {
                continue;
            }
            assert!(told.contains("refused") && told.contains(reason), "{told}");
        }
    });
    node.report(&Question::Report {});
    // Whom nobody can ask any more nobody needs.
    std::fs::remove_file(&node.socket).expect("the socket is there");
    assert!(
        node.process.wait(Duration::from_secs(5)).success(),
        "{}",
        node.process.log()
    );
}
