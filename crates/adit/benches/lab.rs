//! Measures the real binary in the lab, and prints tables in Markdown. `cargo xtask bench` calls it.
//!
//! ```text
//!   client: iperf3 ══ tunnel ══ gateway ── server: iperf3        all on the cores of this one machine
//! ```

#![allow(clippy::print_stdout, reason = "the tables are what it is for")]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/lab/gateway.rs"]
mod gateway;
#[path = "lab/many.rs"]
mod many;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/lab/network.rs"]
mod network;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/lab/peer.rs"]
mod peer;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/lab/reference.rs"]
mod reference;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gateway::Gateway;
use netlab::Host;
use network::Network;
use peer::Peer;

/// How long one measurement of throughput lasts, and how often each is repeated.
const SECONDS: &str = "4";
const REPEATS: usize = 3;

fn main() {
    if let Some(missing) = netlab::missing(&["root", "/dev/net/tun", "wg-quick", "wireguard-go", "iperf3", "nft"]) {
        println!("Not measured: needs {missing}.");
        return;
    }
    // `cargo test --bench lab many` measures one of them.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let measurements: [(&str, fn()); 3] = [("start", start), ("many", many::measure), ("throughput", throughput)];
    for (name, measure) in measurements {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            measure();
        }
    }
}

/// The median.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn start() {
    let mut memory = Vec::new();
    let times = (0..11).map(|_| {
        let network = Network::new();
        let begin = Instant::now();
        let gateway = Gateway::launch(&network);
        let took = begin.elapsed();
        memory.push(idle_kib(&gateway));
        took.as_secs_f64() * 1000.0
    });
    let times = times.collect();
    println!("| what | measured | goal |\n|---|---|---|");
    println!(
        "| `adit launch` from exec to ready, 2 peers, as nobody | {:.0} ms | 200 ms |",
        median(times)
    );
    println!(
        "| memory of an idle gateway (VmRSS) | {:.1} MB | 15 MB |\n",
        median(memory) / 1024.0 * 1.048_576
    );
}

/// How much memory it keeps when it has nothing to do.
fn idle_kib(gateway: &Gateway) -> f64 {
    netlab::wait_until("the gateway is at rest", Duration::from_secs(10), || {
        let before = gateway.process.account();
        std::thread::sleep(Duration::from_millis(300));
        (gateway.process.account() == before).then_some(before.resident_kib as f64)
    })
}

fn throughput() {
    let wireguard_go = netlab::tool("wireguard-go").expect("asked for before");
    let ours = |host: &Host| host.install_as(gateway::binary(), "adit-device");
    type Start = fn(&Network) -> Gateway;
    let gateways: [(&str, Start); 3] = [
        ("wireguard-go, the kernel forwards (root)", Gateway::of_wireguard_go),
        ("adit, tun plane, the kernel forwards (root)", |network| {
            Gateway::of_device(network, &network.gateway.install_as(gateway::binary(), "adit-device"))
        }),
        ("adit, netstack plane (nobody)", Gateway::launch),
    ];
    println!(
        "| client | gateway | up, Gb/s | down, Gb/s | up, 4 streams | down, 4 streams |\n|---|---|---|---|---|---|"
    );
    for (name, start) in gateways {
        for (client, ours_there) in [("wireguard-go", false), ("adit, tun plane", true)] {
            let network = Network::new();
            let gateway = start(&network);
            let program: PathBuf = if ours_there {
                ours(&network.client)
            } else {
                wireguard_go.clone()
            };
            let _peer = Peer::up_with(&network.client, &gateway.file("peer1"), Path::new(&program));
            let mut server = network.server.command("iperf3").args(["-s", "--forceflush"]).spawn();
            server.wait_for("listening", Duration::from_secs(5));
            let cells = [&[][..], &["-R"], &["-P4"], &["-P4", "-R"]].map(|arguments| {
                let rates = (0..REPEATS).map(|_| rate(&network.client, arguments)).collect();
                format!("{:.2}", median(rates))
            });
            println!("| {client} | {name} | {} |", cells.join(" | "));
        }
    }
}

/// What iperf3 received, in Gb/s. Its server is busy for a moment after each measurement, and refuses.
fn rate(client: &Host, arguments: &[&str]) -> f64 {
    netlab::wait_until("iperf3 measures", Duration::from_secs(60), || {
        let command = client
            .command("iperf3")
            .args(["-c", "198.51.100.2", "-J", "-O1", "-t", SECONDS])
            .args(arguments);
        let said = command.limit(Duration::from_secs(60)).output().stdout;
        let said: serde_json::Value = serde_json::from_str(&said).ok()?;
        Some(said["end"]["sum_received"]["bits_per_second"].as_f64()? / 1e9)
    })
}
