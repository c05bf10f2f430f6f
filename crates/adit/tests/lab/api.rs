//! Peers that bring their own keys, by the gateway's API: the provider of `adit attach` asks, and curl.
//!
//! ```text
//!   client ── TLS: a public key ──▶ gateway: adit serve --api
//!   client ══ tunnel, with the private key that never left ══ gateway ── server
//! ```

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use attach::Offer;
use attach::provider::gateway::Gateway;
use attach::provider::{Ask, Provider as _, ProviderError};
use netlab::{Host, Process, traffic};
use wg::Token;

use crate::gateway::{adit, as_its_user, plane};
use crate::network::{self, Network};
use crate::peer::Peer;

const API: &str = "203.0.113.2:8443";

/// The key of a peer that does not matter.
const SOME_KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

fn serve(network: &Network, folder: &Path) -> Process {
    let host = &network.gateway;
    let command = host
        .command(adit(host))
        .args(["serve", "--plane", &plane(), "--peers", "laptop", "--api", API])
        .args(["--endpoint", "203.0.113.2", "--config-dir"])
        .arg(folder)
        .env("LOG_CONFS", "false")
        .env("XDG_RUNTIME_DIR", folder);
    let mut process = as_its_user(command).spawn();
    process.wait_for("gateway ready", Duration::from_secs(20));
    process
}

/// What `adit peer token` prints.
#[track_caller]
fn token(host: &Host, folder: &Path, arguments: &[&str]) -> String {
    let command = host.command(adit(host)).args(["peer", "token"]).args(arguments);
    command.arg("--config-dir").arg(folder).run()
}

/// Where the client has its token.
fn keep(host: &Host, token: &str) -> PathBuf {
    let path = host.folder().join("home.token");
    std::fs::write(&path, token).expect("write a token");
    path
}

fn ask(again: Option<Offer>) -> Ask {
    Ask {
        holder: "0123456789abcdef".repeat(4),
        name: "web".to_owned(),
        again,
        ..Ask::default()
    }
}

/// Waits for what the provider does on this host.
pub(crate) fn wait<T: Send>(host: &Host, task: impl Future<Output = T> + Send) -> T {
    host.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(task)
    })
}

/// Brings up what was offered.
#[track_caller]
pub(crate) fn up(host: &Host, offer: &Offer) -> Peer {
    let list = |networks: &[wg::IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let [server] = offer.peers.as_slice() else {
        panic!("one gateway is one peer: {offer:?}");
    };
    let preshared = server.preshared_key.as_ref().map(wg::PresharedKey::danger_base64);
    let preshared = preshared
        .map(|key| format!("PresharedKey = {}\n", *key))
        .unwrap_or_default();
    let text = format!(
        "[Interface]\nPrivateKey = {}\nAddress = {}\n[Peer]\nPublicKey = {}\n{preshared}Endpoint = {}\n\
         AllowedIPs = {}\n",
        *offer.private_key.danger_base64(),
        list(&offer.addresses),
        server.public_key,
        server.endpoint,
        list(&server.allowed_ips),
    );
    let file = host.folder().join("offer.conf");
    std::fs::write(&file, text).expect("write a configuration");
    Peer::up(host, &file)
}

#[track_caller]
fn echoes(host: &Host) {
    host.run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
}

/// The status of a request by curl, which does not know the certificate.
#[track_caller]
fn status(host: &Host, method: &str, name: &str, secret: &str, body: &str) -> String {
    let url = format!("https://{API}/v1/peers/{name}");
    let authorization = format!("Authorization: Bearer {secret}");
    let command = host
        .command("curl")
        .args([
            "-sk",
            "--max-time",
            "30",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-X",
            method,
        ])
        .args(["-H", &authorization, "-H", "Expect:"]);
    let command = if body.is_empty() {
        command
    } else {
        command.args(["--data-binary", "@-"]).input(body)
    };
    let output = command.arg(&url).output();
    output.stdout
}

fn peers(host: &Host, folder: &Path) -> String {
    let command = host.command(adit(host)).args(["peer", "list", "--config-dir"]);
    command.arg(folder).run()
}

#[test]
fn a_container_s_key_is_born_at_the_container_and_its_address_outlives_it() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let (client, folder) = (&network.client, network.gateway.nobodys_folder("c"));
    let process = serve(&network, &folder);
    let path = keep(client, &token(&network.gateway, &folder, &[]));
    let gateway = Gateway::new(&path);
    let first = wait(client, gateway.connect(&ask(None))).expect("an offer");
    assert_eq!(first.server, "home/web-0123456789ab");
    let directory = folder.join("peer_web-0123456789ab");
    assert!(directory.join("presharedkey-peer_web-0123456789ab").exists());
    assert!(!directory.join("privatekey-peer_web-0123456789ab").exists());
    let tunnel = up(client, &first);
    echoes(client);
    tunnel.down();

    // The same peer with another key, at a gateway that has started again.
    drop(process);
    let process = serve(&network, &folder);
    let second = wait(client, gateway.connect(&ask(Some(first.clone())))).expect("an offer again");
    assert_ne!(first.private_key, second.private_key);
    assert_eq!(
        (&first.server, &first.addresses, &first.peers),
        (&second.server, &second.addresses, &second.peers)
    );
    let tunnel = up(client, &second);
    echoes(client);
    tunnel.down();

    // A daemon that has started again knows by the offer's server what there is, and gives it back.
    assert!(peers(&network.gateway, &folder).contains("web-0123456789ab"));
    let successor = Gateway::new(&path);
    successor.adopt(&ask(None).holder, &second.server);
    wait(client, successor.release(&ask(None).holder));
    assert!(!peers(&network.gateway, &folder).contains("web"), "{}", process.log());
    assert!(!directory.exists());
}

