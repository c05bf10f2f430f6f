//! `adit device` under `wg`: a bare interface, configured over its socket.
//!
//! ```text
//!   here ── eth0 ───────── eth0 ── there
//!   wg0                             wg0      both `adit device`, both configured by `wg`
//! ```

use std::time::Duration;

use netlab::{Host, Lab, wait_until};
use wg::PrivateKey;

const ADIT: &str = env!("CARGO_BIN_EXE_adit");
const LIMIT: Duration = Duration::from_secs(10);

fn private(number: u8) -> String {
    PrivateKey::from_bytes([number; 32]).danger_base64().to_string()
}

fn public(number: u8) -> String {
    PrivateKey::from_bytes([number; 32]).public_key().to_string()
}

/// The host's interfaces and sockets of tunnels.
fn traces(host: &Host) -> String {
    let sockets = host.command("ls").args(["-A", "/run"]).run();
    let inside = host
        .command("find")
        .args(["/run/wireguard", "-type", "s"])
        .output()
        .stdout;
    format!("{:?} {sockets} {inside}", host.links())
}

#[test]
fn wg_sets_and_shows_an_interface_of_ours() {
    netlab::requires!("root", "/dev/net/tun", "wg");
    let lab = Lab::new();
    let host = lab.host("here");
    host.command(ADIT).args(["device", "wg0"]).run();
    let wg = |arguments: &[&str], input: &str| host.command("wg").args(arguments).input(input).run();
    assert_eq!(wg(&["show", "interfaces"], "").trim(), "wg0");
    let peer = public(2);
    wg(
        &[
            "set",
            "wg0",
            "private-key",
            "/dev/stdin",
            "listen-port",
            "51820",
            "fwmark",
            "0x7",
        ],
        &private(1),
    );
    wg(
        &[
            "set",
            "wg0",
            "peer",
            &peer,
            "preshared-key",
            "/dev/stdin",
            "endpoint",
            "192.0.2.2:51820",
            "allowed-ips",
            "10.0.0.2/32,fd00::/64",
            "persistent-keepalive",
            "25",
        ],
        &private(3),
    );
    let dump = wg(&["show", "wg0", "dump"], "");
    let (own, others) = dump.split_once('\n').unwrap();
    assert_eq!(
        own.split('\t').collect::<Vec<_>>(),
        [&*private(1), &*public(1), "51820", "0x7"]
    );
    let words: Vec<_> = others.trim().split('\t').collect();
    assert_eq!(
        words[..4],
        [&*peer, &*private(3), "192.0.2.2:51820", "10.0.0.2/32,fd00::/64"]
    );
    assert_eq!(words[7], "25");

    let conf = wg(&["showconf", "wg0"], "");
    let other = conf.replace("51820", "51821").replace("fd00::/64", "fd01::/64");
    wg(&["syncconf", "wg0", "/dev/stdin"], &other);
    assert_eq!(wg(&["showconf", "wg0"], ""), other);
    wg(&["setconf", "wg0", "/dev/stdin"], &conf);
    assert_eq!(wg(&["showconf", "wg0"], ""), conf);
    wg(&["set", "wg0", "peer", &peer, "remove"], "");
    assert_eq!(wg(&["show", "wg0", "peers"], ""), "");
}

#[test]
fn the_interface_the_socket_and_the_process_end_together() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let lab = Lab::new();
    let host = lab.host("here");
    let before = traces(&host);
    let end = |how: &str, act: &dyn Fn()| {
        host.command(ADIT).args(["device", "wg0"]).run();
        assert_eq!(
            host.processes().len(),
            1,
            "{how}: the caller has gone, the interface's process is there"
        );
        assert!(host.links().contains(&"wg0".to_owned()));
        act();
        wait_until(&format!("nothing is left after {how}"), LIMIT, || {
            let gone = host.processes().is_empty() && !host.links().contains(&"wg0".to_owned());
            gone.then_some(())
        });
        assert_eq!(traces(&host).replace("wireguard\n", ""), before, "{how}");
    };
    end("the interface was removed", &|| {
        host.ip("link delete wg0");
    });
    end("the socket was removed", &|| {
        host.command("rm").arg("/run/wireguard/wg0.sock").run();
    });
    end("SIGTERM", &|| {
        let pid = host.processes()[0].pid.to_string();
        host.command("kill").arg(&pid).run();
    });
}

