//! `adit attach` beside a real Docker Engine: containers whose only way out is their tunnel.
//!
//! ```text
//!   container: busybox ══ wg0 ════════════════ tunnel ══════════════╗
//!        └─ eth0 ── docker0 ── gateway: dockerd, adit attach ── server: wireguard-go, TCP echo
//! ```
//!
//! The way past the tunnel is open: a container that is not closed reaches the server by Docker's own masquerade.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use netlab::capture::{Capture, Seen};
use netlab::{Command, Process, wait_until};

use crate::engine::Engine;
use crate::network::Network;

/// What the image of busybox is called.
pub(crate) const IMAGE: &str = "busybox";

/// Asks the server for an echo, once, and says what came back.
pub(crate) const ASK: &str = "echo hello | timeout 10 nc -w 5 198.51.100.2 7";

/// The server's interface.
const TUNNEL: &str = "wgs";

/// The server's UDP port.
const PORT: u16 = 51_820;

/// What asks the tunnel's name server gets the lab's.
const NAMES: &str = "table ip names
delete table ip names
table ip names {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        ip daddr 10.77.0.1 dnat to 198.51.100.2
    }
}
";

/// How long something may take that takes a moment.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// An Engine, an `adit attach` beside it, and a wireguard-go that serves so many configurations.
pub(crate) struct Stage {
    pub(crate) engine: Engine,
    pub(crate) network: Network,
    pub(crate) daemon: Option<Process>,
    server: Option<Process>,
    keys: Vec<(String, String)>,
    server_key: String,
    pub(crate) folder: PathBuf,
    plane: &'static str,
}

impl Stage {
    pub(crate) fn new(configurations: usize) -> Self {
        Self::on_plane("tun", configurations)
    }

    pub(crate) fn on_plane(plane: &'static str, configurations: usize) -> Self {
        let network = Network::new();
        let engine = Engine::start_empty(&network);
        Self::with(network, engine, plane, configurations)
    }

    /// As [`Stage::new`], for many containers at once.
    fn alone(configurations: usize) -> Self {
        let network = Network::new();
        let engine = Engine::start_alone(&network);
        Self::with(network, engine, "tun", configurations)
    }

    fn with(network: Network, engine: Engine, plane: &'static str, configurations: usize) -> Self {
        let keys = (0..configurations).map(|_| key_pair(&network)).collect();
        let (server_key, server_public) = key_pair(&network);
        let folder = engine.path("tunnels");
        let mut stage = Self {
            engine,
            network,
            daemon: None,
            server: None,
            keys,
            server_key,
            folder,
            plane,
        };
        stage.import_busybox();
        stage.write_configurations(&server_public);
        stage.start_server();
        stage.start_daemon();
        stage
    }

    fn import_busybox(&self) {
        let root = self.engine.path("root");
        std::fs::create_dir_all(root.join("bin")).expect("make a root");
        let busybox = netlab::tool("busybox").expect("asked for before");
        std::fs::copy(busybox, root.join("bin/busybox")).expect("copy busybox");
        for name in [
            "sh", "nc", "ip", "cat", "sleep", "ping", "nslookup", "timeout", "grep", "head", "ls", "wc", "true",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("link a name");
        }
        let archive = self.engine.path("root.tar");
        let tar = self.engine.host.command("tar").arg("-C").arg(&root).arg("-cf");
        tar.arg(&archive).arg(".").run();
        self.engine.docker(&["import"]).arg(&archive).arg(IMAGE).run();
    }

