//! The ways to run the image on a kernel without WireGuard: with `NET_ADMIN`, and with no privilege at all.
//!
//! ```text
//!   client ══ tunnel ══ gateway: dockerd, docker0 ── container: adit serve ── server
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::{comes_back, uses};
use crate::engine::{Container, Engine};
use crate::network::Network;
use crate::peer::Peer;

/// A test does not wait for half a minute.
const CHECK_OFTEN: &str = "--health-interval=1s";

/// One way: what `docker run` takes, and the plane that has to come of it.
struct Way {
    options: &'static [&'static str],
    plane: &'static str,
    /// Whether nobody runs it.
    rootless: bool,
}

/// Where the kernel has WireGuard, `kernel.rs` shows the better plane.
const NET_ADMIN: Way = Way {
    options: &["--cap-add=NET_ADMIN"],
    plane: "netstack plane",
    rootless: false,
};

const TUN: Way = Way {
    options: &[
        "--cap-add=NET_ADMIN",
        "--device=/dev/net/tun",
        "--sysctl=net.ipv4.ip_forward=1",
        "--env=ADIT_PLANE=tun",
    ],
    plane: "tun plane",
    rootless: false,
};

const ROOTLESS: Way = Way {
    options: &[
        "--user=65534:65534",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
    ],
    plane: "netstack plane",
    rootless: true,
};

#[test]
fn with_net_admin_alone_it_serves_on_the_netstack_plane_where_the_kernel_has_no_wireguard() {
    crate::needs_an_engine!();
    holds(&NET_ADMIN);
}

#[test]
fn with_net_admin_and_the_device_it_serves_on_the_tun_plane() {
    crate::needs_an_engine!();
    holds(&TUN);
}

#[test]
fn without_any_privilege_it_serves_on_the_netstack_plane() {
    crate::needs_an_engine!();
    holds(&ROOTLESS);
}

/// A client works through it, a restart keeps the keys, it is healthy, and it stops at once.
#[track_caller]
fn holds(way: &Way) {
    let network = Network::new();
    let engine = Engine::start(&network);
    let folder = folder(&network, way.rootless);
    let volume = format!("--volume={}:/config", folder.display());
    let mut options = vec![
        CHECK_OFTEN,
        "--env=PEERS=laptop,2",
        "--env=SERVERURL=203.0.113.2",
        &volume,
    ];
    options.extend(way.options);
    let gateway = engine.serve("gateway", &options);
    let log = gateway.log();
    assert!(log.contains(way.plane), "{log}");
    let file = folder.join("peer_laptop/peer_laptop.conf");
    let _peer = Peer::up(&network.client, &file);
    uses(&network.client, &file);
    gateway.wait_until_healthy();
    let before = std::fs::read_to_string(&file).expect("read a peer's file");
    let first = gateway.stop();
    gateway.start(2);
    let after = std::fs::read_to_string(&file).expect("read a peer's file");
    assert_eq!(before, after, "the keys are kept");
    comes_back(&network);
    uses(&network.client, &file);
    added(&network, &gateway, &folder);
    // Docker's own share grows with what else this machine does.
    let quicker = first.min(gateway.stop());
    assert!(quicker < Duration::from_secs(2), "stopping took {quicker:?}");
}

/// The folder for `/config`.
fn folder(network: &Network, rootless: bool) -> PathBuf {
    if rootless {
        return network.gateway.nobodys_folder("config");
    }
    let folder = network.gateway.folder().join("config");
    std::fs::create_dir(&folder).expect("make a folder");
    folder
}

/// A peer that is added while it serves works at once.
#[track_caller]
fn added(network: &Network, gateway: &Container<'_>, folder: &Path) {
    gateway.run(&["adit", "peer", "add", "tablet"]);
    let file = folder.join("peer_tablet/peer_tablet.conf");
    let _peer = Peer::up(&network.other, &file);
    uses(&network.other, &file);
}
