//! `adit serve`, which keeps its state over restarts: its clients notice nothing but a pause.
//!
//! ```text
//!   client ══ tunnel ══ gateway (nobody): adit serve ✝ adit serve ── server
//! ```

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use netlab::{Process, traffic};

use crate::gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

fn serve(network: &Network, folder: &Path, peers: &str) -> Process {
    let host = &network.gateway;
    let command = host
        .command(gateway::adit(host))
        .args(["serve", "--plane", &gateway::plane(), "--config-dir"])
        .arg(folder);
    let command = command.env("PEERS", peers).env("SERVERPORT", "51820");
    let mut process = gateway::as_its_user(command).spawn();
    process.wait_for("ready", Duration::from_secs(10));
    process
}

#[test]
fn after_a_restart_the_client_goes_on_by_itself() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let folder = network.gateway.nobodys_folder("config");
    let mut process = serve(&network, &folder, "2");
    let file = folder.join("peer1/peer1.conf");
    let text = std::fs::read_to_string(&file).expect("read a peer's file");
    let _peer = Peer::up(&network.client, &file);
    let works = || {
        network
            .client
            .run(|| traffic::echo(network::server_v4(7), b"hello").is_ok())
    };
    assert!(works());
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        process.signal(signal);
        let status = process.wait(Duration::from_secs(3));
        assert!(
            status.success() || signal == libc::SIGKILL,
            "{status}: {}",
            process.log()
        );
        process = serve(&network, &folder, "2");
        assert_eq!(
            std::fs::read_to_string(&file).expect("read a peer's file"),
            text,
            "the file is kept"
        );
        // The client's keys are good for nothing now; it asks for new ones 15 seconds after its last word at the latest.
        netlab::wait_until("the client goes on", Duration::from_secs(40), || works().then_some(()));
    }
}

#[test]
fn peers_come_and_go_between_restarts_and_the_others_keep_theirs() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let folder = network.gateway.nobodys_folder("config");
    let file = |peer: &str| folder.join(format!("peer_{peer}/peer_{peer}.conf"));
    let mut process = serve(&network, &folder, "laptop,phone");
    let before = std::fs::read_to_string(file("phone")).expect("read a peer's file");
    // The file that wg-quick is given may not have more than 15 letters.
    let _phone = Peer::up(&network.client, &file("phone"));
    network
        .client
        .run(|| traffic::echo(network::server_v4(7), b"hello").expect("the phone comes in"));
    assert!(process.terminate(Duration::from_secs(3)).success());
    let mut process = serve(&network, &folder, "phone,tablet");
    assert_eq!(
        std::fs::read_to_string(file("phone")).expect("read a peer's file"),
        before,
        "the phone keeps its own"
    );
    let _tablet = Peer::up(&network.other, &file("tablet"));
    network
        .other
        .run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tablet comes in"));
    netlab::wait_until("the phone goes on", Duration::from_secs(40), || {
        network
            .client
            .run(|| traffic::echo(network::server_v4(7), b"hello").ok())
    });
    assert!(process.terminate(Duration::from_secs(3)).success());
    // Who is left out has no access; a new handshake shows it.
    let stranger = network.lab.host("stranger");
    network::connect(&network.internet, &stranger, "192.0.2.9", "2001:db8:1::9");
    let process = serve(&network, &folder, "phone,tablet");
    let laptop = Peer::up(&stranger, &file("laptop"));
    stranger.run(|| {
        let late = TcpStream::connect_timeout(&network::server_v4(7), Duration::from_secs(3));
        assert!(late.is_err(), "the laptop was left out");
    });
    assert_eq!(laptop.show("latest-handshakes").split_whitespace().nth(1), Some("0"));
    drop(process);
}