    /// `pool/000.conf` and so on; the first is also `one.conf`, the last, with IPv6 in it, `six.conf`.
    fn write_configurations(&self, server_public: &str) {
        let pool = self.folder.join("pool");
        std::fs::create_dir_all(&pool).expect("make a folder");
        for (number, (private, _)) in self.keys.iter().enumerate() {
            let text = format!(
                "[Interface]\nPrivateKey = {private}\nAddress = {}/32\nDNS = 10.77.0.1\n[Peer]\nPublicKey = {server_public}\n\
                 Endpoint = 198.51.100.2:{PORT}\nAllowedIPs = 0.0.0.0/0\n",
                address(number)
            );
            std::fs::write(pool.join(format!("{number:03}.conf")), text).expect("write a configuration");
        }
        std::fs::copy(pool.join("000.conf"), self.folder.join("one.conf")).expect("copy a configuration");
        // The last with both families.
        let last = self.keys.len() - 1;
        let text = std::fs::read_to_string(pool.join(format!("{last:03}.conf"))).expect("read a configuration");
        let text = text.replace("/32\n", &format!("/32, {}/128\n", address_v6(last)));
        let text = text.replace("0.0.0.0/0", "0.0.0.0/0, ::/0");
        std::fs::write(self.folder.join("six.conf"), text).expect("write a configuration");
    }

    fn start_server(&mut self) {
        let host = &self.network.server;
        let mut server = host.command("wireguard-go").args(["--foreground", TUNNEL]).spawn();
        wait_until("wireguard-go serves its socket", SOON, || {
            assert!(server.poll().is_none(), "wireguard-go has ended");
            let shown = host.command("wg").args(["show", TUNNEL]).output();
            shown.status.success().then_some(())
        });
        let mut text = format!("[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n", self.server_key);
        for (number, (_, public)) in self.keys.iter().enumerate() {
            text += &format!(
                "[Peer]\nPublicKey = {public}\nAllowedIPs = {}/32, {}/128\n",
                address(number),
                address_v6(number)
            );
        }
        let set = host.command("wg").args(["setconf", TUNNEL, "/dev/stdin"]).input(text);
        set.run();
        host.add_address(TUNNEL, "10.77.0.1/16");
        host.add_address(TUNNEL, "fd77::1:1/64");
        host.ip(&format!("link set {TUNNEL} up"));
        // The server's names, at an address of the tunnel's own.
        host.command("nft").args(["-f", "/dev/stdin"]).input(NAMES).run();
        self.server = Some(server);
    }

    pub(crate) fn start_daemon(&mut self) {
        let attach = self
            .adit(&["attach"])
            .arg("--namespaces")
            .arg(self.engine.path("exec/netns"));
        let attach = attach.arg("--conf-dir").arg(&self.folder);
        let attach = attach.arg("--gateways").arg(self.engine.path("gateways"));
        let attach = attach.arg("--networks").arg(self.engine.path("networks.json"));
        let attach = attach.args([
            "--probe",
            "198.51.100.2:7",
            "--probe-name",
            "none",
            "--plane",
            self.plane,
        ]);
        let mut daemon = attach.spawn();
        daemon.wait_for("adit attach watches", SOON);
        wait_until("the daemon has its socket", SOON, || {
            self.status_of("nobody").is_some().then_some(())
        });
        self.daemon = Some(daemon);
    }

