//! Gateways in Docker, launched by the command line and by a hub.

use std::fs;
use std::time::Duration;

use netlab::{Process, wait_until};
use serde_json::{Value, json};

use crate::client::uses;
use crate::engine::{Engine, TAG};
use crate::hub::Hub;
use crate::needs_an_engine;
use crate::network::Network;
use crate::peer::Peer;

/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_secs(30);

/// `adit launch --on docker` with more words, in the folder `on-docker` of the Engine's host.
fn launch(engine: &Engine, words: &[&str]) -> Process {
    let folder = engine.host.folder().join("on-docker");
    fs::create_dir_all(&folder).expect("make a folder");
    let socket = engine.path("socket");
    let command = engine.host.command(engine.host.install(env!("CARGO_BIN_EXE_adit")));
    command
        .args([
            "launch", "--on", "docker", "--image", TAG, "--json", "--peer", "phone", "--docker",
        ])
        .arg(socket)
        .args(words)
        .env("ADIT_LAUNCH_DATA", folder.join("data"))
        .current_dir(&folder)
        .spawn()
}

/// The containers of leases.
fn containers(engine: &Engine) -> String {
    engine
        .docker(&["ps", "--all", "--quiet", "--filter", "label=adit.lease"])
        .run()
        .trim()
        .to_owned()
}

#[test]
fn the_command_line_launches_a_container_that_ends_with_it() {
    needs_an_engine!();
    let network = Network::new();
    let engine = Engine::start(&network);
    let mut launched = launch(&engine, &["--lifetime", "10m"]);
    launched.wait_for("\"event\":\"peer\"", SOON);
    let file = network.client.folder().join("phone.conf");
    fs::copy(engine.host.folder().join("on-docker/adit/phone.conf"), &file).unwrap();
    let peer = Peer::up(&network.client, &file);
    uses(&network.client, &file);
    launched.wait_for("\"event\":\"handshake\"", SOON);
    assert!(!containers(&engine).is_empty());
    launched.signal(libc::SIGINT);
    assert!(launched.wait(SOON).success(), "{}", launched.log());
    assert_eq!(containers(&engine), "");
    peer.down();
}

#[test]
fn a_killed_launch_leaves_a_container_that_other_commands_take_over_or_sweep_away() {
    needs_an_engine!();
    let network = Network::new();
    let engine = Engine::start(&network);
    let folder = engine.host.folder().join("on-docker");
    // They are not told which engine it was, nor how clients reach it.
    let command = |words: &[&str]| {
        let adit = engine.host.install(env!("CARGO_BIN_EXE_adit"));
        let command = engine.host.command(adit).arg("launch").args(words);
        command
            .env("ADIT_LAUNCH_DATA", folder.join("data"))
            .current_dir(&folder)
            .run()
    };
    let launch_and_kill = || {
        let mut launched = launch(
            &engine,
            &[
                "--lifetime",
                "10m",
                "--endpoint",
                "203.0.113.2:4500",
                "--listen",
                "4500",
            ],
        );
        launched.wait_for("\"event\":\"peer\"", SOON);
        launched.signal(libc::SIGKILL);
        launched.wait(SOON);
    };
    launch_and_kill();
    let listed: Value = serde_json::from_str(command(&["list", "--json"]).trim()).unwrap();
    assert_eq!(listed["state"], "ready", "{listed}");
    assert_eq!(listed["gateway"]["endpoint"], "203.0.113.2:4500");
    let id = listed["id"].as_str().unwrap();
    command(&["peer", "add", id, "tablet"]);
    let file = network.client.folder().join("tablet.conf");
    fs::copy(folder.join("adit/tablet.conf"), &file).unwrap();
    let peer = Peer::up(&network.client, &file);
    uses(&network.client, &file);
    peer.down();
    command(&["end", id]);
    assert_eq!(containers(&engine), "");
    assert!(command(&["list", "--all"]).contains("removed (asked)"));

    // Nothing knows of it but the engine: one command marks it, the next removes it.
    launch_and_kill();
    for name in ["leases.db", "leases.db-wal", "leases.db-shm"] {
        let _absent = fs::remove_file(folder.join("data").join(name));
    }
    command(&["list"]);
    assert_ne!(containers(&engine), "", "it is removed at once");
    command(&["list"]);
    assert_eq!(containers(&engine), "");
}

#[test]
fn a_hub_launches_containers_and_finds_those_of_a_lost_store() {
    needs_an_engine!();
    netlab::requires!("curl");
    let network = Network::new();
    let engine = Engine::start(&network);
    let socket = engine.path("socket").display().to_string();
    let mut hub = Hub::start(
        &network.gateway,
        &["--place", "docker", "--docker", &socket, "--image", TAG],
    );
    let body = json!({ "keys": "gateway", "peers": [{ "name": "phone" }] });
    let (status, lease) = hub.ask("POST", "leases", Some(&body));
    assert_eq!(status, 202, "{lease}");
    let id = lease["id"].as_str().unwrap().to_owned();
    hub.wait_for_state(&id, "ready");
    let (status, conf) = hub.ask("POST", &format!("leases/{id}/peers/phone/hand-over"), None);
    assert_eq!(status, 200, "{conf}");
    let file = network.client.folder().join("phone.conf");
    fs::write(&file, conf.as_str().unwrap()).unwrap();
    let peer = Peer::up(&network.client, &file);
    uses(&network.client, &file);
    peer.down();
    let (status, again) = hub.ask("POST", &format!("leases/{id}/peers/phone/hand-over"), None);
    assert_eq!(
        (status, again["code"].as_str()),
        (409, Some("already_handed_over")),
        "{again}"
    );
    // The store is lost: two looks at the place find and remove what it knew.
    hub.lose_store_and_return();
    assert!(!containers(&engine).is_empty());
    wait_until("the sweep has removed the container", Duration::from_secs(150), || {
        containers(&engine).is_empty().then_some(())
    });
}
