//! Private Internet Access with WireGuard behind it: what the provider of `adit attach` gets is a tunnel that works.
//!
//! ```text
//!   gateway ── TLS: its key ──▶ server: PIA in small
//!   gateway ══ wireguard-go ══ server: wireguard-go, told by it of the key
//! ```

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use attach::provider::pia::{Config, Credentials, Endpoints, Pia};
use attach::provider::{Ask, Dial, Endpoint, Provider as _};
use netlab::serve::pia::{self, PiaServer};
use netlab::{Host, Process, traffic, wait_until};
use tokio::net::TcpStream;

use crate::api::{up, wait};
use crate::network::{self, Network};

/// The server's interface, and its UDP port.
const TUNNEL: &str = "wgs";
const PORT: u16 = 1337;

/// The server's address inside.
const VIP: &str = "10.1.1.1";

/// Starts a wireguard-go on the server, and gives its public key.
fn start_wireguard(host: &Host) -> (Process, String) {
    let mut process = host.command("wireguard-go").args(["--foreground", TUNNEL]).spawn();
    wait_until("wireguard-go serves its socket", Duration::from_secs(20), || {
        assert!(process.poll().is_none(), "wireguard-go has ended");
        let shown = host.command("wg").args(["show", TUNNEL]).output();
        shown.status.success().then_some(())
    });
    let private = host.command("wg").arg("genkey").run();
    let public = host.command("wg").arg("pubkey").input(private.clone()).run();
    let port = PORT.to_string();
    let set = ["set", TUNNEL, "listen-port", &port, "private-key", "/dev/stdin"];
    host.command("wg").args(set).input(private).run();
    host.add_address(TUNNEL, &format!("{VIP}/8"));
    host.ip(&format!("link set {TUNNEL} up"));
    (process, public.trim().to_owned())
}

/// The way into the client's tunnel.
struct Through(Host);

#[async_trait]
impl Dial for Through {
    async fn tcp(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self.0.run(|| std::net::TcpStream::connect(to))?;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }
}

fn provider(service: &pia::Pia, folder: &Path, at: SocketAddr) -> Pia {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("write a file");
        path
    };
    let credentials = write("credentials", &format!("{}\n{}\n", pia::USER, pia::PASSWORD));
    let mut config = Config::new(Credentials::File(credentials), folder.join("cache"));
    let endpoint = |path| {
        let endpoint = Endpoint::new(&format!("https://{}/{path}", pia::HOST));
        endpoint.expect("it is one").at(at)
    };
    config.endpoints = Endpoints {
        api: endpoint("api"),
        list: endpoint("servers"),
        ca: endpoint("ca.crt"),
        ca_sha256: service.authority_sha256(),
        roots: Some(write("web.pem", &service.web_pem())),
    };
    config.list_key = Some(write("list.pem", &service.list_key_pem()));
    config.region = "swiss".to_owned();
    Pia::open(config).expect("the provider")
}

#[test]
fn a_tunnel_of_pia_works_gets_another_key_and_forwards_a_port() {
    crate::needs_a_lab!();
    let network = Network::new();
    let (client, server) = (&network.gateway, &network.server);
    let (_wireguard, public) = start_wireguard(server);
    let ip = network::server_v4(0).ip();
    let hears = server.clone();
    let zurich = PiaServer {
        region: "swiss",
        cn: "zurich401".to_owned(),
        ip,
        vip: VIP.parse().expect("an address"),
        forwards: true,
        offline: false,
    };
    // A key replaces the one before.
    let service = Arc::new(pia::Pia::new([zurich], move |new| {
        for line in hears.command("wg").args(["show", TUNNEL, "peers"]).run().lines() {
            hears.command("wg").args(["set", TUNNEL, "peer", line, "remove"]).run();
        }
        let address = format!("{}/32", new.address);
        let set = ["set", TUNNEL, "peer", &new.key, "allowed-ips", &address];
        hears.command("wg").args(set).run();
        (public.clone(), PORT)
    }));
    let https = service.listen(Some(server), 0);
    let _ports = service.listen(Some(server), 19999);
    // Who comes to a server's own address meets that server.
    server.add_address("eth0", "198.51.100.3/32");
    network.internet.route("198.51.100.3 dev to-server");
    let pia = provider(&service, client.folder(), ([198, 51, 100, 3], https.port()).into());
    let mut ask = Ask {
        holder: "0123456789abcdef".repeat(4),
        name: "torrent".to_owned(),
        ..Ask::default()
    };
    let offer = wait(client, pia.connect(&ask)).expect("a tunnel");
    let peer = up(client, &offer);
    let echo = SocketAddr::new(VIP.parse().expect("an address"), 7);
    let echoes = || client.run(|| traffic::echo(echo, b"hello"));
    echoes().expect("the tunnel works");
    let forwarded = wait(client, pia.forward_port(&ask.holder, &offer, &Through(client.clone())));
    let forwarded = forwarded.expect("a port");
    let again = wait(client, pia.forward_port(&ask.holder, &offer, &Through(client.clone())));
    assert_eq!(again.expect("the same port").port, forwarded.port);
    assert_eq!(service.bound().len(), 2, "it is bound anew each time");
    peer.down();
    // As after hours of silence: the server knows the key no more.
    for line in server.command("wg").args(["show", TUNNEL, "peers"]).run().lines() {
        server.command("wg").args(["set", TUNNEL, "peer", line, "remove"]).run();
    }
    ask.again = Some(offer.clone());
    let renewed = wait(client, pia.connect(&ask)).expect("another key");
    assert_ne!(renewed.private_key.public_key(), offer.private_key.public_key());
    assert_eq!(renewed.server, offer.server);
    let peer = up(client, &renewed);
    echoes().expect("the tunnel works again");
    peer.down();
}
