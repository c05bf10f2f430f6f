//! `adit serve` in the place of linuxserver's image: beside a resolver of the host, and without `PEERS`.
//!
//! ```text
//!   gateway: adit serve, on a plane of the host's; a resolver on 0.0.0.0:53
//!   client:  adit serve without PEERS, wg_confs/*.conf
//!   gateway: the same, and a resolver for others with USE_COREDNS=true
//! ```

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use netlab::{Command, Host};

use crate::gateway;
use crate::network::{NAME, Network};

/// A key as good as any other.
const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

fn serve(host: &Host, folder: &Path) -> Command {
    let serve = host.command(gateway::adit(host)).args(["serve", "--config-dir"]);
    serve.arg(folder).env("INTERNAL_SUBNET6", "none")
}

#[test]
fn a_taken_port_53_ends_the_gateway_only_if_dns_was_asked_for() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let host = &network.gateway;
    let folder = host.nobodys_folder("config");
    let _resolver = host.run(|| UdpSocket::bind("0.0.0.0:53").expect("port 53 is free"));
    let command = || {
        serve(host, &folder)
            .args(["--plane", &gateway::interface_plane()])
            .env("PEERS", "1")
    };
    let mut process = command().spawn();
    process.wait_for("ready", Duration::from_secs(10));
    assert_eq!(process.log().matches("10.13.13.1:53").count(), 1, "{}", process.log());
    assert!(process.terminate(Duration::from_secs(3)).success());
    let conf = fs::read_to_string(folder.join("peer1/peer1.conf")).expect("read a peer's file");
    assert!(
        conf.contains("DNS = 10.13.13.1\n"),
        "that resolver answers there: {conf}"
    );
    let output = command().env("USE_COREDNS", "true").output();
    assert!(!output.status.success());
    let said = output.stderr;
    assert!(
        said.contains("USE_COREDNS=false") && said.contains("10.13.13.1:53"),
        "{said}"
    );
}

fn write_tunnels(folder: &Path, tunnels: &[(&str, &str)]) {
    fs::create_dir_all(folder.join("wg_confs")).expect("make a directory");
    for (name, more) in tunnels {
        let text = format!("[Interface]\nPrivateKey = {KEY}\n{more}");
        fs::write(folder.join(name), text).expect("write a tunnel");
    }
}

/// The lines of a log about tunnels that come and go.
fn moves(log: &str) -> Vec<String> {
    let moves = log.lines().filter_map(|line| {
        let at = line.find("bringing ").or_else(|| line.find("taking "))?;
        Some(line[at..].trim_end().to_owned())
    });
    moves.collect()
}

#[test]
fn tunnels_come_up_in_order_and_go_in_reverse() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let host = &network.client;
    let folder = host.nobodys_folder("config");
    // Of before 2023.
    write_tunnels(&folder, &[("wg0.conf", "Address = 10.91.0.2/32\n")]);
    let mut process = serve(host, &folder).spawn();
    process.wait_for(" up after ", Duration::from_secs(10));
    assert!(!folder.join("wg0.conf").exists() && folder.join("wg_confs/wg0.conf").exists());
    assert!(process.terminate(Duration::from_secs(5)).success(), "{}", process.log());
    assert_eq!(moves(&process.log()), ["bringing wg0 up", "taking wg0 down"]);

    let more = [
        ("wg_confs/b.conf", "Address = 10.92.0.2/32\n"),
        ("wg_confs/a.conf", "Address = 10.93.0.2/32\n"),
    ];
    write_tunnels(&folder, &more);
    let mut process = serve(host, &folder).spawn();
    process.wait_for(" up after ", Duration::from_secs(10));
    assert!(process.terminate(Duration::from_secs(5)).success(), "{}", process.log());
    assert_eq!(
        moves(&process.log()),
        [
            "bringing a up",
            "bringing b up",
            "bringing wg0 up",
            "taking wg0 down",
            "taking b down",
            "taking a down",
        ]
    );
}

#[test]
fn a_client_answers_dns_on_all_addresses_if_it_is_asked_to() {
    crate::needs_a_lab!();
    netlab::requires!("dig");
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let host = &network.gateway;
    let folder = host.nobodys_folder("config");
    write_tunnels(&folder, &[("wg_confs/a.conf", "Address = 10.91.0.2/32\n")]);
    let port_53 = || host.run(|| UdpSocket::bind("127.0.0.1:53"));

    let mut process = serve(host, &folder).spawn();
    process.wait_for(" up after ", Duration::from_secs(10));
    drop(port_53().expect("nobody answers unless it is asked for"));
    assert!(process.terminate(Duration::from_secs(5)).success(), "{}", process.log());

    let taken = port_53().expect("port 53 is free");
    let output = serve(host, &folder).env("USE_COREDNS", "true").output();
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("USE_COREDNS=true: "), "{}", output.stderr);
    assert_eq!(moves(&output.stderr), [] as [String; 0], "nothing was brought up");
    drop(taken);

    let mut process = serve(host, &folder).env("USE_COREDNS", "True").spawn();
    process.wait_for(" up after ", Duration::from_secs(10));
    for (asker, addresses) in [
        (host, &["127.0.0.1", "10.91.0.2", "203.0.113.2"][..]),
        (&network.server, &["203.0.113.2", "2001:db8:3::2"]),
    ] {
        for address in addresses {
            for transport in ["+notcp", "+tcp"] {
                let server = format!("@{address}");
                let question = ["+short", "+time=9", transport, &server, NAME, "A"];
                let answer = asker.command("dig").args(question).run();
                assert_eq!(answer.trim(), "198.51.100.2", "{server} {transport}");
            }
        }
    }
    let health = || {
        let health = host.command(gateway::adit(host)).args(["health", "--config-dir"]);
        health.arg(&folder).run()
    };
    assert!(health().contains("dns: answers"), "{}", health());
    assert!(process.terminate(Duration::from_secs(5)).success(), "{}", process.log());
    drop(port_53().expect("it is free again"));
}

/// linuxserver/docker-wireguard 414.
#[test]
fn a_failed_tunnel_leaves_the_default_route() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let host = &network.client;
    let folder = host.nobodys_folder("config");
    let tunnels = [
        ("wg_confs/a.conf", "Address = 10.92.0.2/32\n"),
        ("wg_confs/b.conf", "Address = 10.93.0.2/32\n"),
        // Its text is right: what is wrong shows only when it comes up.
        ("wg_confs/c.conf", "Address = 10.94.0.2/32\nPostUp = false\n"),
    ];
    write_tunnels(&folder, &tunnels);
    let before = host.network_state();
    let output = serve(host, &folder).output();
    let said = output.stderr;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(
        moves(&said),
        [
            "bringing a up",
            "bringing b up",
            "bringing c up",
            "taking b down",
            "taking a down",
        ]
    );
    assert_eq!(host.network_state(), before, "{said}");
    let routes = host.command("ip").args(["route", "show", "default"]).run();
    assert!(routes.contains("default"), "{routes}");
}
