//! A Docker Engine with an `adit attach` beside it, and a wireguard-go that serves configurations.
//!
//! ```text
//!   container: busybox ══ wg0 ════════════════ tunnel ══════════════╗
//!        └─ eth0 ── docker0 ── gateway: dockerd, adit attach ── server: wireguard-go, TCP echo
//! ```
//!
//! The way past the tunnel is open: a container that is not closed reaches the server by Docker's own masquerade.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

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
    pub(crate) server: Option<Process>,
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
    pub(crate) fn alone(configurations: usize) -> Self {
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

    pub(crate) fn start_server(&mut self) {
        let host = &self.network.server;
        // What one that was killed left behind is removed by `wg`, too: wireguard-go ends if that is quicker.
        let socket = format!("/run/wireguard/{TUNNEL}.sock");
        host.command("rm").args(["--force", &socket]).run();
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

    /// Waits until there is nothing of tunnels and their processes.
    #[track_caller]
    pub(crate) fn wait_until_nothing_is_left(&self) {
        wait_until("nothing is left", SOON, || (self.left() == NOTHING).then_some(()));
    }

    /// What is there of tunnels and their processes.
    fn left(&self) -> String {
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
const NOTHING: &str = "[] /run/adit/attach: /run/wireguard:";

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
