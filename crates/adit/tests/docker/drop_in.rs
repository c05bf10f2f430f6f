//! In the place of linuxserver/wireguard: its compose file, and a `/config` that it has left.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::client::{setting, uses};
use crate::engine::Engine;
use crate::examples::{example, towards_the_engine};
use crate::network::Network;
use crate::peer::Peer;

#[test]
fn linuxserver_s_compose_file_needs_no_change_but_the_image() {
    crate::needs_an_engine!();
    netlab::requires!("docker-compose");
    let network = Network::new();
    let engine = Engine::start(&network);
    let folder = engine.host.folder().join("wireguard");
    fs::create_dir(&folder).expect("make a folder");
    let file = folder.join("docker-compose.yml");
    fs::copy(example("linuxserver.yml"), &file).expect("copy a compose file");
    let compose = |words: &[&str]| {
        let command = engine.tool("docker-compose").arg("--file").arg(&file);
        command.args(words).run()
    };
    compose(&["up", "--detach"]);
    let gateway = engine.container("wireguard");
    gateway.wait_for("gateway ready", 1);
    let peer = folder.join("config/peer1");
    for name in [
        "privatekey-peer1",
        "publickey-peer1",
        "presharedkey-peer1",
        "peer1.conf",
        "peer1.png",
    ] {
        assert!(peer.join(name).is_file(), "{name} is not there");
    }
    assert_eq!(
        setting(&peer.join("peer1.conf"), "Endpoint"),
        "wireguard.domain.com:51820"
    );
    let owner = fs::metadata(&peer).expect("look at a folder").uid();
    assert_eq!(owner, 1000, "PUID owns what is kept");
    let shown = gateway.run(&["/app/show-peer", "1"]);
    assert!(shown.contains('\u{2588}') || shown.contains('\u{2580}'), "{shown}");
    let copy = engine.host.folder().join("peer1.conf");
    fs::copy(peer.join("peer1.conf"), &copy).expect("copy a peer's file");
    towards_the_engine(&copy);
    let _peer = Peer::up(&network.client, &copy);
    uses(&network.client, &copy);
    compose(&["down"]);
}

#[test]
fn a_config_of_linuxserver_s_is_taken_over_and_its_clients_notice_nothing() {
    crate::needs_an_engine!();
    let network = Network::new();
    let engine = Engine::start(&network);
    let config = engine.host.folder().join("config");
    leave(&engine, &config);
    let read = |path: &str| fs::read_to_string(config.join(path)).expect("read a kept file");
    let kept = [
        "server/privatekey-server",
        "server/publickey-server",
        "peer_laptop/privatekey-peer_laptop",
        "peer_laptop/presharedkey-peer_laptop",
    ];
    let before = kept.map(read);
    let client = engine.host.folder().join("laptop.conf");
    fs::copy(config.join("peer_laptop/peer_laptop.conf"), &client).expect("copy a peer's file");
    let volume = format!("--volume={}:/config", config.display());
    let environment = ["--env=PEERS=laptop", "--env=SERVERURL=203.0.113.2"];
    let options = [&environment[..], &["--cap-add=NET_ADMIN", &volume]].concat();
    let gateway = engine.serve("wireguard", &options);
    // The client has its file from before.
    let _peer = Peer::up(&network.client, &client);
    uses(&network.client, &client);
    assert_eq!(kept.map(read), before);
    let after = config.join("peer_laptop/peer_laptop.conf");
    assert_eq!(setting(&after, "Address"), "10.13.13.7", "the address is kept");
    gateway.stop();
}

/// Writes what linuxserver/wireguard leaves for one peer, whose address is not the first.
#[track_caller]
fn leave(engine: &Engine, config: &Path) {
    let pair = || {
        let private = engine.host.command("wg").arg("genkey").run();
        let public = engine.host.command("wg").arg("pubkey").input(private.clone()).run();
        (private.trim().to_owned(), public.trim().to_owned())
    };
    let ((server, server_public), (client, client_public)) = (pair(), pair());
    let shared = engine.host.command("wg").arg("genpsk").run();
    let shared = shared.trim();
    let template = "[Interface]\nAddress = ${CLIENT_IP}\nPrivateKey = $(cat /config/${PEER_ID}/privatekey-${PEER_ID})\n\
                    ListenPort = 51820\nDNS = ${PEERDNS}\n\n[Peer]\nPublicKey = $(cat /config/server/publickey-server)\n\
                    PresharedKey = $(cat /config/${PEER_ID}/presharedkey-${PEER_ID})\n\
                    Endpoint = ${SERVERURL}:${SERVERPORT}\nAllowedIPs = ${ALLOWEDIPS}\n";
    let rules = |verb: &str| {
        format!(
            "iptables {verb} FORWARD -i %i -j ACCEPT; iptables {verb} FORWARD -o %i -j ACCEPT; \
             iptables -t nat {verb} POSTROUTING -o eth+ -j MASQUERADE"
        )
    };
    let interface = |key: &str| {
        format!(
            "[Interface]\nAddress = {}.1\nListenPort = 51820\nPrivateKey = {key}\nPostUp = {}\nPostDown = {}\n",
            if key.starts_with('$') {
                "${INTERFACE}"
            } else {
                "10.13.13"
            },
            rules("-A"),
            rules("-D")
        )
    };
    let saved = [
        ("SERVERURL", "203.0.113.2"),
        ("SERVERPORT", "51820"),
        ("PEERDNS", "10.13.13.1"),
        ("PEERS", "laptop"),
        ("INTERFACE", "10.13.13"),
        ("ALLOWEDIPS", "0.0.0.0/0, ::/0"),
        ("PERSISTENTKEEPALIVE_PEERS", ""),
    ];
    let saved: String = saved.map(|(name, value)| format!("ORIG_{name}=\"{value}\"\n")).concat();
    let server_conf = interface(&server);
    let files = [
        ("server/privatekey-server", format!("{server}\n")),
        ("server/publickey-server", format!("{server_public}\n")),
        ("peer_laptop/privatekey-peer_laptop", format!("{client}\n")),
        ("peer_laptop/publickey-peer_laptop", format!("{client_public}\n")),
        ("peer_laptop/presharedkey-peer_laptop", format!("{shared}\n")),
        (
            "peer_laptop/peer_laptop.conf",
            format!(
                "[Interface]\nAddress = 10.13.13.7\nPrivateKey = {client}\nListenPort = 51820\nDNS = 10.13.13.1\n\n\
                 [Peer]\nPublicKey = {server_public}\nPresharedKey = {shared}\nEndpoint = 203.0.113.2:51820\n\
                 AllowedIPs = 0.0.0.0/0, ::/0\n"
            ),
        ),
        ("templates/peer.conf", template.to_owned()),
        (
            "templates/server.conf",
            interface("$(cat /config/server/privatekey-server)"),
        ),
        (
            "coredns/Corefile",
            ". {\n    loop\n    errors\n    health\n    forward . /etc/resolv.conf\n}\n".to_owned(),
        ),
        (
            "wg_confs/wg0.conf",
            format!(
                "{server_conf}\n[Peer]\n# peer_laptop\nPublicKey = {client_public}\nPresharedKey = {shared}\n\
                 AllowedIPs = 10.13.13.7/32\n\n"
            ),
        ),
        (".donoteditthisfile", saved),
    ];
    for (path, text) in files {
        let path = config.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("make a folder");
        fs::write(path, text).expect("write a kept file");
    }
}
