//! The lab itself: links, routers, servers, the relay, privileges, and that nothing is left behind.
//!
//! ```text
//!   left ─ eth0 ──── eth0 ─ router ─ eth1 ──── eth0 ─ right
//!        192.0.2.2/24   .1         .1   198.51.100.0/24  .2
//!     2001:db8:1::2/64  ::1       ::1   2001:db8:2::/64  ::2
//! ```

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use netlab::relay::{Path, Relay};
use netlab::{Host, Lab, Offloads, serve, traffic};

const SECOND: Duration = Duration::from_secs(1);

/// The drawing above.
fn three(lab: &Lab) -> (Host, Host, Host) {
    let (left, router, right) = (lab.host("left"), lab.router("router"), lab.host("right"));
    left.link(
        "eth0",
        &["192.0.2.2/24", "2001:db8:1::2/64"],
        &router,
        "eth0",
        &["192.0.2.1/24", "2001:db8:1::1/64"],
    );
    right.link(
        "eth0",
        &["198.51.100.2/24", "2001:db8:2::2/64"],
        &router,
        "eth1",
        &["198.51.100.1/24", "2001:db8:2::1/64"],
    );
    for (host, gateways) in [
        (&left, ["192.0.2.1", "2001:db8:1::1"]),
        (&right, ["198.51.100.1", "2001:db8:2::1"]),
    ] {
        for gateway in gateways {
            host.route(&format!("default via {gateway}"));
        }
    }
    (left, router, right)
}

/// Both addresses of the host on the right, with a port.
fn right_at(port: u16) -> [SocketAddr; 2] {
    [
        SocketAddr::from(([198, 51, 100, 2], port)),
        SocketAddr::from(([0x2001, 0xdb8, 2, 0, 0, 0, 0, 2], port)),
    ]
}

#[test]
fn hosts_reach_each_other_over_a_router_in_both_families() {
    netlab::requires!("root", "ip", "ping");
    let lab = Lab::new();
    let (left, _router, right) = three(&lab);
    for address in ["198.51.100.2", "2001:db8:2::2"] {
        left.command("ping").args(["-c1", "-W2", address]).run();
    }
    let (echo, discard, datagrams, web) = (
        serve::tcp_echo(&right, 7),
        serve::tcp_discard(&right, 9),
        serve::udp_echo(&right, 7),
        serve::http(&right, 80),
    );
    left.run(|| {
        for server in right_at(7) {
            traffic::echo(server, &[7; 100_000]).expect("echo over TCP");
            for size in [0, 1, 1472, 65_507] {
                traffic::echo_datagram(server, &vec![1; size], SECOND).expect("echo over UDP");
            }
        }
        for server in right_at(80) {
            let size = 5_000_001;
            assert_eq!(
                traffic::download(server, size).expect("download"),
                traffic::pattern_digest(size)
            );
            assert_eq!(
                traffic::upload(server, size).expect("upload"),
                traffic::pattern_digest(size)
            );
        }
    });
    assert_eq!(
        (echo.served(), datagrams.served(), web.served(), discard.served()),
        (2, 8, 4, 0)
    );
}