    /// Kills the daemon as nothing can prepare for.
    pub(crate) fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        let kill = self.engine.beside("pkill").args(["-KILL", "-f", "adit attach"]);
        kill.run();
        daemon.wait(SOON);
    }

    pub(crate) fn adit(&self, words: &[&str]) -> Command {
        let command = self.engine.beside(env!("CARGO_BIN_EXE_adit")).args(words);
        command
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.engine.path("socket").display()),
            )
            .limit(Duration::from_secs(60))
    }

    /// What `adit attach status` says of a container; `None` if the daemon does not answer, null if it knows none.
    pub(crate) fn status_of(&self, name: &str) -> Option<serde_json::Value> {
        let output = self.adit(&["attach", "status", "--json"]).output();
        let status: serde_json::Value = serde_json::from_str(&output.stdout).ok()?;
        let entries = status["containers"].as_array()?.clone();
        let found = entries.into_iter().find(|entry| entry["container"] == name);
        Some(found.unwrap_or_default())
    }

    #[track_caller]
    pub(crate) fn wait_for_state(&self, name: &str, state: &str) -> serde_json::Value {
        wait_until(&format!("{name} is {state}"), SOON, || {
            let status = self.status_of(name)?;
            (status["state"] == state).then_some(status)
        })
    }

    /// `docker run` with a label that asks for a tunnel by a configuration.
    pub(crate) fn run(&self, name: &str, conf: &str, options: &[&str], script: &str) -> Command {
        let label = format!("adit.conf={conf}");
        let command = self
            .engine
            .docker(&["run", "--name", name, "--label", "adit.enable=true", "--label", &label]);
        command.args(options).args([IMAGE, "sh", "-c", script])
    }

    pub(crate) fn exec(&self, name: &str, script: &str) -> netlab::Output {
        self.engine.docker(&["exec", name, "sh", "-c", script]).output()
    }

    /// Starts a container of `options` that has no tunnel.
    pub(crate) fn start_plain(&self, name: &str, options: &[&str], words: &[&str]) {
        let run = self.engine.docker(&["run", "--detach", "--name", name]).args(options);
        run.arg(IMAGE).args(words).run();
    }

    /// Frames of the gateway's interfaces that belong to a container and are none of WireGuard, nor between neighbours.
    pub(crate) fn leaks(&self) -> Capture {
        Capture::start(&self.engine.host, |packet| !is_allowed(packet))
    }

    /// What is there of tunnels and their processes.
    pub(crate) fn left(&self) -> String {
        let links = self.engine.host.links();
        let links: Vec<_> = links.into_iter().filter(|link| link.starts_with("adit")).collect();
        let listed = self
            .engine
            .beside("sh")
            .args([
                "-c",
                "ls /run/wireguard /run/adit/attach; ps -eo args | grep '[a]dit device'; true",
            ])
            .run();
        format!("{links:?} {}", listed.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// What `left` says when there is nothing.
pub(crate) const NOTHING: &str = "[] /run/adit/attach: /run/wireguard:";

/// The address of a configuration.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a4d_0100 + u32::try_from(number).expect("few"))
}

fn address_v6(number: usize) -> Ipv6Addr {
    Ipv6Addr::from((0xfd77 << 112) + u128::try_from(number + 2).expect("few"))
}

fn key_pair(network: &Network) -> (String, String) {
    let private = network.server.command("wg").arg("genkey").run().trim().to_owned();
    let public = network.server.command("wg").arg("pubkey").input(private.clone()).run();
    (private, public.trim().to_owned())
}

/// What may be seen on the gateway: WireGuard with the server, what does not leave a link, and neighbours among themselves.
fn is_allowed(packet: &Seen) -> bool {
    let is_docker = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[0] == 172,
        IpAddr::V6(address) => address.segments()[0] == 0xfd07,
    };
    let is_local = |address: IpAddr| match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_loopback(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local() || address.is_loopback(),
    };
    // A host says that there is no tunnel any more (port unreachable); none of that comes from a container.
    let hosts = [[198, 51, 100, 2], [203, 0, 113, 2]].map(IpAddr::from);
    let is_answer = hosts.contains(&packet.source) && packet.protocol == 1 && packet.ports == Some((3, 3));
    let is_tunnel = packet.ports.is_some_and(|(from, to)| from == PORT || to == PORT) && packet.protocol == 17;
    is_tunnel
        || is_answer
        || is_local(packet.destination)
        || (is_docker(packet.source) && is_docker(packet.destination))
}

#[test]
fn a_container_without_networks_has_its_tunnel_before_its_first_instruction() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let script = format!("{ASK} || exit 1; cat /etc/resolv.conf; ip route");
    let said = stage.run("one", "one", &["--rm", "--network", "none"], &script).run();
    assert_eq!(
        said,
        "hello\nnameserver 10.77.0.1\ndefault dev wg0 scope link \n".to_owned()
    );
    wait_until("nothing is left", SOON, || (stage.left() == NOTHING).then_some(()));
}

