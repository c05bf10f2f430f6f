//! A launcher that asks its gateway through the gateway's own WireGuard port.
//!
//! ```text
//!   client ══ tunnel ══╗
//!                      gateway: adit node --launcher KEY
//!   other  ══ launcher: adit ask --endpoint … ══╝
//! ```

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use launch::node::link::{ASK_PORT, Link};
use launch::node::{Answer, Question, Ready, Report};
use netlab::{Host, Output, Process};
use wg::{PrivateKey, PublicKey};

use crate::gateway;
use crate::network::Network;
use crate::node::{self, LEASE, SECOND, bring, key};

/// The launcher's key.
const OWN: u8 = 200;

/// How long `adit ask` goes on when nobody answers.
const ASK_LIMIT: Duration = Duration::from_secs(20);

struct Remote {
    process: Process,
    socket: PathBuf,
    ready: Ready,
}

impl Remote {
    #[track_caller]
    fn start(network: &Network, plane: &str, port: &str) -> Self {
        let socket = network.gateway.nobodys_folder("remote").join("mine/socket");
        Self::start_at(network, plane, port, socket)
    }

    #[track_caller]
    fn start_at(network: &Network, plane: &str, port: &str, socket: PathBuf) -> Self {
        let host = &network.gateway;
        let command = host.command(gateway::adit(host)).args([
            "node",
            "--plane",
            plane,
            "--lease",
            LEASE,
            "--lifetime",
            "600",
            "--listen",
            port,
            "--launcher",
            &key(OWN).public_key().to_string(),
            "--socket",
        ]);
        let command = command.arg(&socket);
        let command = if plane == "netstack" {
            command.as_nobody()
        } else {
            command
        };
        let mut process = command.spawn();
        process.wait_for(r#"{"adit":"ready","#, Duration::from_secs(10));
        let ready = Ready::find(&process.stdout()).expect("it says on standard output whom to ask");
        assert_eq!((ready.listen_port.to_string(), &*ready.plane), (port.to_owned(), plane));
        Self { process, socket, ready }
    }

    #[track_caller]
    fn report(&self, launcher: &Launcher, question: &Question) -> Report {
        let output = launcher.ask(self.ready.public_key, question);
        assert!(output.status.success(), "{output:?}: {}", self.process.log());
        match Answer::read(output.stdout.as_bytes()) {
            Ok(Answer::Report(report)) => report,
            other => panic!("{output:?}: {other:?}"),
        }
    }
}

struct Launcher {
    host: Host,
    endpoint: String,
    key_file: PathBuf,
}

impl Launcher {
    fn new(host: &Host, endpoint: &str, key: &PrivateKey) -> Self {
        let folder = host.folder().join("launcher");
        let key_file = if folder.is_dir() {
            folder
        } else {
            host.nobodys_folder("launcher")
        }
        .join("key");
        std::fs::write(&key_file, &*key.danger_base64()).expect("write a key");
        Self {
            host: host.clone(),
            endpoint: endpoint.to_owned(),
            key_file,
        }
    }

