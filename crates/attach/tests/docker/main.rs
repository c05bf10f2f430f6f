//! The network driver in a real Docker Engine.
//!
//! ```text
//!   host: dockerd ── adit.sock ── driver ── a TUN for each container, moved by dockerd into it
//! ```

mod engine;
mod provider;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use attach::driver::Network;
use netlab::{Host, Lab, wait_until};

use crate::{
    engine::{Engine, IMAGE},
    provider::{ADDRESS, MTU, Provider},
};

/// What every test here needs of the machine.
macro_rules! needs_an_engine {
    () => {
        netlab::requires!(
            "root",
            "/dev/net/tun",
            "ip",
            "tar",
            "busybox",
            "dockerd",
            "containerd",
            "runc",
            "iptables",
            "docker"
        );
    };
}

/// A host with an Engine and a driver.
struct Bench {
    /// Ends first, for it calls the driver at its end.
    engine: Engine,
    provider: Provider,
    host: Host,
    _lab: Lab,
}

impl Bench {
    #[track_caller]
    fn start() -> Self {
        let lab = Lab::new();
        let host = lab.host("host");
        let engine = Engine::start(&host);
        Self {
            provider: Self::provider(&host, &engine),
            engine,
            host,
            _lab: lab,
        }
    }

    #[track_caller]
    fn provider(host: &Host, engine: &Engine) -> Provider {
        Provider::start(host, &engine.plugins(), &Self::networks(host))
    }

    fn networks(host: &Host) -> PathBuf {
        host.folder().join("lib/networks.json")
    }

    /// Makes a network with the provider's own addresses.
    #[track_caller]
    fn network(&self, name: &str) {
        let create = ["network", "create", "--driver=adit", "--ipam-driver=adit"];
        let options = ["--opt=provider=pia", "--opt=region=swiss", name];
        self.engine.docker(&create).args(options).run();
    }

    /// The host's links that are the driver's.
    fn links(&self) -> usize {
        let links = self.host.command("ip").args(["-oneline", "link"]).run();
        links.lines().filter(|line| line.contains(": adit")).count()
    }
}

/// What a container's first process sees and does, once, without waiting for anything.
const FIRST_PROCESS: &str = "set -e; ls /sys/class/net; ip -o -4 addr show wg0; ip route; cat /sys/class/net/wg0/mtu; ping -c1 -W10 198.51.100.2";

#[test]
fn a_container_s_first_process_has_its_tunnel_and_nothing_else() {
    needs_an_engine!();
    let bench = Bench::start();
    bench.network("swiss");
    // As people type it who leave the addresses to Docker.
    let plain = [
        "network",
        "create",
        "-d",
        "adit",
        "-o",
        "provider=pia",
        "-o",
        "region=swiss",
    ];
    bench.engine.docker(&plain).arg("plain").run();
    for (network, address) in [("swiss", ADDRESS), ("plain", "172.")] {
        let run = ["run", "--rm", "--network", network, IMAGE, "sh", "-c", FIRST_PROCESS];
        let seen = bench.engine.docker(&run).run();
        let lines: Vec<_> = seen.lines().collect();
        assert_eq!(lines[..2], ["lo", "wg0"], "{network}: {seen}");
        assert!(lines[2].contains(&format!("inet {address}")), "{network}: {seen}");
        for route in ["0.0.0.0/1 dev wg0", "128.0.0.0/1 dev wg0"] {
            assert!(seen.contains(route), "{network}: {seen}");
        }
        assert!(!seen.contains("default"), "{network}: {seen}");
        assert!(lines.contains(&MTU.to_string().as_str()), "{network}: {seen}");
        assert!(seen.contains("1 packets received, 0% packet loss"), "{network}: {seen}");
    }
    wait_until("both have ended", Duration::from_secs(30), || {
        (bench.links() == 0).then_some(())
    });
    let life = |number| ["reserve swiss", "join", "leave", "release"].map(|what| format!("{what} {number}"));
    assert_eq!(bench.provider.said(), [life(0), life(1)].concat());
    bench.engine.docker(&["network", "rm", "swiss", "plain"]).run();
    let kept = std::fs::read_to_string(Bench::networks(&bench.host)).expect("read the networks");
    assert_eq!(kept, "{}");
}