#[test]
fn a_container_on_a_bridge_reaches_its_neighbours_and_all_else_by_its_tunnel() {
    crate::needs_containers!();
    let mut stage = Stage::new(2);
    let leaks = stage.leaks();
    let script = format!("{ASK}; nc -ll -p 99 -e /bin/cat");
    stage.run("one", "one", &["--detach"], &script).run();
    let status = stage.wait_for_state("one", "up");
    assert_eq!(
        (&status["server"], &status["addresses"][0]),
        (&"one.conf".into(), &"10.77.1.0".into())
    );
    wait_until("the first question was answered", SOON, || {
        let log = stage.engine.docker(&["logs", "one"]).run();
        (log == "hello\n").then_some(())
    });
    let inspect = ["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "one"];
    let neighbour = stage.engine.docker(&inspect).run();
    let script = format!("echo near | nc -w 5 {} 99", neighbour.trim());
    let said = stage.run("two", "pool", &["--rm"], &script).run();
    assert_eq!(said, "near\n");
    // The server dies: everything is closed, and opens again when it is back.
    let mut server = stage.server.take().expect("it runs");
    server.signal(libc::SIGKILL);
    server.wait(SOON);
    assert_eq!(stage.exec("one", ASK).stdout, "");
    stage.start_server();
    wait_until("the tunnel is back", Duration::from_secs(60), || {
        (stage.exec("one", ASK).stdout == "hello\n").then_some(())
    });
    stage.engine.docker(&["rm", "--force", "one"]).run();
    wait_until("nothing is left", SOON, || (stage.left() == NOTHING).then_some(()));
    assert_eq!(leaks.seen(), []);
}

#[test]
fn containers_that_die_in_the_middle_leave_nothing() {
    crate::needs_containers!();
    let stage = Stage::new(3);
    let leaks = stage.leaks();
    for network in ["none", "bridge", "none", "bridge"] {
        stage
            .run("short", "pool", &["--rm", "--network", network], "exit 0")
            .run();
        stage
            .run("killed", "pool", &["--detach", "--network", network], "sleep 600")
            .run();
        stage.engine.docker(&["rm", "--force", "killed"]).run();
    }
    wait_until("nothing is left", SOON, || (stage.left() == NOTHING).then_some(()));
    // No configuration is lost to them.
    for name in ["aa", "bb", "cc"] {
        stage
            .run(name, "pool", &["--detach", "--network", "none"], "sleep 600")
            .run();
        stage.wait_for_state(name, "up");
    }
    assert_eq!(leaks.seen(), []);
}

#[test]
fn a_container_that_is_not_closed_is_seen_to_leak() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let leaks = stage.leaks();
    let said = stage.engine.docker(&["run", "--rm", IMAGE, "sh", "-c", ASK]).run();
    assert_eq!(said, "hello\n");
    assert!(!leaks.seen().is_empty());
}

#[test]
fn tunnels_outlive_the_daemon_and_are_taken_up_by_the_next() {
    crate::needs_containers!();
    let mut stage = Stage::new(2);
    stage.run("one", "one", &["--detach"], "sleep 600").run();
    let before = stage.wait_for_state("one", "up");
    stage.kill_daemon();
    assert_eq!(stage.exec("one", ASK).stdout, "hello\n");
    // It comes while nobody watches.
    let script = format!("while ! {ASK}; do sleep 0.1; done; sleep 600");
    stage
        .run("two", "pool", &["--detach", "--network", "none"], &script)
        .run();
    stage.start_daemon();
    let after = stage.wait_for_state("one", "up");
    assert_eq!(before["endpoint"], after["endpoint"]);
    let log = stage.daemon.as_ref().expect("it runs").log();
    assert!(log.contains("one: goes on with its tunnel to one.conf"), "{log}");
    stage.wait_for_state("two", "up");
    wait_until("the newcomer speaks", SOON, || {
        (stage.engine.docker(&["logs", "two"]).run() == "hello\n").then_some(())
    });
    stage.kill_daemon();
    stage.engine.docker(&["rm", "--force", "one", "two"]).run();
    stage.start_daemon();
    wait_until("nothing is left", SOON, || (stage.left() == NOTHING).then_some(()));
}

