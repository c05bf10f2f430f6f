//! A person launches a gateway, connects, and it ends: by the page, by the API, and by the command line.

use std::fs;

use netlab::wait_until;
use serde_json::{Value, json};

use crate::needs_a_lab;
use crate::network::Network;
use crate::peer::Peer;
use crate::stage::{Hub, SOON};
use crate::walk::{fetches, files_with, has_stopped, walk};

/// The hub of these tests: gateways are processes without a privilege.
const LOCAL: [&str; 2] = ["--plane", "netstack"];

#[test]
fn a_person_launches_in_the_page_and_connects_until_it_ends() {
    needs_a_lab!();
    needs_a_browser!();
    let network = Network::new();
    let hub = Hub::start(&network.gateway, &LOCAL);
    let walked = walk(&network, &hub.link, "local");
    let (visit, key) = (walked.visit, walked.key);
    let sent = String::from_utf8_lossy(&visit.sent()).into_owned();
    assert!(sent.contains("POST /api/v1/leases") && !sent.contains(&key));
    let exchanges = serde_json::to_string(&visit.exchanges()).unwrap();
    assert!(exchanges.contains("public_key") && !exchanges.contains(&key));
    assert_eq!(files_with(hub.data(), &key), Vec::<String>::new());
    assert!(!hub.process.log().contains(&key));
    let public = network.client.command("wg").arg("pubkey").input(key).run();
    assert_ne!(
        files_with(hub.data(), public.trim()),
        Vec::<String>::new(),
        "the search finds what is there"
    );
}

#[test]
fn a_program_launches_by_the_api_and_a_death_of_the_hub_changes_nothing() {
    needs_a_lab!();
    netlab::requires!("curl");
    let network = Network::new();
    let mut hub = Hub::start(&network.gateway, &LOCAL);
    let wg = |words: &[&str], input: &str| {
        network
            .client
            .command("wg")
            .args(words)
            .input(input)
            .run()
            .trim()
            .to_owned()
    };
    let private = wg(&["genkey"], "");
    let public = wg(&["pubkey"], &private);
    let body = json!({ "lifetime_secs": 600, "peers": [{ "name": "phone", "public_key": public }] });
    let (status, lease) = hub.ask("POST", "leases", Some(&body));
    assert_eq!(status, 202, "{lease}");
    let id = lease["id"].as_str().unwrap().to_owned();
    hub.die_and_return();
    hub.wait_for_state(&id, "ready");
    let (status, configuration) = hub.ask("GET", &format!("leases/{id}/peers/phone/configuration"), None);
    assert_eq!(status, 200, "{configuration}");
    let conf = configuration["text"]
        .as_str()
        .unwrap()
        .replace("{{PRIVATE_KEY}}", &private);
    let file = network.client.folder().join("phone.conf");
    fs::write(&file, conf).unwrap();
    let peer = Peer::up(&network.client, &file);
    fetches(&network.client);
    hub.die_and_return();
    fetches(&network.client);
    wait_until("the hub knows of the handshake", SOON, || {
        let (_, lease) = hub.ask("GET", &format!("leases/{id}"), None);
        lease["peers"][0]["first_handshake_at"].is_string().then_some(())
    });
    let (status, _) = hub.ask("DELETE", &format!("leases/{id}"), None);
    assert_eq!(status, 202);
    hub.wait_for_state(&id, "removed");
    has_stopped(&network.client);
    peer.down();
    let nodes = network.gateway.processes().len();
    assert_eq!(nodes, 1, "the hub alone is left");
}

#[test]
fn the_command_line_launches_by_the_hub() {
    needs_a_lab!();
    netlab::requires!("curl");
    let network = Network::new();
    let hub = Hub::start(&network.gateway, &LOCAL);
    let folder = network.gateway.folder().join("by-hub");
    let mut launch = hub
        .launch(&["--json", "--peer", "phone", "--lifetime", "10m", "--output"])
        .arg(&folder)
        .spawn();
    launch.wait_for("\"event\":\"peer\"", SOON);
    // The command removes its own file when the lease ends.
    let file = network.client.folder().join("phone.conf");
    fs::copy(folder.join("phone.conf"), &file).unwrap();
    let peer = Peer::up(&network.client, &file);
    fetches(&network.client);
    launch.wait_for("\"event\":\"handshake\"", SOON);
    let listed = hub.launch(&["list", "--json"]).run();
    let lease: Value = serde_json::from_str(listed.trim()).unwrap();
    let id = lease["id"].as_str().unwrap();
    hub.launch(&["extend", id, "1h"]).run();
    launch.wait_for("\"event\":\"extended\"", SOON);
    hub.launch(&["end", id]).run();
    launch.wait_for("\"reason\":\"asked\"", SOON);
    assert!(launch.wait(SOON).success());
    has_stopped(&network.client);
    peer.down();
    assert!(!folder.join("phone.conf").exists());
    let all = hub.launch(&["list", "--all"]).run();
    assert!(all.contains("removed (asked)"), "{all}");
    let refused = hub.launch(&["list"]).env("ADIT_HUB_TOKEN", "wrong").output();
    assert!(
        !refused.status.success() && refused.stderr.contains("token"),
        "{}",
        refused.stderr
    );
}