#[test]
fn closed_and_unreachable_ports_are_told() {
    netlab::requires!("root", "ip");
    let lab = Lab::new();
    let (left, router, _right) = three(&lab);
    router.route("unreachable 203.0.113.0/24");
    router.route("blackhole 203.0.114.0/24");
    left.run(|| {
        for (server, kind) in [
            (right_at(81)[0], ErrorKind::ConnectionRefused),
            (right_at(81)[1], ErrorKind::ConnectionRefused),
            (SocketAddr::from(([203, 0, 113, 1], 80)), ErrorKind::HostUnreachable),
        ] {
            let start = Instant::now();
            assert_eq!(
                traffic::connect(server).expect_err("nobody listens").kind(),
                kind,
                "{server}"
            );
            assert!(start.elapsed() < 5 * SECOND, "{server} took {:?}", start.elapsed());
        }
        let dead = SocketAddr::from(([203, 0, 114, 1], 80));
        let error = std::net::TcpStream::connect_timeout(&dead, SECOND / 5).expect_err("nothing is there");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn names_are_resolved_by_the_lab_s_own_server() {
    netlab::requires!("root", "ip", "dig", "curl");
    let lab = Lab::new();
    let (left, _router, right) = three(&lab);
    let addresses = right_at(0).map(|address| address.ip());
    let _dns = serve::dns(&right, &[("server.example", &addresses)]);
    let _web = serve::http(&right, 80);
    left.set_resolv_conf("nameserver 198.51.100.2\n");
    for (arguments, answer) in [
        ("server.example A", "198.51.100.2"),
        ("server.example AAAA", "2001:db8:2::2"),
        ("server.example A +tcp @2001:db8:2::2", "198.51.100.2"),
    ] {
        let said = left
            .command("dig")
            .args("+short +time=2 +tries=1".split(' '))
            .args(arguments.split(' '))
            .run();
        assert_eq!(said.trim(), answer, "{arguments}");
    }
    assert!(left.command("dig").args(["nowhere.example"]).run().contains("NXDOMAIN"));
    let long = left.command("dig").args(["+short", "big.server.example", "TXT"]).run();
    assert_eq!(
        long.matches("xxxx").count(),
        8 * 250 / 4 - 4,
        "over TCP, for it is too long for UDP"
    );
    for family in ["-4", "-6"] {
        let said = left
            .command("curl")
            .args(["-sS", family, "http://server.example/address"])
            .run();
        assert!(["192.0.2.2", "2001:db8:1::2"].contains(&said.as_str()), "{said}");
    }
}

#[test]
fn a_relay_delays_loses_and_doubles_as_told() {
    netlab::requires!("root", "ip");
    let lab = Lab::new();
    let (left, router, right) = three(&lab);
    let _echo = serve::udp_echo(&right, 7);
    let front = SocketAddr::from(([192, 0, 2, 1], 7));
    let path = Path {
        delay: Duration::from_millis(20),
        loss: 100_000,
        doubled: 100_000,
        seed: 1,
        ..Path::default()
    };
    let relay = Relay::start(&router, front, right_at(7)[0], path);
    let (came, took) = left.run(|| {
        let socket = traffic::datagram_socket(front).expect("a socket");
        socket.set_read_timeout(Some(SECOND / 2)).expect("set a time limit");
        let start = Instant::now();
        for number in 0..500_u32 {
            socket.send(&number.to_be_bytes()).expect("send");
        }
        let mut buffer = [0; 4];
        assert!(socket.recv(&mut buffer).is_ok(), "nothing came back");
        let took = start.elapsed();
        (1 + std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count(), took)
    });
    assert!(took >= 2 * path.delay, "{took:?}");
    // Of 500, a share of (0.9 * 1.1)^2 is expected back.
    assert!(
        (440..=540).contains(&came),
        "{came} of 500 came back; {:?}",
        relay.counts()
    );
}

#[test]
fn nobody_has_no_capability_and_no_way_back() {
    netlab::requires!("root", "ip");
    let lab = Lab::new();
    let host = lab.host("host");
    let status = host.command("cat").arg("/proc/self/status").as_nobody().run();
    for (field, value) in [
        ("Uid", "65534\t65534\t65534\t65534"),
        ("Gid", "65534\t65534\t65534\t65534"),
        ("Groups", ""),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
    ] {
        let said = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .map(str::trim);
        assert_eq!(said, Some(value), "{field}");
    }
    let folder = host.nobodys_folder("own");
    host.command("touch").arg(folder.join("file")).as_nobody().run();
    let denied = host.command("touch").arg("/run/file").as_nobody().output();
    assert!(!denied.status.success());
}

#[test]
fn what_a_command_says_and_how_long_it_takes_is_known() {
    netlab::requires!("root", "ip");
    let lab = Lab::new();
    let host = lab.host("host");
    let output = host
        .command("sh")
        .args(["-c", "cat; echo bad >&2; exit 3"])
        .input("text")
        .output();
    assert_eq!(
        (output.status.code(), &*output.stdout, &*output.stderr),
        (Some(3), "text", "bad\n")
    );
    let slow = std::panic::catch_unwind(|| host.command("sleep").arg("60").limit(SECOND / 10).run());
    let said = *slow
        .expect_err("it takes too long")
        .downcast::<String>()
        .expect("a panic has a text");
    assert!(said.contains("took longer than 100ms"), "{said}");
}

#[test]
fn a_dropped_host_leaves_no_process_behind() {
    netlab::requires!("root", "ip", "ping");
    let lab = Lab::new();
    let (host, other) = (lab.host("host"), lab.host("other"));
    host.link("eth0", &["192.0.2.1/24"], &other, "eth0", &["192.0.2.2/24"]);
    assert_eq!(host.links(), ["eth0", "lo"]);
    // One that would outlive its parent, as a daemon does.
    host.command("sh")
        .args(["-c", "setsid sleep 300 >/dev/null 2>&1 &"])
        .run();
    let mut talk = host.command("sh").args(["-c", "echo ready; exec sleep 300"]).spawn();
    talk.wait_for("ready", SECOND);
    let left = host.processes();
    assert_eq!(left.len(), 2, "{left:?}");
    drop(host);
    assert!(netlab::accounts(|pid| left.iter().any(|process| process.pid == pid)).is_empty());
    assert_eq!(talk.wait(SECOND).code(), None, "killed by a signal");
    netlab::wait_until("the other end of the cable is gone", SECOND * 5, || {
        (other.links() == ["lo"]).then_some(())
    });
}

#[test]
fn a_switch_joins_many_and_links_differ_in_mtu_and_offloads() {
    netlab::requires!("root", "ip", "ping", "ethtool");
    let lab = Lab::new();
    let (switch, one, two, three) = (lab.host("switch"), lab.host("one"), lab.host("two"), lab.host("three"));
    switch.switch(&[
        (&one, "eth0", &["192.0.2.1/24"]),
        (&two, "eth0", &["192.0.2.2/24"]),
        (&three, "eth0", &["192.0.2.3/24"]),
    ]);
    for address in ["192.0.2.2", "192.0.2.3"] {
        one.command("ping").args(["-c1", "-W2", address]).run();
    }
    one.set_mtu("eth0", 1280);
    let long = one
        .command("ping")
        .args(["-c1", "-W1", "-Mdo", "-s1300", "192.0.2.2"])
        .output();
    assert!(
        long.stderr.contains("mtu=1280") || long.stdout.contains("mtu"),
        "{long:?}"
    );
    for offloads in [Offloads::Off, Offloads::ReceiveOnly, Offloads::All] {
        one.set_offloads("eth0", offloads);
    }
}
