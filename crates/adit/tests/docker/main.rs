//! The image in a real Docker Engine, with wireguard-go outside.
//!
//! `cargo xtask test` builds the image and gives its archive as `ADIT_TEST_IMAGE`. The Engine is started for each test
//! on the host `gateway` of the lab's network, so that its bridge and its rules are gone with it.

#[macro_use]
#[path = "../hub/browser.rs"]
#[allow(dead_code, reason = "the hub's own tests use the rest")]
mod browser;
#[path = "../hub/stage.rs"]
#[allow(dead_code, reason = "the hub's own tests use the rest")]
mod hub;
#[path = "../lab/network.rs"]
#[allow(dead_code, reason = "the lab's own tests use the rest")]
mod network;
#[path = "../lab/peer.rs"]
#[allow(dead_code, reason = "the lab's own tests use the rest")]
mod peer;
#[path = "../hub/walk.rs"]
#[allow(dead_code, reason = "the hub's own tests use the rest")]
mod walk;

mod client;
mod engine;
mod stage;

mod attach;
mod contents;
mod dockerfile;
mod driver;
mod drop_in;
mod examples;
mod kernel;
mod launch;
mod leases;
mod link;
mod lives;
mod names;
mod page;
mod ways;

/// What every test here needs of the machine.
#[macro_export]
macro_rules! needs_an_engine {
    () => {
        $crate::needs_a_lab!();
        netlab::requires!("dockerd", "containerd", "runc", "iptables", "docker", "dig", "ping");
        if std::env::var_os($crate::engine::IMAGE).is_none() {
            netlab::skip("ADIT_TEST_IMAGE, the archive that `cargo xtask image` writes");
            return;
        }
    };
}
