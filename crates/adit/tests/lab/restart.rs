//! `adit serve`, which keeps its state over restarts: its clients notice nothing but a pause.
//!
//! ```text
//!   client ══ tunnel ══ gateway (nobody): adit serve ✝ adit serve ── server
//! ```

use std::path::Path;
use std::time::Duration;

use netlab::{Process, traffic};

use crate::gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

fn serve(network: &Network, folder: &Path) -> Process {
    let host = &network.gateway;
    let command = host
        .command(gateway::adit(host))
        .args(["serve", "--plane", "netstack", "--config-dir"])
        .arg(folder);
    let mut process = command.env("PEERS", "2").env("SERVERPORT", "51820").as_nobody().spawn();
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
    let mut process = serve(&network, &folder);
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
        process = serve(&network, &folder);
        assert_eq!(
            std::fs::read_to_string(&file).expect("read a peer's file"),
            text,
            "the file is kept"
        );
        // The client's keys are good for nothing now; it asks for new ones 15 seconds after its last word at the latest.
        netlab::wait_until("the client goes on", Duration::from_secs(40), || works().then_some(()));
    }
}
