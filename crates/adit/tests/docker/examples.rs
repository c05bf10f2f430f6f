//! The compose files of `deploy/compose/`, as they are.

use std::path::{Path, PathBuf};

use crate::client::{setting, uses};
use crate::engine::{Container, Engine};
use crate::network::Network;
use crate::peer::Peer;

#[test]
fn the_compose_file_for_the_kernel_serves() {
    crate::needs_an_engine!();
    serves("kernel.yml", &["kernel plane", "tun plane", "netstack plane"]);
}

#[test]
fn the_compose_file_for_tun_serves() {
    crate::needs_an_engine!();
    serves("tun.yml", &["tun plane"]);
}

#[test]
fn the_compose_file_without_privileges_serves() {
    crate::needs_an_engine!();
    serves("rootless.yml", &["netstack plane"]);
}

/// Brings a file up, on one of `planes`, and a client through it.
#[track_caller]
fn serves(name: &str, planes: &[&str]) {
    netlab::requires!("docker-compose");
    let network = Network::new();
    let engine = Engine::start(&network);
    let folder = engine.host.folder().join("compose");
    std::fs::create_dir(&folder).expect("make a folder");
    let file = folder.join("docker-compose.yml");
    std::fs::copy(example(name), &file).expect("copy a compose file");
    let compose = |words: &[&str]| {
        let command = engine.tool("docker-compose").arg("--file").arg(&file);
        command.args(words).run()
    };
    compose(&["up", "--detach"]);
    let gateway = engine.container("adit");
    gateway.wait_for("gateway ready", 1);
    let log = gateway.log();
    assert!(planes.iter().any(|plane| log.contains(plane)), "{log}");
    let copy = fetched(&engine, &gateway, "laptop");
    let _peer = Peer::up(&network.client, &copy);
    uses(&network.client, &copy);
    compose(&["down", "--volumes"]);
}

/// Where a file of `deploy/compose/` is.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/compose")
        .join(name)
}

/// A peer's configuration out of the container, its endpoint being the host of the Engine.
#[track_caller]
fn fetched(engine: &Engine, gateway: &Container<'_>, peer: &str) -> PathBuf {
    let copy = engine.host.folder().join(format!("{peer}.conf"));
    let text = gateway.read(&format!("/config/peer_{peer}/peer_{peer}.conf"));
    std::fs::write(&copy, text).expect("write a peer's file");
    towards_the_engine(&copy);
    copy
}

/// Names the Engine's host as the endpoint in a peer's file, in place of the example's name.
#[track_caller]
pub(crate) fn towards_the_engine(file: &Path) {
    let endpoint = setting(file, "Endpoint");
    let text = std::fs::read_to_string(file).expect("read a peer's file");
    std::fs::write(file, text.replace(&endpoint, "203.0.113.2:51820")).expect("write a peer's file");
}