#[test]
fn a_tunnel_whose_process_is_killed_comes_back_as_it_was() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let leaks = stage.leaks();
    stage.run("one", "one", &["--detach"], "sleep 600").run();
    stage.wait_for_state("one", "up");
    let signal = |signal: &str, whom: &str| stage.engine.beside("pkill").args([signal, "-f", whom]).run();
    // It would make another at once.
    signal("-STOP", "adit attach");
    signal("-KILL", "adit device");
    assert_eq!(stage.exec("one", ASK).stdout, "", "it is closed");
    signal("-CONT", "adit attach");
    wait_until("the tunnel is back", SOON, || {
        (stage.exec("one", ASK).stdout == "hello\n").then_some(())
    });
    assert_eq!(leaks.seen(), []);
}

#[test]
fn wrong_labels_leave_a_container_closed_and_say_why() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let leaks = stage.leaks();
    for (name, label, error) in [
        (
            "aa",
            "adit.dns=one.one",
            "label adit.dns=one.one: it takes IP addresses, separated by commas",
        ),
        (
            "bb",
            "adit.regoin=swiss",
            "label adit.regoin: there is none of this name; ",
        ),
        ("cc", "adit.provider=pia", "the provider pia is not set up: "),
        ("dd", "adit.region=swiss", "the provider file has no regions: "),
        (
            "ee",
            "adit.conf=none",
            "adit.conf=none: there is neither none.conf nor a directory",
        ),
    ] {
        let run = stage.engine.docker(&["run", "--detach", "--name", name]);
        let run = run.args(["--label", "adit.enable=true", "--label", label]);
        run.args([IMAGE, "sh", "-c", &format!("{ASK}; sleep 600")]).run();
        let status = wait_until(&format!("{name} has an error"), SOON, || {
            stage.status_of(name).filter(|status| status["error"].is_string())
        });
        let said = status["error"].as_str().expect("it is a text");
        assert!(said.starts_with(error), "{said}");
        assert_eq!(stage.exec(name, ASK).stdout, "", "{name}");
        assert_eq!(stage.engine.docker(&["logs", name]).run(), "", "{name}");
    }
    assert_eq!(leaks.seen(), []);
}

#[test]
fn many_containers_come_and_go_at_once_and_leave_nothing() {
    crate::needs_containers!();
    let count = std::env::var("ADIT_TEST_CONTAINERS").map_or(12, |text| text.parse().expect("a number"));
    let wanted = std::env::var("ADIT_TEST_NETWORK").ok();
    let mut stage = Stage::alone(count);
    let leaks = stage.leaks();
    let names: Vec<_> = (0..count).map(|number| format!("c{number}")).collect();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                let by_turns = if name.ends_with(['0', '2', '4', '6', '8']) {
                    "none"
                } else {
                    "bridge"
                };
                let network = wanted.as_deref().unwrap_or(by_turns);
                let run = stage.run(
                    name,
                    "pool",
                    &["--detach", "--network", network],
                    &format!("while ! {ASK}; do sleep 0.1; done; sleep 600"),
                );
                run.limit(Duration::from_secs(900)).run();
            });
        }
    });
    let start = Instant::now();
    let began = begin.elapsed();
    for name in &names {
        let status = stage.wait_for_state(name, "up");
        assert!(status["error"].is_null(), "{status}");
        wait_until(&format!("{name} has its answer"), SOON, || {
            (stage.engine.docker(&["logs", name]).run() == "hello\n").then_some(())
        });
    }
    eprintln!(
        "{count} containers started in {began:?}; all tunnels were seen to be up {:?} later",
        start.elapsed()
    );
    // They lose their tunnels, and get them again.
    let mut server = stage.server.take().expect("it runs");
    server.signal(libc::SIGKILL);
    server.wait(SOON);
    for name in &names {
        assert_eq!(
            stage.exec(name, "echo hello | nc -w 1 198.51.100.2 7").stdout,
            "",
            "{name}"
        );
    }
    stage.start_server();
    for name in &names {
        wait_until("the tunnel is back", Duration::from_secs(60), || {
            (stage.exec(name, ASK).stdout == "hello\n").then_some(())
        });
    }
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                let remove = stage.engine.docker(&["rm", "--force", name]);
                remove.limit(Duration::from_secs(300)).run();
            });
        }
    });
    wait_until("nothing is left", SOON, || (stage.left() == NOTHING).then_some(()));
    assert_eq!(leaks.seen(), []);
}

