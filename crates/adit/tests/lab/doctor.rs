//! `adit doctor` tells what works here: as nobody, with and without ping sockets, and as root.
//!
//! ```text
//!   gateway (nobody, then root): adit doctor
//! ```

use netlab::Command;

use crate::gateway;
use crate::network::Network;

/// As whom a command runs.
type Who = fn(Command) -> Command;

/// The state of one plane or feature.
fn state(network: &Network, name: &str, who: Who) -> String {
    let command = network
        .gateway
        .command(gateway::adit(&network.gateway))
        .args(["doctor", "--json"]);
    let said = who(command).output().stdout;
    let said: serde_json::Value = serde_json::from_str(&said).expect("what --json prints is JSON");
    let all = ["planes", "features"]
        .map(|part| said[part].as_array().expect("a list").clone())
        .concat();
    let found = all
        .iter()
        .find(|one| one["name"] == name)
        .unwrap_or_else(|| panic!("{name} in {said}"));
    if found["state"] != "works" {
        assert!(
            found["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()),
            "{found} names no remedy"
        );
    }
    found["state"].as_str().expect("a state").to_owned()
}

#[test]
fn the_doctor_sees_what_each_user_may_do() {
    crate::needs_a_lab!();
    let network = Network::new();
    let (nobody, root): (Who, Who) = (Command::as_nobody, |command| command);
    for (pings, who, name, expected) in [
        (false, nobody, "netstack", "works"),
        (false, nobody, "tun", "missing"),
        (false, nobody, "ping IPv4", "limited"),
        (true, nobody, "ping IPv4", "works"),
        (true, nobody, "ping IPv6", "works"),
        (false, root, "netstack", "works"),
        (false, root, "tun", "works"),
        (false, root, "NET_ADMIN", "works"),
    ] {
        network.gateway.allow_ping_sockets(pings);
        assert_eq!(
            state(&network, name, who),
            expected,
            "{name}, ping sockets allowed: {pings}"
        );
    }
}
