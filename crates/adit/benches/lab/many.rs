//! Measures a gateway with ten thousand peers, beside `wg syncconf` with the same ones.

use std::path::Path;
use std::time::{Duration, Instant};

use ::gateway::control::{self, Client, NewPeer, Reply, Request};
use ::gateway::text::Text;
use netlab::{Host, Lab, Process};
use tunnel::{Place, Spec, Tunnel};
use wg::{PeerUpdate, PresharedKey, Update};

use crate::{Figures, gateway, median};

const PEERS: usize = 10_000;

/// How often each start and each command is measured.
const REPEATS: usize = 3;

/// Seconds from exec to ready, milliseconds of a command that adds a peer and from its end until the peer has a session,
/// memory in MB, and seconds of `wg syncconf`.
pub(crate) fn measure() -> Figures {
    let lab = Lab::new();
    let host = lab.host("many");
    let folder = host.folder().join("c");
    // It makes the keys, configurations and pictures of all of them.
    let mut first = serve(&host, &folder).0;
    first.terminate(Duration::from_secs(30));
    let (mut starts, mut memory, mut adds, mut live) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..REPEATS {
        let (mut process, took) = serve(&host, &folder);
        starts.push(took.as_secs_f64());
        host.run(|| {
            for number in 0..REPEATS {
                let (command, until_live) = add(&folder, &format!("extra{round}-{number}"));
                adds.push(command.as_secs_f64() * 1000.0);
                live.push(until_live.as_secs_f64() * 1000.0);
            }
        });
        memory.push(process.account().resident_kib as f64);
        process.terminate(Duration::from_secs(30));
    }
    Figures::from([
        ("ready", median(starts)),
        ("add", median(adds)),
        ("session", median(live)),
        ("memory", median(memory) * 1024.0 / 1e6),
        ("syncconf", syncconf(&host, &folder)),
    ])
}

fn serve(host: &Host, folder: &Path) -> (Process, Duration) {
    let command = host
        .command(gateway::adit(host))
        .args(["serve", "--plane", "tun", "--endpoint", "192.0.2.1", "--config-dir"])
        .arg(folder)
        .env("PEERS", PEERS.to_string())
        .env("INTERNAL_SUBNET", "10.13.0.0/16")
        .env("LOG_CONFS", "false");
    let begin = Instant::now();
    let mut process = command.spawn();
    process.wait_for("ready", Duration::from_secs(300));
    (process, begin.elapsed())
}

/// How long a command took, and how long after it the new peer has its session.
fn add(folder: &Path, name: &str) -> (Duration, Duration) {
    let peer = Tunnel::open(&Spec {
        name: name.to_owned(),
        mtu: 1_420,
        place: Place::Netstack(Box::default()),
    })
    .expect("open the peer's end");
    let private_key = ::gateway::key::private().expect("a key");
    let mut client = Client::connect(&control::in_directory(folder)).expect("the gateway takes commands");
    let request = Request::Add {
        peers: vec![NewPeer {
            name: name.to_owned(),
            public_key: Some(Text(private_key.public_key())),
            ..NewPeer::default()
        }],
    };
    let begin = Instant::now();
    let reply = client.ask(&request).expect("an answer");
    let done = Instant::now();
    assert!(matches!(reply, Reply::Changed { .. }), "{reply:?}");
    let read = |file: String| std::fs::read_to_string(folder.join(file)).expect("read a key");
    let gateway = read("server/publickey-server".to_owned())
        .trim()
        .parse()
        .expect("a key");
    let preshared_key = read(format!("peer_{name}/presharedkey-peer_{name}"));
    let preshared_key = PresharedKey::from_base64(preshared_key.trim()).expect("a key");
    peer.apply(&Update {
        private_key: Some(private_key),
        peers: vec![PeerUpdate {
            preshared_key: Some(preshared_key),
            endpoint: Some(([127, 0, 0, 1], 51820).into()),
            persistent_keepalive: Some(25),
            ..PeerUpdate::new(gateway)
        }],
        ..Update::default()
    })
    .expect("the peer's end is set up");
    while peer.status().peers[&gateway].latest_handshake.is_none() {
        assert!(done.elapsed() < Duration::from_secs(5), "{name} does not come in");
        std::thread::park_timeout(Duration::from_micros(200));
    }
    (done - begin, done.elapsed())
}

/// How long `wg syncconf` takes with the file that the gateway has written.
fn syncconf(host: &Host, folder: &Path) -> f64 {
    let text = std::fs::read_to_string(folder.join("wg_confs/wg0.conf")).expect("the gateway's configuration");
    let of_wg = |line: &&str| {
        !["Address", "PostUp", "PostDown", "ListenPort"]
            .iter()
            .any(|key| line.starts_with(key))
    };
    let text: Vec<&str> = text.lines().filter(of_wg).collect();
    let file = folder.join("sync.conf");
    std::fs::write(&file, text.join("\n")).expect("write a configuration");
    let wireguard_go = netlab::tool("wireguard-go").expect("asked for before");
    let mut device = host.command(wireguard_go).args(["-f", "wg1"]).spawn();
    netlab::wait_until("wireguard-go is there", Duration::from_secs(10), || {
        let shown = host.command("wg").args(["show", "wg1"]).output();
        shown.status.success().then_some(())
    });
    let begin = Instant::now();
    host.command("wg").args(["syncconf", "wg1"]).arg(&file).run();
    let took = begin.elapsed();
    device.terminate(Duration::from_secs(10));
    took.as_secs_f64()
}
