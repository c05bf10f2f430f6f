//! A client that we did not write: wireguard-go, configured by wg-quick.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use netlab::Host;

/// A tunnel that wg-quick brought up on a host.
pub(crate) struct Peer {
    pub(crate) host: Host,
    /// The interface's name, which is that of the file.
    pub(crate) interface: String,
    file: PathBuf,
    program: PathBuf,
}

impl Peer {
    /// Brings up `file` on `host` with wireguard-go.
    #[track_caller]
    pub(crate) fn up(host: &Host, file: &Path) -> Self {
        Self::up_with(host, file, &netlab::tool("wireguard-go").expect("asked for before"))
    }

    /// Brings up `file` on `host`; `program` makes the interface.
    #[track_caller]
    pub(crate) fn up_with(host: &Host, file: &Path, program: &Path) -> Self {
        let interface = file
            .file_stem()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        let peer = Self {
            host: host.clone(),
            interface,
            file: file.to_owned(),
            program: program.to_owned(),
        };
        peer.quick("up");
        peer
    }

    /// Takes the tunnel down again.
    #[track_caller]
    pub(crate) fn down(&self) {
        self.quick("down");
    }

    /// What `wg show INTERFACE WHAT` says.
    #[track_caller]
    pub(crate) fn show(&self, what: &str) -> String {
        self.host.command("wg").args(["show", &self.interface, what]).run()
    }

    /// Bytes that the tunnel received and sent.
    #[track_caller]
    pub(crate) fn transferred(&self) -> (u64, u64) {
        let text = self.show("transfer");
        let numbers: Vec<_> = text
            .split_whitespace()
            .skip(1)
            .map(|word| word.parse().expect("a number"))
            .collect();
        (numbers[0], numbers[1])
    }

    /// The gateway's public key, in base64.
    #[track_caller]
    pub(crate) fn gateway_key(&self) -> String {
        self.show("peers").trim().to_owned()
    }

    /// The gateway's UDP port.
    #[track_caller]
    pub(crate) fn gateway_port(&self) -> u16 {
        let port = self
            .show("endpoints")
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        port.expect("wg shows the gateway's endpoint")
    }

    /// Sends the client to the gateway by another way.
    #[track_caller]
    pub(crate) fn set_endpoint(&self, endpoint: &str) {
        let key = self.gateway_key();
        self.host
            .command("wg")
            .args(["set", &self.interface, "peer", &key, "endpoint", endpoint])
            .run();
    }

    /// The tunnel's own addresses, IPv4 first.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let text = std::fs::read_to_string(&self.file).expect("read a peer's file");
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("Address")?.trim_start().strip_prefix('='));
        let mut addresses: Vec<IpAddr> = lines
            .flat_map(|line| line.split(','))
            .filter_map(|text| text.split('/').next()?.trim().parse().ok())
            .collect();
        addresses.sort();
        addresses
    }

    #[track_caller]
    fn quick(&self, verb: &str) -> String {
        let command = self.host.command("wg-quick").arg(verb).arg(&self.file);
        command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", &self.program).run()
    }
}