#[test]
fn a_wrong_token_or_certificate_is_refused_and_an_outage_is_not() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let (client, folder) = (&network.client, network.gateway.nobodys_folder("c"));
    let process = serve(&network, &folder);
    let old = token(&network.gateway, &folder, &[]);
    assert_eq!(
        old,
        token(&network.gateway, &folder, &[]),
        "a token is printed again as it was"
    );
    let new = token(&network.gateway, &folder, &["--new"]);
    let mut forged: Token = new.parse().expect("a token");
    forged.fingerprint[0] ^= 1;
    let connect = |token: &str| wait(client, Gateway::new(keep(client, token)).connect(&ask(None)));
    for (token, problem) in [
        (old.as_str(), "does not take this token"),
        (&forged.danger_text(), "is not the gateway that the token is from"),
        ("adit1:", "the token is damaged"),
    ] {
        let Err(ProviderError::Refused(text)) = connect(token) else {
            panic!("not refused: {problem}");
        };
        assert!(text.contains(problem) && text.contains("home.token"), "{text}");
        assert!(text.contains("adit peer token"), "the remedy is missing: {text}");
    }
    connect(&new).expect("the new token opens the gateway");
    drop(process);
    let failed = connect(&new);
    assert!(matches!(&failed, Err(ProviderError::Unavailable(_))), "{failed:?}");
}

#[test]
fn the_api_touches_its_own_peers_alone_and_takes_small_requests_with_the_token() {
    crate::needs_a_lab!();
    netlab::requires!("curl");
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let (client, folder) = (&network.client, network.gateway.nobodys_folder("c"));
    let process = serve(&network, &folder);
    let token: Token = token(&network.gateway, &folder, &["--host", "vpn.example.com:443"])
        .parse()
        .expect("a token");
    assert_eq!(token.endpoint.to_string(), "vpn.example.com:443");
    let secret = token.secret.danger_text();
    let conf = folder.join("peer_laptop/peer_laptop.conf");
    let before = std::fs::read(&conf).expect("the laptop's configuration");
    let key = format!("{{\"public_key\":\"{SOME_KEY}\"}}");
    let long = format!("{key}{}", " ".repeat(5_000));
    let good = secret.as_str();
    for (method, name, secret, body, expected) in [
        ("PUT", "laptop", good, key.as_str(), "403"),
        ("GET", "laptop", good, "", "404"),
        ("DELETE", "laptop", good, "", "404"),
        ("PUT", "x", good, &key, "200"),
        ("PUT", "x", good, &key, "200"),
        ("PUT", "y", good, &key, "409"),
        ("PUT", "y", good, "{}", "400"),
        ("PUT", "-y", good, &key, "400"),
        ("PUT", "y", good, &long, "413"),
        ("GET", "x", good, "", "200"),
        ("GET", "x", "", "", "401"),
        ("DELETE", "x", good, "", "204"),
        ("DELETE", "x", good, "", "404"),
    ] {
        assert_eq!(
            status(client, method, name, secret, body),
            expected,
            "{method} {name} {body}"
        );
    }
    assert_eq!(before, std::fs::read(&conf).expect("the laptop's configuration"));
    // Who guesses is not listened to for a minute; whoever comes from elsewhere is.
    for _ in 0..9 {
        assert_eq!(status(client, "GET", "x", "guess", ""), "401");
    }
    assert_eq!(status(client, "GET", "x", good, ""), "429", "{}", process.log());
    assert_eq!(status(&network.other, "GET", "x", good, ""), "404");
}

#[test]
fn slow_clients_are_hung_up_on_and_keep_nobody_else_out() {
    crate::needs_a_lab!();
    netlab::requires!("curl");
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let folder = network.gateway.nobodys_folder("c");
    let _process = serve(&network, &folder);
    let token: Token = token(&network.gateway, &folder, &[]).parse().expect("a token");
    let secret = token.secret.danger_text();
    let api: SocketAddr = API.parse().expect("an address");
    // As many as one host may have at once, and one more.
    let slow: Vec<TcpStream> = network.client.run(|| {
        let connect = |_| TcpStream::connect(api).expect("a connection");
        (0..17).map(connect).collect()
    });
    let end = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        let ended = match stream.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(ended, "a silent client is kept");
    };
    end(&slow[16]);
    assert_eq!(status(&network.other, "GET", "x", &secret, ""), "404");
    slow.iter().for_each(end);
    assert_eq!(status(&network.client, "GET", "x", &secret, ""), "404");
}