#[test]
fn containers_one_after_the_other_answer_at_once_and_leave_nothing() {
    crate::needs_containers!();
    let count = std::env::var("ADIT_TEST_SEQUENCE").map_or(6, |text| text.parse().expect("a number"));
    let stage = Stage::new(2);
    let memory = || {
        let daemon = stage.engine.beside("pgrep").args(["-f", "adit attach --name"]).run();
        let status = stage
            .engine
            .beside("cat")
            .arg(format!("/proc/{}/status", daemon.trim()))
            .run();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .expect("it has memory")
    };
    let (mut delays, mut after_ten) = (Vec::new(), 0);
    for number in 0..count {
        let name = format!("c{number}");
        let run = stage.run(&name, "pool", &["--detach", "--network", "none"], ASK);
        run.run();
        wait_until("it has its answer", SOON, || {
            stage
                .engine
                .docker(&["logs", &name])
                .run()
                .contains("hello")
                .then_some(())
        });
        let (answered, started) = (moment_of_log(&stage, &name), moment_of_start(&stage, &name));
        delays.push((answered - started) / 1_000_000);
        stage.engine.docker(&["rm", "--force", &name]).run();
        if number == 9 {
            after_ten = memory();
        }
    }
    wait_until("nothing is left", SOON, || (stage.left() == NOTHING).then_some(()));
    delays.sort_unstable();
    eprintln!(
        "{count} containers: first answer {} ms after the start (median; 9 in 10 within {}, worst {}); the daemon \
         had {after_ten} kB after ten and has {} kB",
        delays[count / 2],
        delays[count * 9 / 10],
        delays[count - 1],
        memory()
    );
}

/// When the engine got the first line of a container, in nanoseconds of the clock.
fn moment_of_log(stage: &Stage, name: &str) -> i64 {
    let log = stage.engine.docker(&["logs", "--timestamps", name]).run();
    nanoseconds(stage, log.split_whitespace().next().expect("it has a line"))
}

/// When the engine started a container's process, of which its event tells just after that.
fn moment_of_start(stage: &Stage, name: &str) -> i64 {
    let inspect = ["inspect", "--format", "{{.State.StartedAt}}", name];
    nanoseconds(stage, stage.engine.docker(&inspect).run().trim())
}

fn nanoseconds(stage: &Stage, time: &str) -> i64 {
    let date = stage.engine.host.command("date").args(["+%s%N", "--date", time]).run();
    date.trim().parse().expect("a number")
}

/// What every test here needs of the machine.
#[macro_export]
macro_rules! needs_containers {
    () => {
        $crate::needs_a_lab!();
        netlab::requires!(
            "dockerd",
            "containerd",
            "runc",
            "iptables",
            "docker",
            "busybox",
            "nsenter",
            "pkill"
        );
    };
}