#[test]
fn a_second_interface_of_the_name_is_refused_and_a_dead_ones_socket_is_not_in_the_way() {
    netlab::requires!("root", "/dev/net/tun");
    let lab = Lab::new();
    let host = lab.host("here");
    host.command(ADIT).args(["device", "wg0"]).run();
    let second = host.command(ADIT).args(["device", "wg0"]).output();
    assert_eq!(second.status.code(), Some(1));
    assert!(second.stderr.contains("wg0"), "{}", second.stderr);
    let pid = host.processes()[0].pid.to_string();
    host.command("kill").args(["-9", &pid]).run();
    wait_until("the interface is gone", LIMIT, || {
        (!host.links().contains(&"wg0".to_owned())).then_some(())
    });
    host.command(ADIT).args(["device", "wg0"]).run();
    assert_eq!(host.processes().len(), 1);
}

#[test]
fn in_the_foreground_it_stays_until_it_is_told_to_go() {
    netlab::requires!("root", "/dev/net/tun");
    let lab = Lab::new();
    let host = lab.host("here");
    for (arguments, variable) in [
        (&["device", "--foreground", "wg0"][..], "0"),
        (&["device", "wg0"][..], "1"),
    ] {
        let command = host
            .command(ADIT)
            .args(arguments)
            .env("WG_PROCESS_FOREGROUND", variable);
        let mut process = command.spawn();
        wait_until("the socket is there", LIMIT, || {
            host.command(ADIT)
                .args(["show", "wg0"])
                .output()
                .status
                .success()
                .then_some(())
        });
        assert!(process.terminate(LIMIT).success());
        assert!(!host.links().contains(&"wg0".to_owned()));
    }
}

#[test]
fn two_interfaces_that_wg_configured_talk() {
    netlab::requires!("root", "/dev/net/tun", "wg", "ping");
    let lab = Lab::new();
    let (here, there) = (lab.host("here"), lab.host("there"));
    here.link("eth0", &["192.0.2.1/24"], &there, "eth0", &["192.0.2.2/24"]);
    for (host, own, other) in [(&here, 1_u8, 2_u8), (&there, 2, 1)] {
        host.command(ADIT).args(["device", "wg0"]).run();
        let port = ["set", "wg0", "private-key", "/dev/stdin", "listen-port", "51820"];
        host.command("wg").args(port).input(private(own)).run();
        let endpoint = format!("192.0.2.{other}:51820");
        let networks = format!("10.0.0.{other}/32,fd00::{other}/128");
        let key = public(other);
        host.command("wg")
            .args([
                "set",
                "wg0",
                "peer",
                &key,
                "endpoint",
                &endpoint,
                "allowed-ips",
                &networks,
            ])
            .run();
        host.ip(&format!("address add 10.0.0.{own}/24 dev wg0"));
        host.ip(&format!("address add fd00::{own}/64 dev wg0"));
        host.ip("link set wg0 up");
    }
    here.command("ping").args(["-c3", "-i0.1", "-W5", "10.0.0.2"]).run();
    there
        .command("ping")
        .args(["-c3", "-i0.1", "-W5", "-s1300", "fd00::1"])
        .run();
    let shown = here.command(ADIT).args(["show", "--json"]).run();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(
        shown[0]["peers"][0]["received_bytes"].as_u64() > Some(3 * 1300),
        "{shown}"
    );
    assert!(shown[0]["peers"][0]["latest_handshake"].is_u64(), "{shown}");
    assert!(!shown.to_string().contains(&private(1)));
}
