//! A client whose server moves to another address of the same name.
//!
//! ```text
//!                  ┌─ 203.0.113.9  nobody, as vpn.example has it at first
//!   client: adit serve, client mode
//!                  └─ 203.0.113.2  gateway: adit launch, and DNS
//! ```

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use netlab::serve::{self, Server};
use netlab::{Host, Process, traffic};

use crate::gateway::{Gateway, adit};
use crate::network::{self, Network, ip};

/// The server's name.
const NAME: &str = "vpn.example";

fn name_server(network: &Network, address: IpAddr) -> (Server, Server) {
    serve::dns(&network.gateway, &[(NAME, &[address])])
}

/// A directory with the tunnel `office`, which takes everything, its resolver too.
fn directory(gateway: &Gateway, host: &Host) -> PathBuf {
    let conf = std::fs::read_to_string(gateway.file("peer1")).expect("read a peer's file");
    let lines = conf.lines().map(|line| {
        if line.starts_with("Endpoint") {
            format!("Endpoint = {NAME}:51820\nPersistentKeepalive = 2\n")
        } else {
            format!("{line}\n")
        }
    });
    let text: String = lines
        .filter(|line| !line.starts_with("PersistentKeepalive = 25"))
        .collect();
    let directory = host.folder().join("config");
    std::fs::create_dir_all(directory.join("wg_confs")).expect("make a directory");
    std::fs::write(directory.join("wg_confs/office.conf"), text).expect("write a file");
    directory
}

fn health(host: &Host, directory: &PathBuf) -> (bool, String) {
    let said = host
        .command(adit(host))
        .args(["health", "--config-dir"])
        .arg(directory)
        .output();
    (said.status.success(), said.stdout + &said.stderr)
}

#[test]
fn a_server_that_moves_is_found_again_by_its_name() {
    crate::needs_a_lab!();
    let network = Network::new();
    // On netstack, for the host's own resolver to have port 53 to itself.
    let gateway = Gateway::launch_as_nobody(&network);
    let client = &network.client;
    client.set_resolv_conf("nameserver 203.0.113.2\n");
    let before = name_server(&network, ip("203.0.113.9"));
    let directory = directory(&gateway, client);
    let serve = client
        .command(adit(client))
        .args(["serve", "--config-dir"])
        .arg(&directory);
    let mut process: Process = serve.spawn();
    process.wait_for("office is up", Duration::from_secs(20));
    assert!(health(client, &directory).0, "a first handshake has its time");
    drop(before);
    let _after = name_server(&network, ip("203.0.113.2"));
    process.wait_for("no handshake with vpn.example", Duration::from_secs(60));
    netlab::wait_until("the tunnel works", Duration::from_secs(30), || {
        client.run(|| traffic::echo(network::server_v4(7), b"hello").ok())
    });
    process.wait_for("office: handshake from 203.0.113.2:51820", Duration::from_secs(20));
    let (healthy, said) = health(client, &directory);
    assert!(healthy && said.contains("office: handshake "), "{said}");
}
