//! The gateway under test, and how it is started.

use std::path::{Path, PathBuf};
use std::time::Duration;

use netlab::serve::Server;
use netlab::{Command, Host, Process, traffic};

use crate::network::{self, Network};
use crate::reference;

/// The binary under test: the one that cargo built, or `$ADIT_BIN`.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("ADIT_BIN")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_adit").into())
        .into()
}

/// The binary under test on `host`.
pub(crate) fn adit(host: &Host) -> PathBuf {
    host.install(binary())
}

/// The plane with an interface that the tests are to use, as `$ADIT_TEST_PLANE` has it.
pub(crate) fn host_plane() -> Option<String> {
    std::env::var("ADIT_TEST_PLANE")
        .ok()
        .filter(|plane| plane != "netstack")
}

/// The plane that the tests are to use: netstack, if `$ADIT_TEST_PLANE` names no other.
pub(crate) fn plane() -> String {
    host_plane().unwrap_or_else(|| "netstack".to_owned())
}

/// The plane with an interface that the tests are to use: tun, if `$ADIT_TEST_PLANE` names no other.
pub(crate) fn interface_plane() -> String {
    host_plane().unwrap_or_else(|| "tun".to_owned())
}

/// `command` as the user who can run a gateway on [`plane`]: nobody, or root.
pub(crate) fn as_its_user(command: Command) -> Command {
    if host_plane().is_some() {
        command
    } else {
        command.as_nobody()
    }
}

/// A gateway in the background of the host `gateway`.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    folder: PathBuf,
    /// What the reference serves beside it.
    _names: Option<(Server, Server)>,
}

impl Gateway {
    /// `adit launch` with two peers on the netstack plane, as nobody, without a capability; on the plane that
    /// `$ADIT_TEST_PLANE` names, as root, if it names another.
    #[track_caller]
    pub(crate) fn launch(network: &Network) -> Self {
        Self::launch_with(network, &[])
    }

    /// The same with more arguments.
    #[track_caller]
    pub(crate) fn launch_with(network: &Network, arguments: &[&str]) -> Self {
        if reference::wanted() {
            return Self::of_wireguard_go(network);
        }
        if let Some(plane) = host_plane() {
            return Self::start(network, &plane, arguments, |command| command);
        }
        Self::launch_as_nobody_with(network, arguments)
    }

    /// `adit launch` with two peers on the netstack plane, as nobody, whatever plane the tests are to use.
    #[track_caller]
    pub(crate) fn launch_as_nobody(network: &Network) -> Self {
        Self::launch_as_nobody_with(network, &[])
    }

    #[track_caller]
    fn launch_as_nobody_with(network: &Network, arguments: &[&str]) -> Self {
        let gateway = Self::start(network, "netstack", arguments, Command::as_nobody);
        let account = gateway.process.account();
        assert_eq!(account.capabilities, 0, "the gateway has capabilities: {account:?}");
        gateway
    }

    /// The gateway of [`Gateway::launch`], which may have so many descriptors and no more.
    #[track_caller]
    pub(crate) fn launch_with_descriptors(network: &Network, descriptors: usize) -> Self {
        let limit = format!("--nofile={descriptors}:{descriptors}");
        Self::start_by(network, &["prlimit", &limit], "netstack", &[], Command::as_nobody)
    }

    /// `adit launch` with two peers on a plane of the host's own, as root; [`reference::forward`] lets the kernel do
    /// the rest.
    #[track_caller]
    pub(crate) fn launch_on(network: &Network, plane: &str) -> Self {
        Self::start(network, plane, &[], |command| command)
    }

    #[track_caller]
    fn start(network: &Network, plane: &str, arguments: &[&str], who: fn(Command) -> Command) -> Self {
        Self::start_by(network, &["env"], plane, arguments, who)
    }

    /// Starts it by another program, which it takes the place of.
    #[track_caller]
    fn start_by(network: &Network, by: &[&str], plane: &str, arguments: &[&str], who: fn(Command) -> Command) -> Self {
        let host = &network.gateway;
        let folder = host.nobodys_folder("launch");
        let command = host.command(by[0]).args(&by[1..]).arg(adit(host));
        let command = command
            .args(["launch", "--plane", plane, "--peers", "2", "--output"])
            .arg(&folder);
        let mut process = who(command.args(arguments).current_dir(&folder)).spawn();
        process.wait_for("ready", Duration::from_secs(10));
        Self {
            process,
            folder,
            _names: None,
        }
    }

    /// wireguard-go and the kernel's forwarding, as root.
    #[track_caller]
    pub(crate) fn of_wireguard_go(network: &Network) -> Self {
        Self::of_device(network, Path::new("wireguard-go"))
    }

    /// The same with another program that makes an interface as wireguard-go does.
    #[track_caller]
    pub(crate) fn of_device(network: &Network, program: &Path) -> Self {
        let folder = network.gateway.nobodys_folder("device");
        let (process, names) = reference::start(network, program, &folder);
        Self {
            process,
            folder,
            _names: Some(names),
        }
    }

    /// The folder that it writes to.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of one peer.
    pub(crate) fn file(&self, peer: &str) -> PathBuf {
        self.folder.join(format!("{peer}.conf"))
    }

    /// Its own addresses in the tunnel: those that a peer's file names for DNS.
    pub(crate) fn own_addresses(&self) -> Vec<String> {
        dns_servers(&self.file("peer1"))
    }

    /// What it holds when it is at rest, a tunnel being up.
    #[track_caller]
    pub(crate) fn settled(&self, network: &Network) -> netlab::Account {
        network
            .client
            .run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
        let mut last = self.process.account();
        netlab::wait_until("the gateway is at rest", Duration::from_secs(10), || {
            std::thread::sleep(Duration::from_millis(200));
            let account = self.process.account();
            let same = account.descriptors == last.descriptors;
            last = account;
            same.then_some(())
        });
        last
    }

    /// Waits until the gateway holds as little as it did when `before` was taken.
    #[track_caller]
    pub(crate) fn wait_until_idle(&self, before: &netlab::Account, limit: Duration) {
        netlab::wait_until("the gateway's descriptors are closed", limit, || {
            (self.process.account().descriptors <= before.descriptors).then_some(())
        });
    }
}

/// The addresses that a peer's file names for DNS.
pub(crate) fn dns_servers(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("read a peer's file");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("DNS")?.trim_start().strip_prefix('='));
    let line = line.expect("a peer's file names the gateway for DNS");
    line.split(',').map(|address| address.trim().to_owned()).collect()
}