    fn ask(&self, gateway: PublicKey, question: &Question) -> Output {
        let question = String::from_utf8(question.line()).expect("JSON is text");
        let command = self.host.command(gateway::adit(&self.host)).args(["ask", "--endpoint"]);
        let command = command.args([&self.endpoint, "--public-key", &gateway.to_string(), "--key-file"]);
        command.arg(&self.key_file).arg(question.trim()).as_nobody().output()
    }
}

fn planes() -> Vec<String> {
    match gateway::host_plane() {
        Some(plane) => vec![plane],
        None => vec!["netstack".to_owned(), "tun".to_owned()],
    }
}

#[test]
fn a_launcher_asks_through_the_tunnel_and_nobody_else_can() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    for plane in planes() {
        let network = Network::new();
        let before = network.gateway.network_state();
        let mut remote = Remote::start(&network, &plane, "4430");
        let launcher = Launcher::new(&network.other, "203.0.113.2:4430", &key(OWN));
        let over_v6 = Launcher::new(&network.other, "[2001:db8:3::2]:4430", &key(OWN));
        let began = Instant::now();
        let report = remote.report(&launcher, &Question::Report {});
        assert!(
            began.elapsed() < SECOND * 3 * netlab::slowness(),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(
            (report.public_key, report.listen_port, &*report.plane),
            (remote.ready.public_key, 4430, &*plane)
        );
        assert_eq!(report.peers, []);
        let own = key(1);
        let report = remote.report(&launcher, &bring(&[("phone", Some(&own))], 500));
        assert_eq!(report.peers.len(), 1, "the launcher is none of the peers: {report:?}");
        let phone = node::up(&network.client, &report, "phone", &own);
        node::reaches(&network.client);
        // It is there still, after others came, by another family and in quick succession.
        for _ in 0..3 {
            let report = remote.report(&over_v6, &Question::Report {});
            assert_eq!(report.peers.len(), 1);
            assert!(report.peers[0].latest_handshake.is_some());
        }

        // Its port is not there for a peer, nor for this host's network or the host itself.
        let link = Link::of(&key(OWN).public_key());
        let port = SocketAddr::from((link.gateway, ASK_PORT));
        network
            .client
            .command("ip")
            .args(["route", "replace", "198.19.0.0/16", "dev", "phone"])
            .run();
        network
            .other
            .command("ip")
            .args(["route", "replace", "198.19.0.0/16", "via", "192.0.2.254"])
            .output();
        network
            .internet
            .command("ip")
            .args(["route", "replace", "198.19.0.0/16", "via", "203.0.113.2"])
            .output();
        for host in [&network.client, &network.internet, &network.gateway] {
            host.run(|| {
                let connected = TcpStream::connect_timeout(&port, SECOND);
                assert!(
                    connected.is_err(),
                    "{plane}: {} reaches the launcher's port",
                    host.name()
                );
            });
        }
        phone.down();

        // Its key as a peer's, and another key than its own.
        let output = launcher.ask(remote.ready.public_key, &bring(&[("me", Some(&key(OWN)))], 500));
        assert!(
            !output.status.success() && output.stderr.contains("launcher"),
            "{output:?}"
        );
        let stranger = Launcher::new(&network.client, "203.0.113.2:4430", &key(201));
        let began = Instant::now();
        let output = stranger.ask(remote.ready.public_key, &Question::Report {});
        assert!(began.elapsed() < ASK_LIMIT + SECOND * 5, "{:?}", began.elapsed());
        assert_eq!((output.status.code(), &*output.stdout), (Some(1), ""), "{output:?}");
        assert!(
            output.stderr.contains("does not answer WireGuard's handshake"),
            "{output:?}"
        );

        let output = launcher.ask(remote.ready.public_key, &Question::End {});
        assert_eq!(output.stdout, "{\"answer\":\"ending\"}\n", "{output:?}");
        let status = remote.process.wait(Duration::from_secs(3));
        assert!(status.success(), "{status}: {}", remote.process.log());
        assert!(!remote.socket.exists());
        assert_eq!(network.gateway.network_state(), before);
    }
}

#[test]
fn a_launcher_hears_that_its_gateway_is_another_one() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let plane = planes().remove(0);
    let network = Network::new();
    let mut killed = Remote::start(&network, &plane, "51820");
    let launcher = Launcher::new(&network.other, "203.0.113.2:51820", &key(OWN));
    killed.report(&launcher, &Question::Report {});
    let of_before = killed.ready.public_key;
    killed.process.signal(libc::SIGKILL);
    killed.process.wait(Duration::from_secs(3));
    let next = Remote::start_at(&network, &plane, "51820", killed.socket.clone());
    assert_ne!(next.ready.public_key, of_before);
    let output = launcher.ask(of_before, &Question::Report {});
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        output.stderr.contains("was started anew with another key"),
        "{output:?}"
    );
    next.report(&launcher, &Question::Report {});
}
