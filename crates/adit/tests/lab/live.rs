//! Peers come and go while others use the gateway.
//!
//! ```text
//!   client ══ tunnel ══ gateway: adit serve ◀─ commands: 1,000 peers more, 1,000 peers less
//!     └─────────── a download that goes on ──────────▶ server: HTTP
//! ```

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::gateway::control::{self, Client, NewPeer, Reply, Request};
use netlab::{Host, Process, traffic};

use crate::gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

/// How long a transfer may stand still. TCP's own patience is shorter: a dropped session would show.
const LONGEST_STALL: Duration = Duration::from_secs(2);

fn serve(network: &Network) -> (Process, PathBuf) {
    let host = &network.gateway;
    let folder = host.nobodys_folder("c");
    let command = host
        .command(gateway::adit(host))
        .args(["serve", "--plane", &gateway::plane(), "--config-dir"])
        .arg(&folder)
        .env("PEERS", "laptop")
        .env("SERVERPORT", "51820")
        .env("INTERNAL_SUBNET", "10.13.0.0/19")
        .env("LOG_CONFS", "false");
    let mut process = gateway::as_its_user(command).spawn();
    process.wait_for("ready", Duration::from_secs(10));
    (process, folder)
}

/// Has the gateway carry a command out, from its own host: there is its socket.
#[track_caller]
fn change(host: &Host, folder: &Path, request: &Request) {
    let reply = host.run(|| {
        let mut client = Client::connect(&control::in_directory(folder)).expect("the gateway takes commands");
        client.ask(request).expect("an answer")
    });
    assert!(matches!(reply, Reply::Changed { .. }), "{reply:?}");
}

fn add(names: &[String]) -> Request {
    let new = |name: &String| NewPeer {
        name: name.clone(),
        ..NewPeer::default()
    };
    Request::Add {
        peers: names.iter().map(new).collect(),
    }
}

fn remove(names: &[String]) -> Request {
    Request::Remove {
        names: names.to_owned(),
        keep: false,
    }
}

/// Says, when it is dropped, that it is done: also when a test fails, which waits for its threads.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads what the server sends until `enough` says so. Gives the bytes and the longest time without one.
fn read_until(mut stream: &TcpStream, enough: impl Fn() -> bool) -> (u64, Duration) {
    let mut buffer = vec![0; 64 << 10];
    let (mut bytes, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
    while !enough() {
        let read = stream.read(&mut buffer).expect("the download goes on");
        assert!(read > 0, "the download has ended");
        longest = longest.max(last.elapsed());
        last = Instant::now();
        bytes += read as u64;
        // Not as fast as it can: the machine has to make keys and pictures for thousands.
        std::thread::park_timeout(Duration::from_millis(2));
    }
    (bytes, longest)
}

#[test]
fn a_transfer_goes_on_while_a_thousand_peers_are_added_and_removed() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let (process, folder) = serve(&network);
    // wg-quick takes a file's name for the interface's: at most 15 letters.
    let laptop = Peer::up(&network.client, &folder.join("peer_laptop/peer_laptop.conf"));
    let server = network::server_v4(80);
    let stream = network.client.run(|| {
        let mut stream = traffic::connect(server).expect("connect through the tunnel");
        write!(stream, "GET /bytes/100000000000 HTTP/1.1\r\nHost: {server}\r\n\r\n").expect("ask");
        stream
    });
    let handshake = laptop.show("latest-handshakes");
    let done = AtomicBool::new(false);
    let (bytes, longest) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_until(&stream, || done.load(Ordering::Relaxed)));
        let reading = Until(&done);
        let names: Vec<String> = (0..1_000).map(|number| format!("p{number}")).collect();
        names
            .chunks(100)
            .for_each(|names| change(&network.gateway, &folder, &add(names)));
        names
            .chunks(50)
            .for_each(|names| change(&network.gateway, &folder, &remove(names)));
        drop(reading);
        reader.join().expect("the reader is well")
    });
    assert!(
        longest < LONGEST_STALL * netlab::slowness(),
        "the transfer stood still for {longest:?}"
    );
    assert!(bytes > 1_000_000, "{bytes} bytes came through");
    // Keys change every two minutes, and a client whose first answer overtakes its own note of having asked asks again
    // after 5 s (whitepaper 6.4, REKEY_TIMEOUT). A lost session would be noticed after 15 s of silence.
    let after = laptop.show("latest-handshakes");
    let seconds = |text: &str| text.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    let (before, after) = (seconds(&handshake).expect("a time"), seconds(&after).expect("a time"));
    assert!(
        after <= before + 7 || after >= before + 110,
        "{before} and {after}: {}",
        process.log()
    );
    let left: Vec<_> = std::fs::read_dir(&folder)
        .expect("read the directory")
        .filter_map(|entry| entry.expect("an entry").file_name().into_string().ok())
        .filter(|name| name.starts_with("peer_p"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_added_peer_comes_in_with_its_file_and_a_removed_one_is_cut_off() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let (_process, folder) = serve(&network);
    let name = ["phone".to_owned()];
    change(&network.gateway, &folder, &add(&name));
    let phone = Peer::up(&network.client, &folder.join("peer_phone/peer_phone.conf"));
    let server = network::server_v4(7);
    let stream = network.client.run(|| {
        let stream = traffic::connect(server).expect("the added peer comes in");
        traffic::echo(server, b"hello").expect("the added peer is served");
        stream
    });
    change(&network.gateway, &folder, &remove(&name));
    // What was open is dead, and nothing new comes.
    (&stream).write_all(b"hello").expect("the kernel takes it");
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
    assert!(
        (&stream).read(&mut [0; 5]).is_err(),
        "an answer came through a tunnel that should be dead"
    );
    network.client.run(|| {
        let late = TcpStream::connect_timeout(&server, Duration::from_secs(1));
        assert!(late.is_err(), "the removed peer still comes in");
    });
    drop(phone);
}
