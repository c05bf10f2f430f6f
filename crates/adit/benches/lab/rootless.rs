//! A gateway on sockets alone, between a client and a server: `tests/lab/network.rs` draws it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use netlab::relay::{self, Relay};
use netlab::{Host, Process};
use wg::PrivateKey;

use crate::contender::Contender;
use crate::gateway::Gateway;
use crate::network::{self, Network};
use crate::pair::key;
use crate::peer::Peer;

/// Where the client reaches the internet, which the relay stands on.
const RELAY: &str = "192.0.2.254:51900";

/// The network with a gateway, and a client whose tunnel is up.
pub(crate) struct Rootless {
    pub(crate) network: Network,
    /// The gateway's process; onetun's, which is the client's, for that contender.
    pub(crate) process: Process,
    /// Where traffic for the server's port is sent.
    target: fn(u16) -> SocketAddr,
    _others: Vec<Box<dyn std::any::Any>>,
}

impl Rootless {
    /// Brings up a gateway and a client of the same contender.
    ///
    /// # Errors
    ///
    /// If there is no such contender, or a program is not installed.
    pub(crate) fn new(contender: &str) -> Result<Self, String> {
        let network = Network::new();
        match contender {
            "adit" => {
                let gateway = Gateway::launch(&network);
                let peer = client(&network, Contender::Adit, &gateway.file("peer1"))?;
                let folder = gateway.folder().to_owned();
                Ok(Self::through(network, gateway.process, (peer, folder)))
            }
            "wireguard-go-netstack" => {
                let (process, file) = of_wireguard_go(&network)?;
                let peer = client(&network, Contender::WireguardGo, &file)?;
                Ok(Self::through(network, process, peer))
            }
            "onetun" => {
                let gateway = Gateway::of_wireguard_go(&network);
                let process = onetun(&network.client, &gateway.file("peer1"))?;
                Ok(Self {
                    network,
                    process,
                    target: |port| SocketAddr::from(([127, 0, 0, 1], port)),
                    _others: vec![Box::new(gateway)],
                })
            }
            _ => Err(format!("no contender is called {contender}")),
        }
    }

    fn through(network: Network, process: Process, other: impl Sized + 'static) -> Self {
        Self {
            network,
            process,
            target: network::server_v4,
            _others: vec![Box::new(other)],
        }
    }

    /// Where the client finds the server's port.
    pub(crate) fn target(&self, port: u16) -> SocketAddr {
        (self.target)(port)
    }

    /// Both ends of the tunnel.
    pub(crate) fn hosts(&self) -> [&Host; 2] {
        [&self.network.client, &self.network.gateway]
    }

    /// Lays a path between the client and the gateway, in the place of the straight one.
    pub(crate) fn lay(&self, path: relay::Path) -> Relay {
        let host = &self.network.client;
        let show = |what: &str| host.command("wg").args(["show", "peer1", what]).run();
        let (key, endpoint) = (show("peers"), show("endpoints"));
        let endpoint = endpoint.split_whitespace().last().and_then(|word| word.parse().ok());
        let endpoint: SocketAddr = endpoint.expect("the client's peer has an endpoint");
        let listen = RELAY.parse().expect("an address");
        let relay = Relay::start(&self.network.internet, listen, endpoint, path);
        host.command("wg")
            .args(["set", "peer1", "peer", key.trim(), "endpoint", RELAY])
            .run();
        relay
    }
}

fn client(network: &Network, program: Contender, file: &Path) -> Result<Peer, String> {
    let found = program.program(&network.client);
    let found = found.ok_or_else(|| format!("{program:?} is not installed"))?;
    Ok(Peer::up_with(&network.client, file, &found))
}

/// Starts wireguard-go's netstack form, as nobody, and writes the client's file.
fn of_wireguard_go(network: &Network) -> Result<(Process, std::path::PathBuf), String> {
    let host = &network.gateway;
    let program = netlab::tool("wireguard-go-netstack").ok_or("wireguard-go's netstack form is not built")?;
    let folder = host.nobodys_folder("netstack");
    let (here, there): (PrivateKey, PrivateKey) = (key(), key());
    let uapi = format!(
        "private_key={}\nlisten_port=51820\npublic_key={}\nallowed_ip=10.13.13.2/32\n",
        here.danger_hex().as_str(),
        there.public_key().to_hex()
    );
    let conf = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.13.13.2/32\n\
         [Peer]\nPublicKey = {}\nEndpoint = 203.0.113.2:51820\nAllowedIPs = 0.0.0.0/0\n",
        there.danger_base64().as_str(),
        here.public_key()
    );
    let (settings, file) = (folder.join("uapi"), folder.join("peer1.conf"));
    std::fs::write(&settings, uapi).map_err(|error| error.to_string())?;
    std::fs::write(&file, conf).map_err(|error| error.to_string())?;
    let script = format!("exec {} < {}", host.install(program).display(), settings.display());
    let mut process = host.command("sh").args(["-c", &script]).as_nobody().spawn();
    process.wait_for("ready", Duration::from_secs(10));
    Ok((process, file))
}

/// Starts onetun on the client: it carries a port of the loopback to the server, and is the tunnel's end itself.
fn onetun(host: &Host, file: &Path) -> Result<Process, String> {
    let program = netlab::tool("onetun").ok_or("onetun is not installed")?;
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let value = |name: &str| {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
        found.unwrap_or_default().trim().to_owned()
    };
    let addresses = value("Address");
    let address = addresses.split('/').next().unwrap_or_default();
    let arguments = [
        "127.0.0.1:5201:198.51.100.2:5201:TCP".to_owned(),
        "--endpoint-addr=203.0.113.2:51820".to_owned(),
        format!("--endpoint-public-key={}", value("PublicKey")),
        format!("--private-key={}", value("PrivateKey")),
        format!("--source-peer-ip={address}"),
        "--keep-alive=5".to_owned(),
    ];
    let mut process = host.command(program).args(arguments).spawn();
    process.wait_for("Tunneling", Duration::from_secs(10));
    Ok(process)
}
