//! A client that we did not write: wireguard-go, configured by wg-quick.

use std::fs::Permissions;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use netlab::Host;

/// A tunnel that wg-quick brought up on a host.
pub(crate) struct Peer {
    pub(crate) host: Host,
    /// The interface's name, which is that of the file.
    pub(crate) interface: String,
    file: PathBuf,
    /// What makes the interface; the kernel, if `None`.
    program: Option<PathBuf>,
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
        Self::up_by(host, file, Some(program))
    }

    /// Brings up `file` on `host`; the kernel makes the interface.
    #[track_caller]
    pub(crate) fn up_in_kernel(host: &Host, file: &Path) -> Self {
        Self::up_by(host, file, None)
    }

    #[track_caller]
    fn up_by(host: &Host, file: &Path, program: Option<&Path>) -> Self {
        let interface = file
            .file_stem()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        let peer = Self {
            host: host.clone(),
            interface,
            file: file.to_owned(),
            program: program.map(Path::to_owned),
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
        let quick = netlab::tool("wg-quick").expect("asked for before");
        let quick = match &self.program {
            Some(program) => quick_that_calls(program, &quick, &self.host.folder().join("instead")),
            None => quick,
        };
        self.host.command(quick).arg(verb).arg(&self.file).run()
    }
}

/// wg-quick decides for the kernel's WireGuard where there is one. It prefers the programs of its own folder: a copy
/// of it in `folder` finds an `ip` there, by which `program` makes what the kernel is asked to make.
fn quick_that_calls(program: &Path, quick: &Path, folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).expect("make a folder");
    let (ip, copy) = (folder.join("ip"), folder.join("wg-quick"));
    let real = netlab::tool("ip").expect("asked for before");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in\n\"link add \"*\" type wireguard\")\n\
         [ \"$3\" = dev ] && shift\nexec {} \"$3\" ;;\nesac\nexec {} \"$@\"\n",
        program.display(),
        real.display()
    );
    std::fs::write(&ip, text).expect("write a program");
    std::fs::set_permissions(&ip, Permissions::from_mode(0o755)).expect("let a program be run");
    std::fs::copy(quick, &copy).expect("copy wg-quick");
    copy
}
