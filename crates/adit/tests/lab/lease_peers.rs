//! Peers of a lease that runs: let in, given another key and put out by other commands.
//!
//! ```text
//!   client ══ tunnel ══╗
//!                      gateway: adit launch ◀─ adit launch peer
//!   other  ══ tunnel ══╝
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use netlab::{Host, traffic};
use serde_json::Value;

use crate::gateway::{Gateway, adit, as_its_user};
use crate::network::{self, Network};
use crate::peer::Peer;

/// How long an echo of a datagram may take that is not to come.
const NEVER: Duration = Duration::from_secs(2);

#[track_caller]
fn reaches(host: &Host) {
    host.run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
}

#[track_caller]
fn private_key(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("read a configuration");
    let key = text.lines().find_map(|line| line.strip_prefix("PrivateKey = "));
    key.expect("it has a private key").to_owned()
}

/// Brings a configuration up where its client has taken it.
#[track_caller]
fn up(host: &Host, file: &Path) -> Peer {
    let taken = host.folder().join("tablet.conf");
    fs::copy(file, &taken).expect("take the configuration along");
    Peer::up(host, &taken)
}

#[test]
fn a_peer_is_let_into_a_running_lease_connects_gets_another_key_and_is_put_out() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let mut gateway = Gateway::launch_with(&network, &["--data", "data", "--mtu", "1400"]);
    let data = gateway.folder().join("data");
    let command = |words: &[&str]| {
        let command = network.gateway.command(adit(&network.gateway)).arg("launch");
        as_its_user(command.args(words).arg("--data").arg(&data))
    };
    let launch = |words: &[&str]| command(words).run();
    let lease: Value = serde_json::from_str(launch(&["list", "--json"]).trim()).expect("it is one lease");
    let id = lease["id"].as_str().expect("a lease has an id");
    let first = Peer::up(&network.client, &gateway.file("peer1"));
    reaches(&network.client);

    let added = launch(&["peer", "add", id, "tablet", "--json"]);
    let file = gateway.file("tablet");
    let key = private_key(&file);
    assert!(!added.contains(&key), "{added}");
    let added: Value = serde_json::from_str(added.trim()).expect("it is one peer");
    assert_eq!(added["config"].as_str().map(Path::new), Some(&*file));
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(fs::read_to_string(&file).expect("read it").contains("\nMTU = 1400\n"));
    let tablet = up(&network.other, &file);
    reaches(&network.other);
    tablet.down();

    // Whoever has lost the file gets another one.
    fs::remove_file(&file).expect("lose it");
    let lost = command(&["config", id, "tablet"]).output();
    let remedy = format!("adit launch peer rekey {id} tablet");
    assert!(lost.stderr.contains(&remedy), "{}", lost.stderr);
    launch(&["peer", "rekey", id, "tablet"]);
    assert_ne!(private_key(&file), key);
    assert_eq!(
        launch(&["config", id, "tablet"]).trim(),
        fs::read_to_string(&file).expect("read it").trim()
    );
    let tablet = up(&network.other, &file);
    reaches(&network.other);
    netlab::wait_until("the list tells that it was there", Duration::from_secs(10), || {
        let listed = launch(&["peer", "list", id]);
        let line = listed.lines().find(|line| line.starts_with("tablet"));
        line.is_some_and(|line| !line.contains("never")).then_some(())
    });

    launch(&["peer", "remove", id, "tablet"]);
    let late = network
        .other
        .run(|| traffic::echo_datagram(network::server_v4(7), b"hello", NEVER));
    assert!(late.is_err(), "who was put out is still in");
    assert!(!file.exists());
    reaches(&network.client);
    first.down();
    tablet.down();
    launch(&["peer", "add", id, "phone"]);
    launch(&["end", id]);
    assert!(
        gateway.process.wait(Duration::from_secs(10)).success(),
        "{}",
        gateway.process.log()
    );
    assert!(!gateway.file("phone").exists(), "it goes with the lease");
}
