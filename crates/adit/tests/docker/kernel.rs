//! The image on a kernel with WireGuard, which handles the packets then; the clients are the kernel's and wireguard-go's.
//!
//! It runs in the guest of `cargo xtask test`, an order of magnitude slower than on hardware: nothing here is repeated
//! that `ways.rs` shows.

use crate::client::uses;
use crate::engine::Engine;
use crate::network::Network;
use crate::peer::Peer;
use crate::stage::{ASK, IMAGE, Stage};

#[test]
fn with_net_admin_it_serves_on_the_kernel_plane() {
    crate::needs_an_engine!();
    netlab::requires!("/sys/module/wireguard");
    let network = Network::new();
    let engine = Engine::start(&network);
    let folder = network.gateway.folder().join("config");
    std::fs::create_dir(&folder).expect("make a folder");
    let options = [
        "--cap-add=NET_ADMIN",
        "--sysctl=net.ipv4.ip_forward=1",
        "--env=PEERS=laptop,2",
        "--env=SERVERURL=203.0.113.2",
        "--env=LOG_CONFS=false",
        "--no-healthcheck",
        &format!("--volume={}:/config", folder.display()),
    ];
    let gateway = engine.serve("gateway", &options);
    let log = gateway.log();
    assert!(log.contains("kernel plane"), "{log}");
    let file = |peer: &str| folder.join(format!("{peer}/{peer}.conf"));
    let _peers = (
        Peer::up_in_kernel(&network.client, &file("peer_laptop")),
        Peer::up(&network.other, &file("peer2")),
    );
    uses(&network.client, &file("peer_laptop"));
    uses(&network.other, &file("peer2"));
    assert!(gateway.run(&["adit", "health"]).starts_with("healthy"));
    gateway.stop();
}

#[test]
fn containers_have_the_kernel_s_tunnel() {
    crate::needs_containers!();
    netlab::requires!("/sys/module/wireguard");
    let mut stage = Stage::on_plane("kernel", 2);
    let leaks = stage.leaks();
    let script = format!("while ! {ASK}; do sleep 0.1; done; sleep 600");
    stage
        .run("one", "pool", &["--detach", "--network", "none"], &script)
        .run();
    let status = stage.wait_for_state("one", "up");
    assert_eq!(status["plane"], "kernel");
    stage.kill_daemon();
    assert_eq!(stage.exec("one", ASK).stdout, "hello\n");
    stage.start_daemon();
    stage.wait_for_state("one", "up");
    // By a network of the driver, at the first attempt.
    let create = [
        "network",
        "create",
        "--driver",
        "adit",
        "--ipam-driver",
        "adit",
        "--opt",
        "conf=pool",
        "own",
    ];
    stage.engine.docker(&create).run();
    let run = stage
        .engine
        .docker(&["run", "--rm", "--network", "own", IMAGE, "sh", "-c"]);
    assert_eq!(
        run.arg(format!("{ASK} || exit 1; ls /sys/class/net")).run(),
        "hello\nlo\nwg0\n"
    );
    stage.engine.docker(&["rm", "--force", "one"]).run();
    stage.wait_until_nothing_is_left();
    assert_eq!(leaks.seen(), []);
}
