//! The same file gives the same network by `adit up` and by `wg-quick up`.

use netlab::{Host, Lab};

use crate::{ADIT, host, private, public, state, write};

/// What both must agree on. Left out is what is random in both: link-local addresses and a port that was not asked for.
fn network(host: &Host, has_port: bool) -> String {
    // One command, for each costs a guest much.
    let script = "set -e
        for family in 4 6; do
            printf 'rule\\nroute show table all\\n' | ip -$family -batch -
        done
        ip -o address show dev wg0
        ip -o link show dev wg0
        wg showconf wg0
        nft list ruleset";
    let text = host.command("sh").args(["-c", script]).run();
    let is_random = |line: &str| line.contains("fe80:") || (!has_port && line.starts_with("ListenPort"));
    // The index counts the interfaces that there were.
    let index = |line: &str| {
        line.split_once(": wg0")
            .map_or(line.to_owned(), |(_, rest)| format!("wg0{rest}"))
    };
    text.lines()
        .filter(|line| !is_random(line))
        .map(index)
        .collect::<Vec<_>>()
        .join("\n")
}

/// What follows the private key in `[Interface]`, and what follows the public key in each `[Peer]`.
const CASES: &[(&str, &[&str])] = &[
    ("", &[]),
    ("Address = 10.9.0.2", &["AllowedIPs = 10.9.0.1/32"]),
    (
        "Address = 10.9.0.2/24",
        &["AllowedIPs = 10.9.0.0/24, 10.8.0.0/16\nEndpoint = 192.0.2.254:51820"],
    ),
    (
        "Address = 10.9.0.2/24, fd09::2/64",
        &["AllowedIPs = 10.9.0.1/32, fd09::1/128, fd0a::/48"],
    ),
    (
        "Address = fd09::2/64\nMTU = 1300",
        &["AllowedIPs = ::/0\nEndpoint = [2001:db8::fe]:51820"],
    ),
    (
        "Address = 10.9.0.2/32",
        &["AllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.254:51820\nPersistentKeepalive = 25"],
    ),
    (
        "Address = 10.9.0.2/32\nAddress = fd09::2/128\nListenPort = 51820",
        &["AllowedIPs = 0.0.0.0/0, ::/0"],
    ),
    ("Address = 10.9.0.2/32\nFwMark = 0x1234", &["AllowedIPs = 0.0.0.0/0"]),
    (
        "Address = 10.9.0.2/32\nFwMark = 0x1234\nTable = off",
        &["AllowedIPs = 0.0.0.0/0"],
    ),
    ("Address = 10.9.0.2/24\nTable = off", &["AllowedIPs = 10.8.0.0/16"]),
    (
        "Address = 10.9.0.2/24\nTable = 1000",
        &["AllowedIPs = 0.0.0.0/0, 10.8.0.0/16, ::/0"],
    ),
    (
        "Address = 10.9.0.2/24\nTable = auto",
        &["AllowedIPs = 10.0.0.0/8, 10.8.0.0/16, 10.9.0.0/25"],
    ),
    (
        "Address = 10.9.0.2/24",
        &["AllowedIPs = 0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1"],
    ),
    (
        "Address = 10.9.0.2/24\nListenPort = 4500",
        &[
            "AllowedIPs = 10.9.0.3/32\nEndpoint = 192.0.2.254:1",
            "AllowedIPs = 10.9.0.4/32, 10.10.0.0/16\nEndpoint = [2001:db8::fe]:2",
            "AllowedIPs = 10.9.0.5/32\nPersistentKeepalive = 5",
        ],
    ),
    (
        "Address = 10.9.0.2/24\nAddress = 10.9.1.2/24\nAddress = 10.9.0.3/24",
        &["AllowedIPs = 10.9.1.0/24"],
    ),
    (
        "address=10.9.0.2/24\n# comment\nmtu=1280\nDNS = 10.9.0.1",
        &["allowedips=10.8.0.1/32 # trailing"],
    ),
    (
        "Address = 10.9.0.2/24\nPostUp = ip route add 10.66.0.0/16 dev %i\nPreDown = true",
        &["AllowedIPs = 10.8.0.0/16"],
    ),
];

#[test]
fn both_make_the_same_of_a_file() {
    netlab::requires!("root", "/dev/net/tun", "wg", "wg-quick", "ip", "nft");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let device = host.folder().join("adit-device");
    std::os::unix::fs::symlink(ADIT, &device).unwrap();
    let before = state(&host);
    for (number, (interface, peers)) in CASES.iter().enumerate() {
        let mut text = format!("[Interface]\nPrivateKey = {}\n{interface}\n", private(1));
        for (peer, number) in peers.iter().zip(2..) {
            text += &format!("\n[Peer]\nPublicKey = {}\n{peer}\n", public(number));
        }
        let has_port = text.contains("ListenPort");
        let path = write(&host, "wg0", &text);

        let wg_quick = |word| {
            let command = host.command("wg-quick").arg(word).arg(&path);
            command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", &device).run()
        };
        wg_quick("up");
        let theirs = network(&host, has_port);
        wg_quick("down");
        // wg-quick leaves it on, and its shim of resolvconf empties the file.
        host.sysctl("net.ipv4.conf.all.src_valid_mark", "0");
        host.set_resolv_conf(crate::RESOLV_CONF);

        host.command(ADIT).arg("up").arg(&path).run();
        let ours = network(&host, has_port);
        assert_eq!(ours, theirs, "case {number}: {interface} {peers:?}");
        host.command(ADIT).arg("down").arg(&path).run();
        assert_eq!(state(&host), before, "case {number}: {interface} {peers:?}");
    }
}

#[test]
fn each_takes_down_what_the_other_brought_up() {
    netlab::requires!("root", "/dev/net/tun", "wg", "wg-quick", "ip", "nft");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let device = host.folder().join("adit-device");
    std::os::unix::fs::symlink(ADIT, &device).unwrap();
    let text = crate::everything().replace("DNS = 10.9.0.1, lan\n", "");
    let path = write(&host, "wg0", &text);
    let before = [host.ip("-4 rule"), host.ip("-6 rule"), host.ip("-brief link")];
    let wg_quick = |word| {
        let command = host.command("wg-quick").arg(word).arg(&path);
        command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", &device).run()
    };
    wg_quick("up");
    host.command(ADIT).arg("down").arg(&path).run();
    assert_eq!([host.ip("-4 rule"), host.ip("-6 rule"), host.ip("-brief link")], before);
    assert_eq!(host.command("nft").args(["list", "ruleset"]).run(), "");

    host.command(ADIT).arg("up").arg(&path).run();
    wg_quick("down");
    assert_eq!([host.ip("-4 rule"), host.ip("-6 rule"), host.ip("-brief link")], before);
    assert_eq!(host.command("nft").args(["list", "ruleset"]).run(), "");
    // What adit wrote down is no obstacle.
    host.command(ADIT).arg("up").arg(&path).run();
    host.command(ADIT).arg("down").arg(&path).run();
    assert_eq!([host.ip("-4 rule"), host.ip("-6 rule"), host.ip("-brief link")], before);
}
