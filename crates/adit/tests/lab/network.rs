//! The network that the tests share, each with a copy of its own.
//!
//! ```text
//!   client   192.0.2.7   2001:db8:1::7  ─┐
//!   other    192.0.2.8   2001:db8:1::8  ─┤
//!                                        internet ── 198.51.100.2  2001:db8:2::2  server: TCP, UDP, HTTP, DNS
//!                                        │
//!                                        └────────── 203.0.113.2   2001:db8:3::2  gateway
//! ```
//!
//! `internet` lets nothing pass straight from the clients to the server: what arrives there came out of a tunnel.
//! It has no way to `198.18.0.0/16` and `2001:db8:bad::/48`, and says so; `198.19.0.0/16` and `2001:db8:dead::/48`
//! swallow everything.

use std::net::{IpAddr, SocketAddr};

use netlab::serve::{self, Server};
use netlab::{Host, Lab};

/// What every test here needs of the machine.
#[macro_export]
macro_rules! needs_a_lab {
    () => {
        netlab::requires!(
            "root",
            "/dev/net/tun",
            "ip",
            "wg",
            "wg-quick",
            "wireguard-go",
            "nft"
        );
    };
}

/// The server's name, in both families.
pub(crate) const NAME: &str = "server.example";

/// By nftables, because the kernel tells of an unreachable route but once a second.
const NO_WAY: &str = "
table inet no-way {
    chain forward {
        type filter hook forward priority filter;
        ip daddr 198.18.0.0/16 reject with icmp host-unreachable
        ip6 daddr 2001:db8:bad::/48 reject with icmpv6 addr-unreachable
    }
}
";

/// The hosts of the drawing and the servers on `server`.
pub(crate) struct Network {
    pub(crate) client: Host,
    pub(crate) other: Host,
    pub(crate) gateway: Host,
    pub(crate) server: Host,
    pub(crate) internet: Host,
    pub(crate) echo: Server,
    pub(crate) datagrams: Server,
    pub(crate) lab: Lab,
    /// They serve for as long as the network is there.
    _others: [Server; 3],
}

impl Network {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        let internet = lab.router("internet");
        // From which it tells errors.
        internet.add_address("lo", "2001:db8::1/128");
        let [client, other, gateway, server] = [
            ("client", "192.0.2.7", "2001:db8:1::7"),
            ("other", "192.0.2.8", "2001:db8:1::8"),
            ("gateway", "203.0.113.2", "2001:db8:3::2"),
            ("server", "198.51.100.2", "2001:db8:2::2"),
        ]
        .map(|(name, v4, v6)| connect(&internet, &lab.host(name), v4, v6));
        for route in ["198.18.0.0/16 dev to-server", "2001:db8:bad::/48 dev to-server"] {
            internet.route(route);
        }
        internet.command("nft").args(["-f", "/dev/stdin"]).input(NO_WAY).run();
        for route in ["blackhole 198.19.0.0/16", "blackhole 2001:db8:dead::/48"] {
            internet.route(route);
        }
        internet.ip("-4 rule add from 192.0.2.0/24 to 198.51.100.0/24 prohibit");
        internet.ip("-6 rule add from 2001:db8:1::/64 to 2001:db8:2::/64 prohibit");
        gateway.set_resolv_conf("nameserver 198.51.100.2\n");
        let echo = serve::tcp_echo(&server, 7);
        let datagrams = serve::udp_echo(&server, 7);
        let web = serve::http(&server, 80);
        let (over_udp, over_tcp) = serve::dns(&server, &[(NAME, &[server_v4(0).ip(), server_v6(0).ip()])]);
        let _others = [web, over_udp, over_tcp];
        Self {
            client,
            other,
            gateway,
            server,
            internet,
            echo,
            datagrams,
            lab,
            _others,
        }
    }
}

/// Joins `host` to the `internet`, which it reaches all else by.
pub(crate) fn connect(internet: &Host, host: &Host, v4: &str, v6: &str) -> Host {
    let cable = format!("to-{}", host.name());
    let here = ["192.0.2.254/32", "fe80::1/64"];
    host.link(
        "eth0",
        &[&format!("{v4}/24"), &format!("{v6}/64")],
        internet,
        &cable,
        &here,
    );
    internet.route(&format!("{v4} dev {cable}"));
    internet.route(&format!("{v6} dev {cable}"));
    for route in [
        "192.0.2.254 dev eth0",
        "default via 192.0.2.254",
        "default via fe80::1 dev eth0",
    ] {
        host.route(route);
    }
    host.clone()
}

/// The server in both families, on `port`.
pub(crate) fn servers(port: u16) -> [SocketAddr; 2] {
    [server_v4(port), server_v6(port)]
}

pub(crate) fn server_v4(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 2], port))
}

pub(crate) fn server_v6(port: u16) -> SocketAddr {
    SocketAddr::new(ip("2001:db8:2::2"), port)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("a test's address is right")
}
