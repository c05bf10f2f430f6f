//! The places at Azure: a fake of its Resource Manager, and machines behind it that really run.

#[path = "../docker/engine.rs"]
#[allow(dead_code, reason = "the tests in Docker use the rest")]
mod engine;
#[macro_use]
#[path = "../lab/network.rs"]
#[allow(dead_code, reason = "the lab's own tests use the rest")]
mod network;
#[path = "../hub/stage.rs"]
#[allow(dead_code, reason = "the hub's own tests use the rest")]
mod hub;
#[path = "../lab/peer.rs"]
#[allow(dead_code, reason = "the lab's own tests use the rest")]
mod peer;

mod alone;
mod clocks;
mod cloud;
mod container;
mod deaths;
mod faults;
mod group;
mod guest;
mod guide;
mod hand;
mod judged;
mod lanes;
mod left;
mod light;
mod lives;
mod machine;
mod rights;
mod seed;
mod stage;
mod through;
mod vm;

/// What every test with light machines needs.
#[macro_export]
macro_rules! needs_machines {
    () => {
        netlab::requires!("root", "/dev/net/tun", "ip", "curl");
    };
}

/// What every test with containers in an Engine needs.
#[macro_export]
macro_rules! needs_an_engine {
    () => {
        $crate::needs_a_lab!();
        netlab::requires!("curl", "dockerd", "containerd", "runc", "iptables", "docker");
        if std::env::var_os($crate::engine::IMAGE).is_none() {
            netlab::skip("ADIT_TEST_IMAGE, the archive that `cargo xtask image` writes");
            return;
        }
    };
}

/// What every test with virtual machines needs.
#[macro_export]
macro_rules! needs_guests {
    () => {
        $crate::needs_an_engine!();
        netlab::requires!(
            $crate::guest::IGNITION,
            "/lib/systemd/systemd",
            "qemu-system-x86_64",
            "busybox"
        );
        if std::env::var_os($crate::guest::RECIPE).is_none() {
            netlab::skip("ADIT_TEST_GUEST, the file of `cargo xtask test` that says how a guest is started");
            return;
        }
    };
}