#[test]
fn docker_prints_what_is_wrong() {
    needs_an_engine!();
    let bench = Bench::start();
    bench.network("swiss");
    bench.network("other");
    let create = |rest: &[&'static str]| [&["network", "create", "-d", "adit"], rest, &["n"]].concat();
    for (arguments, text) in [
        (
            create(&["-o", "regoin=swiss"]),
            "option regoin: there is none of this name; there are provider, region, conf, dns, lan, port-forward",
        ),
        (create(&["-o", "region=atlantis"]), "there is no region atlantis"),
        (
            create(&["--ipam-driver", "adit", "--subnet", "10.0.0.0/8"]),
            "leave --subnet and --ip-range out",
        ),
        (
            create(&["--ipam-driver", "adit", "--ipam-opt", "region=swiss"]),
            "adit takes its options by -o",
        ),
        (create(&["--ipam-driver", "adit", "--ipv6"]), "leave --ipv6 out"),
        (create(&["--internal"]), "leave --internal out"),
    ] {
        let said = bench.engine.refusal(&arguments);
        assert!(said.contains(text), "{}: {said}", arguments.join(" "));
    }
    bench.provider.is_down(true);
    let said = bench.engine.refusal(&["run", "--network", "swiss", IMAGE, "ls"]);
    assert!(said.contains("the provider is down"), "{said}");
    bench.provider.is_down(false);
    let run = [
        "run",
        "--detach",
        "--network",
        "swiss",
        "--name",
        "box",
        IMAGE,
        "sleep",
        "600",
    ];
    bench.engine.docker(&run).run();
    let said = bench.engine.refusal(&["network", "connect", "other", "box"]);
    assert!(said.contains("the container has a tunnel already"), "{said}");
    bench.engine.docker(&["rm", "--force", "box"]).run();
    assert_eq!(bench.links(), 0);
}

#[test]
fn containers_that_start_with_the_machine_have_their_tunnel() {
    needs_an_engine!();
    let mut bench = Bench::start();
    bench.network("swiss");
    let run = [
        "run",
        "--detach",
        "--restart=always",
        "--network",
        "swiss",
        "--name",
        "box",
    ];
    let serve = "ping -c1 -W10 198.51.100.2 && sleep 600";
    bench.engine.docker(&run).args([IMAGE, "sh", "-c", serve]).run();
    let pongs = |bench: &Bench| {
        let log = bench.engine.docker(&["logs", "box"]).run();
        log.matches("1 packets received").count()
    };
    wait_until("it has its answer", Duration::from_secs(30), || {
        (pongs(&bench) == 1).then_some(())
    });
    bench.engine.cut_off();
    drop(bench.provider);
    // The driver is there before the Engine, which answers nobody until it has started its containers.
    bench.provider = Bench::provider(&bench.host, &bench.engine);
    bench.engine.switch_on();
    wait_until("it has its answer again", Duration::from_secs(30), || {
        (pongs(&bench) == 2).then_some(())
    });
    // Docker's list tells the same as what was kept.
    let kept = std::fs::read(Bench::networks(&bench.host)).expect("read the networks");
    let kept: BTreeMap<String, Network> = serde_json::from_slice(&kept).expect("it was written whole");
    assert_eq!(bench.engine.networks(), kept);
    // What Docker finds left from before, it gives back first.
    let said = bench.provider.said();
    assert!(said.iter().any(|said| said.starts_with("reserve swiss")), "{said:?}");
}

#[test]
fn two_with_the_same_address_have_a_tunnel_each_also_when_the_driver_was_away() {
    needs_an_engine!();
    let mut bench = Bench::start();
    bench.network("swiss");
    let run = |name| {
        [
            "run",
            "--detach",
            "--network",
            "swiss",
            "--name",
            name,
            IMAGE,
            "sleep",
            "600",
        ]
    };
    let ping = |bench: &Bench, name| {
        let ping = ["exec", name, "ping", "-c1", "-W10", "198.51.100.2"];
        bench.engine.docker(&ping).run();
    };
    for name in ["one", "two"] {
        bench.engine.docker(&run(name)).run();
    }
    ping(&bench, "one");
    ping(&bench, "two");
    bench.engine.docker(&["rm", "--force", "one"]).run();
    ping(&bench, "two");
    let expected = [
        "reserve swiss 0",
        "join 0",
        "reserve swiss 1",
        "join 1",
        "leave 0",
        "release 0",
    ];
    assert_eq!(bench.provider.said(), expected);
    // An end while the driver is away, and one after it.
    drop(bench.provider);
    bench.provider = Bench::provider(&bench.host, &bench.engine);
    bench.engine.docker(&["restart", "--time=0", "two"]).run();
    ping(&bench, "two");
    bench.engine.docker(&["rm", "--force", "two"]).run();
    let said = bench.provider.said();
    assert_eq!(said[..2], ["leave 0", "release 0"], "it is the endpoint's: {said:?}");
    assert_eq!(
        said[2..],
        ["reserve swiss 1", "join 1", "leave 1", "release 1"],
        "{said:?}"
    );
}
